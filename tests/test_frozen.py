"""Classes held fixed (`frozen=`): kept exactly while the others are fitted and repelled by all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, asarray_in, blobs, dtype_name, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import PIS, Oracle, draw, loss_in_torch
from problems import point, quiet

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    FixedPoint,
    FixedPointResult,
    InvalidInputError,
    NotPositiveDefiniteError,
    PooledCovarianceWarning,
    ReleasedEquations,
    critical_lam,
    fit_fixed_point,
    fit_separated,
    lam_path,
    pairwise_kld,
    solve_fixed_point,
)
from fpigauss.equations import Step
from fpigauss.fit._start import prepare

#: Forces cancel to this part of their sizes where a fit with the default tol has converged.
BALANCED = 1e-3

#: Shared covariances that are pooled without the samples of held classes, on purpose.
without_held_samples = pytest.mark.filterwarnings("ignore::fpigauss.PooledCovarianceWarning")


@dataclass(frozen=True)
class Held:
    """A random problem with frozen classes, the start of its fit, and the options."""

    seed: int
    oracle: Oracle
    start: tuple[np.ndarray, Any]
    options: dict[str, Any]

    @property
    def frozen(self) -> np.ndarray:
        return self.oracle.frozen

    def fit(self, **more: Any) -> FixedPointResult:
        oracle = self.oracle
        with quiet():
            return fit_fixed_point(oracle.z, oracle.y, oracle.lam, **{**self.options, **more})

    @property
    def name(self) -> str:
        o = self.options
        return (
            f"{self.seed}: {o['covariance']} tied={o['tied']} update={o['update']} pi={o['pi']} "
            f"lam={self.oracle.lam:.3g} frozen={o['frozen']} init={list(o['init'].classes)}"
        )


def drawn(seed: int, *, largest_lam: float = 1e3, **fixed: Any) -> Held:
    """Freeze some classes of a random problem where other Gaussians are than the data say.

    Some of the frozen classes have no rows, and `init` has some of the others.
    """
    base = draw(seed, largest_lam=largest_lam)
    oracle, options = base.oracle, {**base.options, **fixed}
    rng = np.random.default_rng([seed, 55])
    n_classes = oracle.shape[0]
    frozen = rng.random(n_classes) < 0.5
    frozen[rng.integers(n_classes)] = False
    if not frozen.any():
        frozen[(int(np.argmax(~frozen)) + 1) % n_classes] = True
    z, y = oracle.z, oracle.y
    kept = ~np.isin(y, np.flatnonzero(frozen & (rng.random(n_classes) < 0.5)))
    known = frozen | (rng.random(n_classes) < 0.3)
    plain = {name: options[name] for name in ("covariance", "tied", "alpha", "update")}
    pi = "forward" if options["pi"] == "initial" else options["pi"]
    means, covariances = Oracle(z, y, oracle.lam, pi=pi, **plain).start()
    shifted = means + rng.standard_normal(means.shape)
    scale = np.exp(rng.uniform(-1, 1, size=() if options["tied"] else (n_classes,)))
    scaled = covariances * scale.reshape(scale.shape + (1,) * (covariances.ndim - scale.ndim))
    rows = known.reshape((-1,) + (1,) * (scaled.ndim - 1))
    start = (
        np.where(known[:, None], shifted, means),
        scaled if options["tied"] else np.where(rows, scaled, covariances),
    )
    init = ClassGaussians(
        shifted[known],
        scaled if options["tied"] else scaled[known],
        covariance=options["covariance"],
        tied=options["tied"],
        classes=np.flatnonzero(known),
    )
    options |= {"init": init, "frozen": tuple(np.flatnonzero(frozen).tolist())}
    held = Oracle(z[kept], y[kept], oracle.lam, pi=pi, frozen=frozen, **plain)
    return Held(seed, held, start, options)


def pi_at(held: Held, result: FixedPointResult) -> Any:
    """The pi that judges a result: that of the start where it is measured once."""
    if held.options["pi"] == "initial":
        return result.pi
    return held.oracle.measured(*point(result))


seeds = st.integers(0, 10_000)


# -- properties ----------------------------------------------------------------------------


@given(seed=seeds)
def test_frozen_classes_are_kept_bit_for_bit(seed):
    held = drawn(seed, largest_lam=1e6)
    seen = []
    result = held.fit(callback=lambda running: seen.append(running.gaussians))
    init, options = held.options["init"], held.options
    rows = np.searchsorted(init.classes, options["frozen"])
    for gaussians in (*seen, result.gaussians):
        assert gaussians.n_classes == len(held.frozen)
        np.testing.assert_array_equal(gaussians.means[held.frozen], init.means[rows])
        if not options["tied"]:
            kept = gaussians.covariances[held.frozen]
            np.testing.assert_array_equal(kept, init.covariances[rows])
        elif options["update"] == "means":
            np.testing.assert_array_equal(gaussians.covariances, init.covariances)


@given(seed=seeds)
def test_what_is_free_is_stationary(seed):
    held = drawn(seed)
    result = held.fit()
    if result.converged:
        imbalance = held.oracle.imbalance(*point(result), pi_at(held, result))
        assert imbalance <= BALANCED, held.name
    else:  # the only other end that these problems have, where no minimum is certain
        options = held.options
        assert result.status == "unbounded", held.name
        assert not options["tied"] and options["update"] != "means", held.name
        assert options["pi"] not in ("initial", 2.0), held.name


@given(seed=seeds)
def test_a_minimum_is_as_low_as_the_oracles(seed):
    """Below lam*, and from one start, where both find one valley: not always the same."""
    held = drawn(seed, largest_lam=1.0, pi="forward")
    result = held.fit()
    lowest, _ = held.oracle.minimum(held.start)
    assert held.oracle.value(*point(result)) <= lowest + 1e-6 * max(1.0, abs(lowest)), held.name


@given(seed=seeds)
def test_the_objective_is_eq_4_but_for_a_constant(seed):
    held = drawn(seed)
    result = held.fit()
    if held.options["pi"] not in ("forward", "initial", 2.0) or result.status == "unbounded":
        return  # no one objective, or numbers without a digit left
    pi = result.pi if held.options["pi"] == "initial" else None
    ours = result.objective - result.history["objective"][0]
    theirs = held.oracle.value(*point(result), pi) - held.oracle.value(*held.start, pi)
    # sums of likelihoods and potentials, of which the differences are taken
    size = max(1.0, abs(held.oracle.value(*held.start, pi)), held.oracle.lam)
    assert abs(ours - theirs) <= 1e-9 * size, held.name


@given(seed=seeds)
@settings(max_examples=10)
def test_the_oracles_gradient_is_that_of_autograd(seed):
    torch = pytest.importorskip("torch", reason="the extra torch has gradients")
    held = drawn(seed, largest_lam=100.0)
    oracle, pi = held.oracle, held.oracle.measured(*held.start)
    tensors = [torch.tensor(x, requires_grad=True) for x in held.start]
    loss = loss_in_torch(oracle, *tensors, pi)
    value, pull, push = oracle.forces(*held.start, pi)
    assert value == pytest.approx(loss.item(), rel=1e-9)
    means, _ = (g.numpy() for g in torch.autograd.grad(loss, tensors))
    expected = np.where(held.frozen[:, None], 0.0, means)
    np.testing.assert_allclose(
        pull.plus(push).means, expected, rtol=1e-9, atol=1e-10 * max(1.0, oracle.lam)
    )


@given(seed=seeds, name=st.sampled_from(["stationary", "printed", "released"]))
def test_freezing_some_classes_of_a_solution_leaves_it_a_solution(seed, name):
    rng = np.random.default_rng(seed)
    z, y = blobs(n_classes=int(rng.integers(3, 7)), seed=seed, spread=4.0)
    covariance, tied = ("diagonal", False) if name != "stationary" else FAMILIES[seed % 6]
    options = {"covariance": covariance, "tied": tied, "equations": name, "tol": 1e-9}
    lam = 20.0 if tied else 0.5
    with quiet():
        whole = fit_fixed_point(z, y, lam, **options)
    if not whole.converged:  # plain iteration of the printed equations may oscillate
        assert name != "stationary"
        return
    frozen = tuple(range(int(rng.integers(1, y.max() + 1))))
    with quiet():
        result = fit_fixed_point(
            z, y, lam, init=whole.gaussians, frozen=frozen, max_iter=60, **options
        )
    # residual 1e-9 at both; they are at most some hundred times as far apart
    np.testing.assert_allclose(result.gaussians.means, whole.gaussians.means, atol=1e-6)
    np.testing.assert_allclose(result.gaussians.covariances, whole.gaussians.covariances, rtol=1e-6)


@given(seed=seeds)
def test_rows_of_frozen_classes_do_not_matter_but_for_a_shared_covariance(seed):
    held = drawn(seed, tied=False)
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(held.frozen)
    more = rng.standard_normal((3 * len(rows), held.oracle.shape[1]))
    z = np.concatenate([held.oracle.z, more])
    y = np.concatenate([held.oracle.y, np.repeat(rows, 3)])
    with quiet():
        result = fit_fixed_point(z, y, held.oracle.lam, **held.options)
    expected = held.fit()
    assert result.status == expected.status
    if result.converged:
        assert result.objective == pytest.approx(expected.objective, rel=1e-12)
        np.testing.assert_allclose(result.gaussians.means, expected.gaussians.means, rtol=1e-12)


@given(seed=seeds)
def test_a_permutation_of_the_labels_permutes_the_result(seed):
    held = drawn(seed, largest_lam=3.0)
    oracle, options, init = held.oracle, held.options, held.options["init"]
    order = np.random.default_rng(seed).permutation(len(held.frozen))
    if callable(options["pi"]) or options["pi"] == "mean":
        return  # no one objective: paths with other rounding may end elsewhere
    renamed = order[init.classes]
    by_name = np.argsort(renamed)
    permuted = ClassGaussians(
        init.means[by_name],
        init.covariances if options["tied"] else init.covariances[by_name],
        covariance=init.covariance,
        tied=init.tied,
        classes=renamed[by_name],
    )
    more = {"init": permuted, "frozen": order[list(options["frozen"])], "tol": 1e-9}
    expected = held.fit(tol=1e-9)
    with quiet():
        result = fit_fixed_point(oracle.z, order[oracle.y], oracle.lam, **{**options, **more})
    assert result.status == expected.status, held.name
    if result.converged:
        assert result.objective == pytest.approx(expected.objective, rel=1e-8, abs=1e-8)
        np.testing.assert_allclose(
            result.gaussians.means[order], expected.gaussians.means, rtol=1e-5, atol=1e-5
        )


@given(seed=seeds)
def test_nothing_frozen_is_the_fit_as_it_was(seed):
    base = draw(seed, largest_lam=1e3)
    results = []
    for more in ({}, {"frozen": ()}, {"frozen": np.zeros(0, dtype=int)}):
        with quiet():
            results.append(
                fit_fixed_point(
                    base.oracle.z, base.oracle.y, base.oracle.lam, **base.options, **more
                )
            )
    for result in results[1:]:
        assert result.n_iter == results[0].n_iter
        assert result.objective == results[0].objective
        np.testing.assert_array_equal(result.gaussians.means, results[0].gaussians.means)
        np.testing.assert_array_equal(
            result.gaussians.covariances, results[0].gaussians.covariances
        )


# -- examples ------------------------------------------------------------------------------


def old_and_new(covariance="diagonal", tied=False, *, lam=1.0, n_classes=4):
    """Gaussians of all classes but the last, and the rows of the last."""
    z, y = blobs(n_classes=n_classes, seed=5)
    old = y < n_classes - 1
    result = fit_fixed_point(z[old], y[old], lam, covariance=covariance, tied=tied)
    return result.gaussians, z, y, ~old


@without_held_samples
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_namespace_and_dtype(xp, covariance, tied, dtype):
    gaussians, z, y, new = old_and_new(covariance, tied)
    like = asarray_in(xp, z[new], dtype)
    init = gaussians.to(like)
    result = fit_fixed_point(
        like, y[new], 1.0, covariance=covariance, tied=tied, init=init, frozen=init.classes
    )
    assert result.converged
    assert dtype_name(result.gaussians.means) == dtype
    assert type(result.gaussians.means) is type(like)
    means, covariances = point(result)
    np.testing.assert_array_equal(means[:3], to_numpy(init.means))
    if not tied:
        np.testing.assert_array_equal(covariances[:3], to_numpy(init.covariances))


@pytest.mark.parametrize("solver", ["accelerated", "guarded", "picard"])
@pytest.mark.parametrize("pi", list(PIS))
def test_every_solver_and_pi(solver, pi):
    gaussians, z, y, new = old_and_new()
    options = {"init": gaussians, "frozen": (0, 1, 2), "pi": PIS[pi], "solver": solver}
    result = fit_fixed_point(z[new], y[new], 0.5, tol=1e-8, **options)
    assert result.converged
    expected = fit_fixed_point(z[new], y[new], 0.5, tol=1e-8, **{**options, "solver": "auto"})
    np.testing.assert_allclose(result.gaussians.means, expected.gaussians.means, rtol=1e-5)


def test_an_update_of_one_free_class_by_hand():
    """One full Picard step for the mean, from Eq. 5 with its factor Sigma."""
    gaussians, z, y, new = old_and_new("dense")
    options = {"covariance": "dense", "update": "means", "solver": "picard", "max_iter": 1}
    lam, own = 2.0, z[new]
    with quiet():
        result = fit_fixed_point(
            own, y[new], lam, init=gaussians, frozen=(0, 1, 2), tol=0.0, **options
        )
    m, sigma = own.mean(0), np.cov(own.T, bias=True)
    start = ClassGaussians(
        np.vstack([gaussians.means, m]),
        np.concatenate([gaussians.covariances, sigma[None]]),
        covariance="dense",
    )
    d = pairwise_kld(start)
    push = np.zeros(3)
    for k in range(3):
        delta = m - gaussians.means[k]
        toward = np.exp(-1) / d[3, k] * np.linalg.solve(gaussians.covariances[k], delta)
        back = np.exp(-1) / d[k, 3] * np.linalg.solve(sigma, delta)
        push += toward + back
    expected = m + lam / 12 * sigma @ push
    np.testing.assert_allclose(result.gaussians.means[3], expected, rtol=1e-10)


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_the_objective_leaves_out_what_is_constant(lam):
    gaussians, z, y, new = old_and_new("diagonal")
    with quiet():
        start = fit_fixed_point(z[new], y[new], lam, init=gaussians, frozen=(0, 1, 2), max_iter=0)
    d = pairwise_kld(start.gaussians)
    likelihood = -start.gaussians.log_prob(z[new], y[new]).mean()
    potential = -np.exp(-1) * (np.log(d[3, :3]).sum() + np.log(d[:3, 3]).sum())
    assert start.objective == pytest.approx(likelihood + lam / 12 * potential, rel=1e-10)
    assert start.history["smallest_kld"][0] == pytest.approx(min(d[3, :3].min(), d[:3, 3].min()))


def test_at_lam_0_the_free_classes_are_their_data():
    gaussians, z, y, new = old_and_new("dense")
    result = fit_fixed_point(
        z[new], y[new], 0.0, covariance="dense", init=gaussians, frozen=(0, 1, 2)
    )
    assert result.converged and result.n_iter == 0
    np.testing.assert_allclose(result.gaussians.means[3], z[new].mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        result.gaussians.covariances[3], np.cov(z[new].T, bias=True), rtol=1e-12
    )


@without_held_samples
@pytest.mark.parametrize("with_rows", [True, False])
@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
def test_a_shared_covariance_is_pooled_over_the_classes_with_data(covariance, with_rows):
    gaussians, z, y, new = old_and_new(covariance, tied=True)
    rows = new | (with_rows & (y < 2))
    result = fit_fixed_point(
        z[rows],
        y[rows],
        0.0,
        covariance=covariance,
        tied=True,
        init=gaussians,
        frozen=(0, 1, 2),
        tol=1e-10,
    )
    scatters = []
    for label in np.unique(y[rows]):
        about = gaussians.means[label] if label < 3 else z[new].mean(0)
        centered = z[y == label] - about
        scatters.append(centered.T @ centered / len(centered))
    pooled = np.mean(scatters, axis=0)
    if covariance != "dense":
        pooled = np.diag(pooled)
        pooled = pooled.mean() if covariance == "isotropic" else pooled
    np.testing.assert_allclose(result.gaussians.covariances, pooled, rtol=1e-8)
    with quiet():
        means_only = fit_fixed_point(
            z[rows],
            y[rows],
            5.0,
            covariance=covariance,
            tied=True,
            init=gaussians,
            frozen=(0, 1, 2),
            update="means",
        )
    np.testing.assert_array_equal(means_only.gaussians.covariances, gaussians.covariances)


@without_held_samples
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_frozen_classes_may_be_equal(covariance, tied):
    _, z, y, new = old_and_new()
    one = fit_fixed_point(z[y < 2], y[y < 2], 0.0, covariance=covariance, tied=tied).gaussians
    init = ClassGaussians(
        one.means[[0, 0, 1]],
        one.covariances if tied else one.covariances[[0, 0, 1]],
        covariance=covariance,
        tied=tied,
    )
    options = {"covariance": covariance, "tied": tied, "init": init}
    result = fit_fixed_point(z[new], y[new], 0.5, frozen=(0, 1, 2), **options)
    assert result.converged and np.isfinite(result.objective)
    assert result.history["smallest_kld"][-1] > 0.1
    with pytest.raises(InvalidInputError, match="classes 0 and 1 have the same initial Gaussian"):
        fit_fixed_point(z[new | (y == 1)], y[new | (y == 1)], 0.5, frozen=(0, 2), **options)


def test_a_free_class_must_not_equal_a_frozen_one():
    _, z, y, new = old_and_new()
    alone = fit_fixed_point(z, y, 0.0).gaussians
    init = ClassGaussians(alone.means[[3]], alone.covariances[[3]], classes=[0])
    with pytest.raises(InvalidInputError, match="classes 0 and 3 have the same initial Gaussian"):
        fit_fixed_point(z[new], y[new], 1.0, init=init, frozen=[0])


def test_statistics_may_lack_frozen_classes_or_have_none_of_their_samples():
    gaussians, z, y, new = old_and_new()
    options = {"init": gaussians, "frozen": range(3)}
    lacking = ClassStatistics.from_samples(z[new], y[new])
    empty = ClassStatistics.from_samples(z[new], y[new], classes=range(4))
    first, second = (
        solve_fixed_point(statistics, 0.5, **options) for statistics in (lacking, empty)
    )
    np.testing.assert_array_equal(first.gaussians.means, second.gaussians.means)
    np.testing.assert_array_equal(first.gaussians.covariances, second.gaussians.covariances)
    assert first.gaussians.classes.tolist() == [0, 1, 2, 3]
    assert lacking.n_classes == 1  # statistics are as they were


def test_labels_are_strings_too():
    z, y = blobs(n_classes=3, seed=2)
    names = np.array(["ant", "bee", "cat"])[y]
    rest = names != "bee"
    init = fit_fixed_point(z, names, 0.0).gaussians
    result = fit_fixed_point(z[rest], names[rest], 0.5, init=init, frozen=["bee"])
    assert result.gaussians.classes.tolist() == ["ant", "bee", "cat"]
    np.testing.assert_array_equal(result.gaussians.means[1], init.means[1])


@pytest.mark.parametrize("name", ["printed", "released"])
def test_equations_that_are_not_exact(name):
    gaussians, z, y, new = old_and_new()
    result = fit_fixed_point(
        z[new], y[new], 0.2, init=gaussians, frozen=(0, 1, 2), equations=name, tol=1e-9
    )
    assert result.converged
    np.testing.assert_array_equal(result.gaussians.means[:3], gaussians.means)
    np.testing.assert_array_equal(result.gaussians.covariances[:3], gaussians.covariances)
    # a frozen class of one sample, of which no variance exists
    with_one = np.concatenate([z[new], z[:1]]), np.concatenate([y[new], [0]])
    again = fit_fixed_point(
        *with_one, 0.2, init=gaussians, frozen=(0, 1, 2), equations=name, tol=1e-9
    )
    np.testing.assert_allclose(again.gaussians.means, result.gaussians.means, rtol=1e-12)


def test_only_a_class_that_is_fitted_can_lose_positivity():
    gaussians, z, y, new = old_and_new(n_classes=3)
    flat = ClassGaussians(gaussians.means, 1e4 * gaussians.covariances)
    whole = ClassGaussians(
        np.vstack([flat.means, z[new].mean(0)]), np.vstack([flat.covariances, z[new].var(0)])
    )
    # the others lie within a flat class: much more repulsion comes in than goes out
    with quiet(), pytest.raises(NotPositiveDefiniteError, match="class 0"):
        fit_fixed_point(z, y, 1e3, init=whole, equations="printed")
    with quiet():
        result = fit_fixed_point(
            z[new], y[new], 1e3, init=flat, frozen=(0, 1), equations="printed", max_iter=1
        )
    assert result.n_iter == 1


def test_the_walk_in_lam_holds_frozen_classes():
    z, y = blobs(n_classes=4, seed=3)
    new = y == 3
    data = fit_fixed_point(z[~new], y[~new], 0.0, tied=True).gaussians
    result = fit_fixed_point(z, y, 1e5, tied=True, init=data, frozen=(0, 1, 2), max_iter=3000)
    assert result.converged
    np.testing.assert_array_equal(result.gaussians.means[:3], data.means)
    oracle = Oracle(z, y, 1e5, tied=True, frozen=np.array([True, True, True, False]))
    assert oracle.imbalance(*point(result)) <= BALANCED


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_further_starts_hold_frozen_classes(covariance, tied):
    init, z, y, _ = old_and_new(covariance, tied)
    options = {"covariance": covariance, "tied": tied, "init": init, "frozen": [0, 1]}
    with quiet():
        one = fit_fixed_point(z, y, 1.0, **options)
        best = fit_fixed_point(z, y, 1.0, n_init=6, **options)
    assert np.array_equal(best.gaussians.means[:2], init.means[:2])
    if not tied:
        assert np.array_equal(best.gaussians.covariances[:2], init.covariances[:2])
    assert best.objective <= one.objective + 1e-9 * abs(one.objective)


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_no_step_of_a_problem_moves_what_is_held(covariance, tied):
    gaussians, z, y, new = old_and_new(covariance, tied)
    options = FixedPoint(1.0, covariance=covariance, tied=tied, init=gaussians, frozen=(0, 1, 2))
    statistics = ClassStatistics.from_samples(z[new], y[new], covariance="dense")
    setup = prepare(statistics, options, 1.0, "z", z)
    start, step = setup.start.point, setup.start.update.step
    moved = setup.problem.retracted(
        start, Step(1.0 + 0.0 * step.means, 1.0 + 0.0 * step.covariances)
    )
    np.testing.assert_array_equal(moved.means[:3], start.means[:3])
    assert (moved.means[3] != start.means[3]).all()
    for new_part, old_part in zip(moved.factor, start.factor, strict=True):
        if not tied:
            np.testing.assert_array_equal(new_part[:3], old_part[:3])
        assert (new_part[-1] != old_part[-1]).any()
    np.testing.assert_array_equal(setup.means_at(moved)[:3], gaussians.means)
    assert to_numpy(setup.problem.held.free).tolist() == [False, False, False, True]


def test_lam_star_is_that_of_all_classes():
    """One free variance inflates: costs 1/2 log t, and earns c (K - 1) / e log t."""
    gaussians, z, y, new = old_and_new(lam=0.0)
    lam_star = critical_lam(4)
    oracle = Oracle(z[new], y[new], 1.0, frozen=np.array([True, True, True, False]))
    means = np.vstack([gaussians.means, z[new].mean(0)])
    own = z[new].var(0)

    def slope(lam):
        """dL / d log t far out."""
        at = Oracle(oracle.z, oracle.y, lam, frozen=oracle.frozen)
        values = []
        for t in (1e150, 1e200):
            inflated = np.vstack([gaussians.covariances, own * np.array([t, 1.0, 1.0])])
            values.append(at.value(means, inflated))
        return (values[1] - values[0]) / np.log(1e50)

    # of the other direction, D' = 1/2 log t, there is log log t left
    assert slope(0.9 * lam_star) > 0.0 > slope(1.1 * lam_star)
    with pytest.warns(match=f"lam\\* = {lam_star:.6g}"):
        fit_fixed_point(z[new], y[new], 1.1 * lam_star, init=gaussians, frozen=(0, 1, 2))


def test_a_frozen_class_may_be_almost_singular():
    _, z, y, new = old_and_new()
    thin = ClassGaussians([[0.0, 0.0, 0.0]], [np.diag([1.0, 1.0, 1e-24])], covariance="dense")
    result = fit_fixed_point(z[new], y[new], 0.3, covariance="dense", init=thin, frozen=[0])
    np.testing.assert_array_equal(result.gaussians.covariances[0], thin.covariances[0])
    assert result.status == "converged"


def test_classes_without_samples_keep_their_counts():
    init, z, y, new = old_and_new()
    result = fit_fixed_point(z[new], y[new], 1.0, init=init, frozen=init.classes)
    expected = [*to_numpy(init.counts), new.sum()]
    np.testing.assert_array_equal(result.gaussians.counts, expected)
    unknown = ClassGaussians(init.means, init.covariances, classes=init.classes)
    result = fit_fixed_point(z[new], y[new], 1.0, init=unknown, frozen=init.classes)
    assert result.gaussians.counts is None


def test_results_round_trip(tmp_path):
    gaussians, z, y, new = old_and_new()
    result = fit_fixed_point(z[new], y[new], 0.5, init=gaussians, frozen=(0, 1, 2))
    result.gaussians.save(tmp_path / "four.npz")
    np.testing.assert_array_equal(
        ClassGaussians.load(tmp_path / "four.npz").means, result.gaussians.means
    )


# -- errors --------------------------------------------------------------------------------


def test_what_is_wrong_is_said_before_any_work():
    gaussians, z, y, new = old_and_new()

    def refused(message, rows=new, **options):
        with pytest.raises(InvalidInputError, match=message):
            fit_fixed_point(z[rows], y[rows], 1.0, **options)

    refused(
        r'frozen is \(0, 1\), but init is "data"; pass as init the ClassGaussians', frozen=(0, 1)
    )
    refused('but init is "identity"', frozen=(0, 1), init="identity")
    refused("frozen has the class 7, but init has only 0, 1, 2", frozen=(7,), init=gaussians)
    refused("frozen has the class 'a', but init", frozen=("a",), init=gaussians)
    refused("frozen names 1 more than once", frozen=(1, 1), init=gaussians)
    refused("frozen is 'ab'; pass a sequence", frozen="ab", init=gaussians)
    refused("frozen is 3; pass a sequence", frozen=3, init=gaussians)
    refused("frozen is None; pass a sequence", frozen=None, init=gaussians)
    refused(r"frozen is 0.5 in row 0, not an integral label", frozen=(0.5,), init=gaussians)
    refused("frozen has all classes", rows=y < 3, frozen=(0, 1, 2), init=gaussians)
    refused("init has the class 2, which has no samples", frozen=(0, 1), init=gaussians)
    refused("init has diagonal covariances", frozen=(0, 1, 2), init=gaussians, tied=True)
    narrow = ClassGaussians([[0.0], [1.0]], [[1.0], [1.0]])
    refused("init has 1 dimensions", frozen=(0, 1), init=narrow)
    with pytest.raises(InvalidInputError, match="frozen has the class 0, but the data have"):
        fit_fixed_point(z[new], ["new"] * new.sum(), 1.0, init=gaussians, frozen=(0, 1, 2))


def test_a_class_that_is_not_frozen_needs_data():
    gaussians, z, y, new = old_and_new()
    statistics = ClassStatistics.from_samples(z[new], y[new], classes=range(5))
    with pytest.raises(InvalidInputError, match=r"no sample of class 4; .* frozen="):
        solve_fixed_point(statistics, 1.0, init=gaussians, frozen=(0, 1, 2))
    few = np.flatnonzero(new)[:1]
    for update in ("both", "means"):
        with pytest.raises(InvalidInputError, match="class 3 has one sample"):
            fit_fixed_point(z[few], y[few], 1.0, init=gaussians, frozen=(0, 1, 2), update=update)


def test_the_option_is_a_sorted_tuple_of_plain_labels():
    init = ClassGaussians(np.eye(3), np.ones((3, 3)))
    expected = FixedPoint(frozen=(0, 2), init=init)
    for labels in ([2, 0], np.array([2, 0]), {0, 2}, (0.0, 2.0), range(0, 3, 2)):
        assert FixedPoint(frozen=labels, init=init) == expected
    assert "frozen=(0, 2)" in repr(expected)
    assert all(type(label) is int for label in expected.frozen)


# -- a shared covariance without the samples of held classes -----------------------------------


def test_a_covariance_pooled_without_the_held_classes_is_warned_about_once():
    z, y = blobs(4, 2, seed=3)
    new = y >= 2
    old = fit_fixed_point(z[~new], y[~new], 5.0, tied=True).gaussians
    options = {"tied": True, "init": old, "frozen": old.classes}
    message = r'frozen classes 0, 1 have none.*pass update="means"'
    with pytest.warns(PooledCovarianceWarning, match=message) as caught:
        fit_fixed_point(z[new], y[new], 5.0, **options)
    assert [warning.filename for warning in caught] == [__file__]
    for call in (partial(fit_separated, min_kld=50.0), partial(lam_path, lams=[0.0, 1.0, 2.0])):
        with pytest.warns(PooledCovarianceWarning, match=message) as caught:
            call(z[new], y[new], **options)
        assert len(caught) == 1
    # the remedies that it names
    fit_fixed_point(z[new], y[new], 5.0, **options, update="means")
    fit_fixed_point(z, y, 5.0, **options)
    fit_fixed_point(z[new], y[new], 5.0, init=_per_class(old), frozen=old.classes)


def _per_class(gaussians):
    """The same Gaussians with a covariance per class."""
    covariances = np.tile(gaussians.covariances, (gaussians.n_classes, 1))
    return ClassGaussians(gaussians.means, covariances, classes=gaussians.classes)


@pytest.mark.parametrize(
    ("covariance", "equations"),
    [
        ("diagonal", "stationary"),
        ("dense", "stationary"),
        ("isotropic", "stationary"),
        ("diagonal", ReleasedEquations()),
        ("diagonal", ReleasedEquations(isotropic_mean=False, summed_square=False)),
    ],
)
@pytest.mark.parametrize("frozen", [(), (0, 2)])
def test_classes_are_updated_alike_in_blocks_of_any_size(
    covariance, equations, frozen, monkeypatch
):
    gaussians, z, y, new = old_and_new(covariance, False)
    rows = new | np.isin(y, [0, 1, 2])
    options = {"covariance": covariance, "equations": equations}
    if frozen:
        options |= {"init": gaussians, "frozen": frozen}
    fits = []
    for size in (1, 50, 2**18):  # one class, two classes of a few dimensions, all of them
        monkeypatch.setattr("fpigauss.equations._problem._TOGETHER_BYTES", size)
        fits.append(fit_fixed_point(z[rows], y[rows], 0.5, **options))
    for fit in fits[:2]:
        np.testing.assert_allclose(fit.gaussians.means, fits[2].gaussians.means, rtol=1e-9)
        found, expected = fit.gaussians.covariances, fits[2].gaussians.covariances
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
        for label in frozen:
            np.testing.assert_array_equal(found[label], gaussians.covariances[label])
