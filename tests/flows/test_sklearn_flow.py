"""The flow as an estimator: scikit-learn's conventions, its densities, and what it refuses."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("skorch", reason="skorch is not installed: pip install -e . --group test")

from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from fpigauss import InvalidInputError, pairwise_kld, smallest_kld
from fpigauss_torch import rejection_score
from fpigauss_torch.sklearn import FlowClassifier
from fpigauss_torch.sklearn._columns import Columns
from fpigauss_torch.sklearn._held_out import held_out_rows, temperature_of


def tiny(**options):
    """An estimator whose fits take some hundredths of a second."""
    settings = {"transforms": 1, "hidden_features": (8,), "bins": 4, "max_epochs": 3}
    return FlowClassifier(**{**settings, "random_state": 0, **options})


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def fitted(iris):
    return tiny().fit(*iris)


# A row of weight two is not the row twice: batches, first weights and held-out rows are drawn.
NOT_MET = {
    "check_sample_weight_equivalence_on_dense_data": "equivalent in expectation, not in a draw",
}


@parametrize_with_checks([tiny()], expected_failed_checks=lambda _: NOT_MET)
def test_scikit_learn_finds_nothing(estimator, check):
    check(estimator)


def test_its_latents_are_drawn_under_their_labels():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from fpigauss.plot import GaussiansDisplay

    X, y = load_wine(return_X_y=True)
    names = np.asarray(["barbera", "barolo", "grignolino"])[y]
    classifier = tiny().fit(X, names)
    display = GaussiansDisplay.from_estimator(classifier, X, names)
    assert display.classes.tolist() == ["barbera", "barolo", "grignolino"]
    latents = classifier.model_.encode(classifier.map_columns(X))[0].detach()
    expected = GaussiansDisplay.from_gaussians(classifier.gaussians_, latents, names)
    assert_allclose(display.points, expected.points)


# -- columns -------------------------------------------------------------------------------------


def test_columns_are_whitened_within_the_classes_and_undone():
    rng = np.random.default_rng(0)
    y = np.arange(20_000) % 3
    X = rng.normal(size=(20_000, 4)) @ rng.normal(size=(4, 4)) + 5.0 * np.eye(3, 4)[y]
    columns = Columns.of(X, y, np.ones(len(y)))
    rows = columns(X)
    within = np.mean([np.cov(rows[y == code].T, bias=True) for code in range(3)], axis=0)
    # up to the shrinkage toward one variance, and the ridge
    assert_allclose(within / columns.within**2, np.eye(4), atol=0.1)
    assert np.linalg.eigvalsh(np.cov(rows.T))[-1] <= 1.0 + 1e-9
    assert columns.log_det == pytest.approx(np.linalg.slogdet(columns.matrix)[1])
    assert_allclose(columns.undo(rows), X, rtol=1e-9)


def test_steps_of_integers_are_found():
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [
            rng.normal(size=40),
            rng.integers(0, 2, size=40),
            5.0 * rng.integers(1, 9, size=40) + 2.0,
            np.full(40, 7.0),
            np.full(40, 0.1),
        ]
    )
    columns = Columns.of(X, np.arange(40) % 2, np.ones(40))
    assert_array_equal(columns.steps, [0.0, 1.0, 5.0, 1.0, 0.0])
    assert np.isfinite(columns.matrix).all()
    noisy = columns(X) + 0.49 * columns.steps @ columns.matrix
    assert_allclose(columns.undo(noisy), X, atol=1e-9)
    far = columns.undo(columns(X) + 9.0 * columns.steps @ columns.matrix)
    assert (far[:, 1] == 1.0).all()
    assert (far[:, 3] == 7.0).all()


def test_columns_far_from_the_origin_lose_no_digits(iris, fitted):
    X, y = iris
    far = tiny().fit(X + 2.0**20, y)  # exact but for the last bits of X
    assert_allclose(far.predict_proba(X + 2.0**20), fitted.predict_proba(X), atol=1e-3)


# -- what it does ----------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_a_few_epochs_are_enough_to_classify(load):
    X, y = load(return_X_y=True)
    assert cross_val_score(tiny(max_epochs=10), X, y, cv=3).mean() > 0.92


def test_gaussians_are_as_far_apart_as_asked(iris):
    for separation in (20.0, 150.0):
        gaussians = tiny(separation=separation).fit(*iris).gaussians_
        assert separation <= smallest_kld(gaussians) <= 1.05 * separation
        assert gaussians.tied
    assert pairwise_kld(gaussians).shape == (3, 3)


def test_training_lowers_the_loss_and_keeps_the_best_epoch(iris):
    classifier = tiny(max_epochs=40, patience=3, learning_rate=0.05).fit(*iris)
    losses = [epoch["valid_loss"] for epoch in classifier.history_]
    assert min(losses) < losses[0]
    assert len(losses) == classifier.n_iter_ < 40
    assert int(np.argmin(losses)) >= len(losses) - 4
    held_out = held_out_rows(iris[1], 0.15, np.random.RandomState(0))
    x = classifier.map_columns(iris[0][held_out])
    with torch.no_grad():
        loss = classifier.model_(x, torch.tensor(iris[1][held_out])).mean()
    assert loss.item() == pytest.approx(min(losses), rel=1e-3)  # float32 in training


def test_densities_are_those_of_the_model(iris, fitted):
    X, y = iris
    by_class = fitted.class_log_prob(X)
    assert by_class.dtype == np.float64
    own = fitted.score_samples(X, y)
    assert_array_equal(own, by_class[np.arange(150), y])
    mixed = np.logaddexp.reduce(by_class + np.log(fitted.priors_), axis=1)
    assert_allclose(fitted.score_samples(X), mixed)
    score = rejection_score(fitted.model_, fitted.map_columns(X), priors=fitted.priors_)
    assert_allclose(-score.numpy() + fitted._columns.log_det, fitted.score_samples(X))


def test_the_density_has_unit_mass():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = 30.0 * rng.normal(size=(200, 1)) + 100.0 * y[:, None]
    classifier = tiny(max_epochs=20).fit(X, y)
    grid = np.linspace(-400.0, 500.0, 20_001)[:, None]
    mass = np.exp(classifier.class_log_prob(grid)).sum(axis=0) * (grid[1, 0] - grid[0, 0])
    assert_allclose(mass, 1.0, atol=1e-3)


def test_subsets_score_alike(iris, fitted):
    X, _ = iris
    whole = fitted.class_log_prob(X)
    assert_allclose(np.vstack([fitted.class_log_prob(X[[row]]) for row in range(9)]), whole[:9])


def test_seeds(iris, fitted):
    X, y = iris
    before = torch.random.get_rng_state()
    again = tiny().fit(X, y)
    assert_array_equal(torch.random.get_rng_state(), before)
    assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    other = tiny(random_state=1).fit(X, y)
    assert not np.array_equal(other.predict_proba(X), again.predict_proba(X))
    assert_array_equal(fitted.sample(9, random_state=3)[0], fitted.sample(9, random_state=3)[0])


def test_copies(iris, fitted):
    X, _ = iris
    for again in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
        assert_array_equal(again.sample(3, random_state=0)[0], fitted.sample(3, random_state=0)[0])
    assert clone(fitted).get_params() == fitted.get_params()
    assert "FlowClassifier" in fitted._repr_html_()


def test_labels_and_names_come_back_as_they_were():
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    classifier = tiny().fit(X, names)
    assert list(classifier.feature_names_in_) == list(X.columns)
    assert set(classifier.predict(X)) == set(names)
    own = classifier.class_log_prob(X)[np.arange(150), y]
    assert_array_equal(classifier.score_samples(X, names), own)
    drawn, labels = classifier.sample(labels=["virginica", "setosa"], random_state=0)
    assert_array_equal(labels, ["virginica", "setosa"])
    assert drawn[0, 2] > drawn[1, 2]  # petals


def test_rows_of_digits_are_drawn_as_integers():
    X, y = load_digits(return_X_y=True)
    drawn, labels = tiny(max_epochs=2).fit(X, y).sample(30, random_state=0)
    assert_array_equal(drawn, np.rint(drawn))
    assert (drawn.min(), drawn.max()) == (0.0, 16.0)
    assert_array_equal(drawn[:, X.max(axis=0) == 0.0], 0.0)
    assert set(labels) <= set(range(10))


def test_rejection_at_a_rate(iris, fitted):
    X, _ = iris
    assert len(fitted.held_out_scores_) == 24
    assert fitted.reject(X, 0.2).mean() < 0.4
    assert fitted.reject(X + 30.0, 0.05).all()
    with pytest.raises(InvalidInputError, match="99 held-out rows, but fit held out 24"):
        fitted.reject(X, 0.01)
    with pytest.raises(InvalidInputError, match="rate"):
        fitted.reject(X, -0.1)
    with pytest.raises(InvalidInputError, match="validation_fraction"):
        tiny(validation_fraction=0.0).fit(*iris).reject(X)


def test_priors():
    rng = np.random.default_rng(0)
    y = (np.arange(600) % 20 == 0).astype(int)
    X = rng.normal(size=(600, 2)) + y[:, None]
    counts = tiny().fit(X, y)
    assert_allclose(counts.priors_, [0.95, 0.05])
    equal = tiny(priors=None).fit(X, y)
    assert_allclose(equal.priors_, 0.5)
    assert counts.predict(X).mean() < equal.predict(X).mean()
    never = tiny(priors=[1.0, 0.0]).fit(X, y)
    assert (never.predict(X) == 0).all()
    assert_allclose(never.score_samples(X), never.class_log_prob(X)[:, 0])


def test_no_label_depends_on_the_temperature():
    rng = np.random.default_rng(0)
    y = (np.arange(600) % 20 == 0).astype(int)
    X = rng.normal(size=(600, 2)) + 4.0 * y[:, None]
    classifier = tiny().fit(X, y)
    labels, shares = classifier.predict(X), classifier.predict_proba(X)
    assert 0 < labels.sum() < 60
    classifier.temperature_ *= 100.0  # as a few mistakes among held-out rows can make it
    assert_array_equal(classifier.predict(X), labels)
    unsure = classifier.predict_proba(X)
    assert_array_equal(unsure.argmax(axis=1), labels)
    assert unsure.max() < shares.max()


def test_weights_count():
    X, y = load_iris(return_X_y=True)
    weights = np.where(y == 2, 0.0, np.where(y == 1, 3.0, 1.0))
    classifier = tiny().fit(X, y, sample_weight=weights)
    assert_array_equal(classifier.classes_, [0, 1])
    assert_allclose(classifier.priors_, [0.25, 0.75])
    with pytest.raises(ValueError, match="sample_weight"):
        tiny().fit(X, y, sample_weight=weights - 1.0)


@pytest.mark.parametrize("size", [2.0, 1e-3, 5e-324, 1e308])
def test_only_ratios_of_weights_matter(iris, fitted, size):
    X, y = iris
    again = tiny().fit(X, y, sample_weight=np.full(len(y), size))
    assert_array_equal(again.score_samples(X), fitted.score_samples(X))


def test_fits_in_threads_do_not_disturb_one_another(iris, fitted):
    X, y = iris
    with ThreadPoolExecutor(3) as pool:
        for again in pool.map(lambda _: tiny().fit(X, y), range(6)):
            assert_array_equal(again.score_samples(X), fitted.score_samples(X))


def test_training_is_in_single_precision_and_tracks_gradients_wherever_it_is_called(iris, fitted):
    X, y = iris
    with torch.inference_mode():
        again = tiny().fit(X, y)
    assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    assert all(bool((p == p.float()).all()) for p in fitted.model_.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_changes_nothing_and_is_left_alone(iris, fitted, dtype):
    X, y = iris
    torch.set_default_dtype(dtype)
    try:
        again = tiny().fit(X, y)
        scores, rows = again.score_samples(X), again.sample(5, random_state=0)
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)
    assert_array_equal(scores, fitted.score_samples(X))
    for ours, expected in zip(rows, fitted.sample(5, random_state=0), strict=True):
        assert_array_equal(ours, expected)


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_columns_of_any_size_are_learned_alike(iris, size):
    X, y = iris
    X = X + np.random.default_rng(0).uniform(0.0, 1e-3, X.shape)
    expected = tiny().fit(X, y).predict_proba(X)
    assert_allclose(tiny().fit(X * size, y).predict_proba(X * size), expected, atol=1e-9)


@pytest.mark.parametrize(("size", "word"), [(1e307, "large"), (1e-310, "small")])
def test_columns_beyond_float64_are_refused(iris, size, word):
    with pytest.raises(InvalidInputError, match=rf"column 0 that are too {word}"):
        tiny().fit(iris[0] * size, iris[1])


@pytest.mark.parametrize("priors", ["counts", None])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_without_a_density_have_the_priors(iris, priors, n_classes):
    known = (iris[1] < n_classes) & (np.arange(150) % 50 < 20 + 10 * iris[1])
    X, y = iris[0][known], iris[1][known]
    classifier = tiny(priors=priors).fit(X, y)
    far = np.array([[1e200] * 4])
    assert_array_equal(classifier.score_samples(far), -np.inf)
    assert_allclose(classifier.predict_proba(far)[0], classifier.priors_, rtol=1e-12)
    assert np.isfinite(classifier.decision_function(far)).all()


def test_integral_floats_are_integers(iris, fitted):
    X, y = iris
    options = {"transforms": 1.0, "hidden_features": (8.0,), "bins": 4.0, "max_epochs": 3.0}
    again = FlowClassifier(**options, patience=20.0, batch_size=32.0, random_state=0).fit(X, y)
    assert_array_equal(again.score_samples(X), fitted.score_samples(X))


def test_training_that_diverges_names_the_learning_rate(iris):
    with pytest.raises(InvalidInputError, match="pass a lower one"):
        tiny(learning_rate=1e10).fit(*iris)


def test_labels_that_gaussians_cannot_have_are_refused_before_the_training(iris):
    X, y = iris
    days = np.datetime64("2020-01-01") + y
    with pytest.raises(InvalidInputError, match=r"^y has dtype datetime64"):
        tiny(max_epochs=10**9).fit(X, days)


def test_rows_are_held_out_of_every_class_that_has_some_to_spare():
    codes = np.repeat([0, 1, 2, 3], [100, 10, 2, 1])
    held_out = held_out_rows(codes, 0.2, np.random.RandomState(0))
    assert_array_equal(np.bincount(codes[held_out], minlength=4), [20, 2, 0, 0])
    assert held_out_rows(codes, 0.99, np.random.RandomState(0)).sum() == 99 + 9 + 1
    assert not held_out_rows(codes, 0.0, np.random.RandomState(0)).any()


def test_temperature():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, size=2000)
    logits = np.log(np.array([[0.8, 0.2], [0.2, 0.8]]))[(codes + (rng.random(2000) < 0.2)) % 2]
    half = np.full(2, 0.5)
    assert temperature_of(logits, codes, half) == pytest.approx(1.0, rel=0.1)
    assert temperature_of(100.0 * logits, codes, half) == pytest.approx(100.0, rel=0.1)
    sure = np.where(codes[:, None] == [0, 1], 0.0, -300.0)
    assert 30.0 < temperature_of(sure, codes, half) < 60.0  # 300 / log(2000)
    assert temperature_of(sure[:9], codes[:9], half) == 1.0


def test_progress(iris, capsys):
    tiny().fit(*iris)
    quiet = capsys.readouterr()
    assert quiet.out == quiet.err == ""
    tiny(progress=True).fit(*iris)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "epochs" in shown.err


# -- what it refuses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separation": 0.0}, "separation"),
        ({"separation": float("nan")}, "separation"),
        ({"transforms": 0}, "transforms"),
        ({"hidden_features": 8}, "hidden_features"),
        ({"hidden_features": (0,)}, "hidden_features"),
        ({"bins": 1.5}, "bins"),
        ({"bins": 1}, "bins"),
        ({"noise": -1.0}, "noise"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"patience": 0}, "patience"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"priors": [0.5, 0.5]}, "priors"),
        ({"priors": "empirical"}, "priors"),
        ({"device": "toaster"}, "device"),
    ],
)
def test_parameters_are_refused_in_fit_not_before(iris, options, message):
    with pytest.raises(InvalidInputError, match=message):
        tiny(**options).fit(*iris)


def test_labels_are_refused(iris, fitted):
    X, y = iris
    with pytest.raises(InvalidInputError, match="one class"):
        tiny().fit(X[:50], y[:50])
    with pytest.raises(InvalidInputError, match="one row per class"):
        tiny().fit(X[::50], y[::50])
    with pytest.raises(InvalidInputError, match="labels contains 7"):
        fitted.sample(labels=[0, 7])
    with pytest.raises(InvalidInputError, match="3 labels for 150 rows"):
        fitted.score_samples(X, [0, 1, 2])


def test_what_a_mask_hides_is_not_taken_for_data(iris, fitted):
    X, y = iris
    masked = np.ma.masked_greater(X, 7.0)
    with pytest.raises(InvalidInputError, match="X is a masked array"):
        FlowClassifier().fit(masked, y)
    with pytest.raises(InvalidInputError, match="sample_weight is a masked array"):
        FlowClassifier().fit(X, y, np.ma.masked_equal(np.ones(len(y)), 0.0))
    for call in (fitted.predict, fitted.class_log_prob, fitted.map_columns):
        with pytest.raises(InvalidInputError, match="X is a masked array"):
            call(masked)


def test_more_draws_than_any_memory_has(fitted):
    with pytest.raises(InvalidInputError, match=r"n_samples is .*; draw fewer"):
        fitted.sample(10**30)
