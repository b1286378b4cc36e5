"""The class Gaussians as a classifier of scikit-learn."""

import inspect
import math
from functools import partial
from typing import Any, Literal, Self, Unpack

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fpigauss._array.checks import (
    check_choice,
    check_nonnegative,
    check_positive,
    check_positive_integer,
)
from fpigauss._array.flags import unflagged
from fpigauss._array.labels import as_labels
from fpigauss._array.linalg import log_sum_exp, softmax
from fpigauss._array.namespaces import as_floating, device_of, namespace, to_numpy
from fpigauss._array.typing import Array, Labels
from fpigauss.errors import InvalidInputError
from fpigauss.fit import EstimatorOptions, FixedPoint
from fpigauss.fit._documented import documented, with_options
from fpigauss.fit._fixed_point import checked_statistics
from fpigauss.fit._options import check_option_names
from fpigauss.gaussians import ClassGaussians, discriminant_axes
from fpigauss.gaussians._priors import joint, mixture
from fpigauss.result import FixedPointResult
from fpigauss.sklearn._recipe import Fitted, Recipe, on_host, taken
from fpigauss.statistics import ClassStatistics, check_sample_weight

__all__ = ["FixedPointGaussianClassifier"]

FeaturesName = Literal["log_density", "discriminant"]


#: Options that are declared here, or make no sense: an estimator learns all of its classes.
_NOT_TAKEN = ("frozen", "callback")


@partial(documented, without=("tied", *_NOT_TAKEN))
class FixedPointGaussianClassifier(ClassifierMixin, TransformerMixin, BaseEstimator):
    """Classify by one Gaussian per class, pushed apart from the others.

    Without ``lam`` and ``separation`` nothing repels: the Gaussians are those of the classes, and
    the classifier is Gaussian naive Bayes (``covariance="diagonal"``), quadratic
    (``covariance="dense"``) or linear discriminant analysis (``covariance="dense", tied=True``).

    Repulsion moves the Gaussians, not the rows of ``X``: on features that stay as they are,
    accuracy and probabilities get worse as the classes are pushed further apart. It serves models
    that are trained under the Gaussians. Some scores of unknown rows gain from a separation of 20
    nats, others lose; compare them with ``covariance="dense", shrinkage="oas"`` first.

    Parameters
    ----------
    {options}
    separation : float, optional
        How far apart the classes should be at least: the smallest KLD over ordered pairs, in nats.
        The lam that reaches it is found by ``solve_separated``. Pass this or ``lam``.
    tied : bool, optional
        One covariance shared by all classes. The default is True with a ``separation``, which only
        tied families always reach, and otherwise False: pass it where the two are compared.
    priors : "counts", None or (K,) array-like
        Prior probabilities of the classes: those of the training rows, equal ones (None, which
        elsewhere in scikit-learn stands for those of the training rows), or numbers that sum to
        one.
    var_smoothing : float
        The part of the largest variance of a feature that is added to all variances of all classes,
        as in scikit-learn's GaussianNB: with it, a feature may be constant in a class.
    features : {"log_density", "discriminant"}
        What ``transform`` returns: the log-density of every class, in nats, or the coordinates on
        the axes along which the class means part most.
    n_components : int, optional
        The number of discriminant axes; by default, and at most, all min(K - 1, d) of them.

    Attributes
    ----------
    classes_ : (K,) array
        The labels.
    gaussians_ : ClassGaussians
        One Gaussian per class.
    result_ : FixedPointResult
        The fit, with its status and history.
    lam_ : float
        The weight of the repulsion.
    priors_ : (K,) array
        The prior probabilities in use.
    statistics_ : ClassStatistics
        Counts, means and covariances of the training rows; save or merge them to go on elsewhere,
        with ``fit_statistics``.
    n_iter_ : int
        The number of evaluations of the fit, with the one at the start.
    n_features_in_ : int
        The number of features d.
    feature_names_in_ : (d,) array
        The names of the features, if ``X`` had any.

    See Also
    --------
    fpigauss.fit_fixed_point : also fits classes that come later, with ``frozen=``.
    fpigauss.fit_separated : find the ``lam`` that puts the classes as far apart as asked.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fpigauss.sklearn import FixedPointGaussianClassifier
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> classifier = FixedPointGaussianClassifier(covariance="dense", tied=True).fit(X, y)
    >>> round(classifier.score(X, y), 2)
    0.98
    >>> far = FixedPointGaussianClassifier(separation=50.0).fit(X, y)
    >>> far.lam_ > 0.0
    True
    """

    _cached: Fitted | None
    #: The parameters as they were at the last call of a fit.
    _recipe: Recipe

    @partial(with_options, without=_NOT_TAKEN)
    def __init__(
        self,
        lam: float | None = None,
        *,
        separation: float | None = None,
        tied: bool | None = None,
        priors: Any = "counts",
        var_smoothing: float = 1e-9,
        features: FeaturesName = "log_density",
        n_components: int | None = None,
        **options: Unpack[EstimatorOptions],
    ) -> None:
        given = {
            "lam": lam,
            "separation": separation,
            "tied": tied,
            "priors": priors,
            "var_smoothing": var_smoothing,
            "features": features,
            "n_components": n_components,
        }
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        check_option_names(options, known=names)
        defaults = inspect.signature(FixedPointGaussianClassifier.__init__).parameters
        for name in defaults:
            if name != "self":
                value = {**given, **options}.get(name, defaults[name].default)
                setattr(self, name, value)

    # -- fitting ---------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the Gaussians of the classes.

        Parameters
        ----------
        X : (N, d) array-like
            Features.
        y : (N,) array-like
            Labels.
        sample_weight : (N,) array-like, optional
            Repetition weights >= 0.

        Returns
        -------
        FixedPointGaussianClassifier
            Itself.

        Raises
        ------
        InvalidInputError
            If a parameter or a class cannot be used; the message names it and the remedy. What is
            wrong with ``X`` or ``y`` alone is told by scikit-learn's own ValueError.

        Warns
        -----
        UserWarning
            If only ``var_smoothing`` makes the dense covariance of a class definite, as where it
            has fewer rows than there are features: new rows of it would hardly be predicted.
        """
        recipe = self._checked()
        X, y, weights = _counted(*self._validated(X, y, sample_weight, reset=True))
        classes = np.unique(y)
        if len(classes) < 2:
            raise InvalidInputError(
                f"y contains one class, {classes[:1].tolist()[0]!r}; at least two are needed"
            )
        statistics = recipe.gathered(X, y, weights, classes=classes)
        self._cached, self._recipe = recipe.fitted(statistics), recipe
        self.classes_, self.statistics_ = classes, statistics
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Add rows to the statistics of those before; the Gaussians are fitted at their first use.

        The outcome is that of one ``fit`` to all rows, in whatever order they came. Classes of
        which no row has come have no Gaussian: they are never predicted.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.
        classes : (K,) array-like, optional
            All labels that can occur; needed in the first call.

        Returns
        -------
        FixedPointGaussianClassifier
            Itself.

        Raises
        ------
        InvalidInputError
            As in ``fit``; also if ``y`` contains a label that is not in ``classes``, or if these
            are not given in the first call or differ later.
        """
        recipe = self._checked()
        first = not hasattr(self, "statistics_")
        X, y, weights = self._validated(X, y, sample_weight, reset=first)
        known = None if classes is None else np.unique(column_or_1d(classes))
        if first and known is None:
            raise InvalidInputError(
                "classes must be passed on the first call to partial_fit: all labels that can occur"
            )
        if not first and known is not None and not np.array_equal(known, self.classes_):
            raise InvalidInputError(
                f"classes={known.tolist()} is not the same as on last call to partial_fit, was: "
                f"{self.classes_.tolist()}"
            )
        known = self.classes_ if known is None else known
        unseen = np.setdiff1d(np.unique(y), known)
        if len(unseen):
            raise InvalidInputError(
                f"y contains the label {unseen[:1].tolist()[0]!r}, which is not in classes; "
                "pass all labels that can occur in the first call"
            )
        before = None if first else self.statistics_
        part = recipe.gathered(*_counted(X, y, weights), classes=known, before=before)
        self.statistics_ = part if before is None else before.merge(part)
        self.classes_, self._cached, self._recipe = known, None, recipe
        return self

    def fit_statistics(self, statistics: ClassStatistics) -> Self:
        """Fit the Gaussians to class statistics, such as those of several machines, merged.

        The outcome is that of ``fit`` to all the rows that the statistics are of; ``partial_fit``
        adds more.

        Parameters
        ----------
        statistics : ClassStatistics
            Statistics of all classes that can occur, with rows of two at least; "dense" ones for
            dense covariances. Their labels become ``classes_``.

        Returns
        -------
        FixedPointGaussianClassifier
            Itself.

        Raises
        ------
        InvalidInputError
            If a parameter or the statistics cannot be used.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from fpigauss import ClassStatistics
        >>> from fpigauss.sklearn import FixedPointGaussianClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> first, second = (ClassStatistics.from_samples(X[i::2], y[i::2]) for i in (0, 1))
        >>> classifier = FixedPointGaussianClassifier().fit_statistics(first.merge(second))
        >>> round(classifier.score(X, y), 2)
        0.96
        """
        recipe = self._checked()
        statistics = checked_statistics(statistics)
        if not get_config()["array_api_dispatch"]:
            statistics = on_host(statistics)  # where rows will be
        self._cached, self._recipe = recipe.fitted(statistics, source="statistics"), recipe
        self.classes_, self.statistics_ = statistics.classes, statistics
        self.n_features_in_ = statistics.dim
        if hasattr(self, "feature_names_in_"):  # those of another fit
            del self.feature_names_in_
        return self

    def __sklearn_tags__(self) -> Tags:
        """Say what scikit-learn should know: arrays of any namespace are taken, if dispatched."""
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags

    def _checked(self) -> Recipe:
        """Check the parameters, and return what the fit takes of them."""
        if self.lam is not None and self.separation is not None:
            raise InvalidInputError(
                f"lam={self.lam!r} and separation={self.separation!r} are both given; "
                "pass one of them"
            )
        if self.separation is not None:
            check_positive(self.separation, "separation")
        check_nonnegative(self.var_smoothing, "var_smoothing")
        check_choice(self.features, "features", ("log_density", "discriminant"))
        if self.n_components is not None:
            check_positive_integer(self.n_components, "n_components")
        tied = self.separation is not None if self.tied is None else self.tied
        lam = 0.0 if self.lam is None else self.lam
        options = {name: getattr(self, name) for name in EstimatorOptions.__annotations__}
        fixed_point = FixedPoint(lam, tied=tied, **options)
        return Recipe(fixed_point, self.separation, self.priors, self.var_smoothing)

    def _validated(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Array, Labels, Array | None]:
        """Check the rows as scikit-learn does, and bring the labels to the host."""
        X, y = validate_data(self, X, y, reset=reset, dtype="numeric")
        check_classification_targets(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            check_sample_weight(sample_weight, X.shape[0])
        return X, to_numpy(y), sample_weight

    # -- the Gaussians, fitted at their first use --------------------------------------------

    @property
    def result_(self) -> FixedPointResult:
        """The fit."""
        return self._fitted().result

    @property
    def gaussians_(self) -> ClassGaussians:
        """One Gaussian per class that had rows."""
        return self._fitted().result.gaussians

    @property
    def lam_(self) -> float:
        """The weight of the repulsion."""
        return self._fitted().lam

    @property
    def priors_(self) -> Array:
        """The prior probabilities of ``classes_``."""
        fitted = self._fitted()
        counts = self.statistics_.counts
        xp = namespace(counts)
        if fitted.log_priors is None:
            return xp.ones_like(counts) / fitted.n_classes
        return xp.exp(fitted.log_priors)

    @property
    def n_iter_(self) -> int:
        """The number of evaluations, with the one at the start."""
        return self._fitted().result.n_iter + 1

    def _fitted(self) -> Fitted:
        check_is_fitted(self, "statistics_")
        if self._cached is None or self._cached.statistics is not self.statistics_:
            self._cached = self._recipe.fitted(self.statistics_)
        return self._cached

    # -- prediction ------------------------------------------------------------------------

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
        joint = self._joint_log_prob(X, "predict")
        codes = namespace(joint).argmax(joint, axis=1)
        if self.classes_.dtype.kind in "iu":
            classes = namespace(codes).asarray(self.classes_, device=device_of(codes))
            return namespace(codes).take(classes, codes)
        return self.classes_[to_numpy(codes)]

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
        joint = self._joint_log_prob(X, "predict_log_proba")
        return joint - log_sum_exp(joint)[:, None]

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
        return softmax(self._joint_log_prob(X, "predict_proba"))

    def decision_function(self, X: Any) -> Any:
        """Compute log p(x, y); for two classes, how much higher it is for the second.

        Parameters
        ----------
        X : (N, d) array-like

        Returns
        -------
        (N, K) or (N,) array
        """
        joint = self._joint_log_prob(X, "decision_function")
        return joint[:, 1] - joint[:, 0] if joint.shape[1] == 2 else joint

    def score_samples(self, X: Any) -> Any:
        """Compute log p(x), the log-density of the mixture of all classes, in nats.

        Parameters
        ----------
        X : (N, d) array-like

        Returns
        -------
        (N,) array
        """
        log_prob = self._log_prob(X, "score_samples")
        return unflagged(mixture)(log_prob, self._fitted().log_priors)

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
        source = check_random_state(random_state)
        priors = to_numpy(self.priors_)
        if labels is None:
            n_samples = check_positive_integer(n_samples, "n_samples")
            labels = source.choice(self.classes_, size=n_samples, p=priors)
        seed = np.random.default_rng(source.randint(2**31 - 1))
        return self.gaussians_.sample(as_labels(labels, "labels"), seed=seed), np.asarray(labels)

    def _joint_log_prob(self, X: Any, method: str) -> Array:
        """Compute log p(x, y) (N, K), up to a constant per row; log p(y) where x has no density."""
        log_prob = self._log_prob(X, method)
        logs = self._fitted().log_priors
        if logs is None:
            xp = namespace(log_prob)
            logs = xp.full_like(log_prob[0, :], -math.log(log_prob.shape[1]))
        return joint(log_prob, logs)

    def _log_prob(self, X: Any, method: str) -> Array:
        """Compute log p(x | y) (N, K) for a method, which an error names."""
        z = self._latents(X, method)
        return self._fitted().over_all(self.gaussians_.class_log_prob(z))

    def _latents(self, X: Any, method: str) -> Array:
        """Check new rows as scikit-learn does, and take them to the precision of the Gaussians."""
        check_is_fitted(self, "statistics_")
        z = as_floating(validate_data(self, X, reset=False, dtype="numeric"), "X")
        means = self.gaussians_.means
        if namespace(z) is not namespace(means) or device_of(z) != device_of(means):
            raise InvalidInputError(
                f"X is an array of {namespace(z).__name__} on {device_of(z)}; "
                f"{type(self).__name__}.{method}() must use the same namespace and device as fit: "
                f"{namespace(means).__name__} on {device_of(means)}"
            )
        return namespace(z).astype(z, means.dtype, copy=False)


def _counted(X: Array, y: Labels, weights: Array | None) -> tuple[Array, Labels, Array | None]:
    """Leave out the rows of weight zero: they are as if they had not been passed."""
    if weights is None:
        return X, y, None
    rows = np.flatnonzero(to_numpy(weights) > 0.0)
    if len(rows) == 0:
        raise InvalidInputError("sample_weight is zero in every row; give some of them weight")
    return taken(X, rows), y[rows], taken(weights, rows)
