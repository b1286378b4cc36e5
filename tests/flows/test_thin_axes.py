"""Dimensions of almost no variance, such as the borders of images, are warned about in refits."""

import copy
import warnings

import pytest
import torch
from coupling import Coupling, CouplingCodec, coupling_model
from helpers import FAMILIES, FAMILY_IDS

from fpigauss import FixedPoint
from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentGaussians, refit_

N_CLASSES, DIM = 3, 6
THIN = (1, 4)
Y = torch.arange(300) % N_CLASSES
SAME = (lambda x: (x, x.new_zeros(len(x))), lambda z: z)
family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)


def images(n_dim=DIM, thin=THIN, std=1e-3):
    """Samples with constant pixels, dequantized."""
    x = torch.randn(300, n_dim, generator=torch.Generator().manual_seed(0)) + 2.0 * Y[:, None]
    axes = list(thin)
    x[:, axes] = (x[:, axes] - 2.0 * Y[:, None]) * std
    return x


def model_of(covariance, tied):
    return ClassFlow(None, LatentGaussians(N_CLASSES, DIM, covariance, tied), codec=SAME)


def refit_of(model, x, **options):
    return refit_(model, [(x, Y)], 0.1, **options)


@family
def test_they_are_named_once(covariance, tied):
    model = model_of(covariance, tied)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refit_of(model, images())
        refit_of(model, images() + 1.0)  # the Gaussians were thin before
    if covariance == "isotropic":
        assert not caught
        return
    (warning,) = caught
    assert warning.category is UserWarning
    assert warning.filename == __file__
    assert "in 2 of 6 dimensions (1, 4)" in str(warning.message)
    assert ("of 2 more classes" in str(warning.message)) is not tied
    assert "shrinkage" in str(warning.message)


@family
def test_shrinkage_guards_against_them(covariance, tied):
    refit_of(model_of(covariance, tied), images(), shrinkage=0.01)  # warnings are errors
    refit_of(model_of(covariance, tied), images(std=0.2))


@pytest.mark.parametrize("tied", [False, True])
def test_a_thin_direction_that_is_not_an_axis_is_found(tied):
    random = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1))
    rotated = images() @ torch.linalg.qr(random).Q
    with pytest.warns(UserWarning, match="in 6 of 6 dimensions"):
        refit_of(model_of("dense", tied), rotated)


def test_a_loaded_state_is_not_warned_about_again():
    model, loaded = model_of("diagonal", True), model_of("diagonal", True)
    with pytest.warns(UserWarning, match="below 0.005 of the mean variance"):
        refit_of(model, images())
    loaded.load_state_dict(copy.deepcopy(model.state_dict()))
    refit_of(loaded, images())


def test_the_gaussians_stay_where_the_warning_is_an_error():
    model = model_of("diagonal", True)
    with pytest.raises(UserWarning, match="dimensions"):
        refit_of(model, images())
    assert model.gaussians.coincide


def test_a_schedule_warns_at_the_line_that_steps_it():
    model = coupling_model(N_CLASSES, DIM)
    model.encode(images())  # decoding needs the shape of the latents
    x = model.decode(images()).detach()
    with pytest.warns(UserWarning, match=r"dimensions \(1, 4\)") as caught:
        FixedPointSchedule(fit=FixedPoint(0.1)).step(model, [(x, Y)], 0)
    assert {warning.filename for warning in caught} == {__file__}


def test_the_first_step_of_training_shows_what_the_warning_says():
    x = images(64, thin=range(24))
    losses = {}
    for shrinkage in (0.0, 0.03):
        flow = Coupling(64, hidden=64)
        with torch.no_grad():
            for layer in flow.outer:  # the identity at first
                layer.weight.zero_()
                layer.bias.zero_()
        gaussians = LatentGaussians(N_CLASSES, 64, "diagonal", tied=True)
        model = ClassFlow(flow, gaussians, codec=CouplingCodec)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            refit_of(model, x, shrinkage=shrinkage)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        losses[shrinkage] = []
        for _ in range(2):
            optimizer.zero_grad()
            loss = model(x, Y).mean()
            loss.backward()
            optimizer.step()
            losses[shrinkage].append(float(loss.detach()))
    # per sample, in nats; the Gaussians fit the data as they are, and no longer after one step
    assert losses[0.0][1] - losses[0.0][0] > 100.0
    assert losses[0.03][1] < losses[0.03][0] + 1.0
