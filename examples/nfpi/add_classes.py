"""Train a flow on some classes of your images, and add the others without the first ones' images.

    python examples/nfpi/add_classes.py images.npz --first 50 --per-step 4 --folder later

images.npz contains x_train, y_train, x_test and y_test, or x and y: 8-bit images of any size, and
classes 0..K-1. A flow with separated Gaussians is trained on the first classes, in an order that
the seed draws. The others then come in steps, and are learned in its latents, by ``add_class`` or
streaming LDA, or by training it further with samples of its own; and in features of a CNN, and in
pixels. images.md in the folder has the accuracies on all classes, the first and the later ones, and
images.png shows them step by step. Repeat the command to resume it.

The committed results are those of `reproduce.py all --scale later`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fpigauss import InvalidInputError

from nfpi.grid.later import ArrivalsOf, later_grid
from nfpi.grid.settings import small_flow
from nfpi.later import Arrivals
from nfpi.later_figures import plot_arrivals
from nfpi.own_images import add_options, first_seeds, load_training, run_and_write
from nfpi.script import exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, add and write; return 0, or 2 if input cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--first", type=int, required=True, help="classes of the first training")
    parser.add_argument("--per-step", type=int, default=1, help="classes per step (default: 1)")
    parser.add_argument(
        "--further", type=int, default=3, help="epochs of further training per step (default: 3)"
    )
    options = parser.parse_args(arguments)
    return exit_status("add_classes.py", lambda: _add(options), refused=2)


def _add(options: argparse.Namespace) -> int:
    if options.further < 1:
        raise InvalidInputError(f"--further is {options.further}; pass at least 1")
    images = load_training(options)
    Arrivals.of(images, images, options.first, options.per_step, 0)  # refuses before any training
    limit = options.limit if options.limit < len(images) else None
    of = ArrivalsOf(
        "images",
        f"Classes that come later: {Path(options.images).name}",
        options.first,
        options.per_step,
        limit,
        first_seeds(options.seeds),
        options.further,
    )
    grid = later_grid(
        {"images": of},
        base=small_flow(options.epochs, options.size),
        note=f"{images.name}, {options.size}x{options.size}, {options.first} of "
        f"{images.n_classes} classes first; {options.epochs} epochs.",
        command="add_classes.py",
    )
    return run_and_write(
        grid, options.folder, {"images": options.images},
        lambda path, table, records: plot_arrivals(path, grid, records, table),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
