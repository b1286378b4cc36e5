"""Compare what learns your classes from a few images of each.

    python examples/nfpi/few_rows.py images.npz --counts 5 10 20 50 --folder few

images.npz contains x_train, y_train, x_test and y_test, or x and y: 8-bit images of any size, and
classes 0..K-1. So many images per class are drawn by the seed. Flows with separated Gaussians, with
Gaussians of the data and with random means, a CNN, and on pixels Gaussians with and without
repulsion, shrunk LDA, logistic regression and support vectors are trained on them, and judged by
all test images. images.md in the folder has the accuracies, and images.png shows them. Repeat the
command to resume it. For uneven classes, see docs/jobs_few.rst.

The committed results are those of `reproduce.py all --scale few`.
"""

import argparse
from collections.abc import Sequence

from fpigauss import InvalidInputError

from nfpi.few import drawn_rows
from nfpi.grid.few import images_grid
from nfpi.grid.settings import small_flow
from nfpi.later_figures import plot_counts
from nfpi.own_images import add_options, first_seeds, load_training, run_and_write
from nfpi.script import exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, judge and write; return 0, or 2 if input cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, training=False)
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[5, 10, 20, 50], help="images per class"
    )
    parser.add_argument(
        "--steps", type=int, default=300, help="of flows and CNN, in batches of 64 (default: 300)"
    )
    options = parser.parse_args(arguments)
    return exit_status("few_rows.py", lambda: _compare(options), refused=2)


def _compare(options: argparse.Namespace) -> int:
    images = load_training(options)
    if min(options.counts) < 5:
        raise InvalidInputError(
            f"--counts has {min(options.counts)}; pass at least 5, as cross-validation needs"
        )
    if options.steps < 1:
        raise InvalidInputError(f"--steps is {options.steps}; pass at least 1")
    drawn_rows(images.labels.numpy(), [max(options.counts)] * images.n_classes, 0)
    grid = images_grid(
        sorted(set(options.counts)),
        seeds=first_seeds(options.seeds),
        steps=options.steps,
        base=small_flow(size=options.size),
        note=f"{images.name}, {images.n_classes} classes, {options.size}x{options.size}.",
        command="few_rows.py",
    )
    return run_and_write(
        grid, options.folder, {"images": options.images},
        lambda path, table, records: plot_counts(path, grid, records, table),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
