"""How strongly the classes repel each other: pi_KLD, the kernel W, its potential phi, and lam*.

The repulsion of Eq. 4 is the mean over ordered pairs of phi(D_yy'); W = -phi' with pi frozen is
the paper's kernel K_yy'.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from fpigauss._array.checks import check_strategy
from fpigauss._deprecated import renamed
from fpigauss.errors import InvalidInputError
from fpigauss.repulsion._base import NoRepulsion, Repulsion
from fpigauss.repulsion._callable import CallableRepulsion
from fpigauss.repulsion._critical_lam import critical_lam
from fpigauss.repulsion._forward import ForwardRepulsion
from fpigauss.repulsion._frozen import FrozenRepulsion, InitialRepulsion
from fpigauss.repulsion._mean import MeanRepulsion

__all__ = [
    "REPULSIONS",
    "CallableRepulsion",
    "ForwardRepulsion",
    "FrozenRepulsion",
    "InitialRepulsion",
    "MeanRepulsion",
    "NoRepulsion",
    "PiName",
    "Repulsion",
    "critical_lam",
    "resolve_repulsion",
]

PiName: TypeAlias = Literal["forward", "mean", "initial"]

#: The choices of pi by their public names.
REPULSIONS: dict[str, Callable[[], Repulsion]] = {
    "forward": ForwardRepulsion,
    "mean": MeanRepulsion,
    "initial": InitialRepulsion,
}


def resolve_repulsion(pi: Any, lam: float = 1.0) -> Repulsion:
    """Resolve a public ``pi=`` at ``lam``: a name, a Repulsion, a callable or a positive number."""
    or_else = "a positive number, a callable, or a Repulsion"
    repulsion = check_strategy(pi, "pi", REPULSIONS, Repulsion, or_else=or_else, otherwise=_unnamed)
    return repulsion if lam > 0.0 else NoRepulsion(repulsion)


def _unnamed(pi: Any) -> Repulsion:
    if getattr(pi, "ndim", 0) == 2:
        raise InvalidInputError("pi is a matrix; pass a callable that returns it: lambda D: matrix")
    return CallableRepulsion(pi) if callable(pi) else FrozenRepulsion(pi)


__getattr__ = renamed(
    __name__,
    {
        "CallablePi": "CallableRepulsion",
        "ForwardPi": "ForwardRepulsion",
        "FrozenPi": "FrozenRepulsion",
        "InitialPi": "InitialRepulsion",
        "MeanPi": "MeanRepulsion",
    },
)
