r"""The statistics of rows that the processes of torch.distributed hold, each its own.

    pip install ".[torch]"
    python examples/distributed/with_torch.py [--workers 2]

starts the processes on this machine. ``torchrun`` starts them too, here or on many machines:

    torchrun --nproc-per-node 2 with_torch.py --folder /shared/latents
    torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \
        with_torch.py --folder /shared/latents

Statistics travel between hosts, not between GPUs, so the backend stays gloo; in a training script
whose group is NCCL, pass ``gather_from_all`` a second one, ``dist.new_group(backend="gloo")``. Rows
that a flow or an encoder makes on the fly need no parts on disk: every process passes its shard of
batches to ``ClassStatistics.from_batches``. Under a ``ClassFlow``, ``fpigauss_torch.refit_`` and
``gather_statistics`` do all of this by themselves.
"""

import os
import tempfile
import time
from functools import reduce
from pathlib import Path

import torch
import torch.distributed as dist
from _parts import arguments, folder_of, n_parts, part, report

from fpigauss import ClassStatistics


def own_statistics(folder):
    """Gather every world-size-th part, from that of the rank on; None if there is none."""
    places = range(dist.get_rank(), n_parts(folder), dist.get_world_size())
    if not places:
        return None
    return ClassStatistics.from_batches(part(folder, i) for i in places)


def gather_from_all(own, group=None):
    """Merge the statistics of all processes, in the order of their ranks: the same bits in each."""
    parts = [None] * dist.get_world_size()
    dist.all_gather_object(parts, own, group=group)
    return reduce(ClassStatistics.merge, [part for part in parts if part is not None])


def everything(folder):
    """Gather and merge; every process gets the whole."""
    return gather_from_all(own_statistics(folder))


def process(rank, options, folder, meeting):
    """Join the group, gather, and report from the first process."""
    torch.set_num_threads(1)
    if rank is None:  # torchrun says who we are, and where to meet
        dist.init_process_group("gloo")
    else:
        dist.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=options.workers
        )
    try:
        everything(folder)  # the first exchange opens connections
        dist.barrier()
        started = time.perf_counter()
        found = everything(folder)
        dist.barrier()
        if dist.get_rank() == 0:
            seconds = time.perf_counter() - started
            report("torch", dist.get_world_size(), found, folder, seconds)
    finally:
        dist.destroy_process_group()


def main():
    """Start the processes, or be one of torchrun's."""
    options = arguments(__doc__).parse_args()
    if "RANK" in os.environ:
        if options.folder is None or n_parts(options.folder) == 0:
            raise SystemExit("pass --folder, with parts in it, that all processes see")
        process(None, options, options.folder, None)
        return
    with folder_of(options) as folder, tempfile.TemporaryDirectory() as passing:
        meeting = Path(passing) / "meeting"
        torch.multiprocessing.spawn(process, (options, folder, meeting), options.workers)


if __name__ == "__main__":
    main()
