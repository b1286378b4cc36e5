"""One Gaussian per class: densities, prediction, samples, conversion and files."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from fpigauss._array.blocks import blocks
from fpigauss._array.checks import (
    check_finite_rows,
    check_nonnegative,
    check_range,
    check_seed,
    check_width,
)
from fpigauss._array.files import FLAG, FLOATS, LABELS, NAME, load_arrays, save_arrays
from fpigauss._array.flags import unflagged
from fpigauss._array.labels import as_labels, codes_of
from fpigauss._array.linalg import log_sum_exp, softmax
from fpigauss._array.namespaces import (
    as_floating,
    cast_like,
    detached,
    device_of,
    is_array,
    namespace,
    precise,
    to_numpy,
    working_dtype,
)
from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily, Factor, own_name
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians._checks import saved_family, unified
from fpigauss.gaussians._density import Density, best, by_class_rows, index_of

__all__ = ["ClassGaussians"]

#: Bytes that a block of rows takes in the densities, temporaries included: they stay in cache,
_BLOCK_BYTES = 2**24
#: unless that is too few rows for a fast matrix product.
_BLOCK_ROWS = 512


@dataclass(frozen=True, eq=False, repr=False)
class ClassGaussians:
    r"""K Gaussians N(mu_y, Sigma_y), one per class, with equal prior weights.

    They are frozen: the arrays given are copied once, in time and memory like those of one sum over
    them.

    Parameters
    ----------
    means : (K, d) array
        Means, of any namespace; their floating dtype is that of the covariances and samples.
    covariances : array
        Covariances, in the shape of the family: diagonal (K, d), dense (K, d, d), isotropic (K,);
        tied (d,), (d, d) and (). They are variances, not standard deviations.
    covariance : {"diagonal", "dense", "isotropic"} or CovarianceFamily
        The family.
    tied : bool
        One covariance shared by all classes.
    classes : (K,) array-like, optional
        Distinct labels in ascending order; 0..K-1 by default.

    Attributes
    ----------
    family : CovarianceFamily
        The family as an object; ``covariance`` is its name, or the object if it is your own.

    Raises
    ------
    InvalidInputError
        If the shapes disagree, a number is not finite, or a covariance is not symmetric and
        positive definite; the message names the class.

    Examples
    --------
    >>> from fpigauss import ClassGaussians
    >>> gaussians = ClassGaussians([[0.0, 0.0], [4.0, 4.0]], [1.0, 1.0],
    ...                            covariance="isotropic", classes=["cat", "dog"])
    >>> gaussians.predict([[0.1, 0.3], [5.0, 3.0]])
    array(['cat', 'dog'], dtype='<U3')
    >>> gaussians.sample(["dog", "cat"], seed=0).shape
    (2, 2)
    """

    means: Array
    covariances: Array
    covariance: Any = field(default="diagonal", kw_only=True)
    tied: bool = field(default=False, kw_only=True)
    classes: Any = field(default=None, kw_only=True)
    family: CovarianceFamily = field(init=False, repr=False)

    @unflagged
    def __post_init__(self) -> None:
        """Check and unify the fields."""
        for name, value in unified(
            self.means,
            self.covariances,
            covariance=self.covariance,
            tied=self.tied,
            classes=self.classes,
        ).items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Describe the Gaussians, without their numbers."""
        covariance = self.covariance if isinstance(self.covariance, str) else self.family
        tied = ", tied=True" if self.tied and isinstance(self.covariance, str) else ""
        return (
            f"ClassGaussians(n_classes={self.n_classes}, dim={self.dim}, "
            f"covariance={covariance!r}{tied})"
        )

    # -- what they are ---------------------------------------------------------------------

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        return int(self.means.shape[0])

    @property
    def dim(self) -> int:
        """The number of dimensions d."""
        return int(self.means.shape[1])

    @unflagged
    def working(self) -> tuple[Array, Factor]:
        """Return means and factors, in float64 where the device supports it.

        They are numpy's where the namespace has no float64.
        """
        means, covariances = precise(self.means), precise(self.covariances)
        xp, dtype = namespace(means), working_dtype(means)
        values = self.family.unpack(xp.astype(covariances, dtype, copy=False))
        return xp.astype(means, dtype, copy=False), self.family.factor(values)

    # -- densities -------------------------------------------------------------------------

    def class_log_prob(self, z: Any) -> Array:
        r"""Compute log N_y(z) of every sample under every class.

        The densities are computed in the dtype of ``z`` (half precision in float32, which is also
        returned) on centered latents, with factors prepared in float64. They are differentiable
        where the namespace is.

        Parameters
        ----------
        z : (N, d) array
            Latents.

        Returns
        -------
        (N, K) array
            In nats.

        Raises
        ------
        InvalidInputError
            If ``z`` is of another width, namespace or device, or not finite.
        """
        return self._by_blocks(z, lambda log_prob: log_prob)

    @unflagged
    def log_prob(self, z: Any, labels: Any = None) -> Array:
        r"""Compute log N_y(z) of the given labels, or log (1/K) sum_y N_y(z) without them.

        Parameters
        ----------
        z : (N, d) array
            Latents.
        labels : (N,) array-like, optional
            One label per sample. Without labels, the mixture of all classes with equal priors.

        Returns
        -------
        (N,) array
            In nats.

        Raises
        ------
        InvalidInputError
            As in ``class_log_prob``, or if a label is unknown.
        """
        if labels is None:
            return self._by_blocks(z, log_sum_exp) - math.log(self.n_classes)
        z = self._latents(z)
        codes = self._codes(labels)
        if codes.shape[0] != z.shape[0]:
            raise InvalidInputError(
                f"labels has {codes.shape[0]} entries for {z.shape[0]} rows of z; pass one per row"
            )
        density = Density.of(self.family, *self.working(), z)
        take = namespace(z).take
        return by_class_rows(
            codes, z, lambda code, rows: density.of_class(code, take(z, rows, axis=0))
        )

    def predict(self, z: Any) -> Array:
        """Predict the label of the class with the highest density, argmax_y p(z|y).

        Parameters
        ----------
        z : (N, d) array
            Latents.

        Returns
        -------
        (N,) array
            In the namespace and device of ``z`` for integer classes, numpy for strings, and for
            integers that the namespace cannot hold.
        """
        codes = self._by_blocks(z, best)
        xp = namespace(codes)
        if self.classes.dtype.kind == "U":
            return self.classes[to_numpy(codes)]
        labels = xp.asarray(self.classes, device=device_of(codes))
        cut = not str(labels.dtype).endswith("int64")  # to 32 bits, where there are no more
        if cut and np.any(to_numpy(labels) != self.classes):
            return self.classes[to_numpy(codes)]
        return xp.take(labels, codes)

    def predict_proba(self, z: Any) -> Array:
        """Compute p(y|z) under equal priors.

        Parameters
        ----------
        z : (N, d) array
            Latents.

        Returns
        -------
        (N, K) array
            Rows that sum to one, columns in the order of ``classes``.
        """
        return self._by_blocks(z, softmax)

    # -- samples ---------------------------------------------------------------------------

    @unflagged
    def sample(
        self,
        labels: Any,
        *,
        temperature: float = 1.0,
        seed: int | np.random.Generator | None = None,
    ) -> Array:
        """Draw one sample per label.

        Draws are made on the host, so a seed gives the same samples in every namespace.

        Parameters
        ----------
        labels : (N,) array-like
            The classes to draw from, in this order.
        temperature : float
            Multiplies the standard deviations; 0 gives the means.
        seed : int or numpy.random.Generator, optional
            The source of randomness; fresh by default.

        Returns
        -------
        (N, d) array
            In the namespace, device and dtype of the means.

        Raises
        ------
        InvalidInputError
            If a label is unknown, or ``temperature`` is negative.
        """
        temperature = check_nonnegative(temperature, "temperature")
        codes = self._codes(labels)
        means, factor = self.working()
        noise = check_seed(seed).standard_normal((codes.shape[0], self.dim))
        white = cast_like(temperature * noise, means)
        xp = namespace(means)

        def draw(code: int, rows: Array) -> Array:
            own = self.family.rows(factor, index_of(code, means))
            return means[code, :] + self.family.color(own, xp.take(white, rows, axis=0))

        return cast_like(by_class_rows(codes, white, draw), self.means)

    # -- conversion and files --------------------------------------------------------------

    @unflagged
    def to(self, like: Array) -> Self:
        """Convert to the namespace, device and floating dtype of an array.

        Where rounding to a lower precision would make a dense covariance indefinite, its
        correlations shrink by no more than that rounding; its variances stay.

        Parameters
        ----------
        like : array
            Any floating array.

        Returns
        -------
        ClassGaussians
        """
        if not is_array(like):
            raise InvalidInputError(
                f"like is {like!r}; pass an array of the namespace, device and dtype to convert to"
            )
        like = as_floating(like, "like")
        values = self.family.unpack(self.covariances)
        if namespace(like) is not namespace(values) or device_of(like) != device_of(values):
            values = to_numpy(values)
            if precise(like) is like:
                values = namespace(like).asarray(values, device=device_of(like))
        check_range(self.means, like, "means", positive=False)
        values = self.family.rounded(values, like)
        return type(self)(
            cast_like(self.means, like),
            cast_like(self.family.pack(values), like),
            covariance=self.family,
            tied=self.tied,
            classes=self.classes,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file (npz), atomically; bfloat16 as float32.

        An earlier file keeps its mode, and a link stays a link; other hard links to the file keep
        the earlier contents.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        InvalidInputError
            If the family is one of your own that has the name of another.
        """
        covariance = own_name(self.family)
        save_arrays(
            path,
            "ClassGaussians",
            {
                "means": to_numpy(self.means),
                "covariances": to_numpy(self.covariances),
                "classes": self.classes,
                "covariance": np.asarray(covariance),
                "tied": np.asarray(self.tied),
            },
        )

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, covariance: CovarianceFamily | None = None
    ) -> Self:
        """Read what ``save`` wrote, as numpy arrays.

        Parameters
        ----------
        path : path-like
        covariance : CovarianceFamily, optional
            The family, if it is one of your own.

        Returns
        -------
        ClassGaussians

        Raises
        ------
        InvalidInputError
            If the file is not one that ``ClassGaussians.save`` wrote, or is of another family.
        """
        fields = {"means": FLOATS, "covariances": FLOATS, "classes": LABELS}
        arrays = load_arrays(path, "ClassGaussians", {**fields, "covariance": NAME, "tied": FLAG})
        name, tied = str(arrays.pop("covariance")), bool(arrays.pop("tied"))
        return cls(**arrays, covariance=saved_family(path, name, tied, covariance), tied=tied)

    # -- inside ----------------------------------------------------------------------------

    def _latents(self, z: Any) -> Array:
        given = is_array(z)
        z = as_floating(z, "z")
        if not given:
            z = cast_like(z, self.means)
        elif namespace(z) is not namespace(self.means) or device_of(z) != device_of(self.means):
            raise InvalidInputError(
                "z is of another library or on another device than the Gaussians; "
                "convert them with gaussians.to(z)"
            )
        check_width(z, self.dim)
        check_finite_rows(detached(z))
        return z

    @unflagged
    def _by_blocks(self, z: Any, reduce: Callable[[Array], Array]) -> Array:
        """Apply ``reduce`` to the class log-densities, a block of rows of ``z`` at a time."""
        z = self._latents(z)
        density = Density.of(self.family, *self.working(), z)
        row_bytes = 8 * (8 * self.n_classes + 6 * self.dim)
        limit = max(_BLOCK_BYTES, _BLOCK_ROWS * row_bytes)
        rows = list(blocks(z.shape[0], row_bytes, limit)) or [slice(0, 0)]
        pieces = [reduce(density.by_class(z[block, :])) for block in rows]
        return pieces[0] if len(pieces) == 1 else namespace(z).concat(pieces)

    def _codes(self, labels: Any) -> np.ndarray[Any, Any]:
        return codes_of(as_labels(labels, "labels"), self.classes, "labels")
