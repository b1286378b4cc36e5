"""The class Gaussians as a classifier of scikit-learn."""

import inspect
from functools import partial
from typing import Any, Self, Unpack

import numpy as np
from sklearn import get_config
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from fpigauss._array.checks import (
    check_choice,
    check_nonnegative,
    check_positive,
    check_positive_integer,
)
from fpigauss._array.labels import as_labels, check_kept_by_numpy
from fpigauss._array.namespaces import check_unmasked, to_numpy
from fpigauss._array.typing import Array, Labels
from fpigauss.errors import InvalidInputError
from fpigauss.fit import EstimatorOptions, FixedPoint
from fpigauss.fit._documented import documented, with_options
from fpigauss.fit._fixed_point import checked_statistics
from fpigauss.fit._options import check_option_names
from fpigauss.sklearn._estimates import FeaturesName, GaussianEstimates, numbers_of
from fpigauss.sklearn._recipe import Recipe, on_host, taken
from fpigauss.statistics import ClassStatistics, check_sample_weight

__all__ = ["FixedPointGaussianClassifier"]

#: Options that are declared here, or make no sense: an estimator learns all of its classes.
_NOT_TAKEN = ("frozen", "callback")


@partial(documented, without=("tied", *_NOT_TAKEN))
class FixedPointGaussianClassifier(ClassifierMixin, GaussianEstimates):
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
    fpigauss.open_set_threshold : the score above which to reject a row, of ``-score_samples(X)``.

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
            has fewer rows than there are features, or one of them is constant in it alone: new
            rows of it that vary there would hardly be predicted.
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
        known = None if classes is None else _known(classes)
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
        # scikit-learn forgets the mask
        check_unmasked(X=X, y=y, sample_weight=sample_weight)
        check_kept_by_numpy(y)
        rows, y = validate_data(self, X, y, reset=reset, dtype="numeric")
        X = numbers_of(rows, X)
        check_classification_targets(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            check_sample_weight(sample_weight, X.shape[0])
        return X, to_numpy(y), sample_weight


def _known(classes: Any) -> Labels:
    """Return the labels that can occur, sorted, each once."""
    check_kept_by_numpy(classes, "classes")
    as_labels(classes, "classes")  # raises for what cannot be a label
    known: Labels = np.unique(column_or_1d(classes))
    return known


def _counted(X: Array, y: Labels, weights: Array | None) -> tuple[Array, Labels, Array | None]:
    """Leave out the rows of weight zero: they are as if they had not been passed."""
    if weights is None:
        return X, y, None
    rows = np.flatnonzero(to_numpy(weights) > 0.0)
    if len(rows) == 0:
        raise InvalidInputError("sample_weight is zero in every row; give some of them weight")
    return taken(X, rows), y[rows], taken(weights, rows)
