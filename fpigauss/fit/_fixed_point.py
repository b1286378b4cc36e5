"""The options of a fit as an object that runs it."""

from dataclasses import dataclass
from typing import Any

from fpigauss._array.typing import Array
from fpigauss.errors import InvalidInputError
from fpigauss.fit._checks import Source
from fpigauss.fit._documented import documented
from fpigauss.fit._options import Options
from fpigauss.fit._run import solved
from fpigauss.result import FixedPointResult
from fpigauss.statistics import ClassStatistics, as_rows, results_like

__all__ = ["FixedPoint", "checked_statistics", "gathered"]


@documented
@dataclass(frozen=True, repr=False)
class FixedPoint(Options):
    """The options of a fit as a frozen value: keep it, compare it, print it, pass it on.

    ``FixedPoint(lam, **options).fit(z, y)`` is ``fit_fixed_point(z, y, lam, **options)``. To
    change an option, make a new object with ``dataclasses.replace``.

    Parameters
    ----------
    {options}

    Raises
    ------
    InvalidInputError
        If an option cannot be used, already at construction; the message names it and the remedy.
    UnknownOptionError
        If a keyword is not an option; the message names the nearest one.

    See Also
    --------
    fit_fixed_point : the same in one call.
    fpigauss_torch.FixedPointSchedule : refits under a flow, with these options.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from fpigauss import FixedPoint
    >>> fixed_point = FixedPoint(lam=3.0, tied=True)
    >>> fixed_point
    FixedPoint(lam=3.0, tied=True)
    >>> z, y = [[0.0], [2.0], [3.0], [5.0]], ["a", "a", "b", "b"]
    >>> fixed_point.fit(z, y).status
    <Status.CONVERGED: 'converged'>
    >>> replace(fixed_point, lam=0.0).fit(z, y).gaussians.means
    array([[1.],
           [4.]])
    """

    def fit(self, z: Any, y: Any, sample_weight: Any = None) -> FixedPointResult:
        """Fit the class Gaussians of labeled latents.

        Parameters
        ----------
        z : (N, d) array
            Latents, of any array-API namespace or array-like.
        y : (N,) array-like
            Labels: integers, strings, or floats with integral values. -1 is a class like any
            other.
        sample_weight : (N,) array-like, optional
            Repetition weights >= 0.

        Returns
        -------
        FixedPointResult

        Raises
        ------
        InvalidInputError, NotPositiveDefiniteError
            As in ``fit_fixed_point``; also if ``lam`` is not given.
        """
        self._check_ready()
        statistics, like = gathered(z, y, sample_weight, self)
        return solved(statistics, self, source=Source.of(z), like=like)

    def solve(self, statistics: ClassStatistics) -> FixedPointResult:
        """Fit from class statistics.

        Parameters
        ----------
        statistics : ClassStatistics
            Statistics of at least two classes, none empty; "dense" ones for dense families. Frozen
            classes may be missing or empty.

        Returns
        -------
        FixedPointResult

        Raises
        ------
        InvalidInputError, NotPositiveDefiniteError
            As in ``fit_fixed_point``; also if ``lam`` is not given.
        """
        self._check_ready()
        statistics = checked_statistics(statistics)
        return solved(statistics, self, source="statistics", like=statistics.means)

    def _check_ready(self) -> None:
        """Raise if something is missing that may be put in after construction."""
        if self.lam is None:
            raise InvalidInputError(
                "lam is not given; pass a number >= 0, as FixedPoint(lam=...) or "
                "dataclasses.replace(fixed_point, lam=...)"
            )
        self.check_start()


def gathered(
    z: Any, y: Any, sample_weight: Any, options: Options, *, classes: Any = None
) -> tuple[ClassStatistics, Array]:
    """Gather the statistics that the family needs, and what gives results their dtype."""
    rows = as_rows(z)
    statistics = ClassStatistics.from_samples(
        rows,
        y,
        covariance="dense" if options.strategies.family.needs_dense else "diagonal",
        classes=classes,
        sample_weight=sample_weight,
    )
    return statistics, results_like(z, rows)


def checked_statistics(statistics: object) -> ClassStatistics:
    """Return the argument of a public function once it is known to be statistics."""
    if not isinstance(statistics, ClassStatistics):
        raise InvalidInputError(
            f"statistics is a {type(statistics).__name__}; pass a ClassStatistics, "
            "or samples to the function that fits those"
        )
    return statistics
