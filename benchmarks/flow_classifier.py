"""Compare FlowClassifier with scikit-learn's classifiers on its four small data sets.

Rules, set before the full run:

- Ten random stratified splits, 70 % for training, the same for every method.
- Nothing is tuned per data set. LogisticRegression takes standardized columns and may take 5,000
  iterations; everything else has its defaults. The defaults of FlowClassifier come from a small grid
  (number of transforms, noise, batches per epoch, whitened columns or not) on some of these splits,
  so that its figures are slightly optimistic. "s per fit" is the median, in one thread.
- Accuracy and log-loss in nats are means over the splits with half the width of their 95 %
  intervals, corrected for overlapping training parts (Nadeau & Bengio 2003). A method is "within .02"
  if its mean accuracy is at most .02 below the best one of the others.

Run ``python -m benchmarks.flow_classifier [--splits N] [--workers N] [--out FILE]``.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fpigauss_torch.sklearn import FlowClassifier

DATA = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
}
TRAIN = 0.7
OURS = "FlowClassifier"
METHODS: dict[str, Callable[[], Any]] = {
    OURS: lambda: FlowClassifier(random_state=0),
    "LDA": LinearDiscriminantAnalysis,
    "logistic regression": lambda: make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=5000)
    ),
    "gradient boosting": lambda: HistGradientBoostingClassifier(random_state=0),
}


def measured(name: str, method: str, n_splits: int) -> np.ndarray:
    """Return accuracy, log-loss and seconds of a fit (n_splits, 3)."""
    X, y = DATA[name](return_X_y=True)
    parts = StratifiedShuffleSplit(10, train_size=TRAIN, test_size=1 - TRAIN, random_state=0)
    figures = []
    for train, test in list(parts.split(X, y))[:n_splits]:
        start = time.perf_counter()
        model = METHODS[method]().fit(X[train], y[train])
        seconds = time.perf_counter() - start
        proba = model.predict_proba(X[test])
        figures.append([model.score(X[test], y[test]), log_loss(y[test], proba), seconds])
        print(f"{name}, {method}: {figures[-1]}", flush=True)
    return np.array(figures)


def cell(values: np.ndarray) -> str:
    """Write a mean with half the width of its interval."""
    n = len(values)
    if n < 2:
        return f"{values.mean():.3f}"
    error = math.sqrt(values.var(ddof=1) * (1 / n + (1 - TRAIN) / TRAIN))
    return f"{values.mean():.3f} ± {student.ppf(0.975, n - 1) * error:.3f}"


def table(names: Sequence[str], n_splits: int, n_workers: int) -> str:
    """Write the table in markdown."""
    lines = [
        "| data | method | accuracy | log-loss | s per fit |",
        "|---|---|---|---|---|",
    ]
    notes = []
    with ProcessPoolExecutor(n_workers, get_context("spawn")) as pool:
        futures = {
            (name, method): pool.submit(measured, name, method, n_splits)
            for name in names
            for method in METHODS
        }
        measurements = {case: future.result() for case, future in futures.items()}
    for name in names:
        means = {}
        for method in METHODS:
            figures = measurements[name, method]
            means[method] = figures[:, 0].mean()
            accuracy, loss = cell(figures[:, 0]), cell(figures[:, 1])
            seconds = float(np.median(figures[:, 2]))
            lines.append(f"| {name} | {method} | {accuracy} | {loss} | {seconds:.2g} |")
        ours = means.pop(OURS)
        best = max(means, key=lambda method: means[method])
        behind = means[best] - ours
        within = "within .02 of" if behind <= 0.02 else "not within .02 of"
        notes.append(f"- {name}: {ours:.3f}, {within} the best other, {best} ({means[best]:.3f})")
    return "\n".join([*lines, "", *notes, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "flow_classifier.md"
    )
    arguments = parser.parse_args()
    assert __doc__ is not None
    _, _, rules = __doc__.partition("\n\n")
    text = table(arguments.only, arguments.splits, arguments.workers)
    title = f"# FlowClassifier beside scikit-learn, {arguments.splits} splits"
    arguments.out.write_text(f"{title}\n\n{rules.strip()}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
