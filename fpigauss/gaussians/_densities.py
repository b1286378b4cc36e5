"""Densities of class Gaussians, and the posteriors and predictions that follow from them."""

import math
from collections.abc import Callable
from typing import Any, overload

import numpy as np

from fpigauss._array.flags import unflagged
from fpigauss._array.labels import as_labels, codes_of
from fpigauss._array.linalg import softmax
from fpigauss._array.namespaces import device_of, namespace, precise, to_numpy, working_dtype
from fpigauss._array.traced import as_traceable, is_traced, positions_of
from fpigauss._array.typing import Array, HostArray, NumpyArray, TensorT
from fpigauss.covariance import CovarianceFamily, Factor
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians._blocks import by_blocks, latents, narrowed, widened
from fpigauss.gaussians._density import Density, best, by_class_rows, index_of
from fpigauss.gaussians._priors import joint, log_priors, mixture

__all__ = ["Densities"]


class Densities:
    """What is computed of latents: the half of ``ClassGaussians`` that reads its fields."""

    means: Array
    covariances: Array
    classes: Any
    counts: Any
    family: CovarianceFamily

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

        They are numpy's where the namespace has no float64, unless jax is transforming them.
        """
        means, covariances = self.means, self.covariances
        if not is_traced(means, covariances):  # what is traced has no numbers for numpy yet
            means, covariances = precise(means), precise(covariances)
        xp, dtype = namespace(means), working_dtype(means)
        values = self.family.unpack(xp.astype(covariances, dtype, copy=False))
        return xp.astype(means, dtype, copy=False), self.family.factor(values)

    # -- densities -------------------------------------------------------------------------

    @overload
    def class_log_prob(self, z: HostArray) -> NumpyArray: ...

    @overload
    def class_log_prob(self, z: TensorT) -> TensorT: ...

    @overload
    def class_log_prob(self, z: Any) -> Any: ...

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
        return self._by_blocks(z, Density.by_class)

    @overload
    def log_prob(self, z: HostArray, labels: Any = None, *, priors: Any = None) -> NumpyArray: ...

    @overload
    def log_prob(self, z: TensorT, labels: Any = None, *, priors: Any = None) -> TensorT: ...

    @overload
    def log_prob(self, z: Any, labels: Any = None, *, priors: Any = None) -> Any: ...

    @unflagged
    def log_prob(self, z: Any, labels: Any = None, *, priors: Any = None) -> Array:
        r"""Compute log N_y(z) of the given labels, or log sum_y p(y) N_y(z) without them.

        Parameters
        ----------
        z : (N, d) array
            Latents.
        labels : (N,) array-like, optional
            One label per sample. Without labels, the mixture of all classes.
        priors : "counts" or (K,) array-like, optional
            The weights p(y) of the mixture, equal by default, as in ``predict``; only without
            labels.

        Returns
        -------
        (N,) array
            In nats.

        Raises
        ------
        InvalidInputError
            As in ``predict``, or if a label is unknown, or there are labels and priors.
        """
        if labels is None:
            logs = self._log_priors(priors)
            return self._by_blocks(z, lambda density, x: mixture(density.by_class(x), logs))
        if priors is not None:
            raise InvalidInputError(
                "priors are of no effect on log N_y(z) of given labels; leave out one of the two"
            )
        z = latents(self, z)
        density = Density.of(self.family, *self.working(), z)
        xp = namespace(z)
        if is_traced(labels):
            _check_one_per_row(labels.shape, z)
            codes, known = positions_of(labels, as_traceable(self.classes))
            found = density.of_classes(codes, z)
            return xp.where(known, found, xp.full_like(found, math.nan))
        codes = self._codes(labels)
        _check_one_per_row(codes.shape, z)
        return by_class_rows(
            codes,
            z,
            lambda code, rows: density.of_classes(index_of(code, z), xp.take(z, rows, axis=0)),
        )

    @overload
    def mahalanobis(self, z: HostArray) -> NumpyArray: ...

    @overload
    def mahalanobis(self, z: TensorT) -> TensorT: ...

    @overload
    def mahalanobis(self, z: Any) -> Any: ...

    @unflagged
    def mahalanobis(self, z: Any) -> Array:
        r"""Compute squared Mahalanobis distances (z - mu_y)' Sigma_y^-1 (z - mu_y).

        They are computed in float64 where the device supports it, near a mean from differences, and
        are differentiable where the namespace is.

        Parameters
        ----------
        z : (N, d) array
            Latents.

        Returns
        -------
        (N, K) array
            Squared, in the dtype of ``z`` (float32 for half precision); infinite where they
            overflow.

        Raises
        ------
        InvalidInputError
            As in ``class_log_prob``.

        Examples
        --------
        >>> from fpigauss import ClassGaussians
        >>> gaussians = ClassGaussians([[0.0], [4.0]], [[1.0], [4.0]])
        >>> gaussians.mahalanobis([[2.0], [4.0]])
        array([[ 4.,  1.],
               [16.,  0.]])
        """
        z = latents(self, z)
        squared = self._by_blocks(widened(z), Density.squared_distances)
        return narrowed(squared, z)

    @overload
    def predict(self, z: HostArray, *, priors: Any = None) -> NumpyArray: ...

    @overload
    def predict(self, z: TensorT, *, priors: Any = None) -> TensorT | Any: ...

    @overload
    def predict(self, z: Any, *, priors: Any = None) -> Any: ...

    def predict(self, z: Any, *, priors: Any = None) -> Array:
        """Predict the label of the most probable class, argmax_y p(y) p(z|y).

        Priors are equal by default, whatever the counts of the classes: then it is the class with
        the highest density.

        Parameters
        ----------
        z : (N, d) array
            Latents.
        priors : "counts" or (K,) array-like, optional
            The probability p(y) of each class, in the order of ``classes``; or "counts", in
            proportion to ``counts``. Equal by default. A class whose prior is zero is never
            predicted.

        Returns
        -------
        (N,) array
            In the namespace and device of ``z`` for integer and boolean classes, numpy for strings,
            and for integers that the namespace cannot hold.

        Raises
        ------
        InvalidInputError
            As in ``class_log_prob``, or if ``priors`` are not K probabilities that sum to one, or
            "counts" that are not known.

        Examples
        --------
        >>> from fpigauss import ClassGaussians
        >>> gaussians = ClassGaussians([[0.0], [2.0]], [[1.0], [1.0]], counts=[95, 5])
        >>> gaussians.predict([[1.5], [3.0]]), gaussians.predict([[1.5], [3.0]], priors="counts")
        (array([1, 1]), array([0, 1]))
        """
        logs = self._log_priors(priors)
        codes = self._by_blocks(z, lambda density, x: best(joint(density.by_class(x), logs)))
        if self.classes.dtype.kind == "U":
            return self.classes[to_numpy(codes)]
        labels = namespace(codes).asarray(self.classes, device=device_of(codes))
        cut = str(labels.dtype).endswith("int32")  # where there are no more bits
        if cut and np.any(self.classes.astype(np.int32) != self.classes):
            return self.classes[to_numpy(codes)]
        return namespace(codes).take(labels, codes)

    @overload
    def predict_proba(self, z: HostArray, *, priors: Any = None) -> NumpyArray: ...

    @overload
    def predict_proba(self, z: TensorT, *, priors: Any = None) -> TensorT: ...

    @overload
    def predict_proba(self, z: Any, *, priors: Any = None) -> Any: ...

    def predict_proba(self, z: Any, *, priors: Any = None) -> Array:
        """Compute the posterior p(y|z), in proportion to p(y) p(z|y).

        Parameters
        ----------
        z : (N, d) array
            Latents.
        priors : "counts" or (K,) array-like, optional
            The probability p(y) of each class, as in ``predict``; equal by default.

        Returns
        -------
        (N, K) array
            Rows that sum to one, columns in the order of ``classes``; the priors themselves for
            rows so far from all classes that every density vanishes.

        Raises
        ------
        InvalidInputError
            As in ``predict``.
        """
        logs = self._log_priors(priors)
        return self._by_blocks(z, lambda density, x: softmax(joint(density.by_class(x), logs)))

    # -- inside ----------------------------------------------------------------------------

    @unflagged
    def _by_blocks(self, z: Any, function: Callable[[Density, Array], Array]) -> Array:
        return by_blocks(self, latents(self, z), function)

    @unflagged
    def _log_priors(self, priors: Any) -> Array | None:
        like = widened(self.means)
        return log_priors(priors, counts=self.counts, classes=self.classes, like=like)

    def _codes(self, labels: Any) -> np.ndarray[Any, Any]:
        return codes_of(as_labels(labels, "labels"), self.classes, "labels")


def _check_one_per_row(shape: tuple[int, ...], z: Array) -> None:
    """Check that labels of this shape are one per row of latents (N, d)."""
    if tuple(shape) != (z.shape[0],):
        given = f"{shape[0]} entries" if len(shape) == 1 else f"shape {tuple(shape)}"
        raise InvalidInputError(f"labels has {given} for {z.shape[0]} rows of z; pass one per row")
