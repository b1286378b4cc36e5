"""The three readings of the paper's equations: stationary, printed, released."""

from fpigauss._errors import InvalidInputError
from fpigauss.equations._printed import PrintedEquations
from fpigauss.equations._problem import Equations, Evaluation, Point, Problem, Step
from fpigauss.equations._released import ReleasedEquations
from fpigauss.equations._stationary import StationaryEquations

__all__ = [
    "Equations",
    "Evaluation",
    "Point",
    "PrintedEquations",
    "Problem",
    "ReleasedEquations",
    "StationaryEquations",
    "Step",
    "resolve_equations",
]


def resolve_equations(equations: object) -> Equations:
    """The reading of the public ``equations=``: a name or a ReleasedEquations."""
    if isinstance(equations, ReleasedEquations):
        return equations
    if equations == "stationary":
        return StationaryEquations()
    if equations == "printed":
        return PrintedEquations()
    if equations == "released":
        return ReleasedEquations()
    raise InvalidInputError(
        f'equations is {equations!r}; pass "stationary", "printed", "released" or a '
        "ReleasedEquations"
    )
