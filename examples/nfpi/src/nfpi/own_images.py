"""Run a grid on images of the user's own, for scripts that need no committed grid."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from fpigauss import InvalidInputError

from nfpi.data import ImageSet, load_images
from nfpi.grid import Grid
from nfpi.grid.tables import claims_table, paper_table
from nfpi.runner import check_runs, finished_records, run_grid

__all__ = ["add_options", "first_seeds", "load_training", "run_and_write"]


def add_options(parser: argparse.ArgumentParser, *, training: bool = True) -> None:
    """Add what scripts on images of one's own have in common; and how long flows are trained."""
    parser.add_argument("images", help="an npz file, or a folder that load_images can read")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the results")
    parser.add_argument("--size", type=int, default=14, help="side of the images (default: 14)")
    if training:
        parser.add_argument(
            "--limit", type=int, default=10_000, help="images to train on (default: 10,000)"
        )
        parser.add_argument("--epochs", type=int, default=12, help="(default: 12)")
    parser.add_argument("--seeds", type=int, default=3, help="how many runs of each (default: 3)")


def load_training(options: argparse.Namespace) -> ImageSet:
    """Load the training images that the options name, to count classes and images.

    Raises
    ------
    InvalidInputError
        If there are too few epochs or classes, or a class has no test image.
    """
    epochs = getattr(options, "epochs", 2)
    if epochs < 2:
        raise InvalidInputError(
            f"--epochs is {epochs}; pass at least 2, as Gaussians are fitted after the first"
        )
    training, test = load_images(options.images, size=options.size)
    if training.n_classes < 2:
        raise InvalidInputError(f"{options.images} has one class; at least two are needed")
    untested = sorted(set(range(training.n_classes)) - set(test.labels.tolist()))
    if untested:
        raise InvalidInputError(
            f"{test.name}: class {untested[0]} has no test image; give it more images, or leave it "
            "out; or give the file x_train, y_train, x_test and y_test"
        )
    return training


def first_seeds(n: int) -> tuple[int, ...]:
    """Return the seeds 0..n-1."""
    if n < 1:
        raise InvalidInputError(f"--seeds is {n}; pass at least 1")
    return tuple(range(n))


def run_and_write(
    grid: Grid,
    folder: Path,
    sources: dict[str, str],
    plot: Callable[[Path, str, dict[str, dict[str, object]]], bool],
) -> int:
    """Do the missing runs, and write tables, claims and pictures; return the exit status."""
    check_runs(grid, sources)
    outcome = run_grid(
        grid, grid.runs, folder, sources, report=lambda line: print(line, flush=True)
    )
    records = finished_records(grid, folder)
    texts = {name: paper_table(name, grid, records) for name in grid.tables}
    texts["claims"] = claims_table(grid, records)
    for name, text in texts.items():
        path = folder / f"{name}.md"
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    for name in grid.tables:
        path = folder / f"{name}.png"
        if plot(path, name, records):
            print(f"wrote {path}")
    missed = outcome.lost | outcome.waiting
    for name, why in missed.items():
        print(f"{name}: {why}", file=sys.stderr)
    return 1 if missed else 0
