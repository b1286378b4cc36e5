r"""What the equations ask of a covariance family.

A family is a linear set of covariance matrices, one matrix a class or one for all (``tied``).
Inside the package the arrays of a family keep a leading axis of length n: K, or 1 where tied.

values
    the entries that determine a covariance or a precision matrix: (n, w) for shapes on the
    diagonal, (n, d, d) for dense ones;
projections
    a symmetric matrix M projected onto the family, so that <values of X, projections of M> is
    tr(X M): diagonal entries, their sums over groups, or whole matrices; summed over the
    classes where tied;
factor
    F and F^-1 with Sigma = F F': the moving frame in which updates are made. In it a step of a
    covariance is a symmetric S (values): F <- F exp(S / 2).
"""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

from fpigauss._array.blocks import MEMORY_LIMIT, lost_below, mend
from fpigauss._array.linalg import squared_norms, transposed
from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array

__all__ = ["CovarianceFamily", "Factor"]


class Factor(NamedTuple):
    """F and F^-1 with Sigma = F F', a class (leading axis K) or for all (leading axis 1)."""

    root: Array
    inverse: Array


@dataclass(frozen=True)
class CovarianceFamily(ABC):
    """A set of covariance matrices and the operations that the equations are written in.

    Subclass it, or one of the shapes, for a family of your own and pass an instance as
    ``covariance=``; nothing else has to change.

    Parameters
    ----------
    tied : bool
        One covariance shared by all classes instead of one a class.
    """

    tied: bool = False

    #: The name in results and in files.
    name: ClassVar[str]
    #: Whether full class covariance matrices are needed.
    needs_dense: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Take over what a subclass calls by a name of the release before."""
        for old, new in _RENAMED.items():
            if old in vars(cls) and new not in vars(cls):
                _warn_renamed(cls.__name__, old, new)
                setattr(cls, new, vars(cls)[old])

    def __getattr__(self, name: str) -> Any:
        """Find a method by its name of the release before."""
        if name not in _RENAMED:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        _warn_renamed(type(self).__name__, name, _RENAMED[name])
        return getattr(self, _RENAMED[name])

    def with_tied(self, tied: bool) -> Self:
        """The same shape, shared by all classes or not."""
        return self if tied == self.tied else replace(self, tied=tied)

    # -- the border: public arrays ---------------------------------------------------------

    @abstractmethod
    def entry_shape(self, dim: int) -> tuple[int, ...]:
        """The shape of one public covariance in ``dim`` dimensions."""

    def public_shape(self, n_classes: int, dim: int) -> tuple[int, ...]:
        """The shape of the public covariances of ``n_classes`` classes."""
        return self.entry_shape(dim) if self.tied else (n_classes, *self.entry_shape(dim))

    def unpack(self, covariances: Array) -> Array:
        """Public covariances to values."""
        return covariances[None, ...] if self.tied else covariances

    def pack(self, values: Array) -> Array:
        """Values to public covariances."""
        return values[0, ...] if self.tied else values

    @abstractmethod
    def first_not_positive(self, values: Array) -> int | None:
        """The index of the first of ``values`` (or projections) that is not positive definite."""

    @abstractmethod
    def first_asymmetric(self, values: Array) -> int | None:
        """The index of the first of ``values`` that is not symmetric."""

    @abstractmethod
    def first_singular(self, values: Array, noise: Array) -> int | None:
        """The index of the first of ``values`` that is singular to rounding.

        ``noise`` (n, d) bounds the variance that rounding alone leaves on each axis.
        """

    @abstractmethod
    def rounded(self, values: Array, like: Array) -> Array:
        """``values`` in the dtype of ``like``, still positive definite."""

    def inflated_dim(self, dim: int) -> int:
        """The fewest dimensions that one parameter inflates together: 1, or d if isotropic."""
        return 1

    # -- projections ---------------------------------------------------------------------------

    def pooled(self, projections: Array) -> Array:
        """Projections of the classes as the family sees them: their sum over classes where tied."""
        return (
            namespace(projections).sum(projections, axis=0, keepdims=True)
            if self.tied
            else projections
        )

    @abstractmethod
    def projections(self, covariances: Array) -> Array:
        """The projections (K, ...) of class covariances (K, d), or (K, d, d) if dense."""

    @abstractmethod
    def values_projections(self, values: Array, dim: int) -> Array:
        """The projections of the matrices that have these values; ``average`` undoes it."""

    @abstractmethod
    def outer(self, a: Array, b: Array) -> Array:
        """The pooled projections of (a_y b_y' + b_y a_y') / 2 for ``a``, ``b`` (K, d)."""

    @abstractmethod
    def unit(self, dim: int, like: Array) -> Array:
        """The projections (1, ...) of the identity."""

    @abstractmethod
    def trace(self, projections: Array) -> Array:
        """The traces (n,) of projections."""

    @abstractmethod
    def average(self, projections: Array, dim: int) -> Array:
        """The values whose projections these are (a trace over d axes becomes its mean)."""

    # -- factors ---------------------------------------------------------------------------

    @abstractmethod
    def factor(self, values: Array) -> Factor:
        """F and F^-1 of positive definite values."""

    @abstractmethod
    def values(self, factor: Factor) -> Array:
        """The values of Sigma = F F'."""

    @abstractmethod
    def precisions(self, factor: Factor) -> Array:
        """The values of Sigma^-1."""

    @abstractmethod
    def log_det(self, factor: Factor, dim: int) -> Array:
        """The log-determinants (n,) of Sigma."""

    @abstractmethod
    def composed(self, outer: Factor, inner: Factor) -> Factor:
        """The factor of F_outer F_inner, for going back from a frame."""

    def rows(self, factor: Factor, index: Array) -> Factor:
        """The factors of the classes ``index``; the shared one where tied."""
        if self.tied:
            return factor
        xp = namespace(factor.root)
        return Factor(xp.take(factor.root, index, axis=0), xp.take(factor.inverse, index, axis=0))

    # -- vectors and matrices through factors ----------------------------------------------

    @abstractmethod
    def apply(self, values: Array, x: Array) -> Array:
        """The matrices ``values`` times the vectors ``x`` (K, d)."""

    @abstractmethod
    def whiten(self, factor: Factor, x: Array) -> Array:
        """F^-1 x for ``x`` (n or any, d)."""

    @abstractmethod
    def color(self, factor: Factor, x: Array) -> Array:
        """F x."""

    @abstractmethod
    def color_adjoint(self, factor: Factor, x: Array) -> Array:
        """F' x."""

    @abstractmethod
    def whiten_projections(self, factor: Factor, projections: Array) -> Array:
        """The projections of F^-1 M F^-T."""

    @abstractmethod
    def color_precisions(self, factor: Factor, values: Array, dim: int) -> Array:
        """The projections of F' Q F for precision values Q."""

    # -- updates ---------------------------------------------------------------------------

    @abstractmethod
    def log_solution(self, a: Array, b: Array) -> Array:
        """S with exp(S) = A^-1 # B, the one solution of X A X = B; from projections to values."""

    @abstractmethod
    def precondition(self, a: Array, gradient: Array) -> Array:
        """X with X A + A X = 2 G: the linearized solve, from projections to values."""

    @abstractmethod
    def retract(self, factor: Factor, step: Array) -> Factor:
        """F exp(S / 2)."""

    @abstractmethod
    def step_sizes(self, step: Array) -> Array:
        """The largest absolute eigenvalues (n,) of S."""

    @abstractmethod
    def spectrum(self, factor: Factor) -> tuple[Array, Array]:
        """The smallest and the largest eigenvalues (n,) of Sigma."""

    # -- pairs -----------------------------------------------------------------------------

    def squared_distances(self, x: Array, means: Array, factor: Factor) -> Array:
        """The squared Mahalanobis distances (N, K) of ``x`` (N, d) from every class."""
        if self.tied:
            return self.tied_distances(x, means, factor, tolerated=x.shape[-1])
        return self.distances_by_class(x, means, factor)

    @abstractmethod
    def distances_by_class(self, x: Array, means: Array, factor: Factor) -> Array:
        """``squared_distances`` where every class has a covariance of its own."""

    def tied_distances(
        self,
        x: Array,
        means: Array,
        factor: Factor,
        *,
        tolerated: float = 0.0,
        known: Array | None = None,
        memory_limit: int = MEMORY_LIMIT,
    ) -> Array:
        """``squared_distances`` where all classes share one: Euclidean ones of whitened rows.

        The products' error is eps * far: entries that far dwarfs, together with what else they
        are added to (``tolerated``), are recomputed; those marked in ``known`` are not.
        """
        xp = namespace(x, means)
        white, centers = self.whiten(factor, x), self.whiten(factor, means)
        far = squared_norms(white)[:, None] + squared_norms(centers)[None, :]
        raw = far - 2.0 * (white @ transposed(centers))
        lost = raw + tolerated < lost_below(raw) * far

        def exact(rows: Array, classes: Array) -> Array:
            difference = xp.take(x, rows, axis=0) - xp.take(means, classes, axis=0)
            return squared_norms(self.whiten(factor, difference))

        if known is not None:
            lost = lost & ~known
        return mend(raw, lost, exact, row_bytes=24 * x.shape[-1], memory_limit=memory_limit)

    @abstractmethod
    def paired_divergence(self, difference: Array, first: Factor, second: Factor) -> Array:
        """KLD(N(mu, F F') || N(mu', F' F'')) (n,) from mu - mu' (n, d): no digits lost."""


#: Methods of the release before, by the names that they have now.
_RENAMED = {
    "moments": "projections",
    "spread": "per_axis",
    "values_moments": "values_projections",
    "whiten_moments": "whiten_projections",
}


def _warn_renamed(owner: str, old: str, new: str) -> None:
    warnings.warn(
        f"{owner}.{old} is now {new}; the old name goes in the next release",
        DeprecationWarning,
        stacklevel=3,
    )
