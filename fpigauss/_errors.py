"""The errors and warnings of fpigauss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fpigauss.statistics import ClassStatistics

__all__ = [
    "ConvergenceWarning",
    "InvalidInputError",
    "NotPositiveDefiniteError",
    "UnboundedObjectiveWarning",
]


class InvalidInputError(ValueError):
    """An argument cannot be used; the message names it, the place at fault and the remedy.

    Attributes
    ----------
    statistics : ClassStatistics or None
        What was gathered before the fault, where one batch of ``ClassStatistics.from_batches`` was
        at fault: merge it with the statistics of the batches that follow. Otherwise None.
    """

    statistics: ClassStatistics | None = None


class NotPositiveDefiniteError(ArithmeticError):
    """The matrix A of the printed or the released reading is not positive definite.

    A as printed (Eq. 7) loses definiteness for large ``lam``; the default,
    ``equations="stationary"``, does not.

    Parameters
    ----------
    label : object
        The label of the class at fault.
    lam : float
        The weight of the repulsion.
    reading : str
        The reading of the equations, "printed" or "released".
    """

    def __init__(self, label: object, lam: float, reading: str) -> None:
        super().__init__(
            f"A of class {label!r} is not positive definite at lam={lam:g} in the {reading} "
            'reading of the equations; use equations="stationary", which is positive definite '
            "for every lam, or a smaller lam"
        )
        self.label = label
        self.lam = lam
        self.reading = reading

    def __reduce__(self) -> tuple[type, tuple[object, float, str], dict[str, Any]]:
        """Rebuild from the constructor's arguments, so that worker processes can raise it."""
        return type(self), (self.label, self.lam, self.reading), self.__dict__


class UnboundedObjectiveWarning(UserWarning):
    """The objective has, or seems to have, no global minimum for this ``lam`` and family."""


class ConvergenceWarning(UserWarning):
    """A tolerance that was asked for was not reached."""
