"""See whether classes of your images that resemble each other get Gaussians near each other.

    python examples/nfpi/class_neighbors.py images.npz --folder neighbors

images.npz contains x_train, y_train, x_test and y_test, or x and y: 8-bit images of any size, and
classes 0..K-1. A CNN says which classes it confuses. Flows with Gaussians by the fixed point, by
gradient descent, with random and learned means and from the data are compared with that: how well
distances follow confusions, how severe their mistakes are, and what images half way between two
neighbors look like to the CNN. Each has three tuning runs. images.md in the folder has the figures,
images.png shows them. Repeat the command to resume it.

The committed results are those of `reproduce.py all --scale neighbors`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fpigauss import InvalidInputError

from nfpi.grid.neighbors import neighbors_grid
from nfpi.grid.settings import small_flow
from nfpi.job_plots import plot_neighbors
from nfpi.own_images import add_options, first_seeds, load_training, run_and_write
from nfpi.script import exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, compare and write; return 0, or 2 if input cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    options = parser.parse_args(arguments)
    return exit_status("class_neighbors.py", lambda: _compare(options), refused=2)


def _compare(options: argparse.Namespace) -> int:
    images = load_training(options)
    if images.n_classes < 3:
        raise InvalidInputError(
            f"{images.name} has two classes; at least three are needed, for some to resemble each "
            "other more than others"
        )
    # tuning runs hold a sixth of the images out
    limit = options.limit if options.limit < len(images) // 2 else None
    grid = neighbors_grid(
        {"images": ("images", Path(options.images).name, images.n_classes)},
        seeds=first_seeds(options.seeds),
        base=small_flow(options.epochs, options.size, limit=limit),
        note=f"{images.name}, {images.n_classes} classes, {options.size}x{options.size}; "
        f"{options.epochs} epochs.",
        command="class_neighbors.py",
    )
    matrices = options.folder / "matrices"
    return run_and_write(
        grid, options.folder, {"images": options.images},
        lambda path, table, records: plot_neighbors(path, grid, records, matrices, table=table),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
