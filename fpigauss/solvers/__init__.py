"""Solvers of the fixed point: picard, guarded, accelerated; the loop is written once."""

from collections.abc import Callable

from fpigauss._errors import InvalidInputError
from fpigauss.equations import Equations, StationaryEquations
from fpigauss.solvers._accelerated import Accelerated
from fpigauss.solvers._guarded import Guarded
from fpigauss.solvers._loop import Outcome, Runaway, Solver, iterate
from fpigauss.solvers._picard import Picard

__all__ = [
    "Accelerated",
    "Guarded",
    "Outcome",
    "Picard",
    "Runaway",
    "Solver",
    "iterate",
    "resolve_solver",
]

_SOLVERS: dict[str, Callable[[], Solver]] = {
    "accelerated": Accelerated,
    "guarded": Guarded,
    "picard": Picard,
}


def resolve_solver(solver: object, equations: Equations) -> Solver:
    """The solver of the public ``solver=`` for a reading of the equations."""
    stationary = isinstance(equations, StationaryEquations)
    if isinstance(solver, str) and solver == "auto":
        return Accelerated() if stationary else Picard()
    if not isinstance(solver, str) or solver not in _SOLVERS:
        known = ", ".join(f'"{name}"' for name in ("auto", *_SOLVERS))
        raise InvalidInputError(f"solver is {solver!r}; pass one of {known}")
    if not stationary and solver != "picard":
        raise InvalidInputError(
            f'solver is "{solver}", but the {equations.name} reading has no objective to descend; '
            'pass "picard" or "auto"'
        )
    return _SOLVERS[solver]()
