"""Make mnist_pairs.npz: two-digit numbers from MNIST, 100 classes.

    python examples/nfpi/make_pairs.py mnist.npz mnist_pairs.npz

Two digits of 28x28 are halved in width and set side by side, so that a pair has 28x28 pixels as
well. There are 600 training and 100 test images per class, from digits of the same part of MNIST,
drawn with a fixed seed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fpigauss import InvalidInputError

from nfpi.checkpoints import write_atomically
from nfpi.data import ImageSet, load_images
from nfpi.script import exit_status

SEED = 0
TRAINING, TEST = 600, 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, and say what it contains."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mnist", type=Path, help="MNIST, as reproduce.py takes it")
    parser.add_argument("out", type=Path, help="the npz file to write")
    options = parser.parse_args(arguments)
    return exit_status("make_pairs.py", lambda: _make(options.mnist, options.out))


def _make(mnist: Path, out: Path) -> int:
    training, test = load_images(mnist)
    rng = np.random.default_rng(SEED)
    x_train, y_train = paired(training, TRAINING, rng)
    x_test, y_test = paired(test, TEST, rng)
    arrays: dict[str, Any] = {
        "x_train": x_train,
        "y_train": y_train,
        "x_test": x_test,
        "y_test": y_test,
    }
    write_atomically(out, lambda at: np.savez_compressed(at, **arrays))
    print(f"100 classes, {len(x_train)} training and {len(x_test)} test images in {out}")
    return 0


def paired(digits: ImageSet, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw ``n`` pairs per class.

    Parameters
    ----------
    digits : ImageSet
        Gray images of ten classes, of an even width.
    n : int
    rng : numpy.random.Generator

    Returns
    -------
    x : (100 n, H, W) uint8 array
    y : (100 n,) uint8 array
        Ten times the class on the left plus the class on the right.
    """
    channels, _, width = digits.image_shape
    if channels != 1 or width % 2 or digits.n_classes != 10:
        raise InvalidInputError(
            f"{digits.name} has {digits.n_classes} classes of images {digits.image_shape}; ten "
            "classes of gray images of an even width are expected, MNIST's"
        )
    gray, labels = digits.images[:, 0].numpy(), digits.labels.numpy()
    narrow = gray.reshape(*gray.shape[:2], width // 2, 2).mean(3).round().astype(np.uint8)
    y = np.repeat(np.arange(100), n)
    parts = []
    for digit in (y // 10, y % 10):
        rows = np.empty(len(y), dtype=int)
        for k in range(10):
            here = digit == k
            rows[here] = rng.choice(np.flatnonzero(labels == k), here.sum())
        parts.append(narrow[rows])
    return np.concatenate(parts, axis=2), y.astype(np.uint8)


if __name__ == "__main__":
    raise SystemExit(main())
