"""The statistics of parts, each gathered by a call of its own, saved, and merged from the files.

    pip install .
    python examples/distributed/by_hand.py [--workers 2]

does all of it on this machine. On a cluster without a framework, or at sites that share no rows,
each machine makes one call and one machine makes the last:

    python by_hand.py --folder /shared/latents --part 3      # part 3: its statistics-3.npz
    python by_hand.py --folder /shared/latents --merge       # statistics.npz

As an array job of Slurm, where a part that failed is run again by itself:

    sbatch --array=0-7 --wrap 'python by_hand.py --folder F --part $SLURM_ARRAY_TASK_ID'

Without shared storage, copy the files of statistics to one place: each holds K (2 d + 1) numbers
and K labels, however many rows it is of; with covariance="dense", K (d^2 + d + 1).
"""

import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial, reduce
from multiprocessing import get_context

from _parts import arguments, folder_of, n_parts, part, report

from fpigauss import ClassStatistics


def gather(folder, i):
    """Write the statistics of one part to a file; an earlier one is replaced at once."""
    z, y = part(folder, i)
    ClassStatistics.from_samples(z, y).save(folder / f"statistics-{i}.npz")


def merged(folder):
    """Merge the files of all parts, in the order of the parts: the same sums on every run."""
    files = [folder / f"statistics-{i}.npz" for i in range(n_parts(folder))]
    return reduce(ClassStatistics.merge, map(ClassStatistics.load, files))


def everything(folder, pool):
    """Gather all parts by the workers of a pool, and merge them."""
    list(pool.map(partial(gather, folder), range(n_parts(folder))))
    return merged(folder)


def workers(n_workers):
    """Start processes that stand for machines."""
    return ProcessPoolExecutor(n_workers, mp_context=get_context("spawn"))


def main():
    """Do one part, or merge, or both for all parts."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--part", type=int, help="gather the statistics of this part, counted from 0, and end"
    )
    parser.add_argument(
        "--merge", action="store_true", help="merge the statistics of all parts, and end"
    )
    options = parser.parse_args()
    if (options.part is not None or options.merge) and (
        options.folder is None or n_parts(options.folder) == 0
    ):
        parser.error("--part and --merge need --folder, with parts in it")
    with folder_of(options) as folder:
        if options.part is not None:
            gather(folder, options.part)
            print(f"wrote {folder / f'statistics-{options.part}.npz'}")
        elif options.merge:
            merged(folder).save(folder / "statistics.npz")
            print(
                f"wrote {folder / 'statistics.npz'}, which fpigauss fit takes in place of latents"
            )
        else:
            with workers(options.workers) as pool:
                everything(folder, pool)  # the first call imports the library in each process
                started = time.perf_counter()
                found = everything(folder, pool)
                seconds = time.perf_counter() - started
            report("files", options.workers, found, folder, seconds)


if __name__ == "__main__":
    main()
