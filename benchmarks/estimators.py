"""Compare the Gaussians with scikit-learn's classifiers, and their scores for unknown rows.

Rules, set before the first full run:

- Data: scikit-learn's digits, wine and breast cancer, ten random stratified splits, 70 % for
  training; MNIST and Fashion-MNIST (``mnist.npz`` and ``fashion_mnist.npz`` in the folder of
  ``--data``), three random stratified splits of all rows into 10,000 for training and 10,000 held
  out. Data sets whose files are missing are named and left out.
- Every method gets the same rows: features constant in the training part are dropped, images are
  reduced to 64 principal components, and the rest is standardized, all fitted to the training part.
- Nothing is tuned. Settings are the libraries' defaults but for these: LogisticRegression may take
  5,000 iterations; QDA has ``reg_param=0.001``, because class covariances of digits and breast
  cancer are singular to it; mixtures have three components per class and ``reg_covar=0.001``.
- Classification: accuracy, log-loss in nats (probabilities clipped at the rounding of a float64, as
  scikit-learn does), ECE (15 bins of equal width of the largest posterior), time of a fit.
- Unknown rows, where K >= 3: each class in turn (of MNIST and Fashion-MNIST 0, 2, 4, 6 and 8) is
  left out of training, preprocessing too, and the held-out rows of that class are told from the
  others by a score. The AUROC is averaged over the classes left out. pytorch-ood's Mahalanobis and
  RMD detectors are left out: the library cannot be imported without torchvision. By its source
  they are "mahalanobis" and "relative_mahalanobis" of a tied dense fit without repulsion, with the
  shared covariance weighing classes by their counts.
- Cells are the mean over splits with its 95 % interval, corrected for overlapping training parts
  (Nadeau & Bengio 2003). Methods are compared by their differences in the same split; a difference
  is bold if its interval excludes zero. Where nothing differs, one of twenty does so by chance.
- "relative_mahalanobis" takes one Gaussian of all known rows, with the ``var_smoothing`` of the
  classifier. (This was added after the first run stopped at digits, where a training part has no
  variance in some direction, which is an error without smoothing; a second was stopped because
  images were in float32, where probabilities are clipped sooner. Both were stopped before any
  table was written, and nothing else was changed.)
- All runs go into the two CSV files; none is left out or repeated.

Run ``python -m benchmarks.estimators [--data FOLDER]``.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import VarianceThreshold
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import _report
from benchmarks._classifiers import classifiers, figures, shares_of, unknown_scores
from benchmarks._estimator_tables import classification_tables, detection_tables, named, summary
from benchmarks._intervals import markdown, over_splits
from fpigauss import fit_fixed_point

TOY = {"digits": load_digits, "wine": load_wine, "breast cancer": load_breast_cancer}
IMAGES = {"MNIST": "mnist.npz", "Fashion-MNIST": "fashion_mnist.npz"}
DRAW = "(The README's own draw is harder, and predicts the rows of the fit: .72, .70, .65.)"
NAMES = (*TOY, *IMAGES)


@dataclass(frozen=True)
class Data:
    """Rows, and how they are split."""

    name: str
    X: np.ndarray
    y: np.ndarray
    n_splits: int
    train: int | float
    test: int | float
    n_components: int | None = None
    #: The classes left out in turn.
    left_out: tuple[int, ...] = ()

    @property
    def test_to_train(self) -> float:
        """How many rows are held out for one of training."""
        return self.test / self.train

    def splits(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the numbers of the training rows and of the held-out ones."""
        parts = StratifiedShuffleSplit(
            self.n_splits, train_size=self.train, test_size=self.test, random_state=0
        )
        return parts.split(self.X, self.y)

    def prepared(self, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Drop, reduce and standardize features, as fitted to the training rows."""
        steps: list[Any] = [VarianceThreshold()]
        if self.n_components is not None:
            steps.append(PCA(self.n_components, svd_solver="covariance_eigh"))
        pipeline = make_pipeline(*steps, StandardScaler())
        return pipeline.fit_transform(self.X[train]), pipeline.transform(self.X[test])


def loaded(name: str, folder: Path | None, n_splits: int | None) -> Data | None:
    """Load a data set, or return None if it is not there."""
    if name in TOY:
        X, y = TOY[name](return_X_y=True)
        classes = tuple(np.unique(y).tolist())
        left_out = classes if len(classes) > 2 else ()
        return Data(name, X, y, n_splits or 10, 0.7, 0.3, left_out=left_out)
    if folder is None or not (folder / IMAGES[name]).is_file():
        return None
    with np.load(folder / IMAGES[name]) as file:
        parts = ("",) if "x" in file else ("_train", "_test")
        X = np.concatenate([file[f"x{part}"] for part in parts])
        y = np.concatenate([file[f"y{part}"] for part in parts])
    flat = X.reshape(len(X), -1) / 255.0
    return Data(name, flat, y.astype(int), n_splits or 3, 10_000, 10_000, 64, (0, 2, 4, 6, 8))


def classify(data: Data) -> list[dict[str, Any]]:
    """Fit and judge every classifier on every split."""
    rows = []
    for split, (train, test) in enumerate(data.splits()):
        X, X_test = data.prepared(train, test)
        for name, make in classifiers().items():
            started = time.perf_counter()
            classifier = make().fit(X, data.y[train])
            seconds = time.perf_counter() - started
            shares = classifier.predict_proba(X_test)
            found = figures(data.y[test], classifier.classes_, shares)
            rows.append(
                {"data": data.name, "split": split, "method": name, **found, "seconds": seconds}
            )
    return rows


def detect(data: Data) -> list[dict[str, Any]]:
    """Leave each class out of every split, and judge all scores by their AUROC."""
    rows = []
    for split, (train, test) in enumerate(data.splits()):
        for label in data.left_out:
            known = train[data.y[train] != label]
            X, X_test = data.prepared(known, test)
            unknown = data.y[test] == label
            for (fit, method), scores in unknown_scores(X, data.y[known], X_test).items():
                shown = np.nan_to_num(scores, posinf=np.finfo(float).max)
                auroc = float(roc_auc_score(unknown, shown))
                rows.append(
                    {
                        "data": data.name,
                        "split": split,
                        "left out": label,
                        "fit": fit,
                        "score": method,
                        "AUROC": auroc,
                    }
                )
    return rows


# -- two examples ----------------------------------------------------------------------------


def readme_table(n_seeds: int) -> str:
    """Repeat the README's first example, with as many new rows to predict."""
    cells: dict[float, list[dict[str, float]]] = defaultdict(list)
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 5, size=4000)
        z = rng.normal(size=(4000, 8))
        z += rng.normal(size=(5, 8))[y]
        for lam in (0.0, 100.0, 1000.0):
            gaussians = fit_fixed_point(z[:2000], y[:2000], lam, tied=True).gaussians
            shares = shares_of(gaussians, z[2000:])
            cells[lam].append(figures(y[2000:], gaussians.classes, shares))
    rows = [
        [
            f"{lam:g}",
            *(over_splits([f[name] for f in found], 0.0).text(3) for name in found[0]),
            *(
                over_splits(
                    [f[name] - g[name] for f, g in zip(found, cells[0.0], strict=True)], 0.0
                ).text(3, signed=True)
                for name in ("accuracy", "log-loss")
            ),
        ]
        for lam, found in cells.items()
    ]
    changes = ["accuracy, minus lam = 0", "log-loss, minus lam = 0"]
    return markdown(["lam", "accuracy", "log-loss", "ECE", *changes], rows)


def positives_table(n_seeds: int) -> str:
    """Call rows positive where 5 % are: at equal priors, at those of the counts, by LDA."""
    cells: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        y = (rng.random(20_000) < 0.05).astype(int)
        z = rng.normal(size=(20_000, 5))
        z[:, 0] += 2.0 * y  # two standard deviations apart
        train, test = slice(0, 5000), slice(5000, None)
        gaussians = fit_fixed_point(
            z[train], y[train], 0.0, covariance="dense", tied=True
        ).gaussians
        called = {
            "ClassGaussians, equal priors": gaussians.predict(z[test]),
            'ClassGaussians, priors="counts"': gaussians.predict(z[test], priors="counts"),
            "LinearDiscriminantAnalysis": LinearDiscriminantAnalysis()
            .fit(z[train], y[train])
            .predict(z[test]),
        }
        for name, labels in called.items():
            true = y[test] == 1
            cells[name].append(
                (
                    labels.mean(),
                    (labels == y[test]).mean(),
                    labels[true].mean(),
                    true[labels == 1].mean(),
                )
            )
    rows = [
        [name, *(over_splits(column, 0.0).text(3) for column in zip(*found, strict=True))]
        for name, found in cells.items()
    ]
    return markdown(["5 % positives", "called positive", "accuracy", "recall", "precision"], rows)


def by_left_out(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gather the AUROC of all scores in one row per split and class left out."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = {name: row[name] for name in ("data", "split", "left out")}
        found.setdefault(tuple(key.values()), key)[named(row["fit"], row["score"])] = row["AUROC"]
    return list(found.values())


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write all runs, to five digits."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            short = {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(short)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where the image files are")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--splits", type=int, help="fewer splits, for a trial")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args(arguments)
    load, started = _report.description(), time.perf_counter()

    found = {name: loaded(name, given.data, given.splits) for name in given.only}
    sets = [data for data in found.values() if data is not None]
    missing = [name for name, data in found.items() if data is None]
    classified: list[dict[str, Any]] = []
    detected: list[dict[str, Any]] = []
    for data in sets:
        begun = time.perf_counter()
        classified += classify(data)
        detected += detect(data)
        print(f"{data.name}: {time.perf_counter() - begun:.0f} s", flush=True)

    n_seeds = given.splits or 10
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    command = "python -m benchmarks.estimators" + (" --data FOLDER" if given.data else "")
    parts = [
        "## Estimators, side by side\n",
        *(f"- {line}" for line in load),
        f"- {when}, `{command}`, {(time.perf_counter() - started) / 60:.1f} minutes\n",
        f"{__doc__.split(chr(10), 2)[2].rsplit('Run ``', 1)[0].strip()}\n",
    ]
    if missing:
        parts.append(f"Left out, because their files were not given: {', '.join(missing)}.\n")
    parts += [
        "### What repulsion changes, in short\n",
        summary(classified, detected, sets),
        "### Repulsion on vectors drawn as in the README\n",
        f"Five classes in eight dimensions, {n_seeds} seeds, 2,000 new rows each. {DRAW}\n",
        readme_table(n_seeds),
        "### 5 % positives\n",
        f"Two Gaussians two standard deviations apart, {n_seeds} seeds, 15,000 new rows each.\n",
        positives_table(n_seeds),
        "### Classification\n",
        *classification_tables(classified, sets),
    ]
    with_classes = [data for data in sets if data.left_out]
    if with_classes:
        parts += ["### Unknown rows\n", *detection_tables(detected, with_classes)]
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "estimators.md").write_text("\n".join(parts))
    write_csv(given.out / "estimators_classification.csv", classified)
    if detected:
        write_csv(given.out / "estimators_unknown.csv", by_left_out(detected))
    print(f"wrote {given.out / 'estimators.md'}")


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    main()
