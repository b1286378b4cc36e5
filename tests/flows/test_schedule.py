"""When refits happen in a plain training loop."""

import copy
import dataclasses
import inspect
import pickle

import numpy as np
import pytest
import torch
from coupling import Coupling, coupling_model
from helpers import blobs
from torch import nn
from torch.optim.swa_utils import AveragedModel

from fpigauss import (
    ClassGaussians,
    FixedPoint,
    InvalidInputError,
    Status,
    UnknownOptionError,
    UnreachableSeparationError,
    fit_fixed_point,
    smallest_kld,
)
from fpigauss_torch import (
    ClassFlow,
    FixedPointSchedule,
    LatentGaussians,
    RefitRejectedError,
    refit_,
)

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


SEPARATION = 150.0  # nats, where nothing is given


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (("isotropic", True), {}),
        (("diagonal", True), {"pi": "initial"}),
        (("dense", True), {"alpha": 2.0}),
        (("isotropic", False), {"update": "means", "init": "identity"}),
    ],
)
def test_separates_as_far_as_is_recommended(family, options):
    model = model_of(*family)
    by_hand = copy.deepcopy(model)
    fit = FixedPoint(**options) if options else None
    assert FixedPointSchedule(fit=fit).step(model, batches(), 0).converged
    refit_(by_hand, batches(), separation=SEPARATION, **options)
    assert torch.equal(model.gaussians.means, by_hand.gaussians.means)
    reached = smallest_kld(model.gaussians.class_gaussians())
    assert SEPARATION <= reached <= 1.05 * SEPARATION


@pytest.mark.parametrize("separation", [20.0, lambda epoch: 20.0 * (epoch + 1)])
def test_a_separation_of_ones_own(separation):
    model = model_of("isotropic", True)
    schedule = FixedPointSchedule(separation=separation, epochs=[2])
    schedule.step(model, batches(), 2)
    asked = 60.0 if callable(separation) else 20.0
    assert asked <= smallest_kld(model.gaussians.class_gaussians()) <= 1.05 * asked


@pytest.mark.parametrize("name", ["separation", "lam"])
def test_a_function_that_returns_none_is_refused(name):
    model = model_of("isotropic", True)
    schedule = FixedPointSchedule(
        **{name: lambda epoch: 20.0 if epoch < 3 else None}, epochs=[2, 3]
    )
    assert schedule.step(model, batches(), 2).converged
    with pytest.raises(InvalidInputError, match=f"^{name} is a function .* None for epoch 3"):
        schedule.step(model, batches(), 3)


def test_classes_that_are_far_apart_are_not_repelled():
    model, by_hand = model_of("isotropic", True), model_of("isotropic", True)
    refit_(by_hand, batches(), 0.0)
    reached = smallest_kld(by_hand.gaussians.class_gaussians())
    FixedPointSchedule(separation=0.9 * reached).step(model, batches(), 0)
    assert torch.equal(model.gaussians.means, by_hand.gaussians.means)


def test_a_lam_by_position_is_no_separation():
    assert FixedPointSchedule(0.5).lam == 0.5
    assert FixedPointSchedule(0.5).separation is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lam": 1.0}, "beside lam=1.0"),
        ({"lam": abs}, "beside lam=a function"),
        ({"fit": FixedPoint(2.0)}, "beside a fit with lam=2"),
    ],
)
def test_a_separation_and_a_lam_are_refused(given, message):
    with pytest.raises(InvalidInputError, match=f"^separation is given {message}; leave out one"):
        FixedPointSchedule(separation=3.0, **given)
    if "fit" in given:
        with pytest.raises(InvalidInputError, match=message):
            refit_(model_of("isotropic", True), batches(), separation=3.0, **given)


@pytest.mark.parametrize("separation", [0.0, -1.0, float("nan"), "far"])
def test_what_is_not_a_separation_is_refused(separation):
    with pytest.raises(InvalidInputError, match=r"^separation is "):
        FixedPointSchedule(separation=separation)


def test_what_cannot_be_reached_keeps_the_gaussians():
    model = model_of("diagonal", False)
    before = copy.deepcopy(model.gaussians.state_dict())
    with pytest.raises(UnreachableSeparationError, match="tied=True"):
        FixedPointSchedule(separation=1e6).step(model, batches(), 0)
    after = model.gaussians.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_single_iteration_needs_a_lam():
    with pytest.raises(InvalidInputError, match=r"^single_iteration takes a step at a lam"):
        FixedPointSchedule(single_iteration=True)


@pytest.mark.parametrize("n_classes", [10, 30, 100, 300])
def test_the_default_separates_alike_whatever_the_number_of_classes(n_classes):
    # the former default, 100 K^2 at alpha 10, gave 251, 598, 1618 and 4641 nats
    reached = default_separation(n_classes, 16)
    assert SEPARATION <= reached <= 1.05 * SEPARATION


@pytest.mark.parametrize(("dim", "asked"), [(2, 150.0), (200, 150.0), (204, 153.0), (784, 588.0)])
def test_the_default_grows_with_the_dimension_from_two_hundred_on(dim, asked):
    reached = default_separation(4, dim)
    assert asked <= reached <= 1.05 * asked


def default_separation(n_classes, dim):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(40 * n_classes, dim, generator=rng)
    y = torch.arange(len(x)) % n_classes
    x = x + torch.randn(n_classes, dim, generator=rng)[y] / dim**0.5
    same = (lambda x: (x, torch.zeros(len(x))), lambda z: z)
    model = ClassFlow(None, LatentGaussians(n_classes, dim), codec=same)
    FixedPointSchedule().step(model, [(x, y)], 0)
    return smallest_kld(model.gaussians.class_gaussians())


def model_of(covariance, tied):
    gaussians = LatentGaussians(N_CLASSES, DIM, covariance, tied)
    return ClassFlow(None, gaussians, codec=coupling_model(N_CLASSES, DIM).codec)


def test_lam_may_be_in_the_fit():
    models = [model_of("isotropic", True) for _ in range(2)]
    in_fit = FixedPointSchedule(fit=FixedPoint(0.5, alpha=2.0)).step(models[0], batches(), 0)
    beside = FixedPointSchedule(0.5, fit=FixedPoint(alpha=2.0)).step(models[1], batches(), 0)
    assert torch.equal(in_fit.gaussians.means, beside.gaussians.means)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("alpha", r"pass fit=FixedPoint\(alpha=\.\.\.\)"),
        ("max_iter", r"pass fit=FixedPoint\(max_iter=\.\.\.\)"),
        ("tied", r"pass LatentGaussians\(\.\.\., tied=\.\.\.\)"),
        ("copies", r"pass step\(\.\.\., copies=\.\.\.\)"),
        ("epoch", "did you mean epochs\\?"),
        ("min_kld", "pass separation="),
    ],
)
def test_what_is_not_an_option_of_a_schedule_has_another_place(name, remedy):
    with pytest.raises(
        UnknownOptionError, match=f"^{name} is not an option of a schedule; {remedy}"
    ):
        FixedPointSchedule(0.5, **{name: 1})


def test_the_signature_is_that_of_the_fields():
    names = [field.name for field in dataclasses.fields(FixedPointSchedule) if field.init]
    assert list(inspect.signature(FixedPointSchedule).parameters) == names


def test_a_subclass_may_take_options_of_its_own():
    class Own(FixedPointSchedule):
        def __init__(self, alpha, **options):
            super().__init__(fit=FixedPoint(alpha=alpha), **options)

    assert Own(alpha=2.0, lam=0.5).fit.alpha == 2.0


def test_former_options_become_a_fit():
    with pytest.warns(DeprecationWarning, match=r"pass fit=FixedPoint\(\.\.\.\)") as caught:
        former = FixedPointSchedule(options={"max_iter": 7, "accept": ["max_iter"]})
    assert [warning.filename for warning in caught] == [__file__]
    assert former == FixedPointSchedule(fit=FixedPoint(max_iter=7), accept=["max_iter"])
    with pytest.warns(DeprecationWarning, match="init="):
        former = FixedPointSchedule(0.5, options={"init": "current", "alpha": 2.0})
    assert former == FixedPointSchedule(0.5, fit=FixedPoint(alpha=2.0), init="current")


def state_of_old(**fields):
    """Return the state that pickles had when ``options`` was a plain field and the last one."""
    return {"lam": 2.0, "epochs": (0, 1), "single_iteration": False, "warm_up": 0, **fields}


def from_state(state, cls=FixedPointSchedule):
    schedule = cls.__new__(cls)
    schedule.__setstate__(state)
    return schedule


def test_an_old_pickle_keeps_its_options():
    options = {"alpha": 2.0, "accept": ["max_iter"], "init": "current", "max_iter": 7}
    read = from_state(state_of_old(options=options))
    fit = FixedPoint(alpha=2.0, max_iter=7)
    assert read == FixedPointSchedule(2.0, fit=fit, accept=["max_iter"], init="current")
    assert read.options == {}
    assert from_state(state_of_old(options={})) == FixedPointSchedule(2.0)
    single = from_state(state_of_old(options={"alpha": 2.0}, single_iteration=True))
    assert single == FixedPointSchedule(2.0, fit=FixedPoint(alpha=2.0), single_iteration=True)
    assert pickle.loads(pickle.dumps(read)) == read


def test_an_old_pickle_without_a_lam_takes_the_separation():
    former = from_state(state_of_old(lam=None, options={"alpha": 2.0}))
    assert former == FixedPointSchedule(fit=FixedPoint(alpha=2.0))
    state = {**state_of_old(lam=None), "fit": FixedPoint(alpha=10.0), "_as_formerly": False}
    model = model_of("isotropic", True)
    from_state(state).step(model, batches(), 0)
    assert smallest_kld(model.gaussians.class_gaussians()) >= SEPARATION


def test_a_pickle_from_before_the_latest_field_is_read():
    schedule = FixedPointSchedule(0.5, fit=FixedPoint(alpha=2.0))
    state = {name: value for name, value in vars(schedule).items() if name != "separation"}
    assert from_state(state) == schedule


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


def former_subclass():
    with pytest.warns(DeprecationWarning, match=r"^Former\.refit_ .*rename it to force$") as caught:

        class Former(FixedPointSchedule):
            """As subclasses were written when ``force`` was called ``refit_``."""

            def refit_(self, model, loader, epoch, **options):
                seen.append(epoch)
                return super().refit_(model, loader, epoch, **options)

    assert [warning.filename for warning in caught] == [__file__]
    seen = []
    return Former, seen


def test_what_overrides_force_under_its_former_name_is_called():
    former, seen = former_subclass()
    schedule, model = former(0.5, [0]), coupling_model(N_CLASSES, DIM)
    for call in (schedule.step, schedule.force, schedule.refit_):
        with pytest.warns(DeprecationWarning, match=r"call FixedPointSchedule\.force$"):
            assert call(model, batches(), 0).converged
    assert seen == [0, 0, 0]

    class Later(former):
        def force(self, model, loader, epoch, **options):
            seen.append("later")
            return super().force(model, loader, epoch, **options)

    with pytest.warns(DeprecationWarning, match=r"call FixedPointSchedule\.force$"):
        assert Later(0.5, [0]).step(model, batches(), 0).converged
    assert seen == [0, 0, 0, "later", 0]


def test_the_former_name_of_an_overridden_force_calls_that():
    class Own(FixedPointSchedule):
        def force(self, *args, **kwargs):
            return "own"

    with pytest.warns(DeprecationWarning, match=r"call FixedPointSchedule\.force$"):
        assert Own(0.5).refit_(None, None, 0) == "own"


def test_lam_may_follow_the_epoch():
    schedule = FixedPointSchedule(lambda epoch: 0.3 * epoch, range(3))
    model = coupling_model(N_CLASSES, DIM)
    for epoch in range(3):
        result = schedule.step(model, batches(), epoch)
        direct = refit_(coupling_model(N_CLASSES, DIM), batches(), 0.3 * epoch)
        assert torch.equal(result.gaussians.means, direct.gaussians.means)


# -- how far -------------------------------------------------------------------------------


def test_a_single_iteration_is_one_step_of_picard():
    schedule = FixedPointSchedule(0.5, range(2), single_iteration=True, fit=FixedPoint(alpha=2.0))
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
    schedule = FixedPointSchedule(0.5, fit=FixedPoint(max_iter=1, tol=0.0), accept=["max_iter"])
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
    return ClassFlow(
        flow, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=codec
    ), flow


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


@pytest.mark.parametrize("method", ["step", "force"])
def test_batches_are_prepared_for_the_warm_up_too(method):
    expected, model = coupling_model(N_CLASSES, DIM), coupling_model(N_CLASSES, DIM)
    schedule = FixedPointSchedule(0.5, [0], warm_up=2)
    getattr(schedule, method)(expected, batches(), 0)
    raw = [{"x": x, "y": y} for x, y in batches()]
    getattr(schedule, method)(model, raw, 0, prepare=lambda batch: (batch["x"], batch["y"]))
    assert torch.equal(model.gaussians.means, expected.gaussians.means)


@pytest.mark.parametrize("method", ["step", "force"])
def test_reads_no_more_batches_than_asked_for(method):
    expected, model = coupling_model(N_CLASSES, DIM), coupling_model(N_CLASSES, DIM)
    schedule = FixedPointSchedule(0.5, [0])
    getattr(schedule, method)(expected, batches()[:2], 0)
    getattr(schedule, method)(model, batches(), 0, max_batches=2)
    assert torch.equal(model.gaussians.means, expected.gaussians.means)


def test_is_a_value():
    schedule = FixedPointSchedule(0.5, [1, 0], fit=FixedPoint(alpha=2.0))
    assert schedule == FixedPointSchedule(0.5, (0, 1), fit=FixedPoint(alpha=2.0))
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
    "options, None": ({"options": None}, r"^options is a NoneType; pass fit=FixedPoint\("),
    "options, zero": ({"options": 0}, "^options is a int; "),
    "options, empty list": ({"options": []}, "^options is a list; "),
    "options, empty text": ({"options": ""}, "^options is a str; "),
    "options, False": ({"options": False}, "^options is a bool; "),
    "fit": ({"fit": {"alpha": 2.0}}, "^fit is a dict; pass a fpigauss.FixedPoint"),
    "lam, twice": ({"fit": FixedPoint(2.0)}, "^lam is given twice, as 0.5 and in fit as 2; "),
    "lam, twice, a function": (
        {"lam": lambda epoch: 1.0, "fit": FixedPoint(2.0)},
        "^lam is given twice, as a function and in fit as 2; ",
    ),
    "init": ({"init": "data"}, "^init is 'data'; pass \"current\""),
    "init, array": ({"init": np.array([1, 2])}, r"^init is array\(\[1, 2\]\); pass \"current\""),
    "accept": ({"accept": ["done"]}, r"^accept is \['done'\]"),
    "twice": (
        {"fit": FixedPoint(max_iter=5), "single_iteration": True},
        "^fit has 'max_iter', which single_iteration sets",
    ),
    "twice, init": (
        {"fit": FixedPoint(init="identity"), "single_iteration": True},
        "^fit has 'init', which single_iteration sets",
    ),
    "twice, Gaussians": (
        {
            "fit": FixedPoint(init=ClassGaussians(np.eye(2), np.ones((2, 2)))),
            "single_iteration": True,
        },
        "^fit has 'init', which single_iteration sets",
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


FORMER_FAULTS = {
    "an option's value": ({"alpha": 0}, {}, "^alpha is 0"),
    "accept": ({"accept": ["done"]}, {}, r"^accept is \['done'\]"),
    "not for options": ({"copies": []}, {}, r"^options contains 'copies'; pass it to step"),
    "twice": ({"max_iter": 5}, {"single_iteration": True}, "which single_iteration sets"),
    "a key": ({1: 2.0}, {}, "^options contains the key 1; pass names of options"),
    "lam": ({"lam": 2.0}, {}, "^options contains 'lam'; pass it to the schedule instead"),
    "unknown": ({"alfa": 2.0}, {}, "^alfa is not an option of a fit; did you mean alpha"),
}


@pytest.mark.parametrize("fault", FORMER_FAULTS)
def test_former_options_are_checked_too(fault):
    options, given, message = FORMER_FAULTS[fault]
    with (
        pytest.warns(DeprecationWarning, match="pass fit="),
        pytest.raises(InvalidInputError, match=message),
    ):
        FixedPointSchedule(0.5, options=options, **given)


def test_remedies_of_a_fit_say_where_they_go_in_a_schedule():
    same = (lambda x: (x, torch.zeros(len(x))), lambda z: z)
    x, y = data()
    flat = torch.cat([x[:, :-1], torch.ones(len(x), 1)], 1)
    diagonal = ClassFlow(None, LatentGaussians(N_CLASSES, DIM, "diagonal"), codec=same)
    with pytest.raises(InvalidInputError, match=r"shrinkage=0\.01") as caught:
        FixedPointSchedule().step(diagonal, [(flat, y)], 0)
    assert "fit=FixedPoint(...)" in caught.value.__notes__[-1]
    untied = ClassFlow(None, LatentGaussians(N_CLASSES, DIM, "diagonal", tied=False), codec=same)
    with pytest.raises(UnreachableSeparationError, match=r"tied=True") as caught:
        FixedPointSchedule().step(untied, [(x, y)], 0)
    notes = " ".join(caught.value.__notes__)
    for part in ("tied=True goes into LatentGaussians(...)", "fit=FixedPoint(...)"):
        assert part in notes
    assert "150 nats are the default in " in notes
    with pytest.raises(UnreachableSeparationError, match=r"tied=True") as caught:
        refit_(untied, [(x, y)], separation=SEPARATION)
    assert caught.value.__notes__ == ["Here tied=True goes into LatentGaussians(...)."]
    with pytest.raises(InvalidInputError, match="no sample of class") as caught:
        FixedPointSchedule().step(untied, [(x[y > 0], y[y > 0])], 0)
    assert not any("In a schedule" in note for note in getattr(caught.value, "__notes__", ()))
    # one that is rejected says it itself
    past = FixedPointSchedule(1e4, fit=FixedPoint(max_iter=50))
    with pytest.raises(
        RefitRejectedError, match=r'to a schedule: fit=FixedPoint\(update="means"\)'
    ):
        past.step(untied, [(x, y)], 0)
