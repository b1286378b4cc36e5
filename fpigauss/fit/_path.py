"""What fits along a path of lam gave, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from fpigauss._array.flags import unflagged
from fpigauss._array.namespaces import detached, to_numpy
from fpigauss.divergence import smallest_kld, terms_of
from fpigauss.equations import sum_over_pairs
from fpigauss.fit._checks import divergence_noise
from fpigauss.fit._continued import Continuation, Fit
from fpigauss.fit._frame import Frame
from fpigauss.fit._lineup import Lineup, grouped
from fpigauss.fit._scores import Scores, Validation
from fpigauss.gaussians import ClassGaussians
from fpigauss.overlap import largest_log_overlap
from fpigauss.result import FixedPointResult

if TYPE_CHECKING:
    from fpigauss.plot import PathDisplay

__all__ = ["LamPath", "path_of"]

Numbers: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class LamPath:
    """What fits at many ``lam`` gave: an entry each in arrays (n,), from small to large ``lam``.

    Where the equations broke down, numbers are NaN and the Gaussians None.

    Attributes
    ----------
    lam : (n,) array
        The weights of the repulsion.
    status : (n,) array of str
        How each fit ended.
    n_iter : (n,) array of int
        The evaluations that each took.
    likelihood, repulsion : (n,) arrays
        The two parts of the objective, which is their sum: the balanced negative log-likelihood,
        and ``lam`` times the mean potential. With ``frozen`` classes, what is constant is left out
        of both, as it is of the ``objective`` of a fit.
    smallest_kld, median_kld : (n,) arrays
        Over ordered pairs, in nats; pairs of two ``frozen`` classes do not count.
    overlap : (n,) array
        The largest overlap of a pair, as in ``pairwise_overlap``, of those that count.
    accuracy, nll, ece : (n,) arrays or None
        On the ``validation`` data, if given, under equal priors: the accuracy, the mean of
        -log p(y|z) in nats, and the expected calibration error (15 bins of confidence).
    gaussians : tuple of ClassGaussians
        The fitted Gaussians.

    See Also
    --------
    lam_path : gives one.
    fpigauss.plot.PathDisplay : draws it.
    """

    lam: Numbers
    status: Numbers
    n_iter: Numbers
    likelihood: Numbers
    repulsion: Numbers
    smallest_kld: Numbers
    median_kld: Numbers
    overlap: Numbers
    accuracy: Numbers | None
    nll: Numbers | None
    ece: Numbers | None
    gaussians: tuple[ClassGaussians | None, ...]

    def __len__(self) -> int:
        """Return the number of fits."""
        return len(self.lam)

    def __repr__(self) -> str:
        """Show the extent, without the arrays."""
        return (
            f"LamPath({len(self)} fits, lam={self.lam[0]:.4g} to {self.lam[-1]:.4g}, "
            f"smallest_kld={self.smallest_kld[0]:.4g} to {self.smallest_kld[-1]:.4g}, "
            f"n_iter={self.n_iter.sum()})"
        )

    def columns(self) -> dict[str, Numbers]:
        """Return the arrays by name, those that there are.

        Returns
        -------
        dict of str to (n,) array
        """
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}

    def plot(self, *, ax: Any = None) -> "PathDisplay":
        """Draw divergences, likelihood and validation scores against ``lam``.

        It needs the extra ``plot``.

        Parameters
        ----------
        ax : sequence of matplotlib.axes.Axes, optional
            Where to draw, one per panel: two, and with validation data four; new axes by default.

        Returns
        -------
        fpigauss.plot.PathDisplay
            What was drawn, with ``axes_`` and ``figure_``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from fpigauss.plot import PathDisplay

        return PathDisplay.from_path(self, ax=ax)

    def to_frame(self) -> Any:
        """Return the arrays as the columns of a data frame, of pandas or else of polars.

        Returns
        -------
        pandas.DataFrame or polars.DataFrame

        Raises
        ------
        ModuleNotFoundError
            If neither is installed.
        """
        try:
            from pandas import DataFrame
        except ModuleNotFoundError:
            try:
                from polars import DataFrame
            except ModuleNotFoundError:
                raise ModuleNotFoundError(
                    "to_frame needs pandas or polars: pip install pandas; "
                    "path.columns() gives the same as arrays by name"
                ) from None
        return DataFrame(self.columns())


class Row(NamedTuple):
    """The figures of one fit, under the names of the arrays that they go into."""

    lam: float
    status: str
    n_iter: int
    likelihood: float = np.nan
    repulsion: float = np.nan
    smallest_kld: float = np.nan
    median_kld: float = np.nan
    overlap: float = np.nan
    accuracy: float = np.nan
    nll: float = np.nan
    ece: float = np.nan

    @classmethod
    def of(cls, fit: Fit, lineup: Lineup, validation: Validation | None) -> "Row":
        """Measure a fit of the classes in ``lineup``."""
        row = cls(fit.lam, fit.status.value, fit.n_iter)
        if fit.result is None:
            return row
        gaussians = fit.result.gaussians
        held, terms = lineup.options.held_in(gaussians), terms_of(gaussians)
        pairs = [
            to_numpy(terms.divergences(block))[to_numpy(terms.counting(block, held))]
            for block in terms.blocks()
        ]
        repulsion = _repulsion_part(fit.result, fit.lam, lineup)
        row = row._replace(
            likelihood=fit.result.objective - repulsion,
            repulsion=repulsion,
            smallest_kld=smallest_kld(gaussians, held=held),
            median_kld=float(np.median(np.concatenate(pairs))),
            overlap=float(np.exp(largest_log_overlap(gaussians, held=held))),
        )
        if validation is None:
            return row
        return row._replace(**validation.scores(gaussians)._asdict())


def _repulsion_part(result: FixedPointResult, lam: float, lineup: Lineup) -> float:
    """Compute lam times the mean of phi over ordered pairs, but for pairs that are constant."""
    if lam == 0.0:
        return 0.0
    options, gaussians = lineup.options, result.gaussians
    terms = replace(terms_of(gaussians), memory_limit=options.memory_limit)
    held = lineup.held(terms.means)
    if held is not None and gaussians.family.tied and options.updates_covariances:
        means = detached(gaussians.working()[0])
        frame = Frame.of(gaussians.family, means[:1, :])
        noise = divergence_noise(gaussians.family, means, terms.factor, frame)
        held = grouped(held, terms, noise)
    repulsion = options.strategies.repulsion.at_start(result.pi)
    scale = lam / (terms.n_classes * (terms.n_classes - 1))
    sums = sum_over_pairs(terms, repulsion, options.alpha, scale=scale, held=held)
    return float(sums.potential)


@unflagged
def path_of(
    fits: Sequence[Fit], continuation: Continuation, validation: Validation | None
) -> LamPath:
    """Measure the fits of a continuation, and collect the figures in arrays."""
    lineup = Lineup.of(continuation.statistics, continuation.options, continuation.source)
    rows = [Row.of(fit, lineup, validation) for fit in fits]
    columns = ((name, [getattr(row, name) for row in rows]) for name in Row._fields)
    arrays: dict[str, Any] = {name: np.asarray(column) for name, column in columns}
    if validation is None:
        arrays |= dict.fromkeys(Scores._fields)
    gaussians = tuple(None if fit.result is None else fit.result.gaussians for fit in fits)
    return LamPath(**arrays, gaussians=gaussians)
