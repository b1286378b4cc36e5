"""Samples at which a flow overflows are counted by class, and none is left out."""

import math
import warnings

import pytest
import torch
from coupling import coupling_model

from fpigauss import ClassGaussians
from fpigauss_torch import ClassFlow, LatentAugmentation, LatentGaussians

# decodes by a scale of e^40 per unit, as couplings do whose scale is not bounded
STEEP = (lambda x: (x, x.new_zeros(len(x))), lambda z: (40.0 * z).exp())


@pytest.fixture
def model():
    means = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 9.0]], dtype=torch.float64)
    narrow = torch.tensor(1e-4, dtype=torch.float64)
    gaussians = ClassGaussians(means, narrow, covariance="isotropic", tied=True)
    model = ClassFlow(None, LatentGaussians.from_class_gaussians(gaussians), codec=STEEP)
    model.encode(torch.zeros(1, 2))  # decoding needs the shape of the latents
    return model


def test_they_are_counted_by_class_in_one_warning(model):
    with pytest.warns(RuntimeWarning, match="not finite") as caught:
        x = model.sample([0, 1, 0, 2, 1], seed=0)
    (warning,) = caught
    assert warning.filename == __file__
    said = str(warning.message)
    assert said.startswith(
        "3 of 5 samples are not finite (2 of class 1, 1 of class 2; row 1 first)"
    )
    for remedy in ("temperature", "scale", "isfinite"):
        assert remedy in said
    # one per label, in this order: none is left out or drawn again
    assert x.isfinite().all(1).tolist() == [True, False, True, False, False]


def test_the_remedy_in_the_message_keeps_the_finite_ones(model):
    with pytest.warns(RuntimeWarning, match=r"x\[x.isfinite\(\).flatten\(1\).all\(1\)\]"):
        x = model.sample([0, 1, 0], seed=0)
    assert len(x[x.isfinite().flatten(1).all(1)]) == 2


def test_draws_of_the_mixture_name_their_classes(model):
    with pytest.warns(RuntimeWarning) as caught:
        x = model.sample(60, seed=3)
    z = model.gaussians.sample(60, seed=3)
    assert torch.equal(x, model.decode(z))  # the same draws as the prior's
    classes = model.gaussians.predict(z)
    counts = torch.bincount(classes[~x.isfinite().all(1)], minlength=3).tolist()
    assert counts[0] == 0
    assert f"({counts[1]} of class 1, {counts[2]} of class 2;" in str(caught[0].message)


def test_finite_samples_are_silent(model):
    model.sample([0, 0], seed=0)  # warnings are errors
    model.sample([], seed=0)
    bounded = coupling_model()
    bounded.encode(torch.zeros(1, 4))
    bounded.sample(8, temperature=100.0, seed=0)


def test_finite_samples_whose_sum_overflows_are_silent():
    most = torch.finfo(torch.float32).max
    model = ClassFlow(
        None,
        LatentGaussians(2, 2, covariance="diagonal", tied=False),
        codec=(STEEP[0], lambda z: z.mul(0.0).add(most)),
    )
    model.encode(torch.zeros(1, 2))
    x = model.sample(8, seed=0)
    assert bool(x.isfinite().all())
    assert not bool(x.sum().isfinite())


def test_samples_of_one_number_each():
    flat = (lambda x: (x, torch.zeros(len(x))), lambda z: (40.0 * z[:, 0]).exp())
    model = ClassFlow(None, LatentGaussians(2, 1, covariance="diagonal", tied=False), codec=flat)
    model.encode(torch.zeros(1, 1))
    with pytest.warns(RuntimeWarning, match="samples are not finite"):
        model.sample(400, temperature=2.0, seed=0)


def test_compiled_code_does_not_look(model):
    labels = torch.tensor([0, 1])
    compiled = torch.compile(lambda y: model.sample(y), fullgraph=True, backend="eager")
    assert compiled(labels).isfinite().all(1).tolist() == [True, False]


def test_augmentation_keeps_samples_that_would_not_be_finite():
    log = (lambda x: (x.log(), -x.log().sum(1)), lambda z: z.exp())
    model = ClassFlow(None, LatentGaussians(2, 2, covariance="diagonal", tied=False), codec=log)
    augment = LatentAugmentation(model, method="noise", strength=60.0, seed=0)
    x, y = torch.ones(200, 2), torch.arange(200) % 2
    with pytest.warns(RuntimeWarning, match=r"are left as they were.*strength=60") as caught:
        new, _ = augment(x, y)
    assert caught[0].filename == __file__
    assert bool(new.isfinite().all())
    kept = (new == x).all(1)
    assert 0 < int(kept.sum()) < 200
    assert f"{int(kept.sum())} of 200 augmented" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again, _ = augment(x, y)  # said once
    assert bool(again.isfinite().all())
    x[0] = math.nan  # what was given stays what it was
    assert bool(augment(x, y)[0][0].isnan().all())
