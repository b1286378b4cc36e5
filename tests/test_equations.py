"""Forces, updates and curvature against differences of the objective, written out pair by pair."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS

from fpigauss.covariance import Factor, resolve_family
from fpigauss.equations import (
    Held,
    Move,
    Point,
    PrintedEquations,
    Problem,
    ReleasedEquations,
    StationaryEquations,
    Step,
    curvature_at,
    largest,
    mean_kld_gradient,
)
from fpigauss.errors import InvalidInputError, NotPositiveDefiniteError
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


# ------------------------------------------------------------------ steps, moves, rounding


def test_steps_are_vectors():
    u, s = rng_of(1).normal(size=(K, D)), rng_of(2).normal(size=(K, D))
    for parts in ((u, s), (u, None), (None, s)):
        step = Step(*parts)
        numbers = np.concatenate([part.ravel() for part in parts if part is not None])
        np.testing.assert_array_equal(step.flat(), numbers)
        for part, again in zip(parts, step.shaped(2.0 * numbers), strict=True):
            assert (part is None) == (again is None)
            assert part is None or (again == 2.0 * part).all()
        assert float(step.dot(step.scaled(3.0))) == pytest.approx(3.0 * numbers @ numbers)
        assert step.scaled(1.0) is step
    assert float(Step(u, None).dot(Step(u, s))) == pytest.approx((u * u).sum())


def test_moves_have_lengths():
    step = Step(np.ones((K, D)), None)
    move = Move.of(step, -2.0, 9.0, 1.5)
    assert (move.slope, move.of_means, move.of_covariances, move.length) == (-2.0, 3.0, 1.5, 3.0)
    half = move.scaled(0.5)
    assert (half.slope, half.of_means, half.of_covariances) == (-1.0, 1.5, 0.75)
    assert (half.step.means == 0.5).all()
    assert Move.of(step, 0.0, 1.0, 4.0).length == 4.0
    assert Move.of(step, 0.0, 0.0, 0.0).length == 0.0
    for unknown in ((np.nan, 1.0), (1.0, np.nan)):
        found = Move.of(step, 0.0, *unknown)
        assert np.isnan(found.of_means) and np.isnan(found.of_covariances)
    assert largest(np.array([1.0, 3.0, 2.0])) == 3.0 and largest(None) == 0.0


@family
def test_the_sizes_of_a_step(covariance, tied):
    problem, _ = problem_of(covariance, tied, "forward")
    step = direction(problem, 0)
    of_means, of_covariances = problem.sizes(step)
    np.testing.assert_allclose(of_means, (step.means**2).sum(axis=1))
    np.testing.assert_allclose(of_covariances, problem.family.step_sizes(step.covariances))
    assert problem.sizes(Step(None, None)) == (None, None)
    assert problem.sizes(step._replace(means=None))[0] is None


@pytest.mark.parametrize("field", ["objective", "judged", "smallest_kld", "residual"])
def test_an_evaluation_is_finite_or_not(field):
    problem, point = problem_of("diagonal", False, "forward")
    found = StationaryEquations().evaluate(problem, point)
    assert found.finite
    assert not replace(found, **{field: np.nan}).finite
    # a residual beyond all numbers is that of an update that is still to be made
    assert replace(found, **{field: np.inf}).finite == (field == "residual")


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
def test_the_class_with_the_worst_balance_counts(covariance):
    problem, point = problem_of(covariance, False, "forward")
    equations = StationaryEquations()
    found = equations.evaluate(problem, point)
    force = found.descent.covariance_force

    def of_classes(chosen):
        kept = np.where(chosen.reshape(-1, *(1,) * (force.ndim - 1)), force, 0.0)
        descent = found.descent._replace(covariance_force=kept)
        return equations.imbalance(problem, replace(found, descent=descent))

    alone = [of_classes(np.arange(K) == y) for y in range(K)]
    assert min(alone) > 0.0
    assert equations.imbalance(problem, found) == max(alone)
    assert of_classes(np.zeros(K, dtype=bool)) == 0.0


@pytest.mark.parametrize("exponent", [0, 2, 4])
def test_what_is_rounding_grows_with_the_condition_of_the_data(exponent):
    problem, _ = problem_of("diagonal", False, "forward")
    scatter = np.ones((K, D))
    scatter[1, 0] = 10.0**-exponent
    least = pytest.approx(8.0 * D * np.finfo(float).eps, rel=1e-12, abs=0.0)
    at = replace(problem, scatter=scatter)
    assert at.rounding / 10.0**exponent == least
    assert replace(at, updates_covariances=False).rounding == least
    # a class that is held has no part in it
    held = Held(np.arange(K) != 1, np.arange(K) != 1, np.arange(K))
    assert replace(at, held=held).rounding == least
    scatter[1, 0] = 1e-200
    assert replace(problem, scatter=scatter).rounding == 1e-2


def test_blocks_of_classes_cover_all_of_them():
    many = 5000
    for covariance, tied in FAMILIES:
        problem, _ = problem_of(covariance, tied, "forward")
        shape = (1 if tied else many, *problem.scatter.shape[1:])
        large = replace(problem, means=np.zeros((many, D)), scatter=np.ones(shape))
        taken = [np.arange(many)[rows] for rows in large.class_blocks()]
        np.testing.assert_array_equal(np.concatenate(taken), np.arange(many))
        row_bytes = 8 * max(D, int(np.prod(shape[1:])))
        assert (len(taken) == 1) == (tied or many * row_bytes <= 2**18)


@family
def test_objectives_where_pi_moves_are_judged_at_the_pi_before(covariance, tied):
    problem, point = problem_of(covariance, tied, "number")
    moves = replace(problem, repulsion=resolve_repulsion("mean", LAM))
    equations = StationaryEquations()
    found = equations.evaluate(moves, point)
    assert found.pi == pytest.approx(divergences(problem, point).sum() / (K * (K - 1)))
    assert found.objective == found.judged
    assert found.objective == pytest.approx(objective(problem, point, found.pi), rel=1e-12)
    ahead = moves.retracted(point, direction(problem, 0).scaled(0.1))
    after = equations.evaluate(moves, ahead, found)
    assert after.objective == pytest.approx(objective(problem, ahead, after.pi), rel=1e-12)
    assert after.judged == pytest.approx(objective(problem, ahead, found.pi), rel=1e-12)
    assert after.judged != after.objective


@family
def test_a_matrix_pi_weighs_each_pair_by_its_own(covariance, tied):
    numbers = rng_of(9).uniform(0.5, 3.0, size=(K, K))
    problem, point = problem_of(covariance, tied, "number")
    by_pair = replace(problem, repulsion=resolve_repulsion(lambda d: numbers, LAM))
    found = StationaryEquations().evaluate(by_pair, point)
    pairs, alone = counted(problem), replace(problem, lam=0.0)

    def expected(there):
        phi = repulsion(problem, divergences(problem, there)[pairs], numbers[pairs])
        return objective(alone, there) + problem.c * phi

    assert found.objective == pytest.approx(expected(point), rel=1e-12)
    step = direction(problem, 0)
    slope = slope_of(lambda t: expected(moved(problem, point, step, t)))
    assert float(found.force.dot(step)) == pytest.approx(-slope, rel=1e-8, abs=1e-8)


# ------------------------------------------------------------------ the other readings


def kernel(problem, point):
    """c W of pi = D (K, K), zero where pairs are left out."""
    d = divergences(problem, point)
    weights = problem.c * np.exp(-1.0 / ALPHA) / ALPHA / np.where(counted(problem), d, 1.0)
    return np.where(counted(problem), weights, 0.0)


def updated(equations, problem, point):
    """Means and covariances after the update, and the evaluation."""
    found = equations.evaluate(problem, point)
    return *whole(problem, problem.retracted(point, found.update.step)), found


@pytest.mark.parametrize("isotropic_mean", [False, True])
@pytest.mark.parametrize("summed_square", [False, True])
@pytest.mark.parametrize("held", [None, HELD], ids=["all", "held"])
def test_the_released_equations_pair_by_pair(isotropic_mean, summed_square, held):
    problem, point = problem_of("diagonal", False, "forward", held)
    problem = replace(problem, lam=0.8, counts=np.array([3.0, 5.0, 9.0, 17.0]))
    equations = ReleasedEquations(isotropic_mean, summed_square)
    w, mu, v = kernel(problem, point), point.means, problem.family.values(point.factor)
    apart = mu[:, None] - mu
    p, vbar = 1.0 / v, v
    if isotropic_mean:
        p, vbar = (np.repeat(x.mean(axis=1, keepdims=True), D, axis=1) for x in (p, v))
    pushes = w[:, :, None] * p + w.T[:, :, None] * p[:, None]
    expected_means = problem.means + vbar * np.sum(pushes * apart, axis=1)
    q = apart**2
    if summed_square:
        q = np.broadcast_to(np.sum(apart**2, axis=1), (K, K, D))
    s2 = problem.scatter * (problem.counts / (problem.counts - 1.0))[:, None]
    b = s2 + v**2 * np.sum(w[:, :, None] / v, axis=1)
    a = (1.0 + w.sum(axis=1) - w.sum(axis=0))[:, None] * v
    a = a + np.sum(w.T[:, :, None] * (q + v), axis=1)
    means, covariances, found = updated(equations, problem, point)
    free = np.ones(K, dtype=bool) if held is None else held.free
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    np.testing.assert_allclose(means[free], expected_means[free], rtol=1e-10)
    np.testing.assert_allclose(variances[free], np.sqrt(b / a)[free], rtol=1e-10)
    np.testing.assert_array_equal(found.update.step.means[~free], 0.0)
    np.testing.assert_array_equal(found.update.step.covariances[~free], 0.0)
    assert found.objective == pytest.approx(objective(problem, point), rel=1e-12)
    assert found.residual == np.inf  # of the last iteration, and there was none
    ahead = problem.retracted(point, found.update.step)
    moved_by = [np.linalg.norm(ahead.means - mu, axis=1)]
    moved_by += [np.linalg.norm(problem.family.values(ahead.factor) - v, axis=1)]
    after = equations.evaluate(problem, ahead, found)
    assert after.residual == pytest.approx(np.max(moved_by))
    for part, by in zip(("means", "covariances"), moved_by, strict=True):
        alone = replace(problem, updates_means=False, updates_covariances=False)
        alone = replace(alone, **{f"updates_{part}": True})
        step = equations.evaluate(alone, point).update.step
        assert [x is None for x in step] == [part != "means", part != "covariances"]
        assert equations.evaluate(alone, ahead, found).residual == pytest.approx(by.max())


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
@pytest.mark.parametrize("held", [None, HELD], ids=["all", "held"])
def test_the_printed_equations_pair_by_pair(covariance, held):
    problem, point = problem_of(covariance, False, "forward", held)
    problem = replace(problem, lam=0.8)
    w, (mu, sigma) = kernel(problem, point), whole(problem, point)
    precisions = np.linalg.inv(sigma)
    scatter = problem.family.average(problem.scatter_about(mu), D)
    means, covariances, found = updated(PrintedEquations(), problem, point)
    family = problem.family
    for y in range(K) if held is None else np.flatnonzero(held.free):
        push, between, spread = np.zeros(D), np.zeros((D, D)), np.zeros((D, D))
        for other in range(K):
            away = mu[y] - mu[other]
            push += (w[y, other] * precisions[other] + w[other, y] * precisions[y]) @ away
            between += w[other, y] * (np.outer(away, away) + sigma[other])
            spread += w[y, other] * sigma[y] @ precisions[other] @ sigma[y]
        np.testing.assert_allclose(means[y], problem.means[y] + push, rtol=1e-10)
        first = 1.0 + w[y].sum() - w[:, y].sum()
        a = first * precisions[y] + precisions[y] @ between @ precisions[y]
        a = family.projections(a[None])
        b = family.projections(spread[None]) + family.values_projections(scatter[y : y + 1], D)
        x = covariances[y]
        found_b = family.projections((x @ whole_of(family, a) @ x)[None])
        np.testing.assert_allclose(found_b, b, rtol=1e-9, atol=1e-12)
    assert found.objective == pytest.approx(objective(problem, point), rel=1e-12)
    assert found.residual == found.update.length
    if held is not None:
        np.testing.assert_array_equal(found.update.step.means[0], 0.0)
        np.testing.assert_array_equal(found.update.step.covariances[0], 0.0)


def whole_of(family, projections):
    """The matrix of a family with these projections."""
    values = family.average(projections, D)[0]
    return values if values.ndim == 2 else np.eye(D) * values


@pytest.mark.parametrize("equations", [PrintedEquations(), ReleasedEquations()], ids=repr)
def test_where_a_is_not_positive_definite_the_class_is_named(equations):
    problem, point = problem_of("diagonal", False, "forward")
    # a wide class is pushed on by narrow ones, whose own terms are small beside its variances
    wide = np.array([1.0, 1.0, 20.0, 1.0])[:, None]
    root, inverse = point.factor
    point = Point(problem.means, Factor(wide * root, inverse / wide))
    strong = replace(problem, lam=100.0, classes=np.array(list("abcd")))
    found = equations.evaluate(strong, point)
    with pytest.raises(NotPositiveDefiniteError, match="class 'c'"):
        found.check_step()
    assert np.isfinite(found.objective) and found.update.step.covariances is None
    assert found.residual == np.inf
    equations.evaluate(replace(problem, lam=0.01), point).check_step()  # a step, and no error


def test_which_equations_hold_for_what():
    tied, single = resolve_family("diagonal", True), resolve_family("diagonal", False)
    dense = resolve_family("dense", False)
    assert StationaryEquations().holds_for(tied) and StationaryEquations().holds_for(dense)
    assert PrintedEquations().holds_for(dense) and not PrintedEquations().holds_for(tied)
    assert ReleasedEquations().holds_for(single)
    assert not ReleasedEquations().holds_for(tied) and not ReleasedEquations().holds_for(dense)
    ReleasedEquations().check_repulsion(resolve_repulsion("forward"), "forward")
    with pytest.raises(InvalidInputError, match="only pi="):
        ReleasedEquations().check_repulsion(resolve_repulsion("mean"), "mean")
    for other in (PrintedEquations(), StationaryEquations()):
        other.check_repulsion(resolve_repulsion("mean"), "mean")
        problem, point = problem_of("diagonal", False, "forward")
        evaluation = other.evaluate(problem, point)
        assert (other.imbalance(problem, evaluation) > 0.0) == other.exact


@pytest.mark.parametrize("name", ["isotropic_mean", "summed_square"])
def test_flags_of_the_released_equations(name):
    for flag in (True, False):
        assert getattr(ReleasedEquations(**{name: flag}), name) is flag
    for other in (1, None, "yes"):
        with pytest.raises(InvalidInputError, match=f"{name} is .*; pass True or False"):
            ReleasedEquations(**{name: other})
