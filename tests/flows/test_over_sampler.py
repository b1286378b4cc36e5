"""Over-sampling from a flow: imbalanced-learn's conventions, and what is drawn."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("imblearn", reason="imblearn is not installed: pip install -e . --group test")
pytest.importorskip("skorch", reason="skorch is not installed: pip install -e . --group test")

from imblearn.pipeline import make_pipeline
from imblearn.utils.estimator_checks import estimator_checks_generator
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from fpigauss import InvalidInputError
from fpigauss.sklearn import FixedPointGaussianClassifier
from fpigauss_torch.imblearn import FlowOverSampler
from fpigauss_torch.sklearn import FlowClassifier

TINY = FlowClassifier(transforms=1, hidden_features=(8,), bins=4, max_epochs=2)


CHECKS = [
    pytest.param(*case, id=f"{type(sampler.estimator).__name__}-{case[1].func.__name__}")
    for sampler in (
        FlowOverSampler(estimator=TINY, random_state=0),
        FlowOverSampler(estimator=FixedPointGaussianClassifier(), random_state=0),
    )
    for case in estimator_checks_generator(sampler)
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_imbalanced_learn_finds_nothing(estimator, check):
    check(estimator)


@pytest.fixture
def imbalanced():
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    kept = np.r_[0:50, 50:80, 100:112]
    return X.iloc[kept], names[kept]


def test_rows_that_are_given_stay_and_missing_ones_are_drawn(imbalanced):
    X, y = imbalanced
    trained = clone(TINY).set_params(max_epochs=60)  # before that, Gaussians are ahead of the flow
    sampler = FlowOverSampler(estimator=trained, random_state=0)
    X_new, y_new = sampler.fit_resample(X, y)
    assert sampler.sampling_strategy_ == {"versicolor": 20, "virginica": 38}
    assert_array_equal(X_new.iloc[: len(X)], X)
    assert list(X_new.columns) == list(X.columns)
    assert_array_equal(np.unique(y_new, return_counts=True)[1], [50, 50, 50])
    drawn = X_new[len(X) :][y_new[len(X) :] == "virginica"]
    assert np.abs(drawn.mean() - X[y == "virginica"].mean()).max() < 0.5
    again = FlowOverSampler(estimator=trained, random_state=0).fit_resample(X, y)[0]
    assert_array_equal(again, X_new)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "bool", "float32"])
def test_columns_of_integers_get_integers_of_their_range(dtype):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [300, 60])
    X = rng.normal(size=(360, 2)) * [1.0, 25.0] + [0.3, 90.0] + 5.0 * y[:, None]
    X = np.rint(X).clip(0, 1 if dtype == "bool" else 120).astype(dtype)
    sampler = FlowOverSampler(estimator=FixedPointGaussianClassifier(), random_state=0)
    drawn = sampler.fit_resample(X, y)[0][360:].astype(float)
    given = X.astype(float)
    assert_array_equal(drawn, np.rint(drawn))
    assert (drawn >= given.min(axis=0)).all()
    assert (drawn <= given.max(axis=0)).all()
    apart = np.abs(drawn.mean(axis=0) - given[y == 1].mean(axis=0))
    assert (apart <= 4.0 * given[y == 1].std(axis=0) / np.sqrt(60) + 0.05).all()


def test_columns_of_a_frame_keep_their_types():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [90, 30])
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=120),
            "n": pd.array(rng.poisson(3.0, 120), dtype="Int64"),
            "flag": rng.random(120) < 0.3,
        }
    )
    sampler = FlowOverSampler(estimator=FixedPointGaussianClassifier(), random_state=0)
    X, _ = sampler.fit_resample(frame, y)
    assert_array_equal(X.dtypes, frame.dtypes)
    assert 0.05 < X["flag"][120:].mean() < 0.6  # what is not zero was True


def test_a_balanced_sample_stays_as_it_is():
    X, y = load_iris(return_X_y=True)
    X_new, y_new = FlowOverSampler(estimator=TINY).fit_resample(X, y)
    assert_array_equal(X_new, X)
    assert_array_equal(y_new, y)


def test_a_fitted_model_is_taken_frozen(imbalanced):
    X, y = imbalanced
    model = clone(TINY).fit(X.to_numpy(), y)
    sampler = FlowOverSampler(estimator=FrozenEstimator(model), random_state=0)
    X_new, _ = sampler.fit_resample(X.to_numpy(), y)
    expected, _ = model.sample(
        labels=["versicolor"] * 20 + ["virginica"] * 38, random_state=np.random.RandomState(0)
    )
    assert_array_equal(X_new[len(X) :], expected)


def test_pipeline(imbalanced):
    X, y = imbalanced
    sampler = FlowOverSampler(estimator=TINY, random_state=0)
    pipeline = make_pipeline(sampler, LogisticRegression(max_iter=1000)).fit(X, y)
    assert pipeline.score(X, y) > 0.9


def test_an_estimator_that_draws_nothing_is_refused(imbalanced):
    with pytest.raises(InvalidInputError, match="no method sample"):
        FlowOverSampler(estimator=LogisticRegression()).fit_resample(*imbalanced)


@pytest.mark.parametrize("name", ["X", "y"])
def test_what_a_mask_hides_is_not_taken_for_data(imbalanced, name):
    X, y = imbalanced
    given = {"X": X.to_numpy(), "y": y}
    given[name] = np.ma.masked_array(given[name], mask=given[name] == given[name].flat[0])
    with pytest.raises(InvalidInputError, match=f"{name} is a masked array"):
        FlowOverSampler(random_state=0).fit_resample(**given)
