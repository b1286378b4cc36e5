"""What the three ways share: rows in parts on disk, and the pass over all of them to compare with.

A part is what one machine, or one call, reads: z-3.npy (n, d) and y-3.npy (n,) here. Put what reads
your own parts into ``part`` and ``n_parts``; the rest stays as it is.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fpigauss import ClassStatistics, solve_separated

EPS = 2.0**-52


def write_parts(folder, n_rows, n_parts=8, n_classes=10, dim=64):
    """Write rows (N, d) in float32 in parts of uneven sizes, the last of which lacks classes."""
    rng = np.random.default_rng(0)
    centers = 10.0 + rng.standard_normal((n_classes, dim))
    ends = np.linspace(0, 1, n_parts + 1) ** 0.8 * n_rows
    for i, n in enumerate(np.diff(ends.astype(int))):
        y = rng.integers(n_classes if i < n_parts - 1 else 3, size=n)
        z = centers[y] + rng.standard_normal((n, dim))
        np.save(folder / f"z-{i}.npy", z.astype(np.float32))
        np.save(folder / f"y-{i}.npy", y)


def n_parts(folder):
    """Count the parts."""
    return len(list(folder.glob("z-*.npy")))


def part(folder, i):
    """Return latents (n, d) and labels (n,), which are not read before they are used."""
    return tuple(np.load(folder / f"{name}-{i}.npy", mmap_mode="r") for name in "zy")


def check_equal(found, folder):
    """Require the statistics of all rows in one array; return the part of the bound that was used.

    Rounding moves a sum of n numbers of size R^2, in any order, by at most n eps n R^2, and so a
    variance by n eps R^2. Means of latents of size S, moved by each of P parts, are off by at most
    (n + 4 P) eps S, and variances, of P parts and of the whole, by (n + 16) eps R^2 + 4 eps S R
    each, where the last term is the merge.
    """
    parts = [part(folder, i) for i in range(n_parts(folder))]
    z = np.concatenate([z for z, _ in parts])
    whole = ClassStatistics.from_samples(z, np.concatenate([y for _, y in parts]))
    size, width = float(np.abs(z).max()), float(np.ptp(z, axis=0).max())
    n = float(whole.counts.max())
    bounds = {
        "counts": 0.0,  # integers are exact
        "means": (n + 4 * len(parts)) * EPS * size,
        "covariances": (len(parts) + 1) * ((n + 16) * EPS * width**2 + 4 * EPS * size * width),
    }
    np.testing.assert_array_equal(found.classes, whole.classes)
    used = 0.0
    for name, bound in bounds.items():
        mine, theirs = np.asarray(getattr(found, name)), np.asarray(getattr(whole, name))
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=bound, err_msg=name)
        if bound:
            used = max(used, float(np.abs(mine - theirs).max()) / bound)
    return used


def report(way, n_workers, found, folder, seconds):
    """Check the statistics and print how they were come by; then fit, for which they are enough."""
    used = check_equal(found, folder)
    n_rows = int(found.counts.sum())
    speed = f"{n_rows / seconds:,.0f} rows a second"
    workers = "1 worker" if n_workers == 1 else f"{n_workers} workers"
    print(f"{way}, {workers}: {n_rows:,} rows in {n_parts(folder)} parts, {speed}")
    print(f"equal to one pass over all rows: the difference is {used:.1g} of the bound on rounding")
    print(solve_separated(found, min_kld=150.0).message)


def arguments(doc):
    """Return what parses the options that all ways have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the parts lie, z-0.npy and y-0.npy and so on; random ones are written there if "
        "there are none (default: a temporary folder)",
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=200_000,
        help="how many to write in all, if there are no parts (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="processes on this machine (default: %(default)s)"
    )
    return parser


@contextmanager
def folder_of(options) -> Iterator[Path]:
    """Give the folder of the parts, with parts in it."""
    if options.folder is not None and n_parts(options.folder) > 0:
        yield options.folder.resolve()  # workers may have been started elsewhere
        return
    with tempfile.TemporaryDirectory() as passing:
        folder = (options.folder or Path(passing)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        write_parts(folder, options.rows)
        yield folder
