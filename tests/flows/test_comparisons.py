"""The comparisons of FlowClassifier and FlowOverSampler run, at a small size, and go on."""

import csv

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("imblearn", reason="imblearn is not installed: pip install -e . --group test")
pytest.importorskip("skorch", reason="skorch is not installed: pip install -e . --group test")

from benchmarks import flow_classifier, over_sampling
from benchmarks._record import Record, complete
from fpigauss_torch.imblearn import FlowOverSampler
from fpigauss_torch.sklearn import FlowClassifier

TINY = {"transforms": 1, "hidden_features": (8,), "bins": 4, "max_epochs": 2, "random_state": 0}


def test_a_record_goes_on_where_it_was(tmp_path):
    record = Record(tmp_path / "record.csv", ("data", "split", "method"), ("accuracy",))
    assert record.runs() == [] and record.keys_of_runs() == set()
    record.add(("wine", 0, 'class_weight="balanced"'), {"accuracy": 0.5})
    record.add(("wine", 0, "SMOTE"), {"accuracy": 1.0})
    record.add(("wine", 1, "SMOTE"), {"accuracy": 1 / 3})
    assert ("wine", "0", 'class_weight="balanced"') in record.keys_of_runs()
    runs = record.runs()
    assert [run["split"] for run in runs] == [0, 0, 1]
    assert_allclose([run["accuracy"] for run in runs], [0.5, 1.0, 1 / 3], rtol=1e-5)
    whole = complete(runs, "method", ["SMOTE", 'class_weight="balanced"'])
    assert whole == runs[:2]


@pytest.mark.parametrize("name", over_sampling.SETS)
def test_classes_are_thinned_to_a_tenth_of_the_largest(name):
    data = over_sampling.loaded(name)
    train, _ = next(data.splits())
    kept = over_sampling.thinned(data, train, 0)
    assert len(np.unique(kept)) == len(kept) and np.isin(kept, train).all()
    before, after = (np.bincount(data.y[rows]) for rows in (train, kept))
    rare = over_sampling.thinned_classes(data)
    assert (after[rare] == max(8, round(0.1 * before.max()))).all()
    assert_allclose(np.delete(after, rare), np.delete(before, rare))
    assert len(rare) == {"wine": 2, "breast cancer": 1, "digits": 5}[name]


def test_the_comparison_of_over_samplers_runs(tmp_path, monkeypatch):
    tiny = FlowOverSampler(estimator=FlowClassifier(**TINY), random_state=0)
    monkeypatch.setitem(over_sampling.SAMPLERS, over_sampling.FLOW, lambda seed: tiny)
    record = Record(
        tmp_path / "over_sampling.csv", ("data", "split", "method"), over_sampling.RECORDED
    )
    for split in (0, 1):
        over_sampling.measure("wine", split, record)
    before = record.path.read_bytes()
    over_sampling.main(["--only", "wine", "--splits", "2", "--out", str(tmp_path)])
    assert record.path.read_bytes() == before  # nothing was left to do
    with record.path.open() as file:
        runs = list(csv.DictReader(file))
    assert {run["method"] for run in runs} == set(over_sampling.METHODS)
    smote = [float(r["balanced accuracy"]) for r in runs if r["method"].endswith("ion: SMOTE")]
    assert len(smote) == 2 and min(smote) > 0.8
    text = (tmp_path / "over_sampling.md").read_text()
    assert "| logistic regression: FlowOverSampler | " in text
    assert " nan" not in text


def test_the_comparison_of_flow_classifiers_runs(tmp_path, monkeypatch):
    ours = flow_classifier.OURS
    monkeypatch.setitem(flow_classifier.METHODS, ours, lambda: FlowClassifier(**TINY))
    classified = Record(
        tmp_path / "flow_classifier.csv", ("data", "split", "method"), flow_classifier.FIGURES
    )
    detected = Record(
        tmp_path / "flow_classifier_unknown.csv",
        ("data", "split", "left out"),
        flow_classifier.SCORES,
    )
    tasks = list(flow_classifier.tasks_of(["iris"], 2, classified, detected))
    assert len(tasks) == 2 * 4 + 2 * 3
    for function, arguments in tasks:
        function(*arguments)
    assert not list(flow_classifier.tasks_of(["iris"], 2, classified, detected))
    flow_classifier.main(["--only", "iris", "--splits", "2", "--out", str(tmp_path)])
    text = (tmp_path / "flow_classifier.md").read_text()
    assert "- iris, 2 splits: " in text
    assert "| fpigauss, tied dense: mahalanobis | " in text
    assert " nan" not in text
    for run in detected.runs():
        assert run["fpigauss, tied dense: mahalanobis"] > 0.9
