"""Fit random problems, and hold the fits against an optimizer that was written independently.

A fit that says "converged" has to be stationary, and its objective that of the oracle. From the
same start and from others, the oracle then looks for lower minima, which may exist: how often, by
family, pi and d, is counted. The oracle is ``tests/oracle.py``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tools.torture._runner import Fault, Machine

__all__ = ["MACHINE", "lower_minima"]

#: Forces cancel to this part of their sizes where a fit with the default tol has converged.
_BALANCED = 1e-3
#: How much lower a minimum has to be, relative to its size, to count.
_LOWER = 1e-6
_STARTS = 3
_NO_LOWER = "no lower minimum"


def _others(oracle: Any, rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
    """Yield starts of one's own: class means that are spread, covariances that are stretched."""
    means, covariances = oracle.start("data")
    sizes = np.sqrt(np.diagonal(oracle.full(covariances), axis1=-2, axis2=-1))
    for _ in range(_STARTS):
        moved = means + 2.0 * sizes * rng.standard_normal(means.shape)
        batch = np.shape(covariances)[: 0 if oracle.tied else 1]
        scale = np.exp(rng.standard_normal(batch))
        ones = (1,) * (np.ndim(covariances) - len(batch))
        yield (
            means if oracle.update == "covariances" else moved,
            covariances
            if oracle.update == "means"
            else covariances * np.reshape(scale, (*batch, *ones)),
        )


def trial(number: int, _: Path) -> Iterator[str]:
    """Fit one problem."""
    from oracle import draw
    from problems import point, quiet

    from fpigauss import fit_fixed_point

    drawn = draw(number)
    oracle, options = drawn.oracle, drawn.options
    with quiet():
        result = fit_fixed_point(oracle.z, oracle.y, oracle.lam, max_iter=1000, **options)
    yield str(result.status)
    at = point(result)
    if not all(np.isfinite(x).all() for x in at):
        raise Fault(f"{result} has numbers that are not finite")
    pi = result.pi if options["pi"] == "initial" else oracle.measured(*at)
    if result.status == "unbounded":
        return
    value, imbalance = oracle.value(*at, pi), oracle.imbalance(*at, pi)
    if abs(result.objective - value) > 1e-9 * max(1.0, abs(value), oracle.lam):
        raise Fault(f"the objective is {result.objective}, the oracle's {value}")
    if result.converged and imbalance > _BALANCED:
        raise Fault(f"converged, with an imbalance of {imbalance:.1e}: {result}")
    if result.converged and options["pi"] in ("forward", "initial", 2.0):
        rng = np.random.default_rng(number)
        # frozen covariances are those of the start, so that "means" has no other starts for them
        starts = [oracle.start(options["init"])]
        if options["init"] == "data" or options["update"] == "both":
            starts += _others(oracle, rng)
        least = min(oracle.minimum(s, pi=pi, max_evaluations=1500)[0] for s in starts)
        height = (value - least) / max(1.0, abs(least))
        yield _named(options, oracle.shape[1], height)


def _named(options: dict[str, Any], dim: int, height: float) -> str:
    """Return what a comparison says, in words that ``lower_minima`` reads again."""
    family = f"{'tied ' if options['tied'] else ''}{options['covariance']}"
    pi = "forward" if options["pi"] == "forward" else "frozen"
    lower = f"lower by 1e{int(np.floor(np.log10(height))):d}" if height > _LOWER else _NO_LOWER
    return f"{lower}: {family}, {pi}, {'d = 1' if dim == 1 else 'd > 1'}"


def lower_minima(outcomes: dict[str, int]) -> str:
    """Return a table of how often a lower minimum was found, and how much lower."""
    groups: dict[tuple[str, ...], dict[str, int]] = {}
    for name, n in outcomes.items():
        lower, _, group = name.partition(": ")
        if group:
            found = groups.setdefault(tuple(group.split(", ")), {})
            found[lower] = found.get(lower, 0) + n
    rows = [
        "| family | pi | d | fits | with a lower minimum | sizes |",
        "|---|---|---|---|---|---|",
    ]
    for names, found in sorted(groups.items()):
        n = sum(found.values())
        sizes = {name[len("lower by ") :]: k for name, k in found.items() if name != _NO_LOWER}
        n_lower = sum(sizes.values())
        listed = ", ".join(f"{size}: {k}" for size, k in sorted(sizes.items()))
        rows.append(f"| {' | '.join(names)} | {n} | {n_lower} ({n_lower / n:.1%}) | {listed} |")
    return "\n".join(rows)


MACHINE = Machine(
    what="a random problem is fitted, and minimized by the oracle from several starts",
    trial=trial,
    quick=15,
    full=3000,
    imports=("fpigauss", "oracle", "problems"),
    batch=20,
    seconds=60.0,
)
