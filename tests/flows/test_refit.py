"""Refits through a flow in one process."""

import copy
import inspect
import itertools
import math
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from coupling import Coupling, CouplingCodec, coupling_model
from helpers import FAMILIES, FAMILY_IDS, blobs
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fpigauss import (
    ClassStatistics,
    FixedPoint,
    InvalidInputError,
    PooledCovarianceWarning,
    Status,
    UnboundedObjectiveWarning,
    UnknownOptionError,
    fit_fixed_point,
    solve_fixed_point,
)
from fpigauss_torch import (
    ClassFlow,
    FixedPointSchedule,
    LatentGaussians,
    LatentPrior,
    RefitRejectedError,
    RepeatedRepulsionWarning,
    gather_statistics,
    refit_,
)

N_CLASSES, DIM = 3, 4


def data(dtype=torch.float32, seed=0):
    """Samples (120, 4) of three classes, in mixed order."""
    x, y = blobs(N_CLASSES, DIM, 40, seed=seed, spread=2.0)
    return torch.as_tensor(x, dtype=dtype), torch.as_tensor(y)


def batches(x, y, size=32):
    return list(zip(x.split(size), y.split(size), strict=True))


def buffers_of(model):
    return {name: buffer.clone() for name, buffer in model.gaussians.named_buffers()}


def assert_same(before, after):
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def latents(model, x):
    with torch.no_grad():
        return model.encode(x)[0]


def assert_close(ours, theirs, spread):
    """Compare to 1e-9 of the latents' standard deviation, as rounding allows at any offset."""
    np.testing.assert_allclose(ours.means, theirs.means, rtol=0, atol=1e-9 * spread)
    scale = np.abs(np.asarray(theirs.covariances)).max()
    np.testing.assert_allclose(ours.covariances, theirs.covariances, rtol=0, atol=1e-9 * scale)


# -- what is fitted ------------------------------------------------------------------------


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_equals_the_core_on_all_latents_at_once(covariance, tied, offset):
    x, y = data(torch.float64)
    model = coupling_model(N_CLASSES, DIM, covariance, tied, offset=offset, dtype=torch.float64)
    result = refit_(model, batches(x, y), 0.2)
    z = latents(model, x)
    settings = {"lam": 0.2, "covariance": covariance, "tied": tied}
    assert result.status is Status.CONVERGED
    assert_close(result.gaussians, fit_fixed_point(z.numpy(), y.numpy(), **settings).gaussians, 1.0)
    assert_close(result.gaussians, fit_fixed_point(z, y, **settings).gaussians, 1.0)
    assert torch.equal(model.gaussians.means, result.gaussians.means)
    assert torch.equal(model.gaussians.covariances, result.gaussians.covariances)


def test_a_data_loader_and_lists_of_labels_will_do():
    x, y = data()
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    a, b, c = (coupling_model(N_CLASSES, DIM) for _ in range(3))
    refit_(a, batches(x, y), 0.5)
    refit_(b, loader, 0.5)
    refit_(c, ([part, labels.tolist()] for part, labels in batches(x, y)), 0.5)
    # float32 products round differently in batches of other rows
    torch.testing.assert_close(a.gaussians.means, b.gaussians.means, rtol=0, atol=1e-5)
    assert torch.equal(a.gaussians.means, c.gaussians.means)


def test_rows_without_a_label_are_left_out():
    x, y = data()
    kept = torch.arange(len(y)) % 5 != 0
    kept[32:64] = False  # a batch without any label
    some, only = coupling_model(N_CLASSES, DIM), coupling_model(N_CLASSES, DIM)
    refit_(some, batches(x, torch.where(kept, y, -1)), 0.5)
    refit_(only, batches(x[kept], y[kept]), 0.5)
    torch.testing.assert_close(some.gaussians.means, only.gaussians.means, rtol=0, atol=1e-5)


PREPARED = {
    "scaled": (lambda x, y: (5 * x + 3, y), lambda batch: ((batch[0] - 3) / 5, batch[1])),
    "dict": (lambda x, y: {"image": x, "label": y}, lambda batch: (batch["image"], batch["label"])),
    "triple": (lambda x, y: (x, y, 0), lambda batch: batch[:2]),
    "list": (lambda x, y: [None, y, x], lambda batch: [batch[2], batch[1]]),
}


@pytest.mark.parametrize("kind", PREPARED)
def test_batches_are_prepared(kind):
    make, prepare = PREPARED[kind]
    plain, raw = batches(*data()), [make(*batch) for batch in batches(*data())]
    expected, model = coupling_model(N_CLASSES, DIM), coupling_model(N_CLASSES, DIM)
    averaged = AveragedModel(model)
    refit_(expected, plain, 1.0)
    refit_(model, raw, 1.0, prepare=prepare, copies=[averaged])
    ours = gather_statistics(model, raw, prepare=prepare)
    theirs = gather_statistics(expected, plain)
    # scaling and its inverse round in float32
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(ours.means, theirs.means, **close)
    for refitted in (model, averaged.module):
        torch.testing.assert_close(refitted.gaussians.means, expected.gaussians.means, **close)


def test_what_is_prepared_must_be_a_pair():
    model = coupling_model(N_CLASSES, DIM)
    with pytest.raises(InvalidInputError, match=r"^batch 0: prepare returns a Tensor here; return"):
        refit_(model, batches(*data()), 1.0, prepare=lambda batch: batch[0])
    with pytest.raises(InvalidInputError, match=r"^batch 0: loader yields a dict here; pass prep"):
        refit_(model, [{"image": X, "label": Y}], 1.0)
    for call in (gather_statistics, partial(refit_, lam=1.0)):
        with pytest.raises(InvalidInputError, match=r"^prepare is a str; pass a function batch"):
            call(model, batches(*data()), prepare="scale")
        with pytest.raises(InvalidInputError, match=r"^prepare cannot be called with one argument"):
            call(model, batches(*data()), prepare=lambda x, y: (x, y))


class Endless(IterableDataset):
    """The rows of ``data()``, over and over."""

    __hash__ = None

    def __init__(self, ends=False):
        self.ends = ends

    def __iter__(self):
        rows = list(zip(*data(), strict=True))
        return iter(rows) if self.ends else itertools.cycle(rows)


@pytest.mark.parametrize("device", ["bogus", "meta", 10**9, 1.5, "cpu:x"])
def test_a_device_that_cannot_be_used(device):
    model = coupling_model()
    before = model.gaussians.means.clone()
    for call in (
        lambda: refit_(model, batches(*data()), 1.0, device=device),
        lambda: gather_statistics(model, batches(*data()), device=device),
        lambda: FixedPointSchedule(1.0, warm_up=1).step(model, batches(*data()), 0, device=device),
    ):
        with pytest.raises(
            InvalidInputError, match=f"^device is {device!r}.* of the Gaussians, cpu"
        ):
            call()
    assert torch.equal(model.gaussians.means, before)


def test_reads_no_more_batches_than_asked_for():
    def counted():
        for batch in batches(*data()):
            seen.append(batch)
            yield batch

    seen = []
    model, expected = coupling_model(N_CLASSES, DIM), coupling_model(N_CLASSES, DIM)
    refit_(model, counted(), 1.0, max_batches=2)
    refit_(expected, batches(*data())[:2], 1.0)
    assert len(seen) == 2
    assert_same(buffers_of(expected), buffers_of(model))
    counts = gather_statistics(model, batches(*data()), max_batches=1).counts
    assert float(counts.sum()) == 32
    assert float(gather_statistics(model, batches(*data()), max_batches=9).counts.sum()) == 120


def test_endless_streams_are_read_as_far_as_asked_for():
    model = coupling_model(N_CLASSES, DIM)
    averaged = AveragedModel(model)
    # without a warning, which would be an error here
    refit_(model, DataLoader(Endless(), 40), 1.0, max_batches=3, copies=[averaged])
    expected = gather_statistics(model, batches(*data(), size=40))
    ours = gather_statistics(averaged, DataLoader(Endless(), 40), max_batches=3)
    torch.testing.assert_close(ours.means, expected.means)


def test_streams_of_unknown_length_are_warned_about_once():
    model = coupling_model(N_CLASSES, DIM)
    stream = DataLoader(Endless(ends=True), 32)
    with pytest.warns(UserWarning, match=r"^loader reads a Endless without .*max_batches=") as seen:
        refit_(model, stream, 1.0, copies=[AveragedModel(model)])
    assert len(seen) == 1
    refit_(model, stream, 1.0)
    with pytest.warns(UserWarning, match=r"^loader reads a Endless without "):
        gather_statistics(model, DataLoader(Endless(ends=True), 32))


def test_the_bar_ends_where_the_batches_do(capsys):
    model = coupling_model(N_CLASSES, DIM)
    gather_statistics(model, batches(*data()), max_batches=2, progress=True)
    assert "2/2" in capsys.readouterr().err


@pytest.mark.parametrize("limit", [0, 1.5, -1])
def test_a_limit_is_a_positive_integer(limit):
    model = coupling_model(N_CLASSES, DIM)
    for call in (gather_statistics, partial(refit_, lam=1.0)):
        with pytest.raises(InvalidInputError, match=r"^max_batches is .*; pass an integer >= 1"):
            call(model, batches(*data()), max_batches=limit)


def test_statistics_can_be_kept_and_fitted_at_several_lam():
    x, y = data()
    model, direct = coupling_model(N_CLASSES, DIM), coupling_model(N_CLASSES, DIM)
    statistics = gather_statistics(model, batches(x, y))
    assert statistics.means.dtype == torch.float64
    for lam in (0.0, 1.0):
        model.gaussians.solve_(statistics, lam)
        refit_(direct, batches(x, y), lam)
        assert_same(buffers_of(model), buffers_of(direct))


def test_dense_gaussians_gather_dense_statistics():
    x, y = data()
    assert gather_statistics(coupling_model(N_CLASSES, DIM, "dense"), batches(x, y)).covariance == (
        "dense"
    )


def test_starts_from_the_present_gaussians_if_asked():
    x, y = data()
    model = coupling_model(N_CLASSES, DIM)
    first = refit_(model, batches(x, y), 1.0, init="current")  # N(0, I) thrice: from the data
    assert first.n_iter > 1
    again = refit_(model, batches(x, y), 1.0, init="current")
    assert again.converged and again.n_iter < first.n_iter


@pytest.mark.parametrize("wrap", ["averaged", "compiled", "both"])
def test_unwraps(wrap):
    x, y = data()
    bare = coupling_model(N_CLASSES, DIM)
    model = bare
    if wrap != "averaged":
        model = torch.compile(model, backend="eager")
    if wrap != "compiled":
        model = AveragedModel(model)
    refit_(bare, batches(x, y), 1.0)
    refit_(model, batches(x, y), 1.0)
    inner = model.module if wrap != "compiled" else model
    inner = inner if wrap == "averaged" else inner._orig_mod
    assert_same(buffers_of(inner), buffers_of(bare))


def test_shows_a_bar_of_all_batches(capsys):
    x, y = data()
    refit_(coupling_model(N_CLASSES, DIM), batches(x, y), 1.0, progress=True)
    shown = capsys.readouterr().err
    assert "4/4" in shown and "fixed point" in shown


# -- what is left as it was ----------------------------------------------------------------


@pytest.fixture(params=[1, 2**22], ids=["batch by batch", "many batches at once"])
def held(request, monkeypatch):
    """Add up latents of several batches together, or batch by batch."""
    monkeypatch.setattr("fpigauss_torch.refit._encoding._HELD", request.param)
    if request.param == 1:
        monkeypatch.setattr("fpigauss_torch.refit._encoding._HELD_PER_CLASS", 0)


class Failing:
    """Yield two batches, and fail as if the disk were gone."""

    def __init__(self, parts):
        self.parts = parts

    def __iter__(self):
        yield from self.parts[:2]
        raise OSError("disk gone")


@pytest.mark.parametrize("fails", [False, True])
def test_every_part_keeps_its_mode(fails, held):
    x, y = data()
    model = coupling_model(N_CLASSES, DIM)
    model.codec.module.drop = torch.nn.Dropout()
    model.train()
    model.codec.module.outer[1].eval()  # frozen by hand
    modes = [part.training for part in model.modules()]
    seen = []
    model.codec.module.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    if fails:
        with pytest.raises(OSError, match="disk gone") as caught:
            refit_(model, Failing(batches(x, y)), 1.0)
        assert float(caught.value.statistics.counts.sum()) == 64  # those of the batches before
    else:
        refit_(model, batches(x, y), 1.0)
    assert seen and not any(seen)
    assert [part.training for part in model.modules()] == modes


def train_step(model, x, y):
    model.zero_grad()
    model(x, y).mean().backward()
    return [parameter.grad for parameter in model.parameters()]


def test_training_goes_on_after_a_refit_in_inference_mode():
    x, y = data()
    model, plain = coupling_model(N_CLASSES, DIM), coupling_model(N_CLASSES, DIM)
    encoded = []  # a flow may keep what it computes
    hook = model.codec.module.register_forward_hook(lambda *arguments: encoded.append(arguments[2]))
    with torch.inference_mode():
        result = refit_(model, batches(x, y), 1.0)
    hook.remove()
    refit_(plain, batches(x, y), 1.0)
    for kept in (encoded[0][0], result.gaussians.means, *model.buffers()):
        (torch.ones_like(kept, requires_grad=True) * kept).sum().backward()
    for ours, theirs in zip(train_step(model, x, y), train_step(plain, x, y), strict=True):
        assert torch.equal(ours, theirs)


def test_training_goes_on_in_the_same_autocast_region():
    x, y = data()
    model, plain = coupling_model(N_CLASSES, DIM), coupling_model(N_CLASSES, DIM)
    with torch.autocast("cpu", torch.bfloat16):
        refit_(model, batches(x, y), 1.0)
        ours = train_step(model, x, y)
    plain.gaussians.load_state_dict(model.gaussians.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        theirs = train_step(plain, x, y)
    for gradient, expected in zip(ours, theirs, strict=True):
        assert gradient is not None and torch.equal(gradient, expected)


def test_encodes_in_the_precision_around_the_call_and_sums_in_float64():
    x, y = data()
    model = coupling_model(N_CLASSES, DIM)
    with torch.autocast("cpu", torch.bfloat16):
        gathered = gather_statistics(model, [(x, y)])
        z = latents(model, x)
    expected = ClassStatistics.from_samples(z.double(), y)
    full = ClassStatistics.from_samples(latents(model, x).double(), y)
    assert torch.equal(gathered.means, expected.means)
    assert torch.equal(gathered.covariances, expected.covariances)
    assert (gathered.means - full.means).abs().max() > 1e-4  # bfloat16 has 8 bits


def test_works_with_gradients_on_and_leaves_none():
    x, y = data()
    model = coupling_model(N_CLASSES, DIM)
    x.requires_grad_()
    result = refit_(model, batches(x, y), 1.0)
    assert torch.is_grad_enabled()
    assert not any(buffer.requires_grad for buffer in model.buffers())
    assert not result.gaussians.means.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_buffers_are_replaced_in_place_and_a_kept_state_must_be_copied():
    x, y = data()
    model = coupling_model(N_CLASSES, DIM)
    places = [buffer.data_ptr() for buffer in model.buffers()]
    aliased, kept = model.state_dict(), copy.deepcopy(model.state_dict())
    twin = copy.deepcopy(model)
    refit_(model, batches(x, y), 1.0)
    assert [buffer.data_ptr() for buffer in model.buffers()] == places
    assert torch.equal(aliased["gaussians.means"], model.gaussians.means)
    assert not kept["gaussians.means"].any()
    assert not twin.gaussians.means.any()
    refit_(twin, batches(x, y), 1.0)
    assert_same(buffers_of(twin), buffers_of(model))


# -- copies --------------------------------------------------------------------------------


@pytest.mark.parametrize("use_buffers", [False, True])
def test_copies_are_refitted_to_their_own_latents(use_buffers):
    x, y = data()
    model = coupling_model(N_CLASSES, DIM)
    averaged = AveragedModel(model, avg_fn=get_ema_avg_fn(0.5), use_buffers=use_buffers)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(3):
        train_step(model, x, y)
        optimizer.step()
        averaged.update_parameters(model)
    result = refit_(model, batches(x, y), 1.0, copies=[averaged])
    alone = copy.deepcopy(averaged.module)
    refit_(alone, batches(x, y), 1.0)
    assert_same(buffers_of(averaged.module), buffers_of(alone))
    assert torch.equal(result.gaussians.means, model.gaussians.means)
    assert not torch.equal(averaged.module.gaussians.means, model.gaussians.means)


def test_nothing_is_replaced_if_one_of_the_fits_fails():
    x, y = data()
    model, other = coupling_model(N_CLASSES, DIM), coupling_model(N_CLASSES, DIM, seed=1)
    with torch.no_grad():
        other.codec.module.outer[0].bias.fill_(torch.nan)
    before = buffers_of(model)
    with pytest.raises(InvalidInputError, match="NaN or infinity"):
        refit_(model, batches(x, y), 1.0, copies=[other])
    assert_same(before, buffers_of(model))


# -- what is refused -----------------------------------------------------------------------


def test_an_unbounded_fit_keeps_the_old_gaussians_unless_accepted():
    x, y = data()
    model = coupling_model(N_CLASSES, DIM)
    refit_(model, batches(x, y), 0.5)
    before = buffers_of(model)
    with pytest.raises(RefitRejectedError, match=r'ended "unbounded".* below 4.08') as caught:
        refit_(model, batches(x, y), 1e4)
    assert caught.value.result.status is Status.UNBOUNDED
    assert_same(before, buffers_of(model))
    with pytest.warns(UnboundedObjectiveWarning), pytest.warns(RepeatedRepulsionWarning):
        result = refit_(model, batches(x, y), 1e4, accept=["unbounded"])
    assert torch.equal(model.gaussians.means, result.gaussians.means)


def test_latents_that_are_not_finite_are_named(held):
    x, y = data()
    model = coupling_model(N_CLASSES, DIM)
    refit_(model, batches(x, y), 1.0)
    before = buffers_of(model)
    x, y = x.clone(), y.clone()
    y[0:32] = -1  # a batch that is left out still counts
    y[64:67] = -1
    x[64 + 5] = torch.inf
    label = int(y[64 + 5])
    with pytest.raises(
        InvalidInputError, match=rf"^batch 2: the latents .* in row 5, of class {label}; "
    ) as caught:
        refit_(model, batches(x, y), 1.0)
    assert_same(before, buffers_of(model))
    assert float(caught.value.statistics.counts.sum()) == 32
    assert "the statistics of the batches before it" in caught.value.__notes__[0]


def test_an_empty_class_is_an_error_and_keeps_the_old_gaussians():
    x, y = data()
    model = coupling_model(N_CLASSES, DIM)
    before = buffers_of(model)
    with pytest.raises(InvalidInputError, match="contain no sample of class 1"):
        refit_(model, batches(x[y != 1], y[y != 1]), 1.0)
    assert_same(before, buffers_of(model))


X, Y = data()

FAULTS = {
    "no batches": ([], "^loader gives no labeled sample: "),
    "no label": ([(X, torch.full_like(Y, -1))], "^loader gives no labeled sample: "),
    "not iterable": (7, "^loader is a int; "),
    "samples only": ([(X, Y), X], r"^batch 1: loader yields a Tensor here; .*yields \(x, y\)"),
    "three things": ([(X, Y, Y)], r"^batch 0: loader yields a tuple here of 3;"),
    "no array": ([(list(X), Y)], "^batch 0: x cannot be converted to a tensor .*; collate the"),
    "no samples": ([(X[0, 0], Y)], "^batch 0: x is a Tensor; collate the samples into one tensor"),
    "words": ([(["a", "b"], Y[:2])], "^batch 0: x cannot be converted to a tensor .*; collate"),
    "label out of range": ([(X, Y + 1)], r"^batch 0: y is 3 in row \d+; the classes are 0..2"),
    "label below -1": ([(X, Y - 2)], "^batch 0: y is -2 in row "),
    "float labels": ([(X, Y.float())], "^batch 0: y has dtype torch.float32"),
    "one-hot labels": ([(X, torch.eye(3)[Y].long())], r"^batch 0: y has shape \(120, 3\)"),
    "too few labels": ([(X, Y), (X, Y[:5])], r"^batch 1: y has shape \(5,\), \(120,\) is"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_names_the_batch_at_fault(fault):
    loader, message = FAULTS[fault]
    model = coupling_model(N_CLASSES, DIM)
    before = buffers_of(model)
    with pytest.raises(InvalidInputError, match=message):
        refit_(model, loader, 1.0)
    assert_same(before, buffers_of(model))


@pytest.mark.parametrize(
    "converted",
    [
        lambda x, y: (x.numpy(), y.numpy()),
        lambda x, y: (x.double().numpy(), y.tolist()),
        lambda x, y: (pd.DataFrame(x.numpy()), pd.Series(y.numpy(), index=range(9, 9 + len(y)))),
        lambda x, y: [x.tolist(), y],
    ],
    ids=["numpy", "float64", "pandas", "lists"],
)
def test_batches_may_be_arrays(converted):
    ours, theirs = coupling_model(N_CLASSES, DIM), coupling_model(N_CLASSES, DIM)
    y = torch.where(torch.arange(len(Y)) % 7 == 0, -1, Y)  # some rows to leave out
    refit_(ours, [(X, y)], 1.0)
    refit_(theirs, [converted(X, y)], 1.0)
    assert_same(buffers_of(ours), buffers_of(theirs))
    warm = FixedPointSchedule(1.0, warm_up=1)
    warm.step(coupling_model(N_CLASSES, DIM), [converted(X, y)], 0)


def test_latents_that_are_not_finite_may_be_for_want_of_scaling():
    x = X.clone()
    x[3] = math.inf
    with pytest.raises(
        InvalidInputError, match=r"in row 3, of class .*or pass prepare=, a function"
    ):
        refit_(coupling_model(N_CLASSES, DIM), [(x, Y)], 1.0)


def test_names_the_batch_whose_latents_have_another_width():
    model = ClassFlow(
        Coupling(DIM),
        LatentGaussians(N_CLASSES, DIM + 1, covariance="diagonal", tied=False),
        codec=CouplingCodec,
    )
    with pytest.raises(InvalidInputError, match=r"^batch 0: the flow's latents have 4 dimensions"):
        refit_(model, [(X, Y)], 1.0)


OPTIONS = {
    "lam": ({"lam": -1.0}, InvalidInputError, "^lam is -1"),
    "option": ({"alpha": 0.0}, InvalidInputError, "^alpha is 0"),
    "solver": ({"solver": "newton"}, InvalidInputError, "^solver is 'newton'"),
    "init": ({"init": "old"}, InvalidInputError, "^init is 'old'"),
    "family": ({"tied": True}, InvalidInputError, "^tied is not an option of a refit"),
    "unknown": (
        {"alfa": 1.0},
        UnknownOptionError,
        r"^alfa is not an option of a fit; did you mean alpha\?$",
    ),
    "none of a refit": (
        {"covariances": "dense"},
        UnknownOptionError,
        "^covariances is not an option of a fit; pass one of (?!.*(covariance|tied))lam, .*fit",
    ),
    "init, array": ({"init": np.array([1, 2])}, InvalidInputError, "^init is array"),
    "status": ({"accept": ["unbound"]}, InvalidInputError, r"^accept is \['unbound'\]; "),
    "one status": ({"accept": "converged"}, InvalidInputError, "^accept is 'converged'; "),
    "one copy": ({"copies": coupling_model(3, 4)}, InvalidInputError, "^copies is one module"),
    "no copy": ({"copies": [3]}, InvalidInputError, "^copies is, or wraps, a int"),
}


@pytest.mark.parametrize("fault", OPTIONS)
def test_options_are_checked_before_any_batch(fault):
    given, kind, message = OPTIONS[fault]

    def untouched():
        raise AssertionError("the loader was read")
        yield

    with pytest.raises(kind, match=message):
        refit_(coupling_model(3, 4), untouched(), **{"lam": 1.0, **given})


@pytest.mark.parametrize("call", ["refit_", "fit_"])
def test_current_is_the_data_while_all_means_are_equal_whatever_the_fit_says(call):
    x, y = data()

    def fitted(**given):
        model = coupling_model(N_CLASSES, DIM)
        if call == "refit_":
            refit_(model, batches(x, y), **given)
        else:
            model.gaussians.fit_(x, y, **given)
        return model.gaussians.means

    step = FixedPoint(0.5, solver="picard", max_iter=1, tol=0.0)
    identity = replace(step, init="identity")
    from_data = fitted(fit=step)
    assert torch.equal(fitted(fit=identity, init="current"), from_data)
    assert not torch.equal(fitted(fit=identity), from_data)


class Stronger(LatentGaussians):
    """As subclasses were written before there was a ``fit``: lam by position, options passed on."""

    def solve_(self, statistics, lam, **options):
        return super().solve_(statistics, 2.0 * lam, **options)


def stronger():
    model = coupling_model(N_CLASSES, DIM)
    gaussians = Stronger(N_CLASSES, DIM, "diagonal", False)
    return ClassFlow(None, gaussians, codec=model.codec)


def test_what_overrides_a_fit_gets_lam_by_position():
    x, y = data()
    z = latents(stronger(), x)
    expected = refit_(coupling_model(N_CLASSES, DIM), batches(x, y), 1.0).gaussians.means
    models = [stronger() for _ in range(3)]
    refit_(models[0], batches(x, y), 0.5)
    refit_(models[1], batches(x, y), fit=FixedPoint(0.5))
    FixedPointSchedule(0.5).step(models[2], batches(x, y), 0)
    for model in models:
        assert torch.equal(model.gaussians.means, expected)
    by_hand = LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
    by_hand.fit_(z, y, 1.0)
    for arguments in ({"lam": 0.5}, {"fit": FixedPoint(0.5)}):
        gaussians = Stronger(N_CLASSES, DIM, "diagonal", False)
        gaussians.fit_(z, y, **arguments)
        assert torch.equal(gaussians.means, by_hand.means)


@pytest.mark.parametrize(
    ("fit", "given", "message"),
    [
        (FixedPoint(2.0), {"lam": 1.0}, "^lam is given twice, as 1.0 and in fit as 2; "),
        (FixedPoint(), {}, "^neither separation nor lam is given; pass separation="),
        (None, {}, "^neither separation nor lam is given; "),
        ({"lam": 1.0}, {}, "^fit is a dict; pass a fpigauss.FixedPoint"),
        (FixedPoint(1.0, covariance="dense"), {}, '^fit has "dense" covariances, the Gaussians'),
        (FixedPoint(1.0, tied=True), {}, '^fit has tied "diagonal" covariances, the Gaussians'),
    ],
)
def test_a_fit_that_does_not_go_with_the_rest_is_refused(fit, given, message):
    with pytest.raises(InvalidInputError, match=message):
        refit_(coupling_model(N_CLASSES, DIM), batches(X, Y), fit=fit, **given)


def test_a_fit_as_an_object_is_the_same_refit():
    models = [coupling_model(N_CLASSES, DIM) for _ in range(3)]
    options = {"alpha": 2.0, "update": "means"}
    refit_(models[0], batches(X, Y), 0.5, **options)
    refit_(models[1], batches(X, Y), fit=FixedPoint(0.5, **options))
    refit_(models[2], batches(X, Y), fit=FixedPoint(0.5, alpha=9.0, update="means"), alpha=2.0)
    for other in models[1:]:
        assert_same(buffers_of(models[0]), buffers_of(other))


def test_copies_need_a_loader_that_can_be_read_again():
    model = coupling_model(N_CLASSES, DIM)
    with pytest.raises(
        InvalidInputError, match=r"^loader is a list_iterator, which can be iterated"
    ):
        refit_(model, iter(batches(X, Y)), 1.0, copies=[copy.deepcopy(model)])


def test_latents_whose_sums_overflow_keep_the_old_gaussians(held):
    codec = (lambda x: (x.double() * 1e200, x.sum(1)), lambda z: z)
    model = ClassFlow(
        None, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=codec
    )
    with pytest.raises(InvalidInputError, match="its sums overflow; rescale it"):
        refit_(model, batches(X, Y), 1.0)
    assert not model.gaussians.means.any()


class Standard(LatentPrior):
    """N(0, I) for every class."""

    def density(self):
        return LatentGaussians(
            self.n_classes, self.dim, covariance="diagonal", tied=False
        ).density()

    def color(self, noise, labels):
        return noise


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Coupling(4), "^model is, or wraps, a Coupling; "),
        (AveragedModel(Coupling(4)), "^model is, or wraps, a Coupling; "),
        (
            ClassFlow(Coupling(4), Standard(3, 4), codec=CouplingCodec),
            "^model has Standard, which cannot be refitted",
        ),
    ],
    ids=["no ClassFlow", "none within", "another prior"],
)
def test_refuses_models_without_gaussians_to_fit(model, message):
    with pytest.raises(InvalidInputError, match=message):
        refit_(model, [(X, Y)], 1.0)


def test_refuses_to_refit_in_a_backward_pass():
    model = coupling_model(N_CLASSES, DIM)
    before = buffers_of(model)
    loss = model(X, Y).mean()
    loss.register_hook(lambda _: refit_(model, [(X, Y)], 1.0) and None)
    with pytest.raises(InvalidInputError, match=r"^refit_ inside a backward pass"):
        loss.backward()
    assert_same(before, buffers_of(model))


def test_documents_every_option_of_the_solver():
    documented = inspect.getdoc(refit_)
    passed = set(inspect.signature(solve_fixed_point).parameters)
    for name in passed - {"statistics", "covariance", "tied"}:
        assert name in documented, name


def test_a_layer_that_has_seen_no_data_is_named():
    model = coupling_model(3, 4)
    model.codec.module.inner[0].initialized = torch.tensor(False)  # as in nflows' ActNorm
    x, y = data()
    with pytest.raises(InvalidInputError, match=r"codec\.module\.inner\.0 .*warm_up=1"):
        refit_(model, batches(x, y), 1.0)


# -- classes held fixed --------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
def test_frozen_classes_need_no_sample(tied):
    model = coupling_model(N_CLASSES, DIM, tied=tied)
    x, y = data()
    refit_(model, batches(x, y), lam=1.0)
    before = copy.deepcopy(model.gaussians)
    x, y = data(seed=1)
    pooled = pytest.warns(PooledCovarianceWarning, match="frozen classes 0 have none")
    with pooled if tied else nullcontext() as caught:
        result = refit_(model, batches(x[y > 0], y[y > 0]), lam=1.0, init="current", frozen=[0])
    assert not tied or [warning.filename for warning in caught] == [__file__]
    assert result.converged
    assert torch.equal(model.gaussians.means[0], before.means[0])
    assert not torch.equal(model.gaussians.means[1:], before.means[1:])
    with pytest.raises(InvalidInputError, match="no sample of class 0"):
        refit_(model, batches(x[y > 0], y[y > 0]), lam=1.0, init="current")
