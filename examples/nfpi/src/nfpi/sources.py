"""Options of scripts that say where the images of a grid are."""

import argparse
from pathlib import Path

from fpigauss import InvalidInputError

from nfpi.grid import Grid

__all__ = ["add_sources", "given_sources"]

#: The main data set of a scale.
_MAIN = {
    "cpu": "fashion_mnist",
    "even": "fashion_mnist",
    "layer": "fashion_mnist",
    "levels": "fashion_mnist",
    "few": "fashion_mnist",
    "neighbors": "fashion_mnist",
    "reject": "fashion_mnist",
    "paper": "cifar10",
    "classes": "glyphs",
    "later": "glyphs",
}


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add an option per data set."""
    parser.add_argument(
        "--data",
        help="images: CIFAR-10 for paper, glyphs for classes and later, Fashion-MNIST for the "
        "others",
    )
    parser.add_argument("--mnist", help="MNIST, for cpu, even, reject and few")
    parser.add_argument("--glyphs", help="glyphs, for neighbors, neighbors-again and few")
    parser.add_argument("--cifar100", help="CIFAR-100, for paper")
    parser.add_argument("--pairs", help="pairs of digits by make_pairs.py, for classes and later")


def given_sources(grid: Grid, options: argparse.Namespace) -> dict[str, str]:
    """Return the paths that were given, by the names of data sets.

    Parameters
    ----------
    grid : Grid
    options : argparse.Namespace
        Of a parser with ``add_sources``.

    Returns
    -------
    dict

    Raises
    ------
    InvalidInputError
        If the grid has no use for a path, or it does not exist.
    """
    sources: dict[str, str] = {}
    for option, name, path in (
        ("--data", _MAIN.get(grid.scale), options.data),
        ("--mnist", "mnist", options.mnist),
        ("--glyphs", "glyphs", options.glyphs),
        ("--cifar100", "cifar100", options.cifar100),
        ("--pairs", "mnist_pairs", options.pairs),
    ):
        if path is None:
            continue
        if name is None or not any(name in run.datasets for run in grid.runs):
            raise InvalidInputError(f"{option} has no effect at scale {grid.scale}; leave it out")
        if not Path(path).exists():
            raise InvalidInputError(f"{name}: {path} does not exist; pass the path of its images")
        sources[name] = path
    return sources
