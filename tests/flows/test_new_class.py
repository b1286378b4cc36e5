"""A class added to fitted Gaussians."""

import math

import numpy as np
import pytest
import torch
from coupling import coupling_model
from problems import gaussian_classes, quiet
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from fpigauss import (
    ClassStatistics,
    FixedPoint,
    InvalidInputError,
    UnreachableSeparationError,
    critical_lam,
    pairwise_kld,
)
from fpigauss_torch import LatentGaussians, RefitRejectedError, add_class

N_OLD, DIM = 4, 3
FAMILIES = [
    (covariance, tied)
    for covariance in ("diagonal", "dense", "isotropic")
    for tied in (False, True)
]


def data(seed=0):
    z, y = gaussian_classes(seed, N_OLD + 1, DIM, 40)
    return torch.from_numpy(z), torch.from_numpy(y)


def fitted(covariance="diagonal", tied=False, lam=1.0, *, numpy=False, **options):
    """Return Gaussians of all classes except the last, their statistics, and all the data."""
    z, y = data()
    old = y < N_OLD
    gaussians = LatentGaussians(N_OLD, DIM, covariance, tied)
    arrays = (z[old].numpy(), y[old].numpy()) if numpy else (z[old], y[old])
    statistics = ClassStatistics.from_samples(
        *arrays, covariance=gaussians.statistics_kind, classes=range(N_OLD)
    )
    gaussians.solve_(statistics, lam, **options)
    return gaussians, statistics, z, y


@pytest.mark.parametrize("numpy", [False, True])
@pytest.mark.parametrize("covariance", ["diagonal", "dense"])
def test_merged_statistics_are_those_of_all_data(covariance, numpy):
    gaussians, statistics, z, y = fitted(covariance, numpy=numpy)
    _, merged, _ = add_class(gaussians, statistics, z[y == N_OLD], 1.0)
    whole = ClassStatistics.from_samples(z, y, covariance=covariance)
    assert merged.classes.tolist() == list(range(N_OLD + 1))
    assert merged.closed
    for name in ("counts", "means", "covariances"):
        got = torch.as_tensor(getattr(merged, name))
        torch.testing.assert_close(got, getattr(whole, name), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
def test_a_refit_of_all_classes_ends_where_a_fit_to_all_data_ends(covariance, tied):
    # below lam*, or tied: there is a minimum, and both starts are in its basin
    lam = 20.0
    if not tied:
        lam = 0.5 * critical_lam(N_OLD + 1, covariance=covariance, dim=DIM)
    gaussians, statistics, z, y = fitted(covariance, tied, lam)
    extended, merged, held = add_class(gaussians, statistics, z[y == N_OLD], lam, tol=1e-9)
    assert held.converged
    result = extended.solve_(merged, lam, init="current", tol=1e-9)
    cold = LatentGaussians(N_OLD + 1, DIM, covariance, tied)
    expected = cold.solve_(merged, lam, tol=1e-9)
    assert result.converged and expected.converged
    assert result.objective == pytest.approx(expected.objective, rel=1e-8)
    # residual 1e-9: the solution is at most some hundred times as far away
    torch.testing.assert_close(extended.means, cold.means, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(extended.covariances, cold.covariances, rtol=1e-6, atol=1e-6)


def test_it_takes_fewer_evaluations_than_a_fit_from_the_start():
    n_old, dim, total = 20, 8, np.zeros(2, dtype=int)
    z, y = (torch.from_numpy(part) for part in gaussian_classes(0, n_old + 1, dim, 40))
    old = y < n_old
    for covariance, tied in FAMILIES:
        gaussians = LatentGaussians(n_old, dim, covariance, tied)
        statistics = ClassStatistics.from_samples(
            z[old], y[old], covariance=gaussians.statistics_kind
        )
        lam = 100.0 if tied else 0.9 * critical_lam(n_old + 1, covariance=covariance, dim=dim)
        gaussians.solve_(statistics, lam)
        _, merged, warm = add_class(gaussians, statistics, z[~old], lam)
        cold = LatentGaussians(n_old + 1, dim, covariance, tied).solve_(merged, lam)
        total += warm.n_iter, cold.n_iter
    assert total[0] < 0.95 * total[1]  # 57 against 86 when this was written


@pytest.mark.parametrize("update", ["both", "means"])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
def test_the_old_classes_are_kept_bit_for_bit(covariance, tied, update):
    lam = 1e3 if tied else 1.0
    gaussians, statistics, z, y = fitted(covariance, tied, lam)
    extended, _, result = add_class(gaussians, statistics, z[y == N_OLD], lam, update=update)
    assert result.converged
    assert torch.equal(extended.means[:N_OLD], gaussians.means)
    if not tied:
        assert torch.equal(extended.covariances[:N_OLD], gaussians.covariances)
    elif update == "means":
        assert torch.equal(extended.covariances, gaussians.covariances)
    else:  # pooled anew over all classes, whose forces keep its size
        ratio = torch.as_tensor(extended.covariances).sum() / gaussians.covariances.sum()
        assert 0.5 < ratio < 2.0
    divergences = pairwise_kld(extended.class_gaussians())
    assert divergences[N_OLD, :N_OLD].min() > 0.5


@pytest.mark.parametrize("update", ["both", "means"])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
def test_a_separation_from_every_old_class(covariance, tied, update):
    gaussians, statistics, z, y = fitted(covariance, tied, lam=1.0)
    new = z[y == N_OLD]
    without = add_class(gaussians, statistics, new, 0.0, update=update).gaussians

    def between(fitted):
        kld = pairwise_kld(fitted.class_gaussians())
        return min(kld[N_OLD, :N_OLD].min().item(), kld[:N_OLD, N_OLD].min().item())

    # a covariance of its own runs away where lam is large
    target = (5.0 if tied or update == "means" else 1.2) * between(without)
    with quiet():  # past lam* a local minimum survives, which is warned of
        extended, _, result = add_class(
            gaussians, statistics, new, separation=target, update=update
        )
    assert result.converged
    assert result.lam > 0.0
    assert target <= between(extended) <= 1.05 * target
    assert torch.equal(extended.means[:N_OLD], gaussians.means)
    if not tied:
        assert torch.equal(extended.covariances[:N_OLD], gaussians.covariances)
    elif update == "means":
        assert torch.equal(extended.covariances, gaussians.covariances)
    with quiet():
        again = add_class(gaussians, statistics, new, result.lam, update=update).gaussians
    assert between(again) == pytest.approx(between(extended), rel=1e-3)
    if not tied or update == "means":  # old classes keep their samples' likelihood, exactly
        rows = torch.arange(len(y))[y < N_OLD]
        after, before = (g.log_prob(z[rows], y[rows]) for g in (extended, gaussians))
        torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)


def test_old_classes_that_are_close_do_not_matter_for_a_separation():
    z, y = data()
    gaussians, statistics, *_ = fitted(tied=True, lam=0.0)
    old = pairwise_kld(gaussians.class_gaussians())
    closest = old[~torch.eye(N_OLD, dtype=torch.bool)].min()
    far = z[y == N_OLD] + 30.0
    result = add_class(
        gaussians, statistics, far, separation=float(2.0 * closest), update="means"
    ).result
    assert result.lam == 0.0  # the new class is that far from all others by itself


def test_a_separation_or_a_lam():
    gaussians, statistics, z, y = fitted(tied=True)
    new = z[y == N_OLD]

    def refused(message, *lam, **options):
        with pytest.raises(InvalidInputError, match=message):
            add_class(gaussians, statistics, new, *lam, **options)

    refused("neither separation nor lam is given")
    refused(r"separation is given beside lam=1\.0; leave out one", 1.0, separation=50.0)
    refused("separation is given beside a fit with lam=2", separation=50.0, fit=FixedPoint(2.0))
    refused("separation is -1; pass a finite number > 0", separation=-1.0)
    own = fitted("dense")
    with pytest.raises(UnreachableSeparationError, match="tied=True") as caught:
        add_class(own[0], own[1], own[2][own[3] == N_OLD], separation=1e4)
    assert caught.value.value > 0.0


@pytest.mark.parametrize(
    ("covariance", "most"), [("diagonal", 10.28), ("isotropic", 24.16), ("dense", 38.84)]
)
def test_how_far_a_covariance_of_its_own_goes_is_as_documented(covariance, most):
    X, y = load_digits(return_X_y=True)
    z = torch.from_numpy(PCA(16, random_state=0).fit_transform(X))
    old = torch.from_numpy(y != 9)
    gaussians = LatentGaussians(9, 16, covariance, tied=False)
    statistics = ClassStatistics.from_samples(
        z[old], y[y != 9], covariance=gaussians.statistics_kind, classes=range(9)
    )
    gaussians.solve_(statistics, 0.0)
    with quiet(), pytest.raises(UnreachableSeparationError) as caught:
        add_class(gaussians, statistics, z[~old], separation=50.0)
    assert caught.value.value == pytest.approx(most, rel=0.02)
    met = add_class(gaussians, statistics, z[~old], separation=50.0, update="means").gaussians
    kld = pairwise_kld(met.class_gaussians())
    assert 50.0 <= min(kld[9, :9].min(), kld[:9, 9].min()) <= 52.5


def test_what_overrides_a_fit_gets_no_separation_that_was_not_asked_for():
    class Older(LatentGaussians):
        def solve_(self, statistics, lam=None, *, fit=None, accept=(), progress=False):
            return super().solve_(statistics, lam, fit=fit, progress=progress)

    gaussians, statistics, z, y = fitted()
    older = Older.from_class_gaussians(gaussians.class_gaussians())
    assert add_class(older, statistics, z[y == N_OLD], 0.5).result.lam == 0.5


def test_the_old_module_stays_as_it_is():
    gaussians, statistics, z, y = fitted()
    before = {name: value.clone() for name, value in gaussians.named_buffers()}
    counts = statistics.counts.clone()
    add_class(gaussians, statistics, z[y == N_OLD], 1.0)
    assert all(torch.equal(value, before[name]) for name, value in gaussians.named_buffers())
    assert statistics.n_classes == N_OLD and torch.equal(statistics.counts, counts)


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
def test_it_starts_from_the_old_gaussians_and_the_data_of_the_new_class(covariance, tied):
    gaussians, statistics, z, y = fitted(covariance, tied, 5.0)
    new = z[y == N_OLD]
    started = []

    def stop(running):
        started.append(running)
        raise StopIteration

    # with an update of the means or of the covariances only, the other part stays at the start
    for update in ("means", "covariances"):
        extended, _, _ = add_class(
            gaussians, statistics, new, 5.0, update=update, callback=stop, accept=("stopped",)
        )
        if update == "covariances":
            assert torch.equal(extended.means[:N_OLD], gaussians.means)
            torch.testing.assert_close(extended.means[N_OLD], new.mean(0))
            continue
        own = torch.cov(new.T, correction=0)
        if covariance == "diagonal":
            own = own.diagonal()
        elif covariance == "isotropic":
            own = own.diagonal().mean()
        if tied:
            assert torch.equal(extended.covariances, gaussians.covariances)
        else:
            assert torch.equal(extended.covariances[:N_OLD], gaussians.covariances)
            torch.testing.assert_close(extended.covariances[N_OLD], own)
    assert len(started) == 2


@pytest.mark.parametrize("given", [{"init": "current"}, {"fit": FixedPoint(init="identity")}])
def test_where_it_starts_is_not_an_option(given):
    gaussians, statistics, z, y = fitted()
    with pytest.raises(InvalidInputError, match=r"^init is not an option here"):
        add_class(gaussians, statistics, z[y == N_OLD], 1.0, **given)


@pytest.mark.parametrize("given", [{"frozen": (0,)}, {"fit": FixedPoint(frozen=(0,))}])
def test_what_is_frozen_is_not_an_option(given):
    gaussians, statistics, z, y = fitted()
    with pytest.raises(InvalidInputError, match=r"^frozen is not an option here: all old classes"):
        add_class(gaussians, statistics, z[y == N_OLD], 1.0, **given)


def test_what_overrides_a_fit_gets_lam_by_position():
    class Stronger(LatentGaussians):
        def solve_(self, statistics, lam, **options):
            return super().solve_(statistics, 2.0 * lam, **options)

    gaussians, statistics, z, y = fitted()
    new = z[y == N_OLD]
    expected = add_class(gaussians, statistics, new, 1.0).gaussians.means
    stronger = Stronger.from_class_gaussians(gaussians.class_gaussians())
    for given in ({"lam": 0.5}, {"fit": FixedPoint(0.5)}):
        extended = add_class(stronger, statistics, new, **given).gaussians
        assert type(extended) is Stronger
        assert torch.equal(extended.means, expected)


def test_classes_can_be_added_one_after_the_other():
    gaussians, statistics, z, y = fitted(tied=True, lam=5.0)
    first = add_class(gaussians, statistics, z[y == N_OLD], 5.0)
    second = add_class(first.gaussians, first.statistics, z[y == 0] - 9.0, 5.0)
    assert second.gaussians.n_classes == N_OLD + 2
    assert second.result.converged
    near = second.gaussians.sample(torch.full((50,), N_OLD + 1), 0.1, seed=0, dtype=torch.float64)
    assert (second.gaussians.predict(near) == N_OLD + 1).all()


def test_a_flow_goes_on_with_the_new_class():
    model = coupling_model(N_OLD, DIM)
    z, y = data()
    x = z.float()
    old = y < N_OLD
    with torch.no_grad():
        latents = model.encode(x)[0]
    statistics = ClassStatistics.from_samples(latents[old], y[old])
    model.gaussians.solve_(statistics, 1.0)
    before = model(x[old], y[old])
    model.gaussians = add_class(model.gaussians, statistics, latents[~old], 0.0).gaussians
    assert model.class_log_prob(x).shape == (len(x), N_OLD + 1)
    assert model.predict(x[~old]).eq(N_OLD).double().mean() > 0.5
    assert model.sample([N_OLD], seed=0).shape == (1, DIM)
    # lam = 1 against 0: the old classes have hardly changed
    assert (model(x[old], y[old]) - before).mean().abs() < 0.2


def test_few_samples_are_enough_where_shrunk_or_tied():
    for options, tied in (({"shrinkage": 0.3}, False), ({}, True)):
        gaussians, statistics, z, y = fitted("dense", tied)
        extended, _, result = add_class(gaussians, statistics, z[y == N_OLD][:2], 1.0, **options)
        assert result.converged and extended.n_classes == N_OLD + 1


def test_statistics_of_other_data_and_too_few_samples_are_refused():
    gaussians, statistics, z, y = fitted()
    new = z[y == N_OLD]
    old = y < N_OLD

    def refused(message, *arguments):
        with pytest.raises(InvalidInputError, match=message):
            add_class(*arguments, 1.0)

    refused("gaussians is a ClassGaussians", gaussians.class_gaussians(), statistics, new)
    refused("statistics is a Tensor", gaussians, z, new)
    wider = ClassStatistics.from_samples(torch.cat([z, z], 1)[old], y[old])
    refused("statistics have 6 dimensions, the Gaussians 3", gaussians, wider, new)
    whole = ClassStatistics.from_samples(z, y)
    refused(r"have the classes \[0, 1, 2, 3, 4\]", gaussians, whole, new)
    shifted = ClassStatistics.from_samples(z[old], y[old] + 1)
    refused(r"have the classes \[1, 2, 3, 4\]", gaussians, shifted, new)
    named = ClassStatistics.from_samples(z[old], np.array(list("abcd"))[y[old]])
    refused(r"have the classes \['a', 'b', 'c', 'd'\]", gaussians, named, new)
    dense = ClassStatistics.from_samples(z[old], y[old], covariance="dense")
    refused("statistics have dense covariances", gaussians, dense, new)

    refused(r"z_new has no row", gaussians, statistics, new[:0])
    refused(r"z_new has shape \(40, 2\), \(N, 3\) is needed", gaussians, statistics, new[:, :2])
    refused("z_new: class 4 has one sample", gaussians, statistics, new[:1])
    constant = torch.cat([new[:, :2], torch.ones(40, 1)], 1)
    refused(r"z_new: .* no variance \(dimension 2\)", gaussians, statistics, constant)
    new[3, 1] = math.nan
    refused("z_new contains NaN or infinity in row 3", gaussians, statistics, new)
    dense_gaussians, dense_statistics, z, y = fitted("dense")
    few = z[y == N_OLD][:3]
    singular = r"z_new: .* 3 samples have no variance .*; pass shrinkage=0\.01 or more samples$"
    refused(singular, dense_gaussians, dense_statistics, few)
    # too few rows have no variance in some direction only up to rounding, elsewhere too
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        few = 100.0 + torch.randn(3, 3, generator=generator, dtype=torch.float64)
        refused(singular, dense_gaussians, dense_statistics, few)


@pytest.mark.parametrize("covariance", ["isotropic", "diagonal", "dense"])
def test_what_helps_a_new_class_without_variance(covariance):
    gaussians, statistics, z, y = fitted(covariance)
    new = z[y == N_OLD]

    def message_of(rows, **options):
        try:
            add_class(gaussians, statistics, rows, 0.1, **options)
        except InvalidInputError as error:
            return str(error)
        return ""

    one = message_of(new[:1], shrinkage=0.5)
    assert one == (
        "z_new: class 4 has one sample, so it has no covariance of its own; pass more samples"
    )
    same = message_of(new[:1].repeat(9, 1))
    assert same.startswith("z_new: the samples of class 4 are all the same")
    assert same.endswith("; pass samples that differ")
    if covariance != "isotropic":
        constant = torch.cat([new[:, :2], torch.ones_like(new[:, :1])], 1)
        # the columns are those of the old classes
        assert message_of(constant).endswith("(dimension 2); pass shrinkage=0.01")
        assert not message_of(constant, shrinkage=0.01)
    assert "its squares underflow; rescale it" in message_of(1e-170 * new)


def test_a_fit_that_ends_otherwise_is_rejected():
    gaussians, statistics, z, y = fitted()

    def stop(running):
        raise StopIteration

    with pytest.raises(RefitRejectedError, match='the fit ended "stopped"'):
        add_class(gaussians, statistics, z[y == N_OLD], 1.0, callback=stop)


def test_gaussians_that_were_not_fitted_are_refused():
    _, statistics, z, y = fitted()
    with pytest.raises(InvalidInputError, match=r"^gaussians have not been fitted.*solve_"):
        add_class(LatentGaussians(N_OLD, DIM), statistics, z[y == N_OLD], separation=20.0)
