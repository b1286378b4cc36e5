"""Compare FlowOverSampler with SMOTE, and with what needs no new rows, on thinned classes.

Rules, set before the full run:

- Data: scikit-learn's wine, breast cancer and digits, the first ten random stratified splits (of
  digits five), 70 % for training. Every class but the largest (of digits every odd one) is thinned
  in the training part, at random, to 10 % of the largest class, but to no fewer than 8 rows, as
  SMOTE needs 6.
- Held-out rows are not thinned, but weighed, so that each class has the share that it has in
  training: log-loss, average precision and ECE are those of new rows with the same imbalance.
- Columns constant in the training part are dropped, and the rest is standardized, as fitted to the
  thinned part; FlowOverSampler gets them before they are standardized, as it does that by itself.
- Classifiers: LogisticRegression (5,000 iterations at most) and HistGradientBoostingClassifier. All
  settings are the libraries' defaults; those of FlowClassifier were found on splits of these data
  sets, not thinned. Samplers draw until all classes are as large as the largest.
- What is compared: "nothing"; "shifted posteriors", those of "nothing" divided by the shares of the
  classes in training and summing to one again; ``class_weight="balanced"``; RandomOverSampler;
  SMOTE; FlowOverSampler; and FlowOverSampler that draws from a dense Gaussian per class with OAS in
  place of a flow. Beside them stands the flow itself, the FlowClassifier of FlowOverSampler.
- Figures: balanced accuracy; average precision of a thinned class against the rest, averaged over
  them; log-loss in nats; ECE (15 bins of equal width of the largest posterior); seconds of fitting
  a sampler and drawing, in one thread (``OMP_NUM_THREADS=1``) on a machine with other work.
- Cells are the mean over splits with its 95 % interval, corrected for overlapping training parts
  (Nadeau & Bengio 2003; the parts as they are before they are thinned). Methods are compared by
  their differences in the same split; a difference is bold if its interval excludes zero. Where
  nothing differs, one of twenty does so by chance.
- All runs go into over_sampling.csv; none is left out or repeated.
- Van den Goorbergh et al. (2022, https://doi.org/10.1093/jamia/ocac093) found that over-sampling
  and SMOTE spoil the calibration of logistic regression without better discrimination, and that a
  shifted threshold does as much for rare classes. "Minus nothing" tells whether that is so here.

Run ``python -m benchmarks.over_sampling [--splits N] [--workers N] [--out FOLDER]``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from imblearn.over_sampling import SMOTE, RandomOverSampler
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from benchmarks import _report
from benchmarks._classifiers import figures
from benchmarks._estimator_tables import by_split, difference, table
from benchmarks._record import Record, complete, in_processes, parser_of
from benchmarks.estimators import TOY, Data
from fpigauss.sklearn import FixedPointGaussianClassifier
from fpigauss_torch.imblearn import FlowOverSampler

#: How many splits.
SETS = {"wine": 10, "breast cancer": 10, "digits": 5}
N_SPLITS = 10
PART, LEAST = 0.1, 8

NOTHING, SHIFTED, WEIGHTED = "nothing", "shifted posteriors", 'class_weight="balanced"'
FLOW, ITSELF = "FlowOverSampler", "FlowClassifier itself"
SAMPLERS: dict[str, Callable[[int], Any]] = {
    "RandomOverSampler": lambda seed: RandomOverSampler(random_state=seed),
    "SMOTE": lambda seed: SMOTE(random_state=seed),
    FLOW: lambda seed: FlowOverSampler(random_state=seed),
    f"{FLOW}, Gaussians": lambda seed: FlowOverSampler(
        estimator=FixedPointGaussianClassifier(covariance="dense", shrinkage="oas"),
        random_state=seed,
    ),
}
CLASSIFIERS: dict[str, Callable[..., Any]] = {
    "logistic regression": lambda **options: LogisticRegression(max_iter=5000, **options),
    "gradient boosting": lambda **options: HistGradientBoostingClassifier(
        random_state=0, **options
    ),
}
PER_CLASSIFIER = (NOTHING, SHIFTED, WEIGHTED, *SAMPLERS)
METHODS = (
    *(f"{name}: {method}" for name in CLASSIFIERS for method in PER_CLASSIFIER),
    ITSELF,
)
FIGURES = ("balanced accuracy", "average precision", "log-loss", "ECE")
RECORDED = (*FIGURES, "seconds")


def loaded(name: str) -> Data:
    """Load a data set."""
    X, y = TOY[name](return_X_y=True)
    return Data(name, X, y, N_SPLITS, 0.7, 0.3)


def thinned_classes(data: Data) -> np.ndarray:
    """Return the classes to thin: all but the largest, of digits the odd ones."""
    classes, counts = np.unique(data.y, return_counts=True)
    return classes[1::2] if data.name == "digits" else np.delete(classes, counts.argmax())


def thinned(data: Data, train: np.ndarray, seed: int) -> np.ndarray:
    """Return the numbers of the training rows that are left."""
    rng = np.random.default_rng(seed)
    y = data.y[train]
    n_left = max(LEAST, round(PART * np.bincount(y).max()))
    kept = np.isin(y, thinned_classes(data), invert=True)
    for label in thinned_classes(data):
        kept[rng.choice(np.flatnonzero(y == label), size=n_left, replace=False)] = True
    return train[kept]


def measure(name: str, split: int, record: Record) -> None:
    """Fit everything to a split, and judge it."""
    data = loaded(name)
    train, test = list(data.splits())[split]
    train = thinned(data, train, split)
    varying = VarianceThreshold().fit(data.X[train])
    rows, y = varying.transform(data.X[train]), data.y[train]
    scaler = StandardScaler().fit(rows)
    z, z_test = scaler.transform(rows), scaler.transform(varying.transform(data.X[test]))

    classes, codes = np.unique(y, return_inverse=True)
    priors = np.bincount(codes) / len(y)
    y_test = np.searchsorted(classes, data.y[test])
    weights = (priors / (np.bincount(y_test) / len(y_test)))[y_test]
    rare = np.flatnonzero(np.isin(classes, thinned_classes(data)))

    runs: list[tuple[str, dict[str, float]]] = []

    def judge(method: str, shares: np.ndarray, seconds: float) -> None:
        found = figures(data.y[test], classes, shares, weights)
        found["balanced accuracy"] = balanced_accuracy_score(y_test, shares.argmax(axis=1))
        found["average precision"] = np.mean(
            [
                average_precision_score(y_test == code, shares[:, code], sample_weight=weights)
                for code in rare
            ]
        )
        runs.append((method, {**found, "seconds": seconds}))

    sampled = {}
    for method, make in SAMPLERS.items():
        start = time.perf_counter()
        sampler = make(split)
        X_new, y_new = sampler.fit_resample(rows if method == FLOW else z, y)
        seconds = time.perf_counter() - start
        sampled[method] = scaler.transform(X_new) if method == FLOW else X_new, y_new, seconds
        if method == FLOW:
            flow = sampler.estimator_
            judge(ITSELF, flow.predict_proba(varying.transform(data.X[test])), seconds)
    for classifier, make_classifier in CLASSIFIERS.items():
        shares = make_classifier().fit(z, y).predict_proba(z_test)
        judge(f"{classifier}: {NOTHING}", shares, 0.0)
        shifted = shares / priors
        judge(f"{classifier}: {SHIFTED}", shifted / shifted.sum(axis=1, keepdims=True), 0.0)
        weighted = make_classifier(class_weight="balanced").fit(z, y)
        judge(f"{classifier}: {WEIGHTED}", weighted.predict_proba(z_test), 0.0)
        for method, (z_new, y_new, seconds) in sampled.items():
            shares = make_classifier().fit(z_new, y_new).predict_proba(z_test)
            judge(f"{classifier}: {method}", shares, seconds)
    for method, found in runs:  # all at once: a split that was stopped leaves nothing
        record.add((name, split, method), found)


# -- tables ----------------------------------------------------------------------------------


def tables(rows: Sequence[dict[str, Any]], sets: Sequence[Data]) -> list[str]:
    """Write one table per figure, then the differences from no correction and from the flow."""
    grouped = {figure: by_split(rows, figure, "method") for figure in RECORDED}
    parts = []
    for figure in FIGURES:
        cells = {name: lambda data, key=name, of=grouped[figure]: of[data, key] for name in METHODS}
        parts += [f"#### {figure[0].upper()}{figure[1:]}\n", table("method", cells, sets)]
    first = next(iter(CLASSIFIERS))
    drawing = {
        name: lambda data, key=f"{first}: {name}": grouped["seconds"][data, key]
        for name in SAMPLERS
    }
    parts += ["#### Seconds of fitting a sampler and drawing\n", table("sampler", drawing, sets)]
    parts.append(f"#### {FLOW} minus every other, with the same classifier\n")
    for figure in FIGURES:
        differences = {
            f"{classifier}: {other}": difference(
                grouped[figure], (f"{classifier}: {FLOW}",), (f"{classifier}: {other}",)
            )
            for classifier in CLASSIFIERS
            for other in PER_CLASSIFIER
            if other != FLOW
        }
        parts.append(table(f"{figure}, minus", differences, sets, signed=True))
    parts.append("#### Every method minus nothing, with the same classifier\n")
    for figure in FIGURES:
        differences = {
            f"{classifier}: {method}": difference(
                grouped[figure], (f"{classifier}: {method}",), (f"{classifier}: {NOTHING}",)
            )
            for classifier in CLASSIFIERS
            for method in PER_CLASSIFIER[1:]
        }
        parts.append(table(figure, differences, sets, signed=True))
    return parts


def tasks_of(
    names: Sequence[str], n_splits: int, record: Record
) -> Iterator[tuple[Callable[..., None], tuple[Any, ...]]]:
    """Yield the splits that have not been measured."""
    done = record.keys_of_runs()
    for name in names:
        for split in range(min(n_splits, SETS[name])):
            if (name, str(split), METHODS[-2]) not in done:  # the last one that is measured
                yield measure, (name, split, record)


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser_of("over_sampling", SETS, N_SPLITS).parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    record = Record(given.out / "over_sampling.csv", ("data", "split", "method"), RECORDED)
    in_processes(tasks_of(given.only, given.splits, record), given.workers)
    rows = complete(record.runs(), "method", METHODS)
    sets = [loaded(name) for name in SETS if name in {row["data"] for row in rows}]
    numbers = by_split(rows, "ECE")
    shown = ", ".join(f"{data.name} {len(numbers[(data.name,)])}" for data in sets)
    assert __doc__ is not None
    rules = __doc__.split("\n", 2)[2].rsplit("Run ``", 1)[0].strip()
    parts = [
        "## Over-sampling of rare classes\n",
        f"- {_report.machine()}",
        f"- {_report.versions('zuko', 'skorch', 'imbalanced-learn')}",
        f"- `python -m benchmarks.over_sampling`; splits: {shown}\n\n{rules}\n",
        *tables(rows, sets),
    ]
    (given.out / "over_sampling.md").write_text("\n".join(parts), encoding="utf-8")
    print(f"wrote {given.out / 'over_sampling.md'}")


if __name__ == "__main__":
    main()
