"""The errors and warnings of fpigauss."""

import warnings
from typing import Any

__all__ = [
    "ConvergenceWarning",
    "InvalidInputError",
    "NotDifferentiableError",
    "NotPositiveDefiniteError",
    "PooledCovarianceWarning",
    "SaddlePointWarning",
    "UnboundedObjectiveWarning",
    "UnknownOptionError",
    "UnreachableSeparationError",
]


class InvalidInputError(ValueError):
    """An argument cannot be used; the message names it, the place at fault and the remedy.

    Attributes
    ----------
    statistics : ClassStatistics or None
        If a batch of ``ClassStatistics.from_batches`` is at fault, the statistics of the batches
        before it: merge them with those of the batches that follow. Otherwise None.
    """

    statistics: Any = None


class UnknownOptionError(InvalidInputError, TypeError):
    """A keyword that is not an option; the message names the nearest one that is."""


class NotPositiveDefiniteError(ArithmeticError):
    """The matrix A of the printed or the released equations is not positive definite.

    A as printed (Eq. 7) loses definiteness for large ``lam``; the default,
    ``equations="stationary"``, does not.

    Parameters
    ----------
    label : object
        The label of the class at fault.
    lam : float
        The weight of the repulsion.
    equations : str
        The equations, "printed" or "released".
    """

    def __init__(self, label: object, lam: float, equations: str) -> None:
        super().__init__(
            f"A of class {label!r} is not positive definite at lam={lam:g} in the {equations} "
            'equations; use equations="stationary", whose A is positive definite '
            "for every lam, or a smaller lam"
        )
        self.label = label
        self.lam = lam
        self.equations = equations

    @property
    def reading(self) -> str:
        """The equations, under the attribute's former name."""
        warnings.warn(
            "NotPositiveDefiniteError.reading is now .equations; the old name will be removed in "
            "the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.equations

    def __reduce__(self) -> tuple[type, tuple[object, float, str], dict[str, Any]]:
        """Rebuild it from the constructor's arguments, so that worker processes can raise it."""
        return type(self), (self.label, self.lam, self.equations), self.__dict__

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        """Restore its attributes, from when ``equations`` was ``reading`` too."""
        renamed = {"reading": "equations"}
        super().__setstate__({renamed.get(name, name): v for name, v in (state or {}).items()})


class NotDifferentiableError(ArithmeticError):
    """A fit has no gradient that can be trusted; the message says why, and the remedy.

    It did not converge, or the linear system of the gradient is singular, or nearly so: the
    Gaussians are not determined by the data.
    """


class UnreachableSeparationError(ArithmeticError):
    """No ``lam`` that was tried separates Gaussians as asked; the message says why, and the remedy.

    Attributes
    ----------
    value : float
        The largest separation short of the target that a converged fit reached (the smallest
        overlap, for ``max_overlap``).
    lam : float
        The ``lam`` of that fit.
    path : tuple of Trial
        All fits that were tried.
    """

    value: float = float("nan")
    lam: float = float("nan")
    path: tuple[Any, ...] = ()


class PooledCovarianceWarning(UserWarning):
    """A shared covariance is fitted to some of its classes: frozen ones have no samples."""


class SaddlePointWarning(UserWarning):
    """A gradient was taken at a saddle point: it is valid, but that of no minimum."""


class UnboundedObjectiveWarning(UserWarning):
    """The objective has, or seems to have, no global minimum for this ``lam`` and family."""


class ConvergenceWarning(UserWarning):
    """A fit ended before it had converged to the tolerance that was asked for."""
