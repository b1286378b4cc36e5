"""The parts of the iteration, one at a time: how far, how much shorter, and when to give up."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fpigauss import Accelerated, Guarded, Picard
from fpigauss.covariance import Dense, Diagonal, Factor, Isotropic
from fpigauss.equations import (
    Descent,
    Evaluation,
    Move,
    Point,
    Problem,
    StationaryEquations,
    Step,
)
from fpigauss.repulsion import resolve_repulsion
from fpigauss.solvers import Runaway, _accelerated, _loop, _walk
from fpigauss.solvers._guarded import Reach, descends

K, D = 2, 3
POINT = Point(np.zeros((K, D)), Factor(np.ones((K, D)), np.ones((K, D))))


def problem_of(**options):
    given = {
        "family": Diagonal(),
        "means": np.zeros((K, D)),
        "scatter": np.ones((K, D)),
        "counts": np.full(K, 10.0),
        "lam": 1.0,
        "repulsion": resolve_repulsion(2.0, 1.0),
        "alpha": 1.0,
        "updates_means": True,
        "updates_covariances": True,
        "memory_limit": 2**30,
        "classes": np.arange(K),
        "log_volume": 0.0,
    }
    return Problem(**(given | options))


def move_of(u=0.0, s=0.0, slope=-1.0):
    """A move of the first mean by u, and of the first variance by s e-folds."""
    means, covariances = np.zeros((K, D)), np.zeros((K, D))
    means[0, 0], covariances[0, 1] = u, s
    return Move(Step(means, covariances), slope, abs(u), abs(s))


def evaluation_of(objective=0.0, *, judged=None, move=None, residual=1.0):
    move = move_of() if move is None else move
    return Evaluation(
        point=POINT,
        objective=objective,
        judged=objective if judged is None else judged,
        update=move,
        residual=residual,
        pi=None,
        smallest_kld=1.0,
        descent=Descent(move.step.covariances, np.ones((K, D))),
    )


# ------------------------------------------------------------------ how far


def test_steps_within_reach_are_taken_whole():
    for move in (move_of(3.0, 3.0), move_of(-2.0, 1.0)):
        assert Reach().bounded(move) is move


@pytest.mark.parametrize(
    ("u", "s", "part"), [(6.0, 1.0, 0.5), (1.0, 12.0, 0.25), (9.0, 6.0, 1 / 3)]
)
def test_steps_beyond_reach_are_scaled_to_it(u, s, part):
    move = move_of(u, s, slope=-5.0)
    bounded = Reach().bounded(move)
    assert bounded.of_means == pytest.approx(part * u)
    assert bounded.of_covariances == pytest.approx(part * s)
    assert bounded.slope == pytest.approx(-5.0 * part)
    np.testing.assert_allclose(bounded.step.means, part * move.step.means)
    assert max(bounded.of_means, bounded.of_covariances) == pytest.approx(3.0)


def test_means_may_go_farther_as_they_do_and_covariances_may_not():
    reach = Reach().after(move_of(3.0))
    assert reach.means == 6.0  # at most twice as far as before
    assert reach.after(move_of(1.25)).means == 5.0  # or four times as far as the last step
    assert reach.after(move_of(0.1)).means == 3.0  # and never less than at first
    assert reach.bounded(move_of(6.0, 1.0)).of_means == 6.0
    assert reach.bounded(move_of(1.0, 6.0)).of_covariances == pytest.approx(3.0)


# ------------------------------------------------------------------ what is accepted


@pytest.mark.parametrize("solver", [Guarded(), Accelerated()], ids=["guarded", "accelerated"])
def test_a_step_must_lower_the_objective_by_a_part_of_what_its_slope_promises(solver):
    move, current = move_of(1.0, slope=-2.0), evaluation_of(10.0)
    assert solver.accepts(current, evaluation_of(10.0 - 3e-4), move)
    assert not solver.accepts(current, evaluation_of(10.0 - 1e-4), move)
    assert not solver.accepts(current, evaluation_of(10.5), move)
    # a step is judged at the pi of the point that it leaves
    assert solver.accepts(current, evaluation_of(11.0, judged=9.0), move)
    assert not solver.accepts(current, evaluation_of(9.0, judged=11.0), move)


def test_where_the_objective_is_rounding_its_slopes_decide():
    # on a parabola, the change is the mean of the slopes at both ends, times the step
    current = evaluation_of(1e6)
    trial = evaluation_of(1e6 + 5e-8, move=move_of(-0.1))
    assert descends(current, trial, move_of(1.0, slope=-1.0))  # the slope is 0.1 there: -0.45
    uphill = evaluation_of(1e6 - 5e-8, move=move_of(-1.2))
    assert not descends(current, uphill, move_of(1.0, slope=-1.0))  # 1.2 there: 0.1
    assert current.rounding == pytest.approx(1e-7, rel=1e-12, abs=0.0)
    assert evaluation_of(1e-3).rounding == 1e-13


def test_plain_iteration_takes_every_update_whole():
    move = move_of(50.0, 50.0)
    ((direction, shortest, memory),) = Picard().directions(None, evaluation_of(move=move))
    assert direction is move and shortest == 1.0 and memory is None
    assert Picard().accepts(evaluation_of(0.0), evaluation_of(1e9), move)
    assert not Picard().searches


# ------------------------------------------------------------------ how much shorter


@pytest.mark.parametrize("best", [0.15, 0.3, 0.45])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_a_step_is_shortened_to_the_minimum_of_the_parabola(best, size):
    # L(t) = size (-t + t^2 / (2 best)), which is lowest at t = best
    current, trial = evaluation_of(7.0), evaluation_of(7.0 + size * (0.5 / best - 1.0))
    assert _loop._shortening(current, trial, -size) == pytest.approx(best)


def test_a_step_is_shortened_by_no_more_and_no_less_than_helps():
    current = evaluation_of(7.0)
    assert _loop._shortening(current, evaluation_of(1e9), -1.0) == 0.1
    assert _loop._shortening(current, evaluation_of(6.4), -1.0) == 0.5
    assert _loop._shortening(current, evaluation_of(5.0), -1.0) == 0.5  # it curves downward
    assert _loop._shortening(current, None, -1.0) == 0.25


# ------------------------------------------------------------------ when to give up


def test_progress_is_a_lower_objective_or_a_smaller_gradient():
    start = evaluation_of(10.0, move=move_of(slope=-4.0))
    progress = _loop.Progress.at(start)
    lower = evaluation_of(9.0, move=move_of(slope=-5.0))
    progress.add(start, lower)
    assert progress.idle == 0
    same = evaluation_of(9.0, move=move_of(slope=-4.0))
    for n in (1, 2):
        progress.add(lower, same)
        assert progress.idle == n
    progress.add(same, evaluation_of(9.0, move=move_of(slope=-3.0)))
    assert progress.idle == 0
    progress.add(same, same)
    assert progress.idle == 1


def test_objectives_at_another_pi_are_no_progress():
    start = evaluation_of(10.0)
    progress = _loop.Progress.at(start)
    # each step looks lower where it arrives, and is not at the pi of the point that it left
    for n in range(1, 4):
        before, after = evaluation_of(10.0 - n + 1), evaluation_of(10.0 - n, judged=10.0 - n + 1)
        progress.add(before, after)
        assert progress.idle == n
    # one that climbs must be made up for before there is progress again
    progress.add(evaluation_of(7.0), evaluation_of(8.0))
    progress.add(evaluation_of(8.0), evaluation_of(7.5))
    assert progress.idle == 5
    progress.add(evaluation_of(7.5), evaluation_of(6.5))
    assert progress.idle == 0


@pytest.mark.parametrize(
    ("roots", "seen"),
    [
        ([1.0, 1.0, 1.0], False),
        ([1.0, 1.0, 9.9], False),
        ([1.0, 5.0, 10.1], True),  # the largest variance, 102, is past 100
        ([0.09, 1.0, 9.9], True),  # the ratio, 12100, is past 10000
        ([0.11, 1.0, 9.9], False),
    ],
)
def test_a_runaway_is_seen_by_its_size_or_its_shape(roots, seen):
    root = np.array([[1.0, 1.0, 1.0], roots])
    point = Point(np.zeros((K, D)), Factor(root, 1.0 / root))
    assert Runaway(largest=100.0, condition=1e4).seen_at(problem_of(), point) is seen


@pytest.mark.parametrize(
    ("solver", "spent", "status"),
    [
        (Picard(), False, "diverged"),
        (Picard(), True, "diverged"),
        (Guarded(), False, "stalled"),
        (Guarded(), True, "max_iter"),
    ],
)
def test_how_an_iteration_ends_without_a_step(solver, spent, status):
    assert _loop._failed(solver, spent=spent) == status


# ------------------------------------------------------------------ pairs of a quasi-Newton method


def memory_after(force, trial, move, **options):
    current = evaluation_of(move=move_of(*force))
    memory = Accelerated(**options).start(problem_of())
    return Accelerated(**options).remember(
        memory, current, evaluation_of(move=move_of(*trial)), move
    )


def test_only_pairs_that_curve_upward_are_kept():
    kept = memory_after((1.0, 1.0), (0.5, 0.25), move_of(1.0, 2.0))
    (pair,) = kept.pairs
    assert pair.curvature == pytest.approx(1.0 * 0.5 + 2.0 * 0.75)
    np.testing.assert_allclose(pair.change.sum(), 0.5 + 0.75)
    np.testing.assert_array_equal(kept.force, move_of(0.5, 0.25).step.flat())
    assert not memory_after((1.0, 1.0), (1.5, 1.25), move_of(1.0, 2.0)).pairs
    assert not memory_after((1.0, 1.0), (1.0, 1.0), move_of(1.0, 2.0)).pairs


def test_the_oldest_pairs_are_forgotten():
    memory = memory_after((1.0,), (0.5,), move_of(1.0), history=2)
    for n in range(1, 4):
        before, after = 0.5**n, 0.5 ** (n + 1)
        current, trial = (evaluation_of(move=move_of(x)) for x in (before, after))
        memory = Accelerated(history=2).remember(memory, current, trial, move_of(10.0 * n))
    assert [pair.step[0] for pair in memory.pairs] == [20.0, 30.0]


def test_a_quasi_newton_step_solves_a_quadratic_after_as_many_pairs_as_axes():
    # forces of 1/2 x' H x, whose metric is that of means of unit covariance
    rng = np.random.default_rng(3)
    drawn = rng.normal(size=(K * D, 2 * K * D))
    h = drawn @ drawn.T
    means = replace(problem_of(), updates_covariances=False)

    def at(x):
        step = Step(-(h @ x).reshape(K, D), None)
        return replace(
            evaluation_of(), update=Move(step, -1.0, 1.0, 0.0), descent=Descent(None, None)
        )

    solver, x = Accelerated(), rng.normal(size=K * D)
    memory, current = solver.start(means), at(x)
    for axis in np.linalg.eigh(h)[1].T:  # conjugate directions
        trial = at(x + axis)
        move = Move(Step(axis.reshape(K, D), None), -1.0, 1.0, 0.0)
        memory, current, x = solver.remember(memory, current, trial, move), trial, x + axis
    newton, shortest, recall = next(solver.directions(memory, current))
    far = Move.of(newton.step, newton.slope, float((newton.step.means**2).sum(1).max()), 0.0)
    expected = -x.reshape(K, D)
    size = newton.step.means[0, 0] / expected[0, 0]
    np.testing.assert_allclose(newton.step.means, size * expected, rtol=1e-8)
    assert newton.slope == pytest.approx(-(current.force.means * newton.step.means).sum())
    assert newton.of_means == pytest.approx(far.of_means) and newton.of_means <= 3.0 + 1e-12
    assert recall is memory and shortest == 1e-3
    update, shortest, recall = list(solver.directions(memory, current))[1]
    assert not recall.pairs and shortest == 1e-10
    assert math.isclose(update.length, 1.0)


def test_how_many_pairs_there_may_be():
    numbers = K * D
    for options, limit in [
        ({}, 30),
        ({"memory_limit": 16 * 2 * numbers * 5}, 4),
        ({"memory_limit": 16 * numbers * 5, "updates_covariances": False}, 4),
        ({"memory_limit": 1}, 1),
    ]:
        assert Accelerated().start(problem_of(**options)).limit == limit
    assert Accelerated(history=7).start(problem_of()).limit == 7
    wide = 2**15
    large = problem_of(means=np.zeros((K, wide)), scatter=np.ones((K, wide)))
    assert Accelerated().start(large).limit == 10
    assert Accelerated().start(replace(large, updates_covariances=False)).limit == 30
    assert _accelerated._size(problem_of()) == numbers


# ------------------------------------------------------------------ a walk in lam


@pytest.mark.parametrize("family", [Diagonal(), Dense(), Dense(tied=True)], ids=repr)
def test_the_way_on_repeats_the_last_step(family):
    rng = np.random.default_rng(5)
    n = 1 if family.tied else K
    drawn = rng.normal(size=(n, D, 2 * D))
    grown = drawn @ np.swapaxes(drawn, 1, 2)
    if not family.needs_dense:
        grown = np.diagonal(grown, axis1=1, axis2=2)
    one = family.average(family.unit(D, np.zeros((1, D))), D) + 0.0 * grown
    means = rng.normal(size=(K, D))

    def solution(values, smallest_kld):
        point = Point(means, family.factor(values))
        return replace(evaluation_of(), point=point, smallest_kld=smallest_kld)

    problem = problem_of(family=family)
    ahead = _walk._extrapolated(problem, solution(2.0 * one, 3.0), solution(2.0 * grown, 12.0))
    squared = grown @ grown if family.needs_dense else grown * grown
    np.testing.assert_allclose(family.values(ahead.factor), 2.0 * squared, rtol=1e-10)
    # whitened means grow as the square root of the divergences
    white = family.whiten(family.factor(2.0 * grown), means)
    np.testing.assert_allclose(family.whiten(ahead.factor, ahead.means), 2.0 * white, rtol=1e-10)


def tied_start(lam, pi="forward"):
    """Classes on a line that share a variance, which grows with lam; and their start."""
    means = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 1.0]])
    problem = problem_of(
        family=Isotropic(tied=True),
        means=means,
        scatter=np.full((1, 1), 9.0),
        counts=np.full(3, 10.0),
        classes=np.arange(3),
        lam=lam,
        repulsion=resolve_repulsion(pi, lam),
    )
    start = StationaryEquations().evaluate(problem, Point(means, Factor(*np.ones((2, 1, 1)))))
    return problem, start


def walk(problem, start, lams, solver=None, max_iter=1000, n_without=0):
    spent = []
    found = _walk.walked(
        problem,
        StationaryEquations(),
        Accelerated() if solver is None else solver,
        start,
        lams,
        admissible=lambda point: True,
        max_iter=max_iter,
        tol=1e-6,
        advance=spent.append,
    )
    # a trial counts even where there is nothing to evaluate
    assert len(spent) + n_without == found.n_iter <= max_iter
    return found


def test_a_walk_is_one_step_that_leads_down():
    problem, start = tied_start(1e5)
    found = walk(problem, start, [1e2, 1e3, 1e4])
    assert found.status == "running"
    assert found.evaluation.objective < start.objective
    assert found.history["step"].tolist() == [0.0, 1.0]
    np.testing.assert_array_equal(
        found.history["objective"], [start.objective, found.evaluation.objective]
    )
    # where it has led, a few steps are left
    _, there = tied_start(1e5)
    assert found.evaluation.residual < 0.1 * there.residual


@pytest.mark.parametrize("max_iter", range(12))
def test_a_walk_spends_no_more_than_there_is(max_iter):
    problem, start = tied_start(1e5)
    found = walk(problem, start, [1e2, 1e3, 1e4], max_iter=max_iter)
    assert (found.n_iter == 0) == (max_iter < 5)
    assert max_iter < 5 or found.n_iter >= max_iter - 1  # nor much less, where it needs more
    if max_iter < 5:
        assert found.evaluation is start


def test_where_there_is_no_walk():
    problem, start = tied_start(1e5)
    assert walk(problem, start, [1e2], Picard()).n_iter == 0
    assert walk(problem, start, []).n_iter == 0
    alone, settled = tied_start(0.0)
    values = np.full((1, 1), np.sqrt(alone.scatter[0, 0] / 9.0))
    settled = StationaryEquations().evaluate(
        alone, Point(alone.means, Factor(values, 1.0 / values))
    )
    assert walk(alone, settled, [1e2]).n_iter == 0  # it has converged


def test_the_way_on_is_taken_if_it_is_lower(monkeypatch):
    problem, start = tied_start(1e6)
    lams = [1e2, 1e3, 1e4, 1e5]
    with_it = walk(problem, start, lams)
    monkeypatch.setattr(_walk, "_extrapolated", lambda problem, before, after: None)
    without = walk(problem, start, lams, n_without=len(lams) - 1)
    assert with_it.evaluation.objective < without.evaluation.objective
    # one that is not lower is not taken: here, the start
    monkeypatch.setattr(_walk, "_extrapolated", lambda problem, before, after: start.point)
    unhelpful = walk(problem, start, lams)
    assert unhelpful.evaluation.objective == without.evaluation.objective


def test_where_there_is_no_way_on():
    family = Dense()
    ones = np.broadcast_to(np.eye(D), (K, D, D))
    at = replace(evaluation_of(), point=Point(np.zeros((K, D)), Factor(ones, ones)))
    broken = replace(at, point=Point(np.zeros((K, D)), Factor(np.nan * ones, ones)))
    problem = problem_of(family=family)
    with np.errstate(all="ignore"):
        assert _walk._extrapolated(problem, broken, at) is None
    with pytest.raises(AttributeError):  # any other error is one
        _walk._extrapolated(problem, replace(at, point=None), at)
