"""Fits that go on from others: for targets and paths, which fit the same data at many lam."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fpigauss._array.checks import OutOfScaleError
from fpigauss._array.typing import Array
from fpigauss.errors import InvalidInputError, NotPositiveDefiniteError
from fpigauss.fit._options import Callback, Options
from fpigauss.fit._run import solved
from fpigauss.gaussians import ClassGaussians
from fpigauss.result import FixedPointResult, Status
from fpigauss.statistics import ClassStatistics

__all__ = ["Continuation", "Fit", "check_no_lam"]

#: How fits end whose Gaussians are no answer.
_FAILED = (Status.UNBOUNDED, Status.DIVERGED)


class Fit(NamedTuple):
    """One fit, and what it would have warned of."""

    lam: float
    #: None if the equations broke down, or where there is an ``error``.
    result: FixedPointResult | None
    warnings: tuple[tuple[str, type[Warning]], ...] = ()
    #: Whether the callback stopped it; of several starts, an earlier one may be the result.
    stopped: bool = False
    #: Why its Gaussians cannot be computed with, or do not fit the dtype of results.
    error: InvalidInputError | None = None
    #: The dtype of results.
    dtype: str = ""
    #: Whether it was to start cold.
    cold: bool = False

    @property
    def status(self) -> Status:
        """How it ended."""
        return Status.DIVERGED if self.result is None else self.result.status

    @property
    def n_iter(self) -> int:
        """The evaluations it took."""
        return 0 if self.result is None else self.result.n_iter

    @property
    def unbegun(self) -> bool:
        """Whether a cold start could not be computed with, as a warm one at this lam may be."""
        return self.cold and isinstance(self.error, OutOfScaleError)

    @property
    def usable(self) -> bool:
        """Whether its Gaussians are an answer."""
        return self.status not in _FAILED


@dataclass
class Continuation:
    """Fits of the same statistics at one lam after the other.

    ``options`` are those of a cold start, with its ``n_init``; a warm start is one. What the first
    fit measures once, the number of ``pi="initial"``, all later ones keep, so that they minimize
    the same objective.
    """

    statistics: ClassStatistics
    options: Options
    source: str
    like: Array
    #: Called after every fit.
    advance: Callable[[], object] = lambda: None
    _first: FixedPointResult | None = field(default=None, repr=False)

    def at(self, lam: float, start: ClassGaussians | None = None, tol: float | None = None) -> Fit:
        """Fit at ``lam``, from the Gaussians ``start``, or from a cold start without them."""
        options = replace(
            self.options, lam=lam, tol=self.options.tol if tol is None else tol, progress=False
        )
        if start is not None:
            options = replace(options, init=start, n_init=1)
        observed = _Observed(self.options.callback)
        if self.options.callback is not None:
            options = replace(options, callback=observed)
        if self._first is not None:
            repulsion = self.options.strategies.repulsion.at_start(self._first.pi)
            options = replace(options, pi=repulsion)
        warnings: list[tuple[str, type[Warning]]] = []
        try:
            result = solved(
                self.statistics,
                options,
                source=self.source,
                like=self.like,
                warn=lambda message, category: warnings.append((message, category)),
            )
        except NotPositiveDefiniteError:
            return Fit(lam, None)
        finally:
            self.advance()
        self._first = self._first or result
        return Fit(lam, result, tuple(warnings), observed.stopped)


@dataclass
class _Observed:
    """A callback, and whether it has stopped a fit."""

    callback: Callback | None
    stopped: bool = False

    def __call__(self, result: FixedPointResult) -> None:
        assert self.callback is not None
        try:
            self.callback(result)
        except StopIteration:
            self.stopped = True
            raise


def check_no_lam(options: Options, whose: str) -> None:
    """Raise if options have a lam where ``whose`` finds or takes others."""
    if options.lam is not None:
        raise InvalidInputError(
            f"lam is {options.lam:g}, but {whose}; leave lam out, or call fit_fixed_point"
        )
