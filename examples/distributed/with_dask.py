"""The statistics of a dask array, each chunk gathered by the worker that reads it.

    pip install ".[dask]"
    python examples/distributed/with_dask.py [--workers 2] [--scheduler ADDRESS]

starts a cluster of processes on this machine, or uses a scheduler that runs:

    dask scheduler                            # on one machine, which prints its address
    dask worker tcp://10.0.0.1:8786           # on each of the others
    python with_dask.py --scheduler tcp://10.0.0.1:8786 --folder /shared/latents

dask_jobqueue, dask_kubernetes and coiled start such workers on a cluster; ``cluster()`` is what
changes. The workers read the parts, so the folder must be one that they see (for stores in a cloud,
``dask.array.from_zarr("s3://...")`` or ``dask.dataframe.read_parquet`` take the place of
``arrays``), and they need fpigauss installed.
"""

import time
from contextlib import contextmanager

import _parts
import dask.array as da
import numpy as np
from _parts import arguments, folder_of, n_parts, part, report
from distributed import Client, LocalCluster

from fpigauss import ClassStatistics


def arrays(folder):
    """Return all latents (N, d) and labels (N,) as dask arrays with one chunk per part.

    Workers are sent the name of the folder. An array that is in memory here, or mapped here, would
    be sent whole. By map_blocks, as by from_zarr, a part is read and gathered in one task.
    """
    parts = [part(folder, i) for i in range(n_parts(folder))]  # of which only the shapes are used
    rows = tuple(len(y) for _, y in parts)
    z, y = parts[0]
    z_of_all = da.map_blocks(
        latents_of, folder, chunks=(rows, z.shape[1:]), meta=np.empty((0, 0), z.dtype)
    )
    y_of_all = da.map_blocks(labels_of, folder, chunks=(rows,), meta=np.empty(0, y.dtype))
    return z_of_all, y_of_all


def latents_of(folder, block_id):
    """Read the latents of a part, on a worker."""
    return part(folder, block_id[0])[0]


def labels_of(folder, block_id):
    """Read the labels of a part, on a worker."""
    return part(folder, block_id[0])[1]


def everything(folder):
    """Gather the statistics on the workers of the present client; only they come back."""
    return ClassStatistics.from_dask(*arrays(folder))


@contextmanager
def cluster(n_workers, scheduler=None):
    """Connect to a scheduler, or to processes of this machine that one is started with."""
    if scheduler is not None:
        with Client(scheduler) as client:
            client.upload_file(_parts.__file__)  # workers elsewhere do not have this folder
            yield client
        return
    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any port that is free
        ) as local,
        Client(local) as client,
    ):
        yield client


def main():
    """Gather, compare and fit."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--scheduler", help="the address of one that runs (default: one is started here)"
    )
    options = parser.parse_args()
    with folder_of(options) as folder, cluster(options.workers, options.scheduler) as client:
        everything(folder)  # the first call imports the library in each process
        started = time.perf_counter()
        found = everything(folder)
        seconds = time.perf_counter() - started
        report("dask", len(client.nthreads()), found, folder, seconds)


if __name__ == "__main__":
    main()
