"""When refits happen in a plain training loop."""

import copy
import pickle

import pytest
import torch
from coupling import Coupling, coupling_model
from helpers import blobs
from torch import nn
from torch.optim.swa_utils import AveragedModel

from fpigauss import InvalidInputError, Status, fit_fixed_point
from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentGaussians, refit_

N_CLASSES, DIM = 3, 4


def data():
    x, y = blobs(N_CLASSES, DIM, 40, spread=2.0)
    return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)


def batches():
    x, y = data()
    return list(zip(x.split(32), y.split(32), strict=True))


def moved(model, seed):
    """Change the flow as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.codec.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


def stepped(schedule, epochs, model=None):
    """Return the results, by epoch, of a loop that trains in between."""
    model = coupling_model(N_CLASSES, DIM) if model is None else model
    results = {}
    for epoch in range(epochs):
        results[epoch] = schedule.step(model, batches(), epoch)
        moved(model, epoch)
    return model, results


# -- when ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (None, [0, 1]),
        ((2, 0), [0, 2]),
        (range(0, 6, 3), [0, 3]),
        ({1}, [1]),
        (lambda epoch: epoch % 2 == 1, [1, 3, 5]),
    ],
    ids=["default", "tuple", "range", "set", "function"],
)
def test_refits_before_the_epochs_that_are_due(epochs, expected):
    schedule = FixedPointSchedule(0.5) if epochs is None else FixedPointSchedule(0.5, epochs)
    _, results = stepped(schedule, 6)
    assert [epoch for epoch, result in results.items() if result is not None] == expected


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (("isotropic", True), {}),
        (("dense", True), {}),
        (("isotropic", False), {"update": "means", "init": "identity"}),
    ],
)
def test_recommends_a_repulsion(family, options):
    model = model_of(*family)
    by_hand = copy.deepcopy(model)
    assert FixedPointSchedule(options=options).step(model, batches(), 0).converged
    refit_(by_hand, batches(), 100.0 * N_CLASSES**2, alpha=10.0, **options)
    assert torch.equal(model.gaussians.means, by_hand.gaussians.means)
    assert torch.equal(model.gaussians.covariances, by_hand.gaussians.covariances)


def model_of(covariance, tied):
    gaussians = LatentGaussians(N_CLASSES, DIM, covariance, tied)
    return ClassFlow(None, gaussians, codec=coupling_model(N_CLASSES, DIM).codec)


def test_recommends_none_for_a_covariance_a_class():
    with pytest.raises(InvalidInputError, match=r"^lam is not given.*tied=True, or give a lam"):
        FixedPointSchedule(warm_up=1).step(model_of("diagonal", False), None, 0)


def test_options_are_stronger_than_what_is_recommended():
    given = {"alpha": 2.0, "max_iter": 7}
    assert FixedPointSchedule().options == {"alpha": 10.0}
    assert FixedPointSchedule(options=given).options == given
    assert FixedPointSchedule(0.5).options == {}


def test_is_frozen_in_between():
    model, _ = stepped(FixedPointSchedule(0.5, [0]), 1)
    before = model.gaussians.means.clone()
    assert FixedPointSchedule(0.5, [0]).step(model, batches(), 1) is None
    assert torch.equal(model.gaussians.means, before)
    assert FixedPointSchedule(0.5, [0]).force(model, batches(), 1).converged  # due or not
    assert not torch.equal(model.gaussians.means, before)


def test_the_former_name_of_force_warns_and_does_the_same():
    schedule, model = FixedPointSchedule(0.5, [0]), coupling_model(N_CLASSES, DIM)
    with pytest.warns(DeprecationWarning, match=r"call FixedPointSchedule\.force$") as caught:
        former = schedule.refit_(model, batches(), epoch=1)
    assert [warning.filename for warning in caught] == [__file__]
    assert torch.equal(former.gaussians.means, schedule.force(model, batches(), 1).gaussians.means)


def test_lam_may_follow_the_epoch():
    schedule = FixedPointSchedule(lambda epoch: 0.3 * epoch, range(3))
    model = coupling_model(N_CLASSES, DIM)
    for epoch in range(3):
        result = schedule.step(model, batches(), epoch)
        direct = refit_(coupling_model(N_CLASSES, DIM), batches(), 0.3 * epoch)
        assert torch.equal(result.gaussians.means, direct.gaussians.means)


# -- how far -------------------------------------------------------------------------------


def test_a_single_iteration_is_one_step_of_picard():
    schedule = FixedPointSchedule(0.5, range(2), single_iteration=True, options={"alpha": 2.0})
    model, results = stepped(schedule, 2)
    assert [results[epoch].n_iter for epoch in (0, 1)] == [1, 1]
    assert results[0].status is Status.MAX_ITER
    fresh = coupling_model(N_CLASSES, DIM)
    step = {"solver": "picard", "max_iter": 1, "tol": 0.0, "alpha": 2.0}
    first = refit_(fresh, batches(), 0.5, **step)
    assert torch.equal(results[0].gaussians.means, first.gaussians.means)
    moved(fresh, 0)
    second = refit_(fresh, batches(), 0.5, init=first.gaussians, **step)
    assert torch.equal(results[1].gaussians.means, second.gaussians.means)
    assert torch.equal(model.gaussians.covariances, second.gaussians.covariances)


def test_single_iterations_arrive_at_the_fixed_point_of_a_flow_that_stays():
    schedule = FixedPointSchedule(0.5, range(100), single_iteration=True)
    model = coupling_model(N_CLASSES, DIM)
    for epoch in range(100):
        result = schedule.step(model, batches(), epoch)
    _, y = data()
    with torch.no_grad():
        z = torch.cat([model.encode(part)[0] for part, _ in batches()]).double()
    fitted = fit_fixed_point(z, y, 0.5, tol=1e-10)
    # 1e-6 is the residual that counts as converged
    assert result.residual < 1e-6
    torch.testing.assert_close(model.gaussians.means, fitted.gaussians.means, rtol=0, atol=1e-4)


def test_copies_and_options_are_passed_on():
    model = coupling_model(N_CLASSES, DIM)
    averaged = AveragedModel(model)
    schedule = FixedPointSchedule(0.5, options={"max_iter": 1, "tol": 0.0, "accept": ["max_iter"]})
    assert schedule.step(model, batches(), 0, copies=[averaged]).status is Status.MAX_ITER
    assert torch.equal(averaged.module.gaussians.means, model.gaussians.means)


# -- layers that are initialized by data ---------------------------------------------------


class ActNorm(nn.Module):
    """Whitens with the first batch seen in train mode, and rebinds its tensor as some layers do."""

    def __init__(self, dim):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dim))
        self.register_buffer("seen", torch.tensor(0))

    def forward(self, x):
        if self.training and self.seen == 0:
            self.shift.data = x.detach().mean(0)
        if self.training:
            self.seen += 1
        return x - self.shift


def normed_model():
    flow = nn.ModuleList([ActNorm(DIM), Coupling(DIM), nn.Dropout(0.0)])
    codec = (lambda x: flow[1](flow[0](x)), lambda z: flow[1].inverse(z) + flow[0].shift)
    return ClassFlow(flow, LatentGaussians(N_CLASSES, DIM), codec=codec), flow


@pytest.mark.parametrize("training", [True, False])
def test_warms_up_in_train_mode_before_the_first_refit_only(training):
    model, flow = normed_model()
    model.train(training)
    flow[2].eval()
    modes = [part.training for part in model.modules()]
    schedule = FixedPointSchedule(0.5, range(3), warm_up=2)
    with torch.inference_mode():  # as in a validation hook
        result = schedule.step(model, batches(), 0)
    assert int(flow[0].seen) == 2
    assert torch.equal(flow[0].shift.detach(), batches()[0][0].mean(0))
    assert [part.training for part in model.modules()] == modes
    plain, warm = normed_model()
    warm[0].shift.data = flow[0].shift.data.clone()
    direct = refit_(plain, batches(), 0.5)
    assert torch.equal(result.gaussians.means, direct.gaussians.means)
    schedule.step(model, batches(), 1)
    assert int(flow[0].seen) == 2
    x, y = data()
    model(x, y).mean().backward()  # no inference tensor is left
    assert flow[0].shift.grad.abs().sum() > 0


def test_parts_frozen_by_hand_stay_so_in_the_warm_up():
    model, flow = normed_model()
    model.train()
    flow[0].eval()
    FixedPointSchedule(0.5, warm_up=1).step(model, batches(), 0)
    assert int(flow[0].seen) == 0


def test_a_warm_up_takes_what_batches_there_are():
    model, flow = normed_model()
    FixedPointSchedule(0.5, warm_up=100).step(model, batches(), 0)
    assert int(flow[0].seen) == len(batches())


def test_a_warm_up_needs_a_loader_that_can_be_read_again():
    with pytest.raises(InvalidInputError, match=r"^loader is a list_iterator, .* warm_up need"):
        FixedPointSchedule(0.5, warm_up=1).step(normed_model()[0], iter(batches()), 0)


# -- the value -----------------------------------------------------------------------------


def test_is_a_value():
    schedule = FixedPointSchedule(0.5, [1, 0], options={"alpha": 2.0})
    assert schedule == FixedPointSchedule(0.5, (0, 1), options={"alpha": 2.0})
    assert schedule != FixedPointSchedule(0.5, (0, 1))
    assert hash(schedule) == hash(copy.deepcopy(schedule))
    assert pickle.loads(pickle.dumps(schedule)) == schedule


FAULTS = {
    "lam": ({"lam": -1.0}, "^lam is -1"),
    "lam, text": ({"lam": "1"}, "^lam is '1'"),
    "epochs, number": ({"epochs": 3}, r"^epochs is 3; pass a collection of ints >= 0, or a func"),
    "epochs, text": ({"epochs": "01"}, "^epochs is '01'; "),
    "epochs, negative": ({"epochs": [0, -1]}, "^epochs is -1; pass an integer >= 0"),
    "epochs, none": ({"epochs": []}, "^epochs is empty; "),
    "single_iteration": ({"single_iteration": 1}, "^single_iteration is 1; pass True or False"),
    "warm_up": ({"warm_up": -1}, "^warm_up is -1; "),
    "options": ({"options": ["tol"]}, "^options is a list; "),
    "an option's value": ({"options": {"alpha": 0}}, "^alpha is 0"),
    "accept": ({"options": {"accept": ["done"]}}, r"^accept is \['done'\]"),
    "not for options": (
        {"options": {"copies": []}},
        r"^options contains 'copies'; pass it to step",
    ),
    "twice": (
        {"options": {"max_iter": 5}, "single_iteration": True},
        "^options contains 'max_iter', which single_iteration sets",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_is_checked_when_it_is_made(fault):
    given, message = FAULTS[fault]
    with pytest.raises(InvalidInputError, match=message):
        FixedPointSchedule(**{"lam": 0.5, **given})


def test_a_lam_that_follows_the_epoch_is_checked_before_any_batch():
    model = coupling_model(N_CLASSES, DIM)
    with pytest.raises(InvalidInputError, match=r"^lam is -1"):
        FixedPointSchedule(lambda epoch: -1.0, warm_up=1).step(model, None, 0)


@pytest.mark.parametrize("epoch", ["0", -1, 0.5, None, []])
def test_an_epoch_is_a_whole_number(epoch):
    with pytest.raises(InvalidInputError, match="epoch"):
        FixedPointSchedule(lam=1.0).step(coupling_model(3, 4), [], epoch)
