"""What a refit is asked for: the fit, as a FixedPoint, and how it may end."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, TypeAlias, TypeVar

from fpigauss import (
    ClassGaussians,
    CovarianceFamily,
    Diagonal,
    FixedPoint,
    InvalidInputError,
    Status,
)
from fpigauss.interface import (
    check_option_names,
    check_positive,
    distinct_name,
    with_options,
)

__all__ = [
    "ACCEPTED",
    "Refit",
    "RefitInit",
    "check_accepted",
    "check_fit",
    "check_lam_once",
    "described",
    "given",
    "lam_apart",
    "starts_from_data",
    "with_refit_options",
]

F = TypeVar("F", bound=Callable[..., Any])

#: Where a refit may start.
RefitInit: TypeAlias = Literal["current", "data", "identity"] | ClassGaussians

#: How a fit may end for its Gaussians to be taken over.
ACCEPTED = ("converged", "max_iter", "stalled")

#: The options of a fit that those of the Gaussians take the place of.
_OF_GAUSSIANS = ("covariance", "tied")


@dataclass(frozen=True)
class Refit:
    """The options of a refit, checked before the pass over the data that it needs."""

    fit: FixedPoint
    #: Whether it starts from the Gaussians as they are, where there are any.
    from_current: bool = False
    #: The smallest KLD to reach in place of a lam, in nats.
    separation: float | None = None

    @classmethod
    def checked(
        cls,
        lam: Any,
        fit: FixedPoint | None,
        options: Mapping[str, Any],
        init: RefitInit | None = None,
        separation: Any = None,
    ) -> Self:
        """Combine ``lam``, a ``fit`` and single options, which replace those of the fit."""
        fit = check_fit(fit)
        check_lam_once(lam, fit, separation)
        if separation is not None:
            separation = check_positive(separation, "separation")
        _check_names(options, fit)
        given = dict(options)
        from_current = isinstance(init, str) and init == "current"
        if from_current:
            given["init"] = "data"  # while all means are equal
        elif init is not None:
            given["init"] = init
        if lam is not None:
            given["lam"] = lam
        return cls(replace(fit, **given), from_current, separation)

    def check_lam(self) -> None:
        """Raise an error unless there is a lam, or a separation to find one for."""
        if self.fit.lam is None and self.separation is None:
            raise InvalidInputError(
                "neither separation nor lam is given; pass separation=, the smallest KLD between "
                "classes in nats (150 for example), or lam="
            )

    @property
    def asked(self) -> str:
        """What is asked for, in a message."""
        if self.separation is not None:
            return f"separation={self.separation:g}"
        return f"lam={self.fit.lam:g}"

    def of(self, family: CovarianceFamily) -> FixedPoint:
        """Return the fit for Gaussians of ``family``, which ``fit`` need not repeat."""
        declared = self.fit.strategies.family
        if declared not in (Diagonal(), family):
            raise InvalidInputError(
                f"fit has {described(declared)} covariances, the Gaussians have "
                f"{described(family)} ones; leave covariance and tied out of fit"
            )
        return replace(self.fit, covariance=family, tied=family.tied)


def check_fit(fit: Any) -> FixedPoint:
    """Check that ``fit`` is a FixedPoint; without one, return that of the defaults."""
    if fit is not None and not isinstance(fit, FixedPoint):
        raise InvalidInputError(f"fit is a {type(fit).__name__}; pass a fpigauss.FixedPoint")
    return FixedPoint() if fit is None else fit


def check_lam_once(lam: Any, fit: FixedPoint, separation: Any = None) -> None:
    """Raise an error if there are two of a lam beside the fit, one in it, and a separation."""
    shown = "a function" if callable(lam) else repr(lam)
    if lam is not None and fit.lam is not None:
        raise InvalidInputError(
            f"lam is given twice, as {shown} and in fit as {fit.lam:g}; leave out one of them"
        )
    if separation is not None and not (lam is None and fit.lam is None):
        where = f"lam={shown}" if lam is not None else f"a fit with lam={fit.lam:g}"
        raise InvalidInputError(
            f"separation is given beside {where}; leave out one of them: a separation finds its lam"
        )


def lam_apart(lam: float | None, fit: Any) -> tuple[float | None, Any]:
    """Take the lam out of the fit if it is only there.

    What overrides ``LatentGaussians.solve_`` may expect it by position, as it was always passed
    before there was a ``fit``.
    """
    if lam is None and isinstance(fit, FixedPoint):
        return fit.lam, replace(fit, lam=None)
    return lam, fit


def starts_from_data(fit: FixedPoint) -> bool:
    """Return whether a fit has no start of its own."""
    return isinstance(fit.init, str) and fit.init == "data"


def _check_names(options: Mapping[str, Any], fit: FixedPoint) -> None:
    """Raise an error for the first option that a refit does not take."""
    for name in _OF_GAUSSIANS:
        if name in options:
            raise InvalidInputError(
                f"{name} is not an option of a refit; make LatentGaussians with {name}="
            )
    own = [option.name for option in fields(fit) if option.init]
    taken = [name for name in own if name not in _OF_GAUSSIANS]
    check_option_names(options, known=[*taken, "separation", "fit", "accept"])


def with_refit_options(function: F) -> F:
    """Show the options of a refit in place of ``**options``, in signature and docstring."""
    return with_options(function, without=_OF_GAUSSIANS)


def given(**options: Any) -> dict[str, Any]:
    """Return the options that are not None, to pass on.

    What overrides a method may be older than an argument of it, which nobody has to have used.
    """
    return {name: value for name, value in options.items() if value is not None}


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


def described(family: CovarianceFamily) -> str:
    """Describe a family in a message."""
    return f'{"tied " if family.tied else ""}"{distinct_name(family)}"'
