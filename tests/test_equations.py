"""Forces, updates and curvature against differences of the objective, written out pair by pair."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS

from fpigauss.covariance import resolve_family
from fpigauss.equations import (
    Held,
    Point,
    Problem,
    StationaryEquations,
    Step,
    curvature_at,
    mean_kld_gradient,
)
from fpigauss.repulsion import resolve_repulsion

K, D, LAM, ALPHA = 4, 3, 5.0, 0.7
PI = {"forward": "forward", "number": 2.5}
family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
of_pi = pytest.mark.parametrize("pi", PI)


def rng_of(*key):
    return np.random.default_rng([34, *key])


#: The first class is held, and without samples.
HELD = Held(np.arange(K) > 0, np.arange(K) > 0, np.arange(K))


def problem_of(covariance, tied, pi, held=None):
    """A problem whose data are near classes that overlap, and a point that is not a solution."""
    rng = rng_of(K)
    family = resolve_family(covariance, tied)
    means = 1.5 * rng.normal(size=(K, D))
    drawn = rng.normal(size=(K, D, 2 * D))
    scatter = family.projections(drawn @ np.swapaxes(drawn, 1, 2) / (2 * D))
    weighed = np.ones(K, dtype=bool) if held is None else held.weighed
    if tied:
        scatter = scatter[weighed].sum(axis=0, keepdims=True)
    point_means = np.where(weighed[:, None], means + 0.3 * rng.normal(size=(K, D)), means)
    problem = Problem(
        family=family,
        means=means,
        scatter=scatter,
        counts=np.full(K, 20.0),
        lam=LAM,
        repulsion=resolve_repulsion(PI[pi], LAM),
        alpha=ALPHA,
        updates_means=True,
        updates_covariances=True,
        memory_limit=2**30,
        classes=np.arange(K),
        log_volume=0.3,
        held=held,
    )
    values = family.average(scatter, D) / (K if tied else 1)
    factor = family.retract(family.factor(values), values_of(family, rng, len(values), 0.4))
    return problem, Point(point_means, factor)


def values_of(family, rng, n, size=1.0):
    """Values of n random symmetric matrices of a family."""
    drawn = rng.normal(size=(n, D, D))
    projections = family.projections(size * (drawn + np.swapaxes(drawn, 1, 2)))
    return family.average(projections, D)


def direction(problem, seed):
    rng = rng_of(7, seed)
    n = 1 if problem.family.tied else K
    return Step(rng.normal(size=(K, D)), values_of(problem.family, rng, n))


def of_free(step):
    """A step of the classes that are not held, and of the covariance where it is shared."""
    means, covariances = step
    free = HELD.free.reshape(-1, *(1,) * (covariances.ndim - 1))
    return Step(
        HELD.free[:, None] * means, free * covariances if len(covariances) > 1 else covariances
    )


def whole(problem, point):
    """Means, and covariances as matrices, of every class."""
    roots = problem.family.as_matrices(point.factor, D).root
    if roots.ndim == 2:
        roots = np.broadcast_to(roots, (len(roots), D))[:, :, None] * np.eye(D)
    covariances = roots @ np.swapaxes(roots, 1, 2)
    return point.means, np.broadcast_to(covariances, (K, D, D))


def divergences(problem, point):
    means, covariances = whole(problem, point)
    found = np.zeros((K, K))
    for y in range(K):
        for other in set(range(K)) - {y}:
            ratio = np.linalg.solve(covariances[other], covariances[y])
            away = means[y] - means[other]
            distance = away @ np.linalg.solve(covariances[other], away)
            log_det = np.linalg.slogdet(ratio)[1]
            found[y, other] = 0.5 * (np.trace(ratio) + distance - D - log_det)
    return found


def counted(problem):
    """The pairs that repel."""
    pairs = ~np.eye(K, dtype=bool)
    return pairs if problem.held is None else pairs & ~problem.held.constant(slice(None))


def repulsion(problem, d, pi):
    """The potentials of all pairs, summed."""
    if pi is None:
        return -np.sum(np.exp(-1.0 / ALPHA) / ALPHA * np.log(d))
    return np.sum(np.exp(-d / (ALPHA * pi)))


def objective(problem, point, pi=2.5):
    """Eq. 4, with pi fixed."""
    means, covariances = whole(problem, point)
    weighed = np.ones(K, dtype=bool) if problem.held is None else problem.held.weighed
    total = 0.0
    for y in np.flatnonzero(weighed):
        away = problem.means[y] - means[y]
        inverse = np.linalg.inv(covariances[y])
        total += 0.5 * (away @ inverse @ away + np.linalg.slogdet(covariances[y])[1])
        total += 0.5 * D * np.log(2.0 * np.pi) + problem.log_volume
    precisions = problem.family.precisions(point.factor)
    total += 0.5 * np.sum((precisions * problem.scatter)[weighed if len(precisions) > 1 else ...])
    pi = None if problem.repulsion == resolve_repulsion("forward", 1.0) else pi
    return total + problem.c * repulsion(problem, divergences(problem, point)[counted(problem)], pi)


def moved(problem, point, step, t):
    """Where a step leads: mu + t F u, and F (1 + t S) F'."""
    family = problem.family
    one = family.average(family.unit(D, point.means), D)
    factor = family.composed(point.factor, family.factor(one + t * step.covariances))
    return Point(point.means + t * family.color(point.factor, step.means), factor)


def slope_of(f, h=1e-3):
    """The derivative at zero, to the fourth order."""
    return (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h)


def bend_of(f, h=3e-3):
    """The second derivative at zero, to the fourth order."""
    return (16.0 * (f(h) + f(-h)) - (f(2 * h) + f(-2 * h)) - 30.0 * f(0.0)) / (12.0 * h * h)


@family
@of_pi
def test_the_objective_and_its_forces(covariance, tied, pi):
    problem, point = problem_of(covariance, tied, pi)
    found = StationaryEquations().evaluate(problem, point)
    assert found.objective == pytest.approx(objective(problem, point), rel=1e-12)
    d = divergences(problem, point)
    assert found.smallest_kld == pytest.approx(d[counted(problem)].min(), rel=1e-10)
    for seed in range(3):
        step = direction(problem, seed)
        slope = slope_of(lambda t, s=step: objective(problem, moved(problem, point, s, t)))
        assert float(found.force.dot(step)) == pytest.approx(-slope, rel=1e-8, abs=1e-8)


@family
@of_pi
def test_where_a_class_is_held(covariance, tied, pi):
    problem, point = problem_of(covariance, tied, pi, HELD)
    found = StationaryEquations().evaluate(problem, point)
    assert found.objective == pytest.approx(objective(problem, point), rel=1e-12)
    assert (found.update.step.means[0] == 0.0).all()
    assert tied or (found.update.step.covariances[0] == 0.0).all()
    step = of_free(direction(problem, 0))
    slope = slope_of(lambda t: objective(problem, moved(problem, point, step, t)))
    assert float(found.force.dot(step)) == pytest.approx(-slope, rel=1e-8, abs=1e-8)
    ahead = problem.retracted(point, found.update.step)
    assert (ahead.means[0] == point.means[0]).all()


@family
@of_pi
def test_the_curvature(covariance, tied, pi):
    problem, point = problem_of(covariance, tied, pi)
    curvature = curvature_at(problem, point)
    steps = [direction(problem, seed) for seed in range(3)]
    times = [curvature.times(step) for step in steps]
    for step, product in zip(steps, times, strict=True):
        bend = bend_of(lambda t, s=step: objective(problem, moved(problem, point, s, t)))
        assert float(product.dot(step)) == pytest.approx(bend, rel=1e-5)
    assert float(times[0].dot(steps[1])) == pytest.approx(float(times[1].dot(steps[0])))


@family
@of_pi
def test_the_curvature_beside_a_class_that_is_held(covariance, tied, pi):
    problem, point = problem_of(covariance, tied, pi, HELD)
    step = of_free(direction(problem, 0))
    bend = bend_of(lambda t: objective(problem, moved(problem, point, step, t)))
    assert float(curvature_at(problem, point).times(step).dot(step)) == pytest.approx(
        bend, rel=1e-5
    )


@family
@of_pi
def test_the_curvature_a_block_of_pairs_at_a_time(covariance, tied, pi):
    problem, point = problem_of(covariance, tied, pi)
    small = replace(problem, memory_limit=1)
    step = direction(problem, 0)
    whole, parts = (curvature_at(p, point) for p in (problem, small))
    assert whole.kept and not parts.kept
    for one, other in zip(whole.times(step), parts.times(step), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
    assert whole.along(step) == pytest.approx(parts.along(step), rel=1e-10)
    assert whole.steepness == pytest.approx(parts.steepness, rel=1e-12)


@family
@of_pi
def test_how_slopes_change_with_lam_and_with_pi(covariance, tied, pi):
    problem, point = problem_of(covariance, tied, pi)
    step = direction(problem, 0)
    of_lam, of_pi = curvature_at(problem, point).along(step)

    def slope(lam, number):
        at = replace(problem, lam=lam)
        return slope_of(lambda t: objective(at, moved(at, point, step, t), number))

    of_lam_found = slope_of(lambda t: slope(LAM + t, 2.5), h=0.1)
    assert of_lam == pytest.approx(-of_lam_found, rel=1e-7)
    if pi == "forward":
        assert of_pi == 0.0
    else:
        assert of_pi == pytest.approx(-slope_of(lambda t: slope(LAM, 2.5 + t), h=0.05), rel=1e-3)


@family
@of_pi
def test_the_steepest_weight(covariance, tied, pi):
    problem, point = problem_of(covariance, tied, pi)
    d = divergences(problem, point)[counted(problem)]
    tau = 2.5 * ALPHA
    w = problem.c * (np.exp(-1 / ALPHA) / ALPHA / d if pi == "forward" else np.exp(-d / tau) / tau)
    rates = (1.0 / d if pi == "forward" else 1.0 / tau) * np.sqrt(2.0 * d)
    expected = rates[w > 1e-3].max()
    assert curvature_at(problem, point).steepness == pytest.approx(expected, rel=1e-10)


@family
def test_the_gradient_of_the_mean_divergence(covariance, tied):
    problem, point = problem_of(covariance, tied, "number")
    gradient = mean_kld_gradient(problem, point)
    step = direction(problem, 0)

    def mean(t):
        d = divergences(problem, moved(problem, point, step, t))
        return d.sum() / (K * (K - 1))

    assert float(gradient.dot(step)) == pytest.approx(slope_of(mean), rel=1e-8)


@family
@of_pi
def test_forces_that_do_not_cancel_are_measured(covariance, tied, pi):
    problem, point = problem_of(covariance, tied, pi)
    equations = StationaryEquations()
    evaluation = equations.evaluate(problem, point)
    away = equations.imbalance(problem, evaluation)
    assert 1e-3 < away <= 1.0
    means = replace(problem, updates_covariances=False)
    assert equations.imbalance(means, equations.evaluate(means, point)) == 0.0
    # where nothing repels, covariances that are the scatter about the means are balanced
    alone = replace(problem, lam=0.0, repulsion=resolve_repulsion(PI[pi], 0.0))
    family = problem.family
    values = family.average(alone.scatter_about(point.means), D) / (K if tied else 1)
    settled = Point(point.means, family.factor(values))
    assert equations.imbalance(alone, equations.evaluate(alone, settled)) < 1e-14
    # and with twice the covariances, half of the pull of the data is not: n / 4 of n + n / 4
    wide = Point(point.means, family.factor(2.0 * values))
    assert equations.imbalance(alone, equations.evaluate(alone, wide)) == pytest.approx(0.2)
