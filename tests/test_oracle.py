"""Fits held against scipy's L-BFGS-B on random problems, see `oracle.py`.

`python tests/test_oracle.py 300` runs as many problems and prints the counts.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from oracle import Drawn, draw, loss_in_torch
from problems import point, quiet

import fpigauss
from fpigauss import FixedPointResult, fit_fixed_point

N_PROBLEMS = 60

#: Forces cancel to this part of their sizes where a fit with the default tol has converged.
BALANCED = 1e-3


@dataclass(frozen=True)
class Held:
    """A fit, and what the oracle says of it."""

    drawn: Drawn
    result: FixedPointResult
    means_gradient: float
    imbalance: float
    lowest: float
    objective: float
    seconds: float

    @property
    def height(self) -> float:
        """How far above the oracle's minimum from the same start, relative to its size."""
        return (self.objective - self.lowest) / max(1.0, abs(self.lowest))

    @property
    def has_potential(self) -> bool:
        """Whether L is one function, so that its values can be compared."""
        return self.drawn.options["pi"] in ("forward", "initial", 2.0)

    @property
    def name(self) -> str:
        o, (n_classes, dim) = self.drawn.options, self.drawn.oracle.shape
        family = f"{'tied ' if o['tied'] else ''}{o['covariance']}"
        pi = getattr(o["pi"], "__name__", o["pi"])
        return (
            f"{self.drawn.seed}: K={n_classes} d={dim} {family} pi={pi} update={o['update']} "
            f"init={o['init']} alpha={o['alpha']:g} lam={self.drawn.oracle.lam:.3g}"
        )


def held(seed: int, *, minimizes: bool = True, max_iter: int = 1000) -> Held:
    """Fit a random problem, measure the gradient where it ended, and minimize from its start."""
    drawn = draw(seed)
    oracle, begun = drawn.oracle, time.perf_counter()
    with quiet():
        result = fit_fixed_point(oracle.z, oracle.y, oracle.lam, max_iter=max_iter, **drawn.options)
    seconds = time.perf_counter() - begun
    at = point(result)
    start = oracle.start(drawn.options["init"])
    pi = result.pi if drawn.options["pi"] == "initial" else oracle.measured(*at)
    lowest = oracle.minimum(start, pi=pi)[0] if minimizes else np.nan
    return Held(
        drawn,
        result,
        oracle.natural_gradient(*at, pi)[0],
        oracle.imbalance(*at, pi),
        lowest,
        oracle.value(*at, pi),
        seconds,
    )


@pytest.fixture(scope="module")
def fits():
    return [held(seed, minimizes=False) for seed in range(N_PROBLEMS)]


@pytest.mark.parametrize("seed", range(24))
def test_gradients_by_hand_are_those_of_autograd(seed):
    torch = pytest.importorskip("torch", reason="the extra torch has gradients")
    drawn = draw(seed, largest_lam=100.0)
    oracle = drawn.oracle
    rng = np.random.default_rng(seed)
    means, covariances = oracle.start()
    means = means + 0.1 * rng.standard_normal(means.shape)
    pi = oracle.measured(means, covariances)
    tensors = [torch.tensor(x, requires_grad=True) for x in (means, covariances)]
    loss = loss_in_torch(oracle, *tensors, pi)
    by_autograd = [g.numpy() for g in torch.autograd.grad(loss, tensors)]
    value, pull, push = oracle.forces(means, covariances, pi)
    assert value == pytest.approx(loss.item(), rel=1e-10)
    force = pull.plus(push)
    # sums of up to 132 pairs, whose terms may be 1e3 times their sum
    np.testing.assert_allclose(force.means, by_autograd[0], rtol=1e-9, atol=1e-10 * oracle.lam)
    matrices = force.covariances.sum(0) if drawn.options["tied"] else force.covariances
    if drawn.options["covariance"] != "dense":
        matrices = np.diagonal(matrices, axis1=-2, axis2=-1)
        if drawn.options["covariance"] == "isotropic":
            matrices = matrices.sum(-1)
    theirs = by_autograd[1]
    if drawn.options["covariance"] == "dense":  # torch differentiates the lower triangle
        theirs = 0.5 * (theirs + theirs.swapaxes(-2, -1))
    np.testing.assert_allclose(matrices, theirs, rtol=1e-8, atol=1e-10 * oracle.lam)


def test_the_objective_is_that_of_the_oracle(fits):
    for fit in fits:
        if fit.result.status == "unbounded":
            continue
        # sums of likelihoods and of up to 132 potentials times lam, in another order
        size = max(1.0, abs(fit.objective), fit.drawn.oracle.lam)
        assert abs(fit.result.objective - fit.objective) <= 1e-9 * size, fit.name


def test_converged_is_stationary(fits):
    converged = [fit for fit in fits if fit.result.converged]
    assert len(converged) > 0.6 * N_PROBLEMS
    for fit in converged:
        assert fit.imbalance <= BALANCED, fit.name


def _table(n: int) -> None:
    statuses: Counter[str] = Counter()
    missed, false, worst = [], [], 0.0
    comparable = 0
    for seed in range(n):
        fit = held(seed)
        statuses[str(fit.result.status)] += 1
        if fit.result.converged:
            worst = max(worst, fit.imbalance)
            if fit.imbalance > BALANCED:
                false.append(fit)
        mark = ""
        if fit.has_potential and fit.result.status != "unbounded":
            comparable += 1
            if fit.height > 1e-6:
                missed.append(fit)
                mark = f"MISSED {fit.height:.1e}"
            elif fit.height < -1e-6:
                mark = f"lower by {-fit.height:.1e}"
        print(
            f"{fit.name}: {fit.result.status.value} {fit.result.n_iter} "
            f"residual {fit.result.residual:.1e} imbalance {fit.imbalance:.1e} {mark} "
            f"{fit.seconds:.1f}s",
            flush=True,
        )
    print(fpigauss.__file__, dict(statuses), f"of {n}")
    print(f"converged, not stationary: {len(false)}; largest imbalance {worst:.1e}")
    print(f"a lower minimum missed: {len(missed)} of {comparable}")
    for fit in missed + false:
        print("  ", fit.name, fit.result, f"height {fit.height:.1e} imbalance {fit.imbalance:.1e}")


if __name__ == "__main__":
    _table(int(sys.argv[1]))
