"""Class Gaussians under the flows of flowjax; needs the extra ``jax``.

``import fpigauss`` leaves this module out: write ``from fpigauss.jax import as_base``. Fits of jax
arrays, and densities inside jit, grad and vmap, need no extra but jax itself.
"""

from typing import Any

import numpy as np

from fpigauss._array.traced import positions_of
from fpigauss._array.typing import Array, Labels
from fpigauss.covariance import CovarianceFamily, Factor
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians, Density, check_gaussians, mixture

try:
    import equinox as eqx
    import jax.numpy as jnp
    import jax.random as jr
    from flowjax.bijections import AbstractBijection
    from flowjax.distributions import AbstractDistribution, Transformed
    from paramax import non_trainable, unwrap
except ImportError as error:
    raise ImportError('fpigauss.jax needs flowjax: pip install "fpigauss[jax]"') from error

__all__ = ["as_base", "without_context"]

#: Integers up to here are float32 numbers, which flowjax makes of a condition.
_EXACT_BELOW = 2**24


def as_base(gaussians: ClassGaussians, *, conditional: bool = True) -> AbstractDistribution:
    """Make class Gaussians the base distribution of a flow of flowjax.

    ``log_prob(x, condition=label)`` is that of the Gaussian of a class and ``sample`` draws from
    it, one label per sample. Training leaves the Gaussians as they are. After another fit, put a
    new base under the same bijection: ``Transformed(as_base(gaussians), flow.bijection)``.

    flowjax passes the condition of the base to every layer; wrap a flow that does not take it in
    ``without_context``.

    Parameters
    ----------
    gaussians : ClassGaussians
        K Gaussians, of any namespace. Factors are prepared in float64.
    conditional : bool
        Whether a label is the condition. If not, the base is the mixture of all classes, equally
        frequent, and takes no condition.

    Returns
    -------
    flowjax.distributions.AbstractDistribution
        Of shape (d,) and ``cond_shape`` (), or None if not conditional. Labels are those of
        ``gaussians.classes``; for classes that are strings, which jax cannot hold, their positions
        0 to K-1. A label that is not among them has the log-density NaN, and NaN samples; in a
        flow, which takes NaN to be outside of its support, minus infinity.

    Raises
    ------
    InvalidInputError
        If ``gaussians`` is not a ClassGaussians, or a label is too large for float32.

    Examples
    --------
    >>> import jax.numpy as jnp, jax.random as jr
    >>> from flowjax.flows import coupling_flow
    >>> from fpigauss import ClassGaussians
    >>> from fpigauss.jax import as_base, without_context
    >>> gaussians = ClassGaussians([[0.0, 0.0], [8.0, 8.0]], [1.0, 1.0], covariance="isotropic")
    >>> base = as_base(gaussians)
    >>> print(base.log_prob(jnp.asarray([[0.0, 0.0], [8.0, 7.0]]), jnp.asarray([0, 1])).round(3))
    [-1.838 -2.338]
    >>> flow = without_context(coupling_flow(jr.key(0), base_dist=base))
    >>> flow.sample(jr.key(1), condition=jnp.asarray([0, 1, 1])).shape
    (3, 2)
    """
    check_gaussians(gaussians)
    gaussians = gaussians.to(np.zeros(1))
    return _Base(gaussians, _as_numbers(gaussians.classes), conditional)


def without_context(flow: Any) -> Any:
    """Wrap a bijection of flowjax, or that of a flow, that should not get the labels of the base.

    Layers of flowjax that were made without ``cond_dim`` still append a condition to their inputs.

    Parameters
    ----------
    flow : flowjax.bijections.AbstractBijection or flowjax.distributions.Transformed
        A bijection that takes no condition, or a flow with such a bijection.

    Returns
    -------
    AbstractBijection or Transformed
        What was given, with a bijection that ignores a condition.

    Raises
    ------
    InvalidInputError
        If it is neither, or its bijection needs a condition.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flowjax.bijections import Affine
    >>> from fpigauss.jax import without_context
    >>> bijection = without_context(Affine(jnp.ones(2)))
    >>> print(bijection.transform(jnp.zeros(2), condition=jnp.asarray(3)))
    [1. 1.]
    """
    if isinstance(flow, Transformed):
        return Transformed(flow.base_dist, without_context(flow.bijection))
    if not isinstance(flow, AbstractBijection):
        raise InvalidInputError(
            f"flow is a {type(flow).__name__}; pass a bijection of flowjax, or a Transformed"
        )
    if unwrap(flow).cond_shape is not None:
        raise InvalidInputError(
            f"flow needs a condition of shape {unwrap(flow).cond_shape}; make it without cond_dim"
        )
    return _WithoutContext(flow)


def _as_numbers(classes: Labels) -> Labels:
    """Return the labels that a condition can be: positions, where classes are strings."""
    if classes.dtype.kind == "U":
        return np.arange(classes.shape[0])
    labels = classes.astype(np.int64)
    if np.abs(labels).max() > _EXACT_BELOW:
        label = int(labels[np.abs(labels).argmax()])
        raise InvalidInputError(
            f"gaussians has the class {label}, which float32 does not tell from its neighbors; "
            "flowjax makes floats of labels: encode them as 0 to K-1"
        )
    return labels


class _Base(AbstractDistribution):
    """Prepared class densities as a distribution."""

    center: Array
    means: Array
    factor: Factor
    log_normalizers: Array
    labels: Array  # integers, which are not trained
    family: CovarianceFamily = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    cond_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, gaussians: ClassGaussians, labels: Labels, conditional: bool) -> None:
        like = jnp.zeros((1,), dtype=float)
        density = Density.of(gaussians.family, *gaussians.working(), like)
        self.center = non_trainable(density.center)
        self.means = non_trainable(density.means)
        self.factor = non_trainable(density.factor)
        self.log_normalizers = non_trainable(density.log_normalizers)
        self.labels = jnp.asarray(labels, dtype=jnp.int32)
        self.family = density.family
        self.dtype = density.dtype
        self.shape = (gaussians.dim,)
        self.cond_shape = () if conditional else None

    @property
    def _density(self) -> Density:
        parts = self.family, self.center, self.means, self.factor, self.log_normalizers
        return Density(*parts, dtype=self.dtype)

    def _log_prob(self, x: Array, condition: Array | None = None) -> Array:
        if self.cond_shape is None:
            return mixture(self._density.by_class(x[None, :]), None)[0]
        code, known = self._position(condition)
        return jnp.where(known, self._density.of_classes(code, x[None, :])[0], jnp.nan)

    def _sample(self, key: Array, condition: Array | None = None) -> Array:
        which, noise = jr.split(key)
        if self.cond_shape is None:
            code, known = jr.randint(which, (1,), 0, self.labels.shape[0]), True
        else:
            code, known = self._position(condition)
        white = jr.normal(noise, (1, *self.shape), dtype=self.means.dtype)
        own = self.family.rows(self.factor, code)
        drawn = self.means[code] + self.family.color(own, white) + self.center
        return jnp.where(known, drawn[0], jnp.nan)

    def _position(self, condition: Array) -> tuple[Array, Array]:
        codes, known = positions_of(jnp.reshape(condition, (1,)), self.labels)
        return codes, known[0]


class _WithoutContext(AbstractBijection):
    """A bijection that ignores a condition."""

    bijection: AbstractBijection
    shape: tuple[int, ...] = eqx.field(static=True)
    cond_shape: tuple[int, ...] | None = eqx.field(static=True)

    def __init__(self, bijection: AbstractBijection) -> None:
        self.bijection = bijection
        self.shape = unwrap(bijection).shape
        self.cond_shape = None

    def transform_and_log_det(
        self, x: Array, condition: Array | None = None
    ) -> tuple[Array, Array]:
        return self.bijection.transform_and_log_det(x)  # type: ignore[no-any-return]

    def inverse_and_log_det(self, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        return self.bijection.inverse_and_log_det(y)  # type: ignore[no-any-return]
