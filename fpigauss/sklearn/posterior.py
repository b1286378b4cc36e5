"""What estimators do with p(x, y) of their classes: predict, and draw rows.

The estimators of ``fpigauss_torch`` share it.
"""

from abc import abstractmethod
from typing import Any, overload

from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fpigauss._array.checks import check_draws, check_positive_integer
from fpigauss._array.flags import unflagged
from fpigauss._array.linalg import log_sum_exp, softmax
from fpigauss._array.namespaces import device_of, namespace, to_numpy
from fpigauss._array.typing import Array, HostArray, Labels, NumpyArray, TensorT

__all__ = ["PosteriorMixin"]


class PosteriorMixin:
    """Predictions and draws of an estimator, after its ``_logits`` and ``_drawn``.

    Arrays stay in their namespace.
    """

    classes_: Labels
    n_features_in_: int
    #: The prior probabilities (K,) of the classes.
    priors_: Any

    @abstractmethod
    def _logits(self, X: Any, method: str) -> Array:
        """Compute log p(y|x) (N, K), up to a constant per row, for a method that errors name."""

    def _check_ready(self) -> None:
        """Raise unless there is a fit."""
        check_is_fitted(self)

    @abstractmethod
    def _drawn(self, labels: Any, seed: int) -> tuple[Any, Any]:
        """Draw a row of each of the ``labels`` (N,), and return them as an array too."""

    @overload
    def predict(self, X: HostArray) -> NumpyArray: ...

    @overload
    def predict(self, X: TensorT) -> TensorT | Any: ...

    @overload
    def predict(self, X: Any) -> Any: ...

    @unflagged
    def predict(self, X: Any) -> Any:
        """Predict the labels with the highest posterior probabilities.

        Parameters
        ----------
        X : (N, d) array-like

        Returns
        -------
        (N,) array
            On the host for strings, otherwise in the namespace of ``X``.
        """
        logits = self._logits(X, "predict")
        codes = namespace(logits).argmax(logits, axis=1)
        if self.classes_.dtype.kind in "biu":
            classes = namespace(codes).asarray(self.classes_, device=device_of(codes))
            return namespace(codes).take(classes, codes)
        return self.classes_[to_numpy(codes)]

    @overload
    def predict_log_proba(self, X: HostArray) -> NumpyArray: ...

    @overload
    def predict_log_proba(self, X: TensorT) -> TensorT | Any: ...

    @overload
    def predict_log_proba(self, X: Any) -> Any: ...

    @unflagged
    def predict_log_proba(self, X: Any) -> Any:
        """Compute the logarithms of the posterior probabilities.

        Parameters
        ----------
        X : (N, d) array-like

        Returns
        -------
        (N, K) array
            Columns in the order of ``classes_``.
        """
        logits = self._logits(X, "predict_log_proba")
        return logits - log_sum_exp(logits)[:, None]

    @overload
    def predict_proba(self, X: HostArray) -> NumpyArray: ...

    @overload
    def predict_proba(self, X: TensorT) -> TensorT | Any: ...

    @overload
    def predict_proba(self, X: Any) -> Any: ...

    @unflagged
    def predict_proba(self, X: Any) -> Any:
        """Compute the posterior probabilities of the classes.

        Parameters
        ----------
        X : (N, d) array-like

        Returns
        -------
        (N, K) array
            Rows that sum to one, columns in the order of ``classes_``; the priors themselves for
            rows so far from all classes that every density vanishes.
        """
        return softmax(self._logits(X, "predict_proba"))

    @overload
    def decision_function(self, X: HostArray) -> NumpyArray: ...

    @overload
    def decision_function(self, X: TensorT) -> TensorT | Any: ...

    @overload
    def decision_function(self, X: Any) -> Any: ...

    @unflagged
    def decision_function(self, X: Any) -> Any:
        """Compute log p(y|x) up to a constant; for two classes, how much higher the second's is.

        Parameters
        ----------
        X : (N, d) array-like

        Returns
        -------
        (N, K) or (N,) array
        """
        logits = self._logits(X, "decision_function")
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def sample(
        self, n_samples: int = 1, *, labels: Any = None, random_state: Any = None
    ) -> tuple[Any, Any]:
        """Draw rows: of the classes ``labels``, or of classes drawn by their priors.

        Parameters
        ----------
        n_samples : int
            How many rows to draw, if ``labels`` is not given.
        labels : (N,) array-like, optional
            The classes to draw from, in this order.
        random_state : int, numpy.random.RandomState or None
            The source of randomness, as in scikit-learn.

        Returns
        -------
        X : (N, d) array
        y : (N,) array
        """
        self._check_ready()
        source = check_random_state(random_state)
        if labels is None:
            n_samples = check_positive_integer(n_samples, "n_samples")
            check_draws(n_samples, self.n_features_in_, "n_samples")
            labels = source.choice(self.classes_, size=n_samples, p=to_numpy(self.priors_))
        return self._drawn(labels, int(source.randint(2**31 - 1)))
