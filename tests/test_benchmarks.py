"""The comparison of estimators runs, at a small size, and its intervals are right."""

import csv

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits

from benchmarks import estimators, pictures
from benchmarks.__main__ import report
from benchmarks._classifiers import MixturePerClass, calibration_error, figures
from benchmarks._intervals import over_splits
from benchmarks._measure import Row, Table


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    estimators.main(["--only", "wine", "MNIST", "--splits", "2", "--out", str(out)])
    return out


def test_the_comparison_of_estimators_runs(tables):
    text = (tables / "estimators.md").read_text()
    assert "Left out, because their files were not given: MNIST." in text
    assert "| fpigauss, tied dense, separation 150 | " in text
    assert " nan" not in text  # but LinearDiscriminantAnalysis is
    with (tables / "estimators_classification.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert {run["split"] for run in runs} == {"0", "1"}
    linear = [float(r["accuracy"]) for r in runs if r["method"] == "LinearDiscriminantAnalysis"]
    assert min(linear) > 0.9
    with (tables / "estimators_unknown.csv").open() as file:
        assert {run["left out"] for run in csv.DictReader(file)} == {"0", "1", "2"}


def test_results_keep_the_sections_that_are_made_apart(tables):
    one = Table("One", "Note.", [Row("case", "1 s", "2 s", 2.0)])
    text = report(["head"], [one], tables.parent, tables / "bars.png")
    assert text.index("## One") < text.index("## Estimators, side by side")
    (tables / "flow_classifier.md").write_text("## Flows\n")
    (tables / "over_sampling.md").write_text("## Over-sampling\n")
    text = report(["head"], [one], tables.parent, tables / "bars.png")
    assert text.endswith("\n\n## Flows\n\n## Over-sampling\n")


def test_images_are_read_and_split(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(20_000, dtype=np.uint8) % 10
    x = rng.integers(0, 256, size=(len(y), 9, 9), dtype=np.uint8)
    np.savez(
        tmp_path / "mnist.npz",
        x_train=x[:15_000],
        y_train=y[:15_000],
        x_test=x[15_000:],
        y_test=y[15_000:],
    )
    np.savez(tmp_path / "fashion_mnist.npz", x=x, y=y)
    for name in ("MNIST", "Fashion-MNIST"):
        data = estimators.loaded(name, tmp_path, 1)
        train, test = next(data.splits())
        assert not np.intersect1d(train, test).size
        X, X_test = data.prepared(train, test)
        assert X.shape == X_test.shape == (10_000, 64)
        assert_allclose(X.std(axis=0), 1.0, atol=1e-3)


def test_the_interval_is_that_of_nadeau_and_bengio():
    found = over_splits([1.0, 2.0, 3.0], 0.5)
    assert found.mean == 2.0
    assert_allclose(found.half, 4.302652730 * np.sqrt(1 / 3 + 0.5))  # Student's t, two degrees
    assert found.text(2) == "2.00 ± 3.93"
    assert over_splits([1.0, 1.1, 1.2], 0.0).text(1, signed=True) == "**+1.1 ± 0.2**"


def test_calibration_error_of_two_bins():
    confidence = np.array([0.95, 0.95, 1.0, 0.5])
    right = np.array([True, False, True, False])
    assert_allclose(calibration_error(confidence, right), (abs(2.9 - 2.0) + 0.5) / 4)


def test_weights_count_rows_repeatedly():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([1.0, 1.0, 1.0], size=30)
    y, weights = rng.integers(0, 3, size=30), rng.integers(1, 4, size=30)
    repeated = np.repeat(np.arange(30), weights)
    weighted = figures(y, np.arange(3), shares, weights)
    assert weighted == pytest.approx(figures(y[repeated], np.arange(3), shares[repeated]))


def test_mixtures_per_class_weigh_by_counts():
    z = np.random.default_rng(0).normal(size=(400, 2))
    shares = MixturePerClass("diag").fit(z, np.arange(400) % 4 // 3).predict_proba(z)
    assert_allclose(shares.sum(axis=1), 1.0)
    assert_allclose(shares.mean(axis=0), [0.75, 0.25], atol=0.05)


def test_numbers_are_two_digits_side_by_side():
    X, y = pictures.numbers()
    digits, labels = load_digits(return_X_y=True)
    known = {(image.tobytes(), label) for image, label in zip(digits, labels, strict=True)}
    assert X.shape == (len(y), 128) and len(np.unique(y)) == 100
    for image, number in zip(X[::97], y[::97], strict=True):
        assert (image[:64].tobytes(), int(number[0])) in known
        assert (image[64:].tobytes(), int(number[1])) in known
