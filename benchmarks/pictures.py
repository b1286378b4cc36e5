"""Draw the pictures of docs/scikit_learn.rst: Gaussians and divergences of 10 and 100 classes.

The 10 classes are scikit-learn's digits. The 100 are the numbers 00 to 99, each made of two digits
side by side. Run ``python -m benchmarks.pictures``; it writes into docs/_static.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from fpigauss.plot import GaussiansDisplay, KLDDisplay
from fpigauss.sklearn import FixedPointGaussianClassifier

PER_NUMBER = 60
MOST_BYTES = 150_000


def numbers(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 128) of two digits side by side, and their labels "00" to "99"."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    halves = [
        np.concatenate([rng.choice(np.flatnonzero(y == digit), PER_NUMBER) for digit in pair])
        for pair in np.ndindex(10, 10)
    ]
    rows = np.stack(halves).reshape(100, 2, PER_NUMBER).transpose(0, 2, 1).reshape(-1, 2)
    labels = np.repeat([f"{number:02d}" for number in range(100)], PER_NUMBER)
    return X[rows].reshape(len(rows), -1), labels


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    static = Path(__file__).parents[1] / "docs" / "_static"
    parser.add_argument("--out", type=Path, default=static)
    out = parser.parse_args(arguments).out
    plt.switch_backend("Agg")
    for n_classes, (X, y) in ((10, load_digits(return_X_y=True)), (100, numbers())):
        classifier = FixedPointGaussianClassifier(
            covariance="dense", shrinkage="oas", var_smoothing=1e-3
        ).fit(X, y)
        for name, display in (
            ("gaussians", GaussiansDisplay.from_estimator(classifier, X, y)),
            ("kld", KLDDisplay.from_estimator(classifier)),
        ):
            path = out / f"{name}_{n_classes}.png"
            display.figure_.savefig(path, dpi=100)
            plt.close(display.figure_)
            if path.stat().st_size > MOST_BYTES:
                with Image.open(path) as image:  # a palette takes a third of the bytes
                    image.convert("RGB").quantize(256).save(path, optimize=True)
            print(f"wrote {path.name}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
