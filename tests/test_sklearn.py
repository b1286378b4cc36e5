"""The estimator for scikit-learn: its conventions, what it equals there, and what it refuses."""

import inspect
import math
import pickle
import re
from functools import partial

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from fpigauss import (
    ClassStatistics,
    InvalidInputError,
    UnknownOptionError,
    UnreachableSeparationError,
    pairwise_kld,
    smallest_kld,
)
from fpigauss.plot import HistoryDisplay, KLDDisplay
from fpigauss.sklearn import FixedPointGaussianClassifier

Classifier = FixedPointGaussianClassifier


@parametrize_with_checks(
    [
        Classifier(),
        Classifier(lam=1.0),
        Classifier(separation=20.0),
        Classifier(covariance="dense", tied=True, shrinkage=0.1, features="discriminant"),
    ]
)
def test_scikit_learn_finds_nothing(estimator, check):
    check(estimator)


# -- without repulsion it is what scikit-learn has -----------------------------------------------

DATA = [load_iris, load_wine, load_breast_cancer]


@pytest.mark.parametrize("load", DATA)
@pytest.mark.parametrize("var_smoothing", [0.0, 1e-9, 1e-3])
def test_naive_bayes(load, var_smoothing):
    X, y = load(return_X_y=True)
    ours = Classifier(var_smoothing=var_smoothing).fit(X, y)
    theirs = GaussianNB(var_smoothing=var_smoothing).fit(X, y)
    assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-10, atol=1e-10)
    assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_quadratic_discriminant_analysis(load):
    X, y = load(return_X_y=True)
    ours = Classifier(covariance="dense", var_smoothing=0.0).fit(X, y)
    biased = [np.cov(X[y == code].T, bias=True) for code in range(3)]
    expected = _reference(X, y, biased, np.bincount(y) / len(y))
    assert_allclose(ours.predict_log_proba(X), expected, rtol=1e-10, atol=1e-10)
    theirs = QuadraticDiscriminantAnalysis(store_covariance=True).fit(X, y)
    if np.allclose(theirs.covariance_, biased, rtol=1e-9):  # older versions divide by N - 1
        expected = theirs.predict_log_proba(X)
        assert_allclose(ours.predict_log_proba(X), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("load", DATA)
@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
def test_linear_discriminant_analysis_of_equal_priors(load, solver):
    X, y = load(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    equal = np.full(len(set(y)), 1.0 / len(set(y)))
    ours = Classifier(covariance="dense", tied=True, priors=None, var_smoothing=0.0).fit(X, y)
    theirs = LinearDiscriminantAnalysis(solver=solver, priors=equal).fit(X, y)
    assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-8, atol=1e-8)


def _reference(X, y, covariances, priors):
    """The posterior of Gaussians, centered per class, by their definition."""
    joint = []
    for code, covariance in enumerate(covariances):
        difference = X - X[y == code].mean(0)
        distance = np.einsum("ni,ni->n", difference @ np.linalg.inv(covariance), difference)
        joint.append(np.log(priors[code]) - 0.5 * (distance + np.linalg.slogdet(covariance)[1]))
    joint = np.stack(joint, axis=1)
    return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


def test_far_from_the_origin_where_scikit_learn_loses_digits():
    X, y = load_iris(return_X_y=True)
    near = Classifier(covariance="dense", var_smoothing=0.0).fit(X, y).predict_log_proba(X)
    far = Classifier(covariance="dense", var_smoothing=0.0).fit(X + 1e6, y)
    # rounding X + 1e6 moves a row by 1e-10 of a unit, some 1e-9 standard deviations
    assert_allclose(far.predict_log_proba(X + 1e6), near, rtol=1e-6, atol=1e-6)


# -- what it does ----------------------------------------------------------------------------


def test_separation_is_met_and_shared_covariances_are_the_default_for_it():
    X, y = load_wine(return_X_y=True)
    classifier = Classifier(separation=50.0).fit(X, y)
    kld = pairwise_kld(classifier.gaussians_)
    smallest = kld[~np.eye(3, dtype=bool)].min()
    assert 50.0 <= smallest <= 52.5
    assert classifier.lam_ > 0.0
    assert classifier.gaussians_.tied
    assert not Classifier(lam=1.0).fit(X, y).gaussians_.tied


def test_gaussians_to_start_from():
    X, y = load_wine(return_X_y=True)
    names = np.array(["x", "y", "z"])[y]
    first = Classifier(lam=3.0, tied=True).fit(X, names)
    warm = Classifier(lam=3.0, tied=True, init=first.gaussians_)
    assert clone(warm).fit(X, names).n_iter_ <= 2 < first.n_iter_
    assert_allclose(warm.fit(X, names).gaussians_.means, first.gaussians_.means, rtol=1e-4)
    parts = clone(warm).partial_fit(X[::2], names[::2], classes=["x", "y", "z"])
    parts.partial_fit(X[1::2], names[1::2])
    assert_allclose(parts.gaussians_.means, first.gaussians_.means, rtol=1e-4)
    far = Classifier(separation=50.0, init=first.gaussians_, n_init=2).fit(X, names)
    assert 50.0 <= smallest_kld(far.gaussians_) <= 52.5
    assert far.lam_ == far.result_.lam
    with pytest.raises(InvalidInputError, match="init has tied diagonal covariances"):
        Classifier(lam=3.0, init=first.gaussians_).fit(X, names)


def test_it_takes_the_options_that_make_sense_and_documents_them():
    taken = set(inspect.signature(Classifier).parameters)
    assert not taken & {"frozen", "callback"}
    with pytest.raises(UnknownOptionError, match="frozen is not an option"):
        Classifier(frozen=(0,))
    documented = re.findall(r"^    (\w+) : |^(\w+) : ", Classifier.__doc__, re.MULTILINE)
    assert {a or b for a, b in documented} >= taken
    assert "{options}" not in Classifier.__doc__ and "{{" not in Classifier.__doc__


def test_separation_that_the_classes_have_needs_no_repulsion():
    X, y = load_wine(return_X_y=True)
    assert Classifier(separation=1e-3, covariance="dense").fit(X, y).lam_ == 0.0


def test_grid_search_over_lam_separation_and_covariance():
    X, y = load_wine(return_X_y=True)
    grid = [
        {"classifier__lam": [0.0, 1.0], "classifier__covariance": ["dense", "diagonal"]},
        {"classifier__separation": [20.0], "classifier__covariance": ["dense", "isotropic"]},
    ]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Classifier()).set_params(),
        [
            {
                name.replace("classifier__", "fixedpointgaussianclassifier__"): values
                for name, values in part.items()
            }
            for part in grid
        ],
        cv=3,
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.95


@given(st.integers(1, 40), st.integers(0, 2**31 - 1))
def test_partial_fit_is_one_fit_in_any_order(n_parts, seed):
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    parts = Classifier(lam=0.5)
    for rows in np.array_split(order, n_parts):
        parts.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    whole = Classifier(lam=0.5).fit(X, y)
    assert_allclose(parts.predict_log_proba(X), whole.predict_log_proba(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("looked", [False, True])
def test_parameters_that_are_set_later_are_of_the_next_fit(looked):
    X, y = load_wine(return_X_y=True)
    classifier = Classifier(lam=0.5).partial_fit(X, y, classes=[0, 1, 2])
    if looked:
        classifier.predict(X)
    classifier.set_params(lam=None, priors=None, covariance="dense")
    assert classifier.lam_ == 0.5
    expected = Classifier(lam=0.5).fit(X, y).predict_proba(X)
    assert_allclose(classifier.predict_proba(X), expected, atol=1e-9)


def test_partial_fit_before_all_classes_have_come():
    X, y = load_iris(return_X_y=True)
    classifier = Classifier().partial_fit(X[:50], y[:50], classes=[0, 1, 2])
    with pytest.raises(InvalidInputError, match="1 of the 3 classes"):
        classifier.predict(X)
    classifier.partial_fit(X[50:100], y[50:100])
    probabilities = classifier.predict_proba(X)
    assert probabilities.shape == (150, 3)
    assert_array_equal(probabilities[:, 2], 0.0)
    assert_allclose(probabilities.sum(axis=1), 1.0)
    assert set(classifier.predict(X)) == {0, 1}
    assert classifier.transform(X).shape == (150, 3)
    assert set(classifier.sample(100, random_state=0)[1]) == {0, 1}


def test_statistics_of_parts_can_be_merged():
    X, y = load_iris(return_X_y=True)
    a = Classifier().partial_fit(X[::2], y[::2], classes=[0, 1, 2])
    b = Classifier().partial_fit(X[1::2], y[1::2], classes=[0, 1, 2])
    merged = a.statistics_.merge(b.statistics_)
    whole = Classifier().fit(X, y).statistics_
    assert_allclose(merged.covariances, whole.covariances, rtol=1e-12)


@pytest.mark.parametrize("covariance", ["diagonal", "dense"])
@pytest.mark.parametrize(
    "options", [{}, {"priors": None, "var_smoothing": 0.1}, {"separation": 9.0}]
)
def test_statistics_are_fitted_like_their_rows(covariance, options):
    X, y = load_wine(return_X_y=True)
    names = np.array(["x", "y", "z"])[y]
    classifier = Classifier(covariance=covariance, **options)
    parts = [
        ClassStatistics.from_samples(X[i::2], names[i::2], covariance=covariance) for i in (0, 1)
    ]
    ours = clone(classifier).fit_statistics(parts[0].merge(parts[1]))
    theirs = classifier.fit(X, names)
    assert ours.n_features_in_ == 13
    assert_array_equal(ours.classes_, theirs.classes_)
    assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-4, atol=1e-4)
    assert_allclose(ours.priors_, theirs.priors_)
    # more rows are added as after a fit
    half = clone(classifier).fit_statistics(parts[0]).partial_fit(X[1::2], names[1::2])
    assert_allclose(half.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-4, atol=1e-4)


def test_rows_are_added_to_statistics_of_more_than_the_fit_needs():
    X, y = load_wine(return_X_y=True)
    dense = ClassStatistics.from_samples(X[::2], y[::2], covariance="dense")
    classifier = Classifier().fit_statistics(dense).partial_fit(X[1::2], y[1::2])
    whole = Classifier().fit(X, y)
    assert_allclose(classifier.predict_log_proba(X), whole.predict_log_proba(X), atol=1e-9)
    with pytest.raises(InvalidInputError, match=r"statistics_ contains the variances.*call fit"):
        whole.set_params(covariance="dense").partial_fit(X, y)


def test_statistics_of_tensors_are_fitted_where_rows_are_taken():
    X, y = load_wine(return_X_y=True)
    tensors = torch.tensor(X), torch.tensor(y)
    classifier = Classifier().fit_statistics(ClassStatistics.from_samples(*tensors))
    expected = Classifier().fit(X, y).predict_proba(X)
    for rows in (X, tensors[0]):  # scikit-learn takes tensors to numpy, unless told otherwise
        assert_allclose(classifier.predict_proba(rows), expected, atol=1e-9)
    with sklearn.config_context(array_api_dispatch=True):
        classifier.fit_statistics(ClassStatistics.from_samples(*tensors))
        assert isinstance(classifier.predict_proba(tensors[0]), torch.Tensor)


def test_statistics_that_cannot_be_fitted():
    X, y = load_wine(return_X_y=True, as_frame=True)
    statistics = ClassStatistics.from_samples(X, y)
    with pytest.raises(InvalidInputError, match=r"^statistics .*dense"):
        Classifier(covariance="dense").fit_statistics(statistics)
    with pytest.raises(InvalidInputError, match="statistics is a DataFrame"):
        Classifier().fit_statistics(X)
    with pytest.raises(InvalidInputError, match="at least two"):
        Classifier().fit_statistics(ClassStatistics.from_samples(X[y == 0], y[y == 0]))
    named = Classifier().fit(X, y)
    assert not hasattr(named.fit_statistics(statistics), "feature_names_in_")


def test_statistics_that_are_replaced_are_fitted_anew():
    X, y = load_wine(return_X_y=True)
    classifier = Classifier().fit(X, y)
    classifier.statistics_ = ClassStatistics.from_samples(X + 1.0, y)
    assert_allclose(classifier.gaussians_.means, Classifier().fit(X + 1.0, y).gaussians_.means)


@pytest.mark.parametrize(
    ("weight", "message"), [(-1.0, "sample_weight"), (math.nan, "sample_weight"), (0.0, "zero")]
)
def test_weights_that_leave_no_row(weight, message):
    X, y = load_iris(return_X_y=True)
    for method in (Classifier().fit, partial(Classifier().partial_fit, classes=[0, 1, 2])):
        if method.__class__ is partial and weight == 0.0:
            continue  # rows that count may follow
        with pytest.raises(ValueError, match=message):
            method(X, y, sample_weight=np.full(len(y), weight))


def test_rows_of_weight_zero_do_not_count():
    X, y = load_iris(return_X_y=True)
    weights = np.where(y == 1, 0.0, 1.0)
    classifier = Classifier().fit(X, y, sample_weight=weights)
    assert_array_equal(classifier.classes_, [0, 2])
    rest = Classifier().fit(X[y != 1], y[y != 1])
    assert_allclose(classifier.predict_proba(X), rest.predict_proba(X), rtol=1e-10)


def test_rows_of_weight_zero_do_not_count_in_a_part_either():
    X, y = load_iris(return_X_y=True)
    weights = np.where(y == 1, 0.0, 1.0)
    parts = Classifier().partial_fit(X, y, classes=[0, 1, 2], sample_weight=weights)
    rest = Classifier().partial_fit(X[y != 1], y[y != 1], classes=[0, 1, 2])
    assert_allclose(parts.predict_proba(X), rest.predict_proba(X), rtol=1e-10)
    whole = Classifier().fit(X, y, sample_weight=1.0 + weights)
    assert_allclose(parts.partial_fit(X, y).predict_proba(X), whole.predict_proba(X), rtol=1e-10)


def test_sample_weight_is_routed():
    X, y = load_iris(return_X_y=True)
    weights = np.where(y == 0, 3.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = Classifier().set_fit_request(sample_weight=True)
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        scores = cross_validate(
            make_pipeline(StandardScaler().set_fit_request(sample_weight=False), classifier),
            X,
            y,
            params={"sample_weight": weights},
            scoring=scorer,
            return_estimator=True,
        )
    counts = scores["estimator"][0][-1].statistics_.counts
    assert counts[0] == 3.0 * counts[1]


@pytest.mark.parametrize("kind", [str, object, bool, float, np.uint8])
def test_labels_come_back_as_they_were(kind):
    X, y = load_breast_cancer(return_X_y=True)
    names = np.array(["malignant", "benign"])[y]
    labels = names.astype(kind) if kind in (str, object) else y.astype(kind)
    classifier = Classifier().fit(X, labels)
    predicted = classifier.predict(X)
    assert predicted.dtype == labels.dtype
    assert np.mean(predicted == labels) > 0.9
    _, drawn = classifier.sample(5, random_state=0)
    assert drawn.dtype == labels.dtype
    X_drawn, drawn = classifier.sample(labels=labels[:4])
    assert X_drawn.shape == (4, 30)
    assert_array_equal(drawn, labels[:4])


def test_frames_keep_their_names():
    X, y = load_wine(return_X_y=True, as_frame=True)
    classifier = Classifier(features="discriminant").set_output(transform="pandas").fit(X, y)
    assert_array_equal(classifier.feature_names_in_, X.columns)
    out = classifier.transform(X)
    assert list(out.columns) == ["discriminant0", "discriminant1"]
    assert_array_equal(out.index, X.index)
    densities = classifier.set_params(features="log_density").transform(X)
    assert list(densities.columns) == ["log_density_0", "log_density_1", "log_density_2"]


def test_discriminant_axes_are_those_of_linear_discriminant_analysis():
    X, y = load_iris(return_X_y=True)
    ours = Classifier(covariance="dense", tied=True, features="discriminant").fit(X, y)
    theirs = LinearDiscriminantAnalysis(solver="eigen", priors=np.full(3, 1 / 3)).fit(X, y)
    for a, b in zip(ours.transform(X).T, theirs.transform(X).T, strict=True):
        assert abs(np.corrcoef(a, b)[0, 1]) == pytest.approx(1.0, abs=1e-9)


def test_discriminant_axes_of_the_classes_that_have_come_are_named():
    X, y = load_iris(return_X_y=True, as_frame=True)
    classifier = Classifier(features="discriminant").set_output(transform="pandas")
    classifier.partial_fit(X[:100], y[:100], classes=[0, 1, 2])
    assert list(classifier.transform(X).columns) == ["discriminant0"]
    classifier.partial_fit(X[100:], y[100:])
    assert list(classifier.transform(X).columns) == ["discriminant0", "discriminant1"]


def test_a_number_of_axes_may_be_an_integral_float():
    X, y = load_iris(return_X_y=True)
    classifier = Classifier(features="discriminant", n_components=1.0).fit(X, y)
    assert classifier.transform(X).shape == (150, 1)
    assert list(classifier.get_feature_names_out()) == ["discriminant0"]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("priors", ["counts", None])
def test_rows_without_a_density_have_the_priors(n_classes, priors):
    X, y = load_iris(return_X_y=True)
    classifier = Classifier(priors=priors).fit(X[y < n_classes], y[y < n_classes])
    far = np.full((1, 4), 1e200)
    with np.errstate(all="raise"):
        assert_array_equal(classifier.score_samples(far), -np.inf)
        assert_allclose(classifier.predict_proba(far), 1 / n_classes)
        assert_allclose(classifier.predict_log_proba(far), -math.log(n_classes))
        assert np.isfinite(classifier.decision_function(far)).all()


def test_copies():
    X, y = load_wine(return_X_y=True)
    classifier = Classifier(separation=30.0, shrinkage="oas").fit(X, y)
    again = pickle.loads(pickle.dumps(classifier))
    assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    assert clone(classifier).get_params() == classifier.get_params()
    assert "separation=30" in repr(classifier)
    assert "FixedPointGaussianClassifier" in classifier._repr_html_()


def test_torch_tensors_stay_tensors_when_dispatched():
    X, y = load_wine(return_X_y=True)
    expected = Classifier(lam=0.5).fit(X, y)
    with sklearn.config_context(array_api_dispatch=True):
        classifier = Classifier(lam=0.5).fit(torch.tensor(X), torch.tensor(y))
        labels = classifier.predict(torch.tensor(X))
        probabilities = classifier.predict_proba(torch.tensor(X))
        with pytest.raises(InvalidInputError, match="same namespace"):
            classifier.predict(X)
    assert isinstance(labels, torch.Tensor)
    assert_array_equal(labels.numpy(), expected.predict(X))
    assert_allclose(probabilities.numpy(), expected.predict_proba(X), atol=1e-9)


def test_priors():
    rng = np.random.default_rng(0)
    y = (np.arange(4000) % 20 == 0).astype(int)  # 5 % positives
    X = rng.normal(size=(4000, 2)) + y[:, None]
    settings = {"covariance": "dense", "tied": True}
    counts = Classifier(**settings).fit(X, y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y)
    assert abs(counts.predict(X).mean() - theirs.predict(X).mean()) < 0.01
    equal = Classifier(priors=None, **settings).fit(X, y)
    assert equal.predict(X).mean() > 0.2
    given = Classifier(priors=[0.95, 0.05], **settings).fit(X, y)
    assert_allclose(given.predict_proba(X), counts.predict_proba(X), rtol=1e-9)


# -- what it refuses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lam": 1.0, "separation": 2.0}, "both"),
        ({"lam": -1.0}, "lam"),
        ({"lam": float("nan")}, "lam"),
        ({"separation": -1.0}, "^separation is -1"),
        ({"separation": float("nan")}, "^separation is NaN"),
        ({"covariance": "full"}, "covariance"),
        ({"features": "scores"}, "features"),
        ({"n_components": 0}, "n_components"),
        ({"var_smoothing": -1.0}, "var_smoothing"),
        ({"priors": [0.5, 0.5]}, "priors"),
        ({"priors": [0.5, 0.5, 0.5]}, "priors"),
        ({"priors": [1.5, -0.25, -0.25]}, "priors"),
        ({"priors": [float("nan"), 0.5, 0.5]}, "priors"),
        (
            {"priors": {0: 0.2, 1: 0.3, 2: 0.5}},
            r"priors is a dict; .*\[priors\[label\] for label in",
        ),
        ({"priors": "equal"}, 'priors is .equal.; pass "counts", or None for equal ones'),
    ],
)
def test_parameters_are_refused_in_fit_not_before(options, message):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(InvalidInputError, match=message):
        Classifier(**options).fit(X, y)


def test_unknown_parameters_are_refused_at_once():
    with pytest.raises(UnknownOptionError, match="did you mean covariance"):
        Classifier(covarianc="dense")
    with pytest.raises(UnknownOptionError, match="pass separation=, the smallest KLD"):
        Classifier(min_kld=20.0)
    with pytest.raises(ValueError, match="Invalid parameter"):
        Classifier().set_params(covarianc="dense")


def test_a_class_that_only_smoothing_makes_definite_is_told():
    rng = np.random.default_rng(0)
    y = np.repeat(["common", "rare"], [200, 6])
    X, X_new = (rng.normal(size=(206, 8)) + 4.0 * (y == "rare")[:, None] for _ in range(2))
    rare = y == "rare"
    with pytest.warns(UserWarning, match="class 'rare' has 6 rows in 8 dimensions.* tied=True, sh"):
        flat = Classifier(covariance="dense").fit(X, y)
    assert not (flat.predict(X_new[rare]) == "rare").any()
    for options in ({"tied": True}, {"shrinkage": "oas"}):  # as the warning says; no warning
        mended = Classifier(covariance="dense", **options).fit(X, y)
        assert (mended.predict(X_new[rare]) == "rare").all()
    X[:, 3] = 1.0  # constant everywhere, which is what smoothing is for
    Classifier(covariance="dense").fit(X[:200], np.repeat([0, 1], 100))
    for constant in (1.0, 0.1):  # which hides nothing of a class with too few rows
        X[:, 3] = constant
        with pytest.warns(UserWarning, match="class 'rare' has 6 rows in 8 dimensions"):
            Classifier(covariance="dense").fit(X, y)


def test_rows_are_refused_in_scikit_learn_s_words():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(NotFittedError):
        Classifier().predict(X)
    classifier = Classifier().fit(X, y)
    for bad, message in [
        (np.where(X[3, 1] == X, np.nan, X), "NaN"),
        (X[:, :3], "3 features"),
        (X[0], "1D array"),
    ]:
        with pytest.raises(ValueError, match=message):
            classifier.predict(bad)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        Classifier().fit(X, y[:-1])
    with pytest.raises(ValueError, match=r"(?i)unknown label type"):
        Classifier().fit(X, X[:, 0])
    with pytest.raises(ValueError, match="one class"):
        Classifier().fit(X[:50], y[:50])


def test_columns_of_categories_are_told_by_their_names():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    y = np.arange(40) % 2
    a = np.random.default_rng(0).normal(size=40) + y
    frame = pd.DataFrame({"a": a, "soil": pd.Categorical(np.array(["clay", "peat"])[y])})
    with pytest.raises(InvalidInputError, match=r"X is 'clay' in row 0, column 'soil'.* encode"):
        Classifier().fit(frame, y)
    numbers = pd.DataFrame({"a": a, "soil": pd.Categorical(y + 1)})
    classifier = Classifier().fit(numbers, y)
    np.testing.assert_array_equal(classifier.predict(numbers), y)
    with pytest.raises(InvalidInputError, match="X is 'clay' in row 0, column 'soil'"):
        classifier.predict(frame)


def test_partial_fit_refuses_labels_it_was_not_told_of():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        Classifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="label 2"):
        Classifier().partial_fit(X, y, classes=[0, 1])
    classifier = Classifier().partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="not the same"):
        classifier.partial_fit(X, y, classes=[0, 1, 2, 3])
    before = classifier.predict_proba(X)
    with pytest.raises(ValueError, match="label 7"):
        classifier.partial_fit(X, np.full(150, 7))
    assert_array_equal(classifier.predict_proba(X), before)


def test_digits_have_constant_pixels():
    X, y = load_digits(return_X_y=True)
    assert Classifier(separation=20.0, covariance="isotropic").fit(X, y).score(X, y) > 0.85
    assert Classifier(var_smoothing=1e-2).fit(X, y).score(X, y) > 0.85


# -- attributes of a fit that fails at its first use ---------------------------------------------


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "1 of the 3 classes had rows so far"),
        ({"priors": [0.5, 0.5]}, "priors"),
    ],
)
def test_attributes_of_a_fit_that_fails(options, cause):
    X, y = load_iris(return_X_y=True)
    classifier = Classifier(**options).partial_fit(X[:10], y[:10], classes=[0, 1, 2])
    for name in ("gaussians_", "result_", "lam_", "priors_", "n_iter_"):
        assert not hasattr(classifier, name)
        with pytest.raises(AttributeError, match=f"no {name}: .*{cause}") as caught:
            getattr(classifier, name)
        assert isinstance(caught.value, InvalidInputError | NotFittedError)
        assert isinstance(caught.value.__cause__, InvalidInputError)
    check_is_fitted(classifier)  # it has rows
    with pytest.raises(NotFittedError):
        check_is_fitted(classifier, "gaussians_")
    # methods and pictures say why themselves
    for call in (
        lambda: classifier.predict(X),
        lambda: classifier.sample(3),
        lambda: KLDDisplay.from_estimator(classifier),
        lambda: HistoryDisplay.from_estimator(classifier),
    ):
        with pytest.raises(InvalidInputError, match=f"^(?!.*has no ).*{cause}"):
            call()
    if not options:
        classifier.partial_fit(X, y)
        assert hasattr(classifier, "gaussians_")


def test_attributes_of_a_separation_that_is_not_reached():
    X, y = load_iris(return_X_y=True)
    classifier = Classifier(separation=1e3, tied=False).partial_fit(X, y, classes=[0, 1, 2])
    assert not hasattr(classifier, "gaussians_")
    with pytest.raises(UnreachableSeparationError):
        classifier.predict(X)
    with pytest.raises(NotFittedError) as caught:
        classifier.gaussians_  # noqa: B018
    assert isinstance(caught.value.__cause__, UnreachableSeparationError)


# -- labels --------------------------------------------------------------------------------------


def test_boolean_labels_stay_so():
    X, y = load_iris(return_X_y=True)
    classifier = Classifier().fit(X, y > 0)
    assert classifier.gaussians_.classes.tolist() == [False, True]
    assert classifier.gaussians_.classes.dtype == classifier.predict(X).dtype == bool
    display = KLDDisplay.from_estimator(classifier)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["False", "True"]
    drawn, labels = classifier.sample(5, random_state=0)
    assert labels.dtype == bool
    assert drawn.shape == (5, 4)


@pytest.mark.parametrize(
    "classes", [[None, 1], np.array([None, "a"], object), np.array([1, "a"], object)]
)
def test_classes_that_cannot_be_labels(classes):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(InvalidInputError, match="classes is "):
        Classifier().partial_fit(X, y, classes=classes)
    with pytest.raises(ValueError, match="Unknown label type"):  # scikit-learn's own
        Classifier().fit(X, np.resize(np.asarray(classes, object), 150))
    with pytest.raises(InvalidInputError, match="labels is "):
        Classifier().fit(X, y).sample(labels=classes)


def test_features_that_are_constant_in_every_class_are_smoothed_without_a_warning():
    X, y = np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([0, 0, 1, 1])
    fitted = FixedPointGaussianClassifier(covariance="dense", tied=False).fit(X, y)
    assert fitted.predict(X).tolist() == y.tolist()


@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_what_a_mask_hides_is_not_taken_for_data(method, name):
    X, y = load_iris(return_X_y=True)
    given = {"X": X, "y": y, "sample_weight": np.ones(len(y))}
    given[name] = np.ma.masked_array(given[name], mask=given[name] == given[name].flat[3])
    options = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
    with pytest.raises(InvalidInputError, match=f"{name} is a masked array"):
        getattr(FixedPointGaussianClassifier(), method)(**given, **options)


def test_what_a_mask_hides_is_not_predicted():
    X, y = load_iris(return_X_y=True)
    classifier = FixedPointGaussianClassifier().fit(X, y)
    for method in ("predict", "predict_proba", "decision_function", "score_samples", "transform"):
        with pytest.raises(InvalidInputError, match="X is a masked array"):
            getattr(classifier, method)(np.ma.masked_greater(X, 7.0))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"separation": 50.0},
        {"lam": 1.0, "covariance": "dense", "features": "discriminant"},
        {"priors": [0.0, 0.5, 0.5], "tied": True},
    ],
)
def test_numbers_do_not_depend_on_the_flags_of_numpy(options):
    X, y = load_iris(return_X_y=True)

    def found():
        parts = FixedPointGaussianClassifier(**options)
        for rows in (slice(0, None, 2), slice(1, None, 2)):
            parts.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        classifier = FixedPointGaussianClassifier(**options).fit(X, y)
        names = ("predict", "predict_proba", "predict_log_proba", "decision_function")
        names += ("score_samples", "transform")
        far = np.concatenate([X, 1e5 * X, 1e150 * X])
        return [
            *(getattr(one, name)(far) for one in (classifier, parts) for name in names),
            classifier.sample(3)[0].shape,
        ]

    with np.errstate(all="ignore"):
        expected = found()
    with np.errstate(all="raise"):
        for ours, theirs in zip(found(), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
