"""The three readings of the paper's equations: stationary, printed, released."""

from collections.abc import Callable

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


_READINGS: dict[str, Callable[[], Equations]] = {
    "stationary": StationaryEquations,
    "printed": PrintedEquations,
    "released": ReleasedEquations,
}


def resolve_equations(equations: object) -> Equations:
    """The reading of the public ``equations=``: a name or a ReleasedEquations."""
    if isinstance(equations, ReleasedEquations):
        return equations
    if isinstance(equations, str) and equations in _READINGS:
        return _READINGS[equations]()
    raise InvalidInputError(
        f'equations is {equations!r}; pass "stationary", "printed", "released" or a '
        "ReleasedEquations"
    )
