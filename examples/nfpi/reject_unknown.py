"""Train flows on some classes of your images, and see which score rejects the others.

    python examples/nfpi/reject_unknown.py images.npz --left-out 3 7 --folder rejected
    python examples/nfpi/reject_unknown.py images.npz --foreign other.npz --folder rejected

images.npz contains x_train, y_train, x_test and y_test, or x and y: 8-bit images of any size, and
classes 0..K-1. A flow with separated Gaussians, one with Gaussians of the data, one with a single
Gaussian and a CNN are trained on all classes but those left out; then each rejects test images of
these, and of other.npz if there is one. Without --left-out, two classes are left out, others at
every seed. reject.md in the folder has AUROC and FPR at 95 % of every score, and reject.png shows
them; the same at other values of lam is in lams.md. Repeat the command to resume it.

The committed results are those of `reproduce.py all --scale reject`.
"""

import argparse
from collections.abc import Sequence

from nfpi.grid.reject import reject_grid
from nfpi.grid.settings import small_flow
from nfpi.job_plots import plot_rows
from nfpi.own_images import add_options, first_seeds, load_training, run_and_write
from nfpi.rejection import left_out_classes
from nfpi.script import exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, reject and write; return 0, or 2 if input cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--left-out", type=int, nargs="+", metavar="CLASS", help="unknown classes")
    parser.add_argument("--foreign", help="other images, all of no known class")
    options = parser.parse_args(arguments)
    return exit_status("reject_unknown.py", lambda: _reject(options), refused=2)


def _reject(options: argparse.Namespace) -> int:
    images, seeds = load_training(options), first_seeds(options.seeds)
    left_out: int | list[int] = options.left_out or 2
    n_left_out = len(left_out_classes(left_out, images.n_classes, 0))
    limit = options.limit if options.limit < len(images) // 2 else None
    named = "two classes" if isinstance(left_out, int) else f"classes {left_out}"
    grid = reject_grid(
        "images",
        "foreign" if options.foreign else None,
        left_out=left_out,
        n_known=images.n_classes - n_left_out,
        seeds=seeds,
        base=small_flow(options.epochs, options.size, limit=limit),
        note=f"{images.name}, {options.size}x{options.size}, without {named} of "
        f"{images.n_classes}; {options.epochs} epochs.",
        command="reject_unknown.py",
    )
    sources = {"images": options.images}
    if options.foreign:
        sources["foreign"] = options.foreign
    return run_and_write(
        grid, options.folder, sources,
        lambda path, table, records: plot_rows(path, grid, records, table),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
