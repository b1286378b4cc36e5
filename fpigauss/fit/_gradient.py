"""The gradient of a function of the fitted Gaussians, in what they were fitted to."""

from dataclasses import dataclass
from typing import Any

from fpigauss._array.checks import check_finite_rows, check_width
from fpigauss._array.flags import unflagged
from fpigauss._array.labels import as_labels, codes_of
from fpigauss._array.namespaces import cast_like, namespace
from fpigauss._array.typing import Array
from fpigauss.statistics import (
    ClassStatistics,
    as_rows,
    check_n_labels,
    check_sample_weight,
    moments_vjp,
    results_like,
)

__all__ = ["FixedPointGradient"]


@dataclass(frozen=True, eq=False)
class FixedPointGradient:
    """The gradient of a function of the fitted Gaussians in what they were fitted to.

    ``FixedPointResult.vjp`` returns it. Arrays are in the namespace, device and dtype of the
    statistics of the fit.

    Attributes
    ----------
    counts : (K,) array
        In the counts of the classes: zero, except for ``shrinkage="oas"``.
    means : (K, d) array
        In the means of the classes.
    covariances : (K, d) or (K, d, d) array
        In the covariances of the classes, before shrinkage; symmetric.
    lam : float
        In the weight of the repulsion; not finite at ``lam=0`` if classes coincide, which part at
        once.
    init_means, init_covariances : array or None
        In the Gaussians passed as ``init``, where what is held or pi comes from them; else zeros.
        None if ``init`` was a name.
    residual : float
        How well the linear system was solved: its relative residual.
    n_products : int
        The products with the Hessian that it took, each about an evaluation.
    smallest_curvature : float
        The smallest curvature of the objective that was met, relative to that which the fixed
        point is preconditioned by; negative at a saddle point.
    statistics : ClassStatistics
        The statistics of the fit.

    See Also
    --------
    FixedPointResult : its ``vjp`` gives one.
    fpigauss_torch.fixed_point_layer : the same under torch.
    """

    counts: Array
    means: Array
    covariances: Array
    lam: float
    init_means: Array | None
    init_covariances: Array | None
    residual: float
    n_products: int
    smallest_curvature: float
    statistics: ClassStatistics

    def __repr__(self) -> str:
        """Show the figures, without the arrays."""
        return (
            f"FixedPointGradient(lam={self.lam:.6g}, residual={self.residual:.2g}, "
            f"n_products={self.n_products}, smallest_curvature={self.smallest_curvature:.2g})"
        )

    @unflagged
    def of_samples(self, z: Any, y: Any, sample_weight: Any = None) -> tuple[Array, Array]:
        """Compute the gradient in samples, and in their weights.

        The gradient in the weights says how each sample pulls: the derivative in one more copy of
        it.

        Parameters
        ----------
        z, y, sample_weight
            The samples that the statistics were gathered from, or some of them.

        Returns
        -------
        gradient : (N, d) array
            In ``z``, in its namespace, device and dtype.
        weight_gradient : (N,) array
            In the weights of the rows; those that are not given are 1.

        Raises
        ------
        InvalidInputError
            If ``z`` has another width or NaN, or ``y`` a class that the statistics do not have.

        Examples
        --------
        >>> import numpy as np
        >>> from fpigauss import fit_fixed_point
        >>> z, y = np.array([[0.0], [2.0], [5.0], [7.0]]), [0, 0, 1, 1]
        >>> gradient = fit_fixed_point(z, y, 0.0).vjp(means=[[1.0], [0.0]])
        >>> gradient.of_samples(z, y)[0].ravel()
        array([0.5, 0.5, 0. , 0. ])
        """
        rows, statistics = as_rows(z), self.statistics
        check_width(rows, statistics.dim, "of the statistics")
        labels = as_labels(y)
        check_n_labels(labels, rows.shape[0])
        codes = codes_of(labels, statistics.classes)
        like = results_like(z, rows)
        values = cast_like(rows[:, :], self.means)
        check_finite_rows(values)
        weights = namespace(values).ones_like(values[:, 0])
        if sample_weight is not None:
            weights = cast_like(check_sample_weight(sample_weight, rows.shape[0]), values)
        of_rows, of_weights = moments_vjp(
            values,
            codes,
            weights,
            statistics,
            (self.counts, self.means, self.covariances),
        )
        return cast_like(of_rows, like), cast_like(of_weights, like)
