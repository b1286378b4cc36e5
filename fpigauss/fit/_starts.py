"""Where to start a fit again, to find a lower minimum."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fpigauss._array.namespaces import cast_like, device_of, namespace, to_numpy
from fpigauss._array.typing import Array
from fpigauss.equations import Point, Problem, Step
from fpigauss.fit._start import Setup
from fpigauss.solvers import evaluated

__all__ = ["starts"]

#: Draws are the same in every fit.
_SEED = 20240

#: How far to move means, in standard deviations, and to scale covariances, in e-folds.
_MEANS = 1.0
_COVARIANCES = 2.0


def starts(setup: Setup) -> Iterator[Setup]:
    """Yield ``n_init`` starts of one problem, with pi as the first has it; one if nothing repels.

    Starts that break down are left out.
    """
    yield setup
    n_others = setup.options.n_init - 1 if setup.problem.lam > 0.0 else 0
    for number in range(n_others):
        moved = _moved(setup, number)
        if moved is not None:
            yield moved


def _moved(setup: Setup, number: int) -> Setup | None:
    """Start from scaled covariances, from permuted means, and from both off, in turn.

    Which of them leads to a lower minimum depends on the family: classes on a line cannot pass
    one another, and which class inflates depends on the sizes that they have at the start.
    """
    problem, rng = setup.problem, np.random.default_rng([_SEED, number])
    means, factor = setup.start.point
    kinds: tuple[str, ...] = ("scaled", "permuted", "both")
    if not problem.updates_covariances:
        kinds = ("permuted", "both")
    elif not problem.updates_means:
        kinds = ("scaled",)
    kind = kinds[number % len(kinds)]
    if kind == "permuted":
        order = np.arange(problem.n_classes)
        free = order if problem.held is None else np.flatnonzero(to_numpy(problem.held.free))
        order[free] = rng.permutation(free)
        start = Point(namespace(means).take(means, _index(order, means), axis=0), factor)
        step = Step(None, None)
    else:
        start = setup.start.point
        step = _drawn(problem, means, rng, of_means=kind == "both")
    evaluation = evaluated(
        problem,
        setup.options.strategies.equations,
        replace(setup.start, point=start),
        step,
        setup.admissible,
    )
    if evaluation is None:
        return None
    point = evaluation.point
    return replace(
        setup, start=evaluation, means=setup.means_at(point), values=setup.covariances_at(point)
    )


def _drawn(problem: Problem, means: Array, rng: np.random.Generator, *, of_means: bool) -> Step:
    """Draw a step: means off by standard deviations, covariances scaled as a whole."""
    moved = scaled = None
    if of_means:
        moved = _MEANS * cast_like(rng.standard_normal(tuple(means.shape)), means)
    if problem.updates_covariances:
        family = problem.family
        one = family.average(family.unit(problem.dim, means), problem.dim)  # (1, ...)
        n_factors = 1 if family.tied else problem.n_classes
        sizes = rng.standard_normal((n_factors,) + (1,) * (one.ndim - 1))
        scaled = _COVARIANCES * cast_like(sizes, means) * one
    return Step(moved, scaled)


def _index(order: np.ndarray, like: Array) -> Array:
    return namespace(like).asarray(order, device=device_of(like))
