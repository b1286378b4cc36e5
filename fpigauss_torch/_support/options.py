"""What a refit is asked for: the fit, as a FixedPoint, and how it may end."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias, TypeVar

from fpigauss import (
    ClassGaussians,
    CovarianceFamily,
    Diagonal,
    FixedPoint,
    InvalidInputError,
    Status,
)
from fpigauss.interface import with_options

__all__ = ["ACCEPTED", "Refit", "RefitInit", "check_accepted", "with_refit_options"]

F = TypeVar("F", bound=Callable[..., Any])

#: Where a refit may start.
RefitInit: TypeAlias = Literal["current", "data", "identity"] | ClassGaussians

#: How a fit may end for its Gaussians to be taken over.
ACCEPTED = ("converged", "max_iter", "stalled")


@dataclass(frozen=True)
class Refit:
    """The options of a refit, checked before the pass over the data that it needs."""

    fit: FixedPoint
    #: Whether it starts from the Gaussians as they are, where there are any.
    from_current: bool = False

    @classmethod
    def checked(
        cls,
        lam: Any,
        fit: FixedPoint | None,
        options: Mapping[str, Any],
        init: RefitInit | None = None,
    ) -> Self:
        """Combine ``lam``, a ``fit`` and single options, which replace those of the fit."""
        if fit is not None and not isinstance(fit, FixedPoint):
            raise InvalidInputError(f"fit is a {type(fit).__name__}; pass a fpigauss.FixedPoint")
        for name in ("covariance", "tied"):
            if name in options:
                raise InvalidInputError(
                    f"{name} is not an option of a refit; make LatentGaussians with {name}="
                )
        fit = FixedPoint() if fit is None else fit
        if lam is not None and fit.lam is not None:
            raise InvalidInputError(
                f"lam is given twice, as {lam!r} and in fit as {fit.lam:g}; leave out one of them"
            )
        given = dict(options)
        from_current = isinstance(init, str) and init == "current"
        if init is not None and not from_current:
            given["init"] = init
        if lam is not None:
            given["lam"] = lam
        return cls(replace(fit, **given), from_current)

    def check_lam(self) -> None:
        """Raise an error unless there is a lam."""
        if self.fit.lam is None:
            raise InvalidInputError("lam is not given; pass lam=, or fit=FixedPoint(lam=...)")

    def of(self, family: CovarianceFamily) -> FixedPoint:
        """Return the fit for Gaussians of ``family``, which ``fit`` need not repeat."""
        declared = self.fit.strategies.family
        if declared not in (Diagonal(), family):
            raise InvalidInputError(
                f"fit has {_described(declared)} covariances, the Gaussians have "
                f"{_described(family)} ones; leave covariance and tied out of fit"
            )
        return replace(self.fit, covariance=family, tied=family.tied)


def with_refit_options(function: F) -> F:
    """Show the options of a refit in place of ``**options``, in signature and docstring."""
    return with_options(function, without=("covariance", "tied"))


def check_accepted(accept: Any) -> tuple[str, ...]:
    """Check that ``accept`` is a collection of statuses, and return it as a tuple."""
    known = [status.value for status in Status]
    if (
        isinstance(accept, str)
        or not isinstance(accept, Collection)
        or not all(status in known for status in accept)
    ):
        raise InvalidInputError(f"accept is {accept!r}; pass a collection of {known}")
    return tuple(accept)


def _described(family: CovarianceFamily) -> str:
    return f'{"tied " if family.tied else ""}"{family.name}"'
