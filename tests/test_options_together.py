"""Options that meet: frozen classes, several starts, separations and paths of lam."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, asarray_in, blobs, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import point, quiet

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    FixedPoint,
    InvalidInputError,
    UnreachableSeparationError,
    fit_fixed_point,
    fit_separated,
    lam_path,
    pairwise_kld,
    pairwise_overlap,
    smallest_kld,
    solve_fixed_point,
    solve_separated,
)
from fpigauss.fit._continued import Continuation
from fpigauss.interface import SmallestKLD, separated

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
seeds = st.integers(0, 10_000)


#: Shared covariances that are pooled without the samples of held classes, on purpose.
without_held_samples = pytest.mark.filterwarnings("ignore::fpigauss.PooledCovarianceWarning")


@dataclass(frozen=True)
class Problem:
    """Classes of which some are frozen where the data are not, and some of those have no rows."""

    z: np.ndarray
    y: np.ndarray
    frozen: np.ndarray
    options: dict[str, Any]

    @property
    def init(self) -> ClassGaussians:
        return self.options["init"]

    @property
    def counting(self) -> np.ndarray:
        """The pairs (K, K) that count."""
        both = self.frozen[:, None] & self.frozen[None, :]
        return ~both & ~np.eye(len(self.frozen), dtype=bool)

    def assert_held(self, gaussians: ClassGaussians) -> None:
        """Frozen Gaussians are those of ``init``, bit for bit."""
        known = np.isin(self.init.classes, np.flatnonzero(self.frozen))
        means, covariances = to_numpy(gaussians.means), to_numpy(gaussians.covariances)
        np.testing.assert_array_equal(means[self.frozen], self.init.means[known])
        if not self.options["tied"]:
            np.testing.assert_array_equal(covariances[self.frozen], self.init.covariances[known])
        elif self.options["update"] == "means":
            np.testing.assert_array_equal(covariances, self.init.covariances)


def problem(seed: int, covariance: str, tied: bool, **options: Any) -> Problem:
    rng = np.random.default_rng([seed, 77])
    n_classes = int(rng.integers(3, 6))
    z, y = blobs(n_classes, 3, 30, seed=seed, spread=2.0)
    frozen = np.zeros(n_classes, dtype=bool)
    frozen[rng.permutation(n_classes)[: int(rng.integers(1, n_classes))]] = True
    whole = fit_fixed_point(z, y, 0.0, covariance=covariance, tied=tied).gaussians
    known = frozen | (rng.random(n_classes) < 0.3)
    moved = ClassGaussians(
        whole.means[known] + 0.3 * rng.standard_normal((known.sum(), 3)),
        whole.covariances if tied else whole.covariances[known],
        covariance=covariance,
        tied=tied,
        classes=np.flatnonzero(known),
        counts=np.full(known.sum(), 7.0),
    )
    without_rows = frozen & (rng.random(n_classes) < 0.5)
    kept = ~without_rows[y]
    options = {"covariance": covariance, "tied": tied, "update": "both", **options}
    options |= {"init": moved, "frozen": np.flatnonzero(frozen).tolist()}
    return Problem(z[kept], y[kept], frozen, options)


# -- a separation of what is not frozen ----------------------------------------------------


@without_held_samples
@family
@settings(max_examples=6)
@given(seed=seeds, factor=st.floats(1.2, 30.0), update=st.sampled_from(["both", "means"]))
def test_targets_are_met_beside_frozen_classes(covariance, tied, seed, factor, update):
    case = problem(seed, covariance, tied, update=update)
    without = fit_fixed_point(case.z, case.y, 0.0, **case.options).gaussians
    target = factor * smallest_kld(without, held=case.frozen)
    seen, found = [], None
    reached = nullcontext()
    if not tied and update == "both":  # classes of their own may run away past lam*
        reached = suppress(UnreachableSeparationError)
    with quiet(), reached:
        found = fit_separated(
            case.z,
            case.y,
            min_kld=target,
            callback=lambda running: seen.append(running.gaussians),
            **case.options,
        )
    if found is not None:
        pairs = pairwise_kld(found.gaussians)[case.counting]
        assert target <= pairs.min() <= 1.05 * target
        assert found.value == pytest.approx(pairs.min(), rel=1e-9)
        assert found.lam == found.result.lam > 0.0
        case.assert_held(found.gaussians)
        assert found.gaussians.counts is not None
    for gaussians in seen:
        case.assert_held(gaussians)


@family
@settings(max_examples=5)
@given(seed=seeds)
def test_every_start_and_every_fit_of_a_path_holds_them(covariance, tied, seed):
    case = problem(seed, covariance, tied)
    starts = []

    class Watched(Continuation):
        def at(self, lam, start=None, tol=None):
            starts.append(start)
            return super().at(lam, start, tol)

    with pytest.MonkeyPatch.context() as patch, quiet():
        patch.setattr("fpigauss.fit._lam_path.Continuation", Watched)
        path = lam_path(case.z, case.y, np.geomspace(0.3, 3.0, 7), **case.options)
    assert sum(start is not None for start in starts) >= 5  # predictions
    for gaussians in (*filter(None, starts), *path.gaussians):
        case.assert_held(gaussians)
        assert gaussians.counts is not None  # those of init, where there are no samples


@family
@settings(max_examples=5)
@given(
    seed=seeds,
    update=st.sampled_from(["both", "means", "covariances"]),
    pi=st.sampled_from(["forward", "initial", 5.0]),
)
def test_the_parts_of_a_path_are_those_of_the_objective(covariance, tied, seed, update, pi):
    case = problem(seed, covariance, tied, update=update, pi=pi)
    lams = [0.0, 0.5, 1.0, 1.5]
    with quiet():
        path = lam_path(case.z, case.y, lams, **case.options)
    n_classes = len(case.frozen)
    weighed = ~case.frozen
    if tied and update != "means":  # the shared covariance is that of held classes too
        weighed = weighed | np.isin(np.arange(n_classes), case.y)
    # KLDs between held classes change with a shared covariance that is updated, and only then
    pairs = ~np.eye(n_classes, dtype=bool) if tied and update != "means" else case.counting
    pi_value = pi
    if pi == "initial":  # of the first cold start
        with quiet():
            pi_value = fit_fixed_point(case.z, case.y, lams[0], **case.options).pi
    for k, gaussians in enumerate(path.gaussians):
        if path.status[k] == "unbounded":
            continue
        rows = [case.z[case.y == label] for label in np.flatnonzero(weighed)]
        labels = np.flatnonzero(weighed)
        own = [
            -gaussians.log_prob(z, np.full(len(z), label)).mean()
            for z, label in zip(rows, labels, strict=True)
        ]
        kld = pairwise_kld(gaussians)
        phi = -np.exp(-1.0) * np.log(kld[pairs])
        if pi != "forward":
            phi = np.exp(-kld[pairs] / pi_value)
        repulsion = lams[k] * phi.sum() / (n_classes * (n_classes - 1))
        assert path.likelihood[k] == pytest.approx(sum(own), rel=1e-9, abs=1e-9)
        assert path.repulsion[k] == pytest.approx(repulsion, rel=1e-8, abs=1e-10)
        counted = kld[case.counting]
        assert path.smallest_kld[k] == pytest.approx(counted.min())
        assert path.median_kld[k] == pytest.approx(np.median(counted))
        overlap = pairwise_overlap(gaussians)[case.counting].max()
        assert path.overlap[k] == pytest.approx(overlap)


@without_held_samples
@family
@settings(max_examples=4)
@given(seed=seeds)
def test_a_path_beside_frozen_classes_is_that_of_cold_starts(covariance, tied, seed):
    case = problem(seed, covariance, tied, tol=1e-9)
    path = lam_path(case.z, case.y, [0.2, 0.4, 0.8], **case.options)
    for k, lam in enumerate(path.lam):
        cold = fit_fixed_point(case.z, case.y, lam, **case.options)
        objective = path.likelihood[k] + path.repulsion[k]
        assert objective == pytest.approx(cold.objective, rel=1e-9, abs=1e-9)
        np.testing.assert_allclose(path.gaussians[k].means, cold.gaussians.means, atol=1e-6)


@family
def test_freezing_what_is_far_apart_changes_the_pairs_that_count(covariance, tied):
    # two classes nearly coincide: a target for all would have to part them
    rng = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [0.2, 0.0], [9.0, 0.0], [0.0, 9.0]])
    y = np.repeat(np.arange(4), 50)
    z = means[y] + rng.standard_normal((200, 2))
    options = {"covariance": covariance, "tied": tied}
    init = fit_fixed_point(z, y, 0.0, **options).gaussians
    found = fit_separated(z, y, min_kld=20.0, init=init, frozen=[0, 1], **options)
    assert found.without_repulsion
    held = np.array([True, True, False, False])
    assert smallest_kld(found.gaussians) < 1.0
    assert smallest_kld(found.gaussians, held=held) >= 20.0
    whole = fit_separated(z, y, min_kld=20.0, covariance=covariance)
    assert whole.lam > 0.0


@without_held_samples
def test_a_shared_covariance_is_pooled_anew():
    case = problem(3, "diagonal", True)
    found = fit_separated(case.z, case.y, min_kld=40.0, **case.options)
    assert (found.gaussians.covariances != case.init.covariances).all()
    again = fit_fixed_point(
        case.z, case.y, found.lam, **{**case.options, "init": found.gaussians, "tol": 1e-8}
    )
    np.testing.assert_allclose(again.gaussians.covariances, found.gaussians.covariances, rtol=1e-4)


@without_held_samples
def test_statistics_may_lack_the_frozen_classes():
    z, y = blobs(4, 3, 40, seed=1)
    old = y < 3
    init = fit_fixed_point(z[old], y[old], 5.0, tied=True).gaussians
    options = {"init": init, "frozen": (0, 1, 2)}
    found = fit_separated(z[~old], y[~old], min_kld=60.0, update="means", **options)
    kld = pairwise_kld(found.gaussians)
    assert 60.0 <= min(kld[3, :3].min(), kld[:3, 3].min()) <= 63.0
    np.testing.assert_array_equal(found.gaussians.means[:3], init.means)
    np.testing.assert_array_equal(found.gaussians.covariances, init.covariances)
    statistics = ClassStatistics.from_samples(z[~old], y[~old])
    same = solve_separated(statistics, min_kld=60.0, update="means", **options)
    assert same.lam == found.lam
    # held-out rows may be of any class, also of those without samples
    path = lam_path(z[~old], y[~old], [0.0, 10.0], validation=(z, y), tied=True, **options)
    expected = [np.mean(gaussians.predict(z) == y) for gaussians in path.gaussians]
    np.testing.assert_allclose(path.accuracy, expected)


@family
def test_every_namespace(xp, covariance, tied):
    case = problem(5, covariance, tied, update="means")
    reference = fit_separated(case.z, case.y, min_kld=25.0, **case.options)
    z = asarray_in(xp, case.z)
    options = {**case.options, "init": case.init.to(z)}
    found = fit_separated(z, case.y, min_kld=25.0, **options)
    assert found.lam == pytest.approx(reference.lam, rel=1e-4)
    path = lam_path(z, case.y, [0.5, 1.0, 2.0, 3.0], **options)
    expected = lam_path(case.z, case.y, [0.5, 1.0, 2.0, 3.0], **case.options)
    np.testing.assert_allclose(path.repulsion, expected.repulsion, rtol=1e-4, atol=1e-4)
    for gaussians in path.gaussians:
        np.testing.assert_array_equal(
            to_numpy(gaussians.means)[case.frozen],
            to_numpy(options["init"].means)[np.isin(case.init.classes, case.options["frozen"])],
        )


def test_refused_before_any_work():
    class Unread:
        def __array__(self, dtype=None, copy=None):
            raise AssertionError("read before the options were checked")

    statistics = ClassStatistics.from_samples(*blobs(3, 2))
    for call in (
        lambda **o: fit_separated(Unread(), [0, 1], min_kld=3.0, **o),
        lambda **o: lam_path(Unread(), [0, 1], **o),
        lambda **o: solve_separated(statistics, min_kld=3.0, **o),
        lambda **o: separated(statistics, FixedPoint(**o), SmallestKLD(3.0)),
    ):
        with pytest.raises(InvalidInputError, match=r'frozen is \(0, 1\), but init is "data"'):
            call(frozen=(0, 1))
    init = solve_fixed_point(statistics, 0.0, tied=True).gaussians
    z, y = blobs(3, 2)
    for call in (
        lambda **o: fit_separated(z, y, min_kld=3.0, **o),
        lambda **o: lam_path(z, y, **o),
    ):
        with pytest.raises(InvalidInputError, match="frozen has all classes"):
            call(frozen=(0, 1, 2), init=init, tied=True)
    with pytest.raises(InvalidInputError, match=r"held has shape \(2,\) and dtype bool"):
        smallest_kld(init, held=[True, False])
    with pytest.raises(InvalidInputError, match="dtype int64; pass one truth value for each of"):
        smallest_kld(init, held=[0, 1, 1])


# -- several starts ------------------------------------------------------------------------


def watched(monkeypatch) -> list[tuple[float, int, bool]]:
    """Record each fit of a path or a search: lam, n_init, and whether it started cold."""
    from fpigauss.fit import _continued

    seen, solved = [], _continued.solved

    def recording(statistics, options, **more):
        seen.append((options.lam, options.n_init, not isinstance(options.init, ClassGaussians)))
        return solved(statistics, options, **more)

    monkeypatch.setattr(_continued, "solved", recording)
    return seen


@pytest.mark.parametrize("pi", ["forward", "initial"])
def test_only_cold_starts_are_several(monkeypatch, pi):
    z, y = blobs(4, 1, 30, seed=2, spread=1.0)
    seen = watched(monkeypatch)
    found = fit_separated(z, y, min_kld=1.0 if pi == "initial" else 30.0, pi=pi, n_init=3)
    assert len(seen) == len(found.path)
    assert all(n_init == (3 if cold else 1) for _, n_init, cold in seen)
    assert next(cold for lam, _, cold in seen if lam > 0.0)
    seen.clear()
    lam_path(z, y, [0.0, 1.0, 3.0, 10.0, 500.0], tied=True, pi=pi, n_init=3)
    assert seen == [
        (0.0, 3, True),
        (1.0, 3, True),
        (3.0, 1, False),
        (10.0, 1, False),
        (500.0, 3, True),
    ]


def test_gaussians_to_start_from_are_the_first_of_several_starts():
    z, y = blobs(4, 1, 30, seed=2, spread=1.0)
    start = fit_fixed_point(z, y, 0.0, tied=True).gaussians
    init = replace(start, means=start.means[::-1])
    for n_init in (1, 4):
        path = lam_path(z, y, [0.0, 300.0], tied=True, init=init, n_init=n_init)
        cold = fit_fixed_point(z, y, 300.0, tied=True, init=init, n_init=n_init)
        np.testing.assert_array_equal(path.gaussians[1].means, cold.gaussians.means)


@settings(max_examples=5)
@given(seed=seeds, pi=st.sampled_from(["initial", "forward"]))
def test_several_starts_keep_one_pi(seed, pi):
    z, y = blobs(4, 1, 25, seed=seed, spread=1.0)
    lams = np.geomspace(3.0, 300.0, 6)
    with quiet():
        path = lam_path(z, y, lams, tied=True, pi=pi, n_init=3)
        first = fit_fixed_point(z, y, lams[0], tied=True, pi=pi, n_init=3)
    assert path.likelihood[0] + path.repulsion[0] == pytest.approx(first.objective, rel=1e-9)
    number = "forward" if pi == "forward" else first.pi
    for k, gaussians in enumerate(path.gaussians):
        with quiet():
            same = fit_fixed_point(z, y, lams[k], tied=True, pi=number, init=gaussians, max_iter=0)
        objective = path.likelihood[k] + path.repulsion[k]
        assert objective == pytest.approx(same.objective, rel=1e-8, abs=1e-8)


@family
@settings(max_examples=3)
@given(seed=seeds)
def test_all_together(covariance, tied, seed):
    case = problem(seed, covariance, tied, update="means", n_init=3)
    without = fit_fixed_point(case.z, case.y, 0.0, **case.options).gaussians
    target = 4.0 * smallest_kld(without, held=case.frozen)
    found = fit_separated(case.z, case.y, min_kld=target, **case.options)
    assert target <= pairwise_kld(found.gaussians)[case.counting].min() <= 1.05 * target
    case.assert_held(found.gaussians)
    means, _ = point(found.result)
    assert np.isfinite(means).all()


def test_a_callback_that_stops_a_later_start_ends_the_search_and_the_path():
    z, y = blobs(4, 1, 30, seed=2, spread=1.0)
    begun = []

    def stop_the_second_start(running):
        if len(running.history["objective"]) == 2:
            begun.append(running.lam)
        if len(begun) >= 2:
            raise StopIteration

    path = lam_path(
        z,
        y,
        [300.0, 400.0, 500.0],
        tied=True,
        pi="initial",
        n_init=3,
        callback=stop_the_second_start,
    )
    assert begun == [300.0, 300.0]
    assert list(path.status) == ["converged"]  # the first start, which is kept
    begun.clear()
    found = fit_separated(z, y, min_kld=1e3, n_init=3, callback=stop_the_second_start)
    assert len(begun) == 2
    assert [trial.lam for trial in found.path] == [0.0, found.lam]
