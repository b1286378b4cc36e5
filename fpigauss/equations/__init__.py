"""Three sets of equations for the fixed point: stationary, printed, released."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from fpigauss._array.checks import check_strategy
from fpigauss.equations._base import Equations
from fpigauss.equations._curvature import Curvature, curvature_at, mean_kld_gradient
from fpigauss.equations._held import Held
from fpigauss.equations._pairs import sum_over_pairs
from fpigauss.equations._printed import PrintedEquations
from fpigauss.equations._problem import Descent, Evaluation, Move, Point, Problem, Step, largest
from fpigauss.equations._released import ReleasedEquations
from fpigauss.equations._stationary import StationaryEquations

__all__ = [
    "EQUATIONS",
    "Curvature",
    "Descent",
    "Equations",
    "EquationsName",
    "Evaluation",
    "Held",
    "Move",
    "Point",
    "PrintedEquations",
    "Problem",
    "ReleasedEquations",
    "StationaryEquations",
    "Step",
    "curvature_at",
    "largest",
    "mean_kld_gradient",
    "resolve_equations",
    "sum_over_pairs",
]

EquationsName: TypeAlias = Literal["stationary", "printed", "released"]

#: The sets of equations by their public names.
EQUATIONS: dict[str, Callable[[], Equations]] = {
    "stationary": StationaryEquations,
    "printed": PrintedEquations,
    "released": ReleasedEquations,
}


def resolve_equations(equations: object) -> Equations:
    """Resolve a public ``equations=``: a name, or an object such as ReleasedEquations()."""
    return check_strategy(
        equations, "equations", EQUATIONS, Equations, or_else="a ReleasedEquations"
    )
