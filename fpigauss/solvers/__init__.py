"""Solvers of the fixed point: picard, guarded, accelerated; the loop is written once."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from fpigauss._array.checks import check_strategy
from fpigauss.equations import Equations
from fpigauss.errors import InvalidInputError
from fpigauss.solvers._accelerated import Accelerated
from fpigauss.solvers._base import Solver
from fpigauss.solvers._guarded import Guarded
from fpigauss.solvers._loop import Outcome, Runaway, converged, evaluated, iterate
from fpigauss.solvers._minres import Solved, solve_symmetric
from fpigauss.solvers._picard import Picard
from fpigauss.solvers._walk import walked

__all__ = [
    "SOLVERS",
    "Accelerated",
    "Guarded",
    "Outcome",
    "Picard",
    "Runaway",
    "Solved",
    "Solver",
    "SolverName",
    "converged",
    "evaluated",
    "iterate",
    "resolve_solver",
    "solve_symmetric",
    "walked",
]

SolverName: TypeAlias = Literal["auto", "accelerated", "guarded", "picard"]

#: The solvers by their public names, without "auto".
SOLVERS: dict[str, Callable[[], Solver]] = {
    "accelerated": Accelerated,
    "guarded": Guarded,
    "picard": Picard,
}


def resolve_solver(solver: object, equations: Equations) -> Solver:
    """Resolve a public ``solver=``, a name or an object, for a set of equations."""
    auto = Accelerated if equations.exact else Picard
    resolved = check_strategy(solver, "solver", {"auto": auto, **SOLVERS}, Solver)
    if resolved.searches and not equations.exact:
        raise InvalidInputError(
            f"solver is {_shown(solver)}, but the {equations.name} equations have no objective to "
            'descend; pass "picard" or "auto"'
        )
    return resolved


def _shown(solver: object) -> str:
    return f'"{solver}"' if isinstance(solver, str) else repr(solver)
