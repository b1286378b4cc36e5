"""What the equations ask of a covariance family."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

from fpigauss._array.blocks import MEMORY_LIMIT, row_distances
from fpigauss._array.linalg import (
    eye_like,
    flattened,
    per_class,
    squared_norms,
    transposed,
)
from fpigauss._array.namespaces import detached, device_of, namespace
from fpigauss._array.typing import Array
from fpigauss._warnings import warn_user

__all__ = ["CovarianceFamily", "Factor"]


class Factor(NamedTuple):
    """F and F^-1 with Sigma = F F', per class (leading axis K) or for all (leading axis 1)."""

    root: Array
    inverse: Array

    def of(self, rows: slice) -> "Factor":
        """Slice the factors of the classes ``rows``."""
        return Factor(self.root[rows, ...], self.inverse[rows, ...])


@dataclass(frozen=True)
class CovarianceFamily(ABC):
    r"""A set of covariance matrices and the operations that the equations are written in.

    Subclass it, or one of the shapes, for a family of your own and pass an instance as
    ``covariance=``; nothing else has to change.

    A family is a linear set of covariance matrices, one per class or one for all (``tied``), that
    is closed under inverses and under F' Q F for its own factors F: diagonal, block-diagonal and
    full matrices are, Toeplitz matrices are not. Its arrays have a leading axis of length n, which
    is K, or 1 if tied; methods that combine two of them broadcast it. They come in three forms:

    - *values* are the entries that determine a covariance or a precision matrix: (n, w) for shapes
      on the diagonal, (n, d, d) for dense ones;
    - *projections* are a symmetric matrix M projected onto the family, so that the inner product of
      the values of X with the projections of M is tr(X M): diagonal entries, their sums over
      groups, or whole matrices. Those that are called pooled are summed over the classes if tied;
    - *factors* are F and F^-1 with Sigma = F F', the moving frame in which updates are made. In it
      a step of a covariance is a symmetric S (values): F <- F exp(S / 2).

    Parameters
    ----------
    tied : bool
        One covariance shared by all classes instead of one per class.

    Attributes
    ----------
    name : str
        The name in results and in files; a class variable, one of its own for each family.
    needs_dense : bool
        Whether statistics with full class covariance matrices (K, d, d) are needed, instead of
        variances (K, d); a class variable.
    """

    tied: bool = False

    name: ClassVar[str]
    needs_dense: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Let methods be defined, and be found, under their former names."""
        for old, new in _RENAMED.items():
            owner = next(
                base
                for base in (*cls.__mro__, None)
                if base is None or (new in vars(base) or _is_own(vars(base).get(old)))
            )
            if owner is not None and new not in vars(owner):
                _warn_renamed(cls.__name__, old, new)
                setattr(cls, new, vars(owner)[old])
            elif new in vars(cls) and old not in vars(cls):
                setattr(cls, old, _FormerName(old, new, vars(cls)[new]))

    def with_tied(self, tied: bool) -> Self:
        """Return the same shape, shared by all classes or not."""
        return self if tied == self.tied else replace(self, tied=tied)

    # -- the border: public arrays ---------------------------------------------------------

    @abstractmethod
    def entry_shape(self, dim: int) -> tuple[int, ...]:
        """Return the shape of one public covariance in ``dim`` dimensions."""

    def public_shape(self, n_classes: int, dim: int) -> tuple[int, ...]:
        """Return the shape of the public covariances of ``n_classes`` classes."""
        return self.entry_shape(dim) if self.tied else (n_classes, *self.entry_shape(dim))

    def unpack(self, covariances: Array) -> Array:
        """Convert public covariances to values."""
        return covariances[None, ...] if self.tied else covariances

    def pack(self, values: Array) -> Array:
        """Convert values to public covariances."""
        return values[0, ...] if self.tied else values

    @abstractmethod
    def first_not_positive(self, values: Array) -> int | None:
        """Return the index of the first values (or projections) not positive definite, or None."""

    @abstractmethod
    def first_asymmetric(self, values: Array) -> int | None:
        """Return the index of the first of ``values`` that is not symmetric, or None."""

    @abstractmethod
    def first_singular(self, values: Array, noise: Array) -> int | None:
        """Return the index of the first of ``values`` that is singular to rounding, or None.

        ``noise`` (n, d) bounds the variance that rounding alone leaves on each axis.
        """

    @abstractmethod
    def rounded(self, values: Array, like: Array) -> Array:
        """Round ``values`` to the dtype of ``like``, keeping them positive definite."""

    def inflated_dim(self, dim: int) -> int:
        """Return the fewest dimensions that one parameter inflates: 1, or d if isotropic."""
        return 1

    # -- projections ---------------------------------------------------------------------------

    def pooled(self, projections: Array) -> Array:
        """Sum the projections of the classes where tied; else return them as they are."""
        return (
            namespace(projections).sum(projections, axis=0, keepdims=True)
            if self.tied
            else projections
        )

    @abstractmethod
    def projections(self, covariances: Array) -> Array:
        """Project class covariances (K, d), or (K, d, d) if dense, onto the family: (K, ...)."""

    def as_matrices(self, factor: Factor, dim: int) -> Factor:
        """Return F and F^-1 as matrices (n, d, d); (n, d) or (n, 1) if they are diagonal."""
        xp = namespace(factor.root)
        n_factors = int(self.log_det(factor, dim).shape[0])
        identity = eye_like(dim, factor.root)
        rows = [xp.broadcast_to(identity[k, :], (n_factors, dim)) for k in range(dim)]
        columns = [(self.color(factor, e), self.whiten(factor, e)) for e in rows]
        return Factor(*(xp.stack(part, axis=-1) for part in zip(*columns, strict=True)))

    @abstractmethod
    def values_projections(self, values: Array, dim: int) -> Array:
        """Compute the projections of the matrices with these values; ``average`` undoes it."""

    @abstractmethod
    def outer(self, a: Array, b: Array) -> Array:
        """Compute the pooled projections of (a_y b_y' + b_y a_y') / 2 for ``a``, ``b`` (K, d)."""

    @abstractmethod
    def unit(self, dim: int, like: Array) -> Array:
        """Return the projections (1, ...) of the identity."""

    def plus_identity(self, projections: Array, weights: Array, like: Array) -> Array:
        """Compute the projections of M_y + t_y I from those of M and ``weights`` t (K,).

        ``like`` (K, d) is an array such as the means.
        """
        unit = self.unit(like.shape[-1], like)
        return projections + per_class(weights, unit) * unit

    @abstractmethod
    def trace(self, projections: Array) -> Array:
        """Compute the traces (n,) of projections."""

    @abstractmethod
    def average(self, projections: Array, dim: int) -> Array:
        """Return the values whose projections these are (a trace over d axes becomes its mean)."""

    # -- factors ---------------------------------------------------------------------------

    @abstractmethod
    def factor(self, values: Array) -> Factor:
        """Compute F and F^-1 of positive definite values."""

    @abstractmethod
    def values(self, factor: Factor) -> Array:
        """Compute the values of Sigma = F F'."""

    @abstractmethod
    def precisions(self, factor: Factor) -> Array:
        """Compute the values of Sigma^-1."""

    @abstractmethod
    def log_det(self, factor: Factor, dim: int) -> Array:
        """Compute the log-determinants (n,) of Sigma."""

    @abstractmethod
    def composed(self, outer: Factor, inner: Factor) -> Factor:
        """Compute the factor F_outer F_inner, for going back from a frame."""

    def rows(self, factor: Factor, index: Array) -> Factor:
        """Return the factors of the classes ``index``; the shared one where tied."""
        if self.tied:
            return factor
        xp = namespace(factor.root)
        return Factor(xp.take(factor.root, index, axis=0), xp.take(factor.inverse, index, axis=0))

    def center(self, means: Array, factor: Factor) -> Array:
        """Average ``means`` (K, d) to (1, d), each weighted by one over its standard deviation.

        Products about a center lose digits of classes that are many of their standard deviations
        away, so a class that has inflated, and moved off with that, must not take it along.
        """
        xp = namespace(means)
        if self.tied:
            return xp.mean(means, axis=0, keepdims=True)
        sizes = xp.sqrt(detached(squared_norms(flattened(factor.root))))  # (K,)
        weights = (xp.min(sizes) / sizes)[:, None]
        return (transposed(weights) @ means) / xp.sum(weights)

    # -- vectors and matrices through factors ----------------------------------------------

    @abstractmethod
    def apply(self, values: Array, x: Array) -> Array:
        """Multiply the matrices ``values`` by the vectors ``x`` (K, d)."""

    @abstractmethod
    def whiten(self, factor: Factor, x: Array) -> Array:
        """Compute F^-1 x for ``x`` (n or any, d)."""

    @abstractmethod
    def color(self, factor: Factor, x: Array) -> Array:
        """Compute F x."""

    @abstractmethod
    def color_adjoint(self, factor: Factor, x: Array) -> Array:
        """Compute F' x."""

    @abstractmethod
    def whiten_projections(self, factor: Factor, projections: Array) -> Array:
        """Compute the projections of F^-1 M F^-T."""

    @abstractmethod
    def color_precisions(self, factor: Factor, values: Array, dim: int) -> Array:
        """Compute the projections of F' Q F for precision values Q."""

    def color_projections(self, factor: Factor, projections: Array) -> Array:
        """Compute the projections of F' M F."""
        adjoint = self.adjoint_root(factor)
        return self.whiten_projections(Factor(adjoint, adjoint), projections)

    def adjoint_root(self, factor: Factor) -> Array:
        """Return F'; factors are diagonal, and symmetric, unless they are matrices (n, d, d)."""
        return transposed(factor.root) if factor.root.ndim == 3 else factor.root

    def congruent(self, root: Array, values: Array, dim: int) -> Array:
        """Compute the values of F S F' for ``root`` F, or of F^-1 S F^-T for its inverse."""
        projections = self.values_projections(values, dim)
        return self.average(self.whiten_projections(Factor(root, root), projections), dim)

    def anticommutator(self, values: Array, projections: Array, dim: int) -> Array:
        """Compute the projections of S M + M S.

        Factors of the family are taken to have the form of its values; override it otherwise.
        """
        xp = namespace(values)
        size = xp.sqrt(xp.max(squared_norms(flattened(values)))) + xp.finfo(values.dtype).tiny
        axes = xp.zeros((1, dim), dtype=values.dtype, device=device_of(values))
        one = size * self.average(self.unit(dim, axes), dim)
        plus, minus = (
            self.whiten_projections(Factor(root, root), projections)
            for root in (one + values, one - values)
        )
        return (plus - minus) / (2.0 * size)

    # -- updates ---------------------------------------------------------------------------

    @abstractmethod
    def log_solution(self, a: Array, b: Array) -> Array:
        """Solve X A X = B by X = exp(S) = A^-1 # B: from projections A, B to values S."""

    @abstractmethod
    def precondition(self, a: Array, gradient: Array) -> Array:
        """Solve the linearized X A + A X = 2 G: from projections A, G to values X."""

    def preconditioner(self, a: Array) -> Callable[[Array], Array]:
        """Return ``precondition`` for one ``a`` and many gradients."""
        return partial(self.precondition, a)

    @abstractmethod
    def retract(self, factor: Factor, step: Array) -> Factor:
        """Compute F exp(S / 2)."""

    @abstractmethod
    def step_sizes(self, step: Array) -> Array:
        """Compute the largest absolute eigenvalues (n,) of S."""

    @abstractmethod
    def spectrum(self, factor: Factor) -> tuple[Array, Array]:
        """Compute the smallest and the largest eigenvalues (n,) of Sigma."""

    # -- pairs -----------------------------------------------------------------------------

    def squared_distances(self, x: Array, means: Array, factor: Factor) -> Array:
        """Compute the squared Mahalanobis distances (N, K) of ``x`` (N, d) from every class."""
        if self.tied:
            return self.tied_distances(x, means, factor, tolerated=x.shape[-1])
        return self.distances_by_class(x, means, factor)

    @abstractmethod
    def distances_by_class(self, x: Array, means: Array, factor: Factor) -> Array:
        """Compute ``squared_distances`` where every class has a covariance of its own."""

    def tied_distances(
        self,
        x: Array,
        means: Array,
        factor: Factor,
        *,
        tolerated: float = 0.0,
        memory_limit: int = MEMORY_LIMIT,
    ) -> Array:
        """Compute ``squared_distances`` where all classes share a covariance, from whitened rows.

        ``tolerated`` is the size of the terms that they will be added to.
        """
        xp = namespace(x, means)

        def exact(rows: Array, classes: Array) -> Array:
            difference = xp.take(x, rows, axis=0) - xp.take(means, classes, axis=0)
            return squared_norms(self.whiten(factor, difference))

        white, centers = self.whiten(factor, x), self.whiten(factor, means)
        return row_distances(white, centers, exact, tolerated=tolerated, memory_limit=memory_limit)

    @abstractmethod
    def paired_divergence(self, difference: Array, first: Factor, second: Factor) -> Array:
        """Compute KLD(N(mu, F F') || N(nu, G G')) (n,) from mu - nu (n, d), losing no digits."""


#: Former names of methods.
_RENAMED = {
    "moments": "projections",
    "spread": "per_axis",
    "values_moments": "values_projections",
    "whiten_moments": "whiten_projections",
}


class _FormerName:
    """A method under its former name: bound as the method is, with a warning when called."""

    def __init__(self, old: str, new: str, method: Any) -> None:
        self.old, self.new, self.method = old, new, method

    def __get__(self, instance: Any, owner: type) -> Any:
        method = self.method.__get__(instance, owner)

        def called(*args: Any, **kwargs: Any) -> Any:
            _warn_renamed(owner.__name__, self.old, self.new)
            return method(*args, **kwargs)

        return called


def _is_own(attribute: object) -> bool:
    """Say whether a class defines an attribute itself, rather than as a former name."""
    return attribute is not None and not isinstance(attribute, _FormerName)


def _warn_renamed(owner: str, old: str, new: str) -> None:
    message = f"{owner}.{old} is now {new}; the old name will be removed in the next release"
    warn_user(message, DeprecationWarning)
