"""Compare FlowClassifier with scikit-learn's classifiers on its four small data sets.

Rules, set before the full run:

- Ten random stratified splits, 70 % for training, the same for every method.
- Nothing is tuned per data set. LogisticRegression takes standardized columns and may take 5,000
  iterations; everything else has its defaults. The defaults of FlowClassifier come from a small
  grid (number of transforms, noise, batches per epoch, whitened columns or not) on two to five
  splits, some of them among these, so that its figures are slightly optimistic.
- "s per fit" is the median in one thread. The recorded run had a fifth of a busy core: the times
  of FlowClassifier are several times those of an idle machine.
- Accuracy and log-loss in nats are means over the splits with half the width of their 95 %
  intervals, corrected for overlapping training parts (Nadeau & Bengio 2003). FlowClassifier is
  "within .02" if its mean accuracy is at most .02 below the best one of the others.
- Every fit is recorded in flow_classifier.csv. Splits that are in it are not measured again, so
  that a run goes on where it was stopped; the table is of the splits in which all methods were
  measured.

Run ``python -m benchmarks.flow_classifier [--splits N] [--workers N] [--out FOLDER]``.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections import defaultdict
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
N_SPLITS = 10
OURS = "FlowClassifier"
METHODS: dict[str, Callable[[], Any]] = {
    OURS: lambda: FlowClassifier(random_state=0),
    "LDA": LinearDiscriminantAnalysis,
    "logistic regression": lambda: make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=5000)
    ),
    "gradient boosting": lambda: HistGradientBoostingClassifier(random_state=0),
}


FIELDS = ("data", "method", "split", "accuracy", "log_loss", "seconds")


def measure(name: str, method: str, splits: Sequence[int], record: Path) -> None:
    """Fit to some splits, and append what comes out to a record."""
    X, y = DATA[name](return_X_y=True)
    parts = list(StratifiedShuffleSplit(N_SPLITS, train_size=TRAIN, random_state=0).split(X, y))
    for split in splits:
        train, test = parts[split]
        start = time.perf_counter()
        model = METHODS[method]().fit(X[train], y[train])
        seconds = time.perf_counter() - start
        loss = log_loss(y[test], model.predict_proba(X[test]))
        figures = (f"{value:.6g}" for value in (model.score(X[test], y[test]), loss, seconds))
        with record.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow([name, method, split, *figures])


def recorded(record: Path) -> dict[tuple[str, str], dict[int, list[float]]]:
    """Read accuracy, log-loss and seconds of every split that was measured."""
    found: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(dict)
    with record.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            figures = [float(row[field]) for field in FIELDS[3:]]
            found[row["data"], row["method"]][int(row["split"])] = figures
    return found


def cell(values: np.ndarray) -> str:
    """Write a mean with half the width of its interval."""
    n = len(values)
    if n < 2:
        return f"{values.mean():.3f}"
    error = math.sqrt(values.var(ddof=1) * (1 / n + (1 - TRAIN) / TRAIN))
    return f"{values.mean():.3f} ± {student.ppf(0.975, n - 1) * error:.3f}"


def table(found: dict[tuple[str, str], dict[int, list[float]]]) -> str:
    """Write the table in markdown, over the splits in which all methods were measured."""
    lines = [
        "| data | splits | method | accuracy | log-loss | s per fit |",
        "|---|---|---|---|---|---|",
    ]
    notes = []
    for name in DATA:
        splits = sorted(set.intersection(*(set(found[name, method]) for method in METHODS)))
        if not splits:
            continue
        means = {}
        for method in METHODS:
            figures = np.array([found[name, method][split] for split in splits])
            means[method] = figures[:, 0].mean()
            accuracy, loss = cell(figures[:, 0]), cell(figures[:, 1])
            seconds = f"{np.median(figures[:, 2]):.2g}"
            lines.append(f"| {name} | {len(splits)} | {method} | {accuracy} | {loss} | {seconds} |")
        ours = means.pop(OURS)
        best = max(means, key=lambda method: means[method])
        within = "within .02 of" if means[best] - ours <= 0.02 else "not within .02 of"
        notes.append(f"- {name}: {ours:.4f}, {within} the best other, {best} ({means[best]:.4f})")
    return "\n".join([*lines, "", *notes, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=N_SPLITS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    record = arguments.out / "flow_classifier.csv"
    if not record.exists():
        record.write_text(",".join(FIELDS) + "\n", encoding="utf-8")
    before = recorded(record)
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        futures = []
        for name in arguments.only:
            for method in METHODS:
                splits = [k for k in range(arguments.splits) if k not in before[name, method]]
                futures.append(pool.submit(measure, name, method, splits, record))
    for future in futures:
        future.result()
    assert __doc__ is not None
    _, _, rules = __doc__.partition("\n\n")
    text = f"## FlowClassifier beside scikit-learn\n\n{rules.strip()}\n\n{table(recorded(record))}"
    (arguments.out / "flow_classifier.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
