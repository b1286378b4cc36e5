"""Fit class Gaussians that overlap, then push them apart: a table and a picture.

    python examples/quickstart.py [data] [--picture quickstart.png]

Without a file, the data are scikit-learn's handwritten digits. A file is an .npz with the arrays
z (N, d) and y (N,), an .npy with one matrix, or a .csv with or without a header; in the latter two
the last column is the label, and the others are numbers.

The table shows fits to the training half, in at most 32 principal components, and how well they
classify the other half. The picture, after Fig. 1 of the paper, shows a 2-D embedding: z itself if
it has two dimensions, else its t-SNE (of 5,000 samples, stratified, if there are more).
"""

import argparse
import csv
import sys
import time
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from fpigauss import (
    ClassStatistics,
    InvalidInputError,
    UnboundedObjectiveWarning,
    critical_lam,
    fit_fixed_point,
    pairwise_kld,
)

EMBEDDED = 5_000  # samples that t-SNE is given at most
SHOWN = 3_000  # points per panel
SMALL, LARGE = 30.0, 1_000.0  # lam in the picture

SETTINGS = {
    "diagonal, per class": {"covariance": "diagonal"},
    "dense, per class": {"covariance": "dense", "shrinkage": "oas"},
    "diagonal, tied": {"covariance": "diagonal", "tied": True},
    "dense, tied": {"covariance": "dense", "tied": True, "shrinkage": "oas"},
    "identity, means only": {"covariance": "isotropic", "init": "identity", "update": "means"},
}
IN_PICTURE = {"covariance": "dense", "tied": True}


#: What a damaged file makes numpy, or the csv module, raise.
UNREADABLE = (
    csv.Error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
MISSING = {"", "<na>", "n/a", "na", "nan", "nat", "null"}  # labels, in lower case


def load(path):
    """Load the user's latents, or the digits; nothing else is done before all checks."""
    if path is None:
        return load_digits(return_X_y=True)
    readers = {".npz": arrays_of, ".npy": matrix_of, ".csv": table_of}
    suffix = Path(path).suffix.lower()
    if suffix not in readers:
        sys.exit(f"{path}: expected a file that ends in {', '.join(readers)}")
    try:
        z, y, lines = readers[suffix](path)
        z = numbers(z, y, lines)
        check_labels(y, lines)
        check_fits(z, y)
    except UNREADABLE as error:  # among them ours
        sys.exit(f"{path}: expected numbers z (N, d) and labels y (N,); {error}")
    return z, y


def arrays_of(path):
    """Read the arrays z and y of an npz file."""
    with Path(path).open("rb") as file:
        arrays = np.load(file)
        if isinstance(arrays, np.ndarray):
            raise TypeError("it is one array, an .npy file; give it that ending")
        missing = [name for name in ("z", "y") if name not in arrays]
        if missing:
            raise ValueError(f"it has no {' and no '.join(missing)}, but {', '.join(arrays)}")
        return arrays["z"], arrays["y"], None


def matrix_of(path):
    """Read a matrix of numbers whose last column is the label."""
    with Path(path).open("rb") as file:
        matrix = np.load(file)
        if not isinstance(matrix, np.ndarray):
            raise TypeError("it is an archive of arrays, an .npz file; give it that ending")
    if matrix.dtype.kind not in "buif" or matrix.ndim != 2 or matrix.shape[1] < 2:
        raise ValueError(
            f"it has shape {matrix.shape} and dtype {matrix.dtype}, and needs to be a matrix of "
            "numbers (N, d + 1), the last column the label"
        )
    return matrix[:, :-1], matrix[:, -1], None


def table_of(path):
    """Read rows of numbers, with a label of any kind in the last column, and their lines."""
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        rows = [(reader.line_num, row) for row in reader if row]
    if rows and not all(map(is_number, rows[0][1][:-1])):
        rows = rows[1:]  # a header
    for line, row in rows:
        if len(row) != len(rows[0][1]) or len(row) < 2 or not all(map(is_number, row[:-1])):
            raise ValueError(
                f"line {line} is not numbers, separated by commas, and then a label, as many as in "
                "the other lines"
            )
    labels = np.array([row[-1].strip() for _, row in rows])
    return np.array([row[:-1] for _, row in rows], dtype=float), labels, [line for line, _ in rows]


def place(row, lines):
    """Say where a row is: in a table, its line."""
    return f"row {row}" if lines is None else f"line {lines[row]}"


def numbers(z, y, lines):
    """Check latents, and return them as a matrix of floats."""
    if z.dtype.kind not in "buif":
        remedy = "take its real part" if z.dtype.kind == "c" else "save an array of numbers"
        raise ValueError(f"z has dtype {z.dtype}; {remedy}")
    if z.ndim < 2 or y.shape != z.shape[:1] or 0 in z.shape:
        raise ValueError(
            f"z {z.shape} and y {y.shape} are not (N, d) and (N,); save one row and one label per "
            "sample"
        )
    with np.errstate(over="ignore"):  # longer floats
        z = z.astype(float).reshape(len(z), -1)
    faulty = np.argwhere(~np.isfinite(z))
    if len(faulty):
        row, column = faulty[0]
        where = f"{place(row, lines)}, column {column}"
        raise ValueError(f"z is {z[row, column]} in {where}; drop the row, or fill the gap")
    low, high = z.min(axis=0), z.max(axis=0)
    if (low == high).all():
        raise ValueError("z is the same in all rows; save latents that differ")
    column = np.argmax(np.maximum(abs(low), abs(high)))
    extreme = max(abs(low[column]), abs(high[column]))
    spread = (0.5 * high - 0.5 * low).max()
    if not 1e-100 < spread <= extreme < 1e100:
        raise ValueError(
            f"z is up to {extreme:.2g}, in column {column}, and varies by {2 * spread:.2g}; "
            "rescale it, by its standard deviation: squares of such numbers are not floats"
        )
    return z


def check_labels(y, lines):
    """Check that labels are what they seem, and that there are enough of each."""
    if y.dtype.kind == "U":
        check_words(y, lines)
    ClassStatistics.from_samples(np.zeros((len(y), 1)), y)  # names the row of what is no label
    classes, counts = np.unique(y, return_counts=True)
    if counts.min() < 4 or len(classes) < 2:
        raise ValueError(
            "it needs at least two classes with at least four samples each, to split them; of "
            f"{len(classes)}, {classes[counts.argmin()]} has {counts.min()}: drop or merge such"
        )
    if len(classes) > SHOWN:
        raise ValueError(f"it has {len(classes)} classes; the picture shows {SHOWN} at most")


def check_words(y, lines):
    """Check that no label is missing, and none is a number that is written in two ways."""
    classes, first = np.unique(y, return_index=True)
    written = {}
    for label, row in zip(classes.tolist(), first.tolist(), strict=True):
        if label.strip().lower() in MISSING:
            raise ValueError(
                f"the label is {label!r} in {place(row, lines)}; drop the rows without a label, or "
                "name their class"
            )
        if is_number(label):
            other, before = written.setdefault(float(label), (label, row))
            if other != label:
                raise ValueError(
                    f"the label is {other!r} in {place(before, lines)} and {label!r} in "
                    f"{place(row, lines)}, the same number; write it in one way"
                )


def check_fits(z, y):
    """Check that every class has a Gaussian of its own, in all settings of the table."""
    classes, codes = np.unique(y, return_inverse=True)
    means = np.stack([z[codes == k].mean(axis=0) for k in range(len(classes))])
    distances = pairwise_distances(means - means[0]) + np.diag(np.full(len(classes), np.inf))
    a, b = sorted(np.unravel_index(distances.argmin(), distances.shape))
    if distances[a, b] <= 1e-12 * np.linalg.norm(np.ptp(z, axis=0)):
        raise ValueError(
            f"classes {classes[a]} and {classes[b]} have the same mean, and would not be pushed "
            "apart; merge them, or drop one"
        )
    for k, label in enumerate(classes):
        if (np.ptp(z[codes == k], axis=0) == 0.0).all():
            raise ValueError(f"all rows of class {label} are the same; drop the class")
    train, _, y_train, _ = halves(z, y)
    if z.shape[1] == 2:  # as they are in the picture
        fit_fixed_point(z, y, 0.0, **IN_PICTURE)
    try:
        for options in SETTINGS.values():
            fit_fixed_point(train, y_train, 0.0, **options)
    except InvalidInputError as error:
        raise ValueError(f"of the principal components of the training half, {error}") from None


def is_number(text):
    """Say whether a cell of a table is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def stratified(z, y, n_samples):
    """Pick at most ``n_samples`` rows, keeping the proportions of the classes."""
    if len(z) <= n_samples:
        return z, y
    z, _, y, _ = train_test_split(z, y, train_size=n_samples, stratify=y, random_state=0)
    return z, y


def halves(z, y):
    """Split samples in two, in the principal components in which the training half varies."""
    train, test, y_train, y_test = train_test_split(z, y, test_size=0.5, stratify=y, random_state=0)
    scale = PCA(n_components=min(32, *train.shape), random_state=0).fit(train)
    varies = scale.explained_variance_ > 1e-12 * scale.explained_variance_[0]
    return scale.transform(train)[:, varies], scale.transform(test)[:, varies], y_train, y_test


def smallest(kld):
    """Return the divergence of the closest pair."""
    return kld[~np.eye(len(kld), dtype=bool)].min()


def table(z, y):
    """Fit every setting for lam from 0 up, and print how well it classifies the held-out half."""
    train, test, y_train, y_test = halves(z, y)
    lam_star = critical_lam(len(np.unique(y)))
    lams = {
        "per class": (0.0, 0.5 * lam_star, 0.95 * lam_star, 100.0),
        "": (0.0, 10.0, 100.0, 1_000.0, 10_000.0),
    }
    runs = [
        (name, lam)
        for name in SETTINGS
        for lam in lams["per class" if name.endswith("per class") else ""]
    ]
    rows = []
    for name, lam in tqdm(runs, desc="fits"):
        result = fit_fixed_point(train, y_train, lam, **SETTINGS[name])
        accuracy = np.mean(result.gaussians.predict(test) == y_test)
        rows.append((name, lam, result, smallest(pairwise_kld(result.gaussians)), accuracy))
    print(f"\n{len(train)} training and {len(test)} held-out samples, {train.shape[1]} dimensions")
    print(f"lam* of per-class covariances (isotropic: times d): {lam_star:.4g}")
    print(
        "The latents stay where they are while lam moves the Gaussians away from them, so accuracy"
    )
    print("on them falls; a flow trained under the Gaussians moves its latents along.\n")
    print(
        f"{'covariances':<22}{'lam':>8}  {'status':<10}{'n_iter':>7}{'min KLD':>10}{'accuracy':>10}"
    )
    previous = None
    for name, lam, result, kld, accuracy in rows:
        if previous not in (None, name):
            print()
        previous = name
        print(
            f"{name:<22}{lam:>8.4g}  {result.status:<10}{result.n_iter:>7}"
            f"{kld:>10.3g}{accuracy:>10.3f}"
        )


def embedding(z, y):
    """Reduce the latents to two dimensions to look at."""
    if z.shape[1] == 2:
        return z, y
    if z.shape[1] == 1:
        return np.column_stack([z, np.random.default_rng(0).normal(scale=z.std(), size=len(z))]), y
    z, y = stratified(z, y, EMBEDDED)
    print(f"\nComputing the t-SNE of {len(z)} samples ...", flush=True)
    reduced = PCA(n_components=min(50, *z.shape), random_state=0).fit_transform(z)
    perplexity = min(30.0, (len(z) - 1) / 3)
    return TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(reduced).astype(
        float
    ), y


def picture(z, y, path):
    """Draw the embedding, and samples of its class Gaussians for three values of lam."""
    fits = [fit_fixed_point(z, y, lam, progress=True, **IN_PICTURE) for lam in (0.0, SMALL, LARGE)]
    titles = ["samples of the data Gaussians (lam = 0)"] + [
        f"samples at lam = {lam:g}" for lam in (SMALL, LARGE)
    ]
    shown, labels = stratified(z, y, SHOWN)
    panels = [("the embedding", shown)]
    panels += [
        (f"{title}\nsmallest KLD {smallest(pairwise_kld(fit.gaussians)):.2g}",
         fit.gaussians.sample(labels, seed=0))
        for title, fit in zip(titles, fits, strict=True)
    ]  # fmt: skip
    classes, codes = np.unique(labels, return_inverse=True)
    colors = plt.get_cmap("tab10" if len(classes) <= 10 else "gist_ncar", max(10, len(classes)))
    figure, axes = plt.subplots(1, 4, figsize=(17, 4.9), layout="constrained")
    for axis, (title, points) in zip(axes, panels, strict=True):
        order = np.random.default_rng(0).permutation(len(points))  # no class on top
        axis.scatter(*points[order].T, c=colors(codes[order]), s=5, alpha=0.6, linewidths=0)
        axis.set(title=title, aspect="equal", adjustable="datalim", xticks=[], yticks=[])
    if len(classes) <= 20:
        handles = [
            plt.Line2D([], [], marker="o", ls="", color=colors(k)) for k in range(len(classes))
        ]
        figure.legend(
            handles, classes, loc="outside lower center", ncols=len(classes), frameon=False
        )
    figure.savefig(path, dpi=150)
    print(f"\nwrote {path}")


def main():
    """Read the command line, print the table, draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", help=".npz, .npy or .csv, see above; digits by default")
    parser.add_argument(
        "--picture",
        default="quickstart.png",
        help="where to save the picture (default: %(default)s)",
    )
    arguments = parser.parse_args()
    # past lam* the per-class families may run away: the table shows it as a status
    warnings.simplefilter("ignore", UnboundedObjectiveWarning)
    started = time.perf_counter()
    z, y = load(arguments.data)
    table(z, y)
    picture(*embedding(z, y), arguments.picture)
    print(f"{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
