"""What a fitted classifier tells: its Gaussians, labels, densities and features of rows."""

import math
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted, validate_data

from fpigauss._array.flags import unflagged
from fpigauss._array.labels import as_labels
from fpigauss._array.namespaces import as_floating, check_unmasked, device_of, namespace
from fpigauss._array.typing import Array, HostArray, NumpyArray, TensorT
from fpigauss.errors import (
    InvalidInputError,
    NotPositiveDefiniteError,
    UnreachableSeparationError,
)
from fpigauss.gaussians import ClassGaussians, discriminant_axes
from fpigauss.gaussians._priors import joint, mixture
from fpigauss.result import FixedPointResult
from fpigauss.sklearn._recipe import Fitted, Recipe
from fpigauss.sklearn.posterior import PosteriorMixin
from fpigauss.statistics import ClassStatistics

__all__ = ["FeaturesName", "GaussianEstimates", "numbers_of"]

FeaturesName: TypeAlias = Literal["log_density", "discriminant"]


#: What a fit raises.
_FAILURES = (InvalidInputError, NotPositiveDefiniteError, UnreachableSeparationError)


class _NoFitError(InvalidInputError, NotFittedError):
    """There is no such attribute, for the fit at its first use fails; also an AttributeError."""


def numbers_of(rows: Any, given: Any) -> Any:
    """Return checked rows; where they are still objects, read the numbers from what was given.

    scikit-learn leaves a frame with a categorical column an array of objects. Any that are not
    numbers are told by their column.
    """
    return as_floating(given, "X") if getattr(rows.dtype, "kind", "") == "O" else rows


class GaussianEstimates(PosteriorMixin, TransformerMixin, BaseEstimator):
    """The attributes and methods of a classifier that has been fitted."""

    statistics_: ClassStatistics
    n_features_in_: int
    features: FeaturesName
    n_components: int | None
    _cached: Fitted | None
    #: The parameters as they were at the last call of a fit.
    _recipe: Recipe

    # -- the Gaussians, fitted at their first use --------------------------------------------

    @property
    def result_(self) -> FixedPointResult:
        """The fit."""
        return self._found("result_").result

    @property
    def gaussians_(self) -> ClassGaussians:
        """One Gaussian per class that had rows."""
        return self._found("gaussians_").result.gaussians

    @property
    def lam_(self) -> float:
        """The weight of the repulsion."""
        return self._found("lam_").lam

    @property
    def priors_(self) -> Array:
        """The prior probabilities of ``classes_``."""
        fitted = self._found("priors_")
        counts = self.statistics_.counts
        xp = namespace(counts)
        if fitted.log_priors is None:
            return xp.ones_like(counts) / fitted.n_classes
        return xp.exp(fitted.log_priors)

    @property
    def n_iter_(self) -> int:
        """The number of evaluations, with the one at the start."""
        return self._found("n_iter_").result.n_iter + 1

    def _found(self, attribute: str) -> Fitted:
        """Return the fit that an attribute is of; where there cannot be one, ``hasattr`` says so.

        Methods raise what the fit raises.
        """
        try:
            return self._fitted()
        except _FAILURES as error:
            raise _NoFitError(f"{type(self).__name__} has no {attribute}: {error}") from error

    def _fitted(self) -> Fitted:
        check_is_fitted(self, "statistics_")
        if self._cached is None or self._cached.statistics is not self.statistics_:
            self._cached = self._recipe.fitted(self.statistics_)
        return self._cached

    # -- densities and features ----------------------------------------------------------------

    @overload
    def score_samples(self, X: HostArray) -> NumpyArray: ...

    @overload
    def score_samples(self, X: TensorT) -> TensorT | Any: ...

    @overload
    def score_samples(self, X: Any) -> Any: ...

    @unflagged
    def score_samples(self, X: Any) -> Any:
        """Compute log p(x), the log-density of the mixture of all classes, in nats.

        With a minus sign it says how unknown a row is: `fpigauss.open_set_threshold` finds the
        value above which to reject, and in a pipeline the steps before are applied.

        Parameters
        ----------
        X : (N, d) array-like

        Returns
        -------
        (N,) array
        """
        log_prob = self._log_prob(X, "score_samples")
        return mixture(log_prob, self._fitted().log_priors)

    @overload
    def transform(self, X: HostArray) -> NumpyArray: ...

    @overload
    def transform(self, X: TensorT) -> TensorT | Any: ...

    @overload
    def transform(self, X: Any) -> Any: ...

    @unflagged
    def transform(self, X: Any) -> Any:
        """Compute the log-density of every class, or discriminant coordinates (see ``features``).

        Parameters
        ----------
        X : (N, d) array-like

        Returns
        -------
        (N, K) or (N, n_components) array
        """
        if self.features == "log_density":
            return self._log_prob(X, "transform")
        z = self._latents(X, "transform")
        n_axes = None if self.n_components is None else int(self.n_components)
        axes = discriminant_axes(self.gaussians_, n_axes)
        means = self.gaussians_.means
        return (z - namespace(means).mean(means, axis=0)) @ axes

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Name the columns that ``transform`` returns.

        Parameters
        ----------
        input_features : array-like, optional
            Not used, for scikit-learn.

        Returns
        -------
        array of str
        """
        check_is_fitted(self, "statistics_")
        if self.features == "log_density":
            names = [f"log_density_{label}" for label in self.classes_]
        else:
            most = min(self.gaussians_.n_classes - 1, self.n_features_in_)
            n_axes = most if self.n_components is None else min(int(self.n_components), most)
            names = [f"discriminant{number}" for number in range(n_axes)]
        return np.asarray(names, dtype=object)

    # -- within --------------------------------------------------------------------------------

    def _check_ready(self) -> None:
        self._fitted()

    def _logits(self, X: Any, method: str) -> Array:
        """Compute log p(x, y) (N, K), up to a constant per row; log p(y) where x has no density."""
        log_prob = self._log_prob(X, method)
        logs = self._fitted().log_priors
        if logs is None:
            xp = namespace(log_prob)
            logs = xp.full_like(log_prob[0, :], -math.log(log_prob.shape[1]))
        return joint(log_prob, logs)

    def _drawn(self, labels: Any, seed: int) -> tuple[Any, Any]:
        rows = self.gaussians_.sample(as_labels(labels, "labels"), seed=np.random.default_rng(seed))
        return rows, np.asarray(labels)

    def _log_prob(self, X: Any, method: str) -> Array:
        """Compute log p(x | y) (N, K) for a method, which an error names."""
        z = self._latents(X, method)
        return self._fitted().over_all(self.gaussians_.class_log_prob(z))

    def _latents(self, X: Any, method: str) -> Array:
        """Check new rows as scikit-learn does, and take them to the precision of the Gaussians."""
        check_is_fitted(self, "statistics_")
        check_unmasked(X=X)
        z = as_floating(numbers_of(validate_data(self, X, reset=False, dtype="numeric"), X), "X")
        means = self._fitted().result.gaussians.means
        if namespace(z) is not namespace(means) or device_of(z) != device_of(means):
            raise InvalidInputError(
                f"X is an array of {namespace(z).__name__} on {device_of(z)}; "
                f"{type(self).__name__}.{method}() must use the same namespace and device as fit: "
                f"{namespace(means).__name__} on {device_of(means)}"
            )
        return namespace(z).astype(z, means.dtype, copy=False)
