"""Full covariance matrices."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from fpigauss._array.blocks import blocks
from fpigauss._array.checks import check_range
from fpigauss._array.linalg import (
    apply,
    eye_like,
    first_asymmetric,
    first_not_positive_definite,
    gram,
    lyapunov,
    matrix_exp,
    matrix_log,
    not_positive_definite,
    riccati,
    solve_lower,
    squared_norms,
    symmetrized,
    transposed,
    x_minus_log1p,
)
from fpigauss._array.namespaces import first_true, namespace, working_dtype
from fpigauss._array.typing import Array
from fpigauss.covariance._base import CovarianceFamily, Factor
from fpigauss.errors import InvalidInputError

__all__ = ["Dense"]

#: Bytes of whitened samples at a time: small products are made for several classes together.
_CLASSES_BYTES = 2**22


@dataclass(frozen=True)
class Dense(CovarianceFamily):
    """Full matrices: ``covariances`` are (K, d, d), or (d, d) if tied.

    See Also
    --------
    Diagonal : one variance per axis.
    Isotropic : one variance.
    """

    name: ClassVar[str] = "dense"
    needs_dense: ClassVar[bool] = True

    # -- the border ------------------------------------------------------------------------

    def entry_shape(self, dim: int) -> tuple[int, ...]:
        return (dim, dim)

    def first_not_positive(self, values: Array) -> int | None:
        return first_not_positive_definite(values)

    def first_asymmetric(self, values: Array) -> int | None:
        return first_asymmetric(values)

    def first_singular(self, values: Array, noise: Array) -> int | None:
        xp = namespace(values)
        dim = values.shape[-1]
        variances = xp.linalg.diagonal(values)
        flat = ~(variances > noise)
        scale = 1.0 / xp.sqrt(xp.where(flat, xp.ones_like(variances), variances))
        correlations = symmetrized(values * scale[:, :, None] * scale[:, None, :])
        eigenvalues = xp.linalg.eigvalsh(correlations)
        # rounding leaves d * eps on an eigenvalue of a correlation matrix that should be zero, and
        # of the variances as much as it leaves on an axis
        left = 4.0 * dim * xp.finfo(values.dtype).eps + xp.max(noise * scale**2, axis=-1)
        singular = eigenvalues[:, 0] <= left
        return first_true(xp.any(flat, axis=-1) | singular)

    def rounded(self, values: Array, like: Array) -> Array:
        xp = namespace(values)
        check_range(xp.linalg.diagonal(values), like, "covariances")
        exact = xp.astype(values, working_dtype(values), copy=False)  # halves have no Cholesky
        result = xp.astype(exact, like.dtype, copy=True)
        if first_not_positive_definite(xp.astype(result, exact.dtype)) is None:
            return result
        # Rounding moves the eigenvalues of a correlation matrix by at most d * eps / 2: shrinking
        # the correlations by as much makes up for it, and every axis keeps its variance.
        dim, eps = values.shape[-1], float(xp.finfo(like.dtype).eps)
        own = eye_like(dim, exact) > 0.0
        shrinkage = xp.zeros_like(exact[:, :1, :1])
        part = eps
        while part < min(1.0, 4.0 * dim * eps):
            indefinite = not_positive_definite(xp.astype(result, exact.dtype))
            shrinkage = xp.where(indefinite[:, None, None], part + 0.0 * shrinkage, shrinkage)
            shrunk = xp.where(own, exact, (1.0 - shrinkage) * exact)
            result, part = xp.astype(shrunk, like.dtype), 2.0 * part
            if first_not_positive_definite(xp.astype(result, exact.dtype)) is None:
                return result
        raise InvalidInputError(
            f"covariances are not positive definite in {like.dtype}; pass an array of higher "
            "precision, or shrink them toward the identity"
        )

    # -- projections ---------------------------------------------------------------------------

    def projections(self, covariances: Array) -> Array:
        return covariances

    def outer(self, a: Array, b: Array) -> Array:
        if self.tied:
            return symmetrized(transposed(a) @ b)[None, ...]  # no (K, d, d) on the way
        product = a[:, :, None] * b[:, None, :]
        return product if a is b else symmetrized(product)

    def values_projections(self, values: Array, dim: int) -> Array:
        return values

    def unit(self, dim: int, like: Array) -> Array:
        return eye_like(dim, like)[None, ...]

    def trace(self, projections: Array) -> Array:
        return namespace(projections).linalg.trace(projections)

    def average(self, projections: Array, dim: int) -> Array:
        return projections

    # -- factors ---------------------------------------------------------------------------

    def factor(self, values: Array) -> Factor:
        root = namespace(values).linalg.cholesky(values)
        identity = namespace(values).zeros_like(values) + self.unit(values.shape[-1], values)
        return Factor(root, solve_lower(root, identity))

    def values(self, factor: Factor) -> Array:
        return gram(factor.root)

    def precisions(self, factor: Factor) -> Array:
        return gram(transposed(factor.inverse))

    def log_det(self, factor: Factor, dim: int) -> Array:
        return 2.0 * namespace(factor.root).linalg.slogdet(factor.root)[1]

    def composed(self, outer: Factor, inner: Factor) -> Factor:
        return Factor(outer.root @ inner.root, inner.inverse @ outer.inverse)

    # -- vectors and matrices through factors ----------------------------------------------

    def apply(self, values: Array, x: Array) -> Array:
        return apply(values, x)

    def whiten(self, factor: Factor, x: Array) -> Array:
        return apply(factor.inverse, x)

    def color(self, factor: Factor, x: Array) -> Array:
        return apply(factor.root, x)

    def color_adjoint(self, factor: Factor, x: Array) -> Array:
        return apply(transposed(factor.root), x)

    def whiten_projections(self, factor: Factor, projections: Array) -> Array:
        return symmetrized(factor.inverse @ projections @ transposed(factor.inverse))

    def color_precisions(self, factor: Factor, values: Array, dim: int) -> Array:
        return symmetrized(transposed(factor.root) @ values @ factor.root)

    def congruent(self, root: Array, values: Array, dim: int) -> Array:
        return symmetrized(root @ values @ transposed(root))

    def anticommutator(self, values: Array, projections: Array, dim: int) -> Array:
        return 2.0 * symmetrized(values @ projections)

    # -- updates ---------------------------------------------------------------------------

    def log_solution(self, a: Array, b: Array) -> Array:
        return matrix_log(riccati(a, b))

    def precondition(self, a: Array, gradient: Array) -> Array:
        return lyapunov(a, gradient)

    def preconditioner(self, a: Array) -> Callable[[Array], Array]:
        eigenvalues, vectors = namespace(a).linalg.eigh(a)
        weights = 2.0 / (eigenvalues[..., :, None] + eigenvalues[..., None, :])

        def solve(gradient: Array) -> Array:
            inner = weights * (transposed(vectors) @ gradient @ vectors)
            return symmetrized(vectors @ inner @ transposed(vectors))

        return solve

    def retract(self, factor: Factor, step: Array) -> Factor:
        root = factor.root @ matrix_exp(0.5 * step)
        return Factor(root, namespace(root).linalg.inv(root))

    def step_sizes(self, step: Array) -> Array:
        xp = namespace(step)
        return xp.max(xp.abs(xp.linalg.eigvalsh(step)), axis=-1)

    def spectrum(self, factor: Factor) -> tuple[Array, Array]:
        singular = namespace(factor.root).linalg.svdvals(factor.root)
        return singular[:, -1] ** 2, singular[:, 0] ** 2

    def as_matrices(self, factor: Factor, dim: int) -> Factor:
        return factor

    # -- pairs -----------------------------------------------------------------------------

    def distances_by_class(self, x: Array, means: Array, factor: Factor) -> Array:
        columns = []
        for classes in blocks(means.shape[0], 16 * x.shape[0] * x.shape[1], _CLASSES_BYTES):
            difference = x[None, :, :] - means[classes, None, :]  # (classes, N, d)
            white = difference @ transposed(factor.inverse[classes, ...])
            columns.append(squared_norms(white))
        return transposed(namespace(x).concat(columns))

    def paired_divergence(self, difference: Array, first: Factor, second: Factor) -> Array:
        xp = namespace(difference)
        dim = difference.shape[-1]
        # F'^-1 (Sigma - Sigma') F'^-T, whose eigenvalues e enter as e - log(1 + e)
        change = symmetrized(
            second.inverse @ (gram(first.root) - gram(second.root)) @ transposed(second.inverse)
        )
        growth = xp.linalg.eigvalsh(change)
        # determinants keep the digits that an eigenvalue near -1 has lost
        close = xp.max(xp.abs(growth), axis=-1) < 0.1
        near = xp.where(close[:, None], growth, xp.zeros_like(growth))
        series = xp.sum(x_minus_log1p(near, near), axis=-1)
        relative = xp.sum((second.inverse @ first.root) ** 2, axis=(-2, -1)) - dim
        log_ratio = self.log_det(first, dim) - self.log_det(second, dim)
        shape = xp.where(close, series, relative - log_ratio)
        return 0.5 * (squared_norms(self.whiten(second, difference)) + shape)
