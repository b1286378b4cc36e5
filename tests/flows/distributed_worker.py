"""One process of several that refit together: ``python distributed_worker.py RANK FOLDER``.

Four of them do all there is to do as four, then the first two again as two; each writes what it
saw to FOLDER/RANK.pt.
"""

import sys
import warnings
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from coupling import Coupling, coupling_model
from helpers import blobs
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from fpigauss import InvalidInputError, UnboundedObjectiveWarning
from fpigauss_torch import (
    ClassFlow,
    FixedPointSchedule,
    LatentGaussians,
    gather_statistics,
    refit_,
    rejection_score,
    typicality_score,
)

N_CLASSES, DIM, LAM = 3, 4, 0.2
FITS = [("diagonal", False), ("dense", False), ("isotropic", True), ("dense", True)]
OFFSETS = [0.0, 1e4]


def data():
    """Samples (126, 4) in float64, labels (126,), ordered so that the last lack class 0."""
    x, y = blobs(N_CLASSES, DIM, 42, spread=2.0)
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    order = torch.cat([(y == 0).nonzero()[:, 0], (y != 0).nonzero()[:, 0]])
    order = torch.cat([order[::2], order[1::2]])
    return x[order], y[order]


def shard(rank, world):
    """Batches of one process: shards of uneven sizes, the last without class 0."""
    x, y = data()
    bounds = [0, 5, 40, 86, 126] if world == 4 else [0, 88, 126]
    place = slice(bounds[rank], bounds[rank + 1])
    return list(zip(x[place].split(16), y[place].split(16), strict=True))


def model_of(covariance, tied, offset=0.0, seed=0):
    return coupling_model(
        N_CLASSES, DIM, covariance, tied, offset=offset, seed=seed, dtype=torch.float64
    )


def state_of(gaussians):
    return {"means": gaussians.means.clone(), "covariances": gaussians.covariances.clone()}


def raised(model, loader, lam=LAM, **options):
    """Return what a refit raises, and whether the old Gaussians were kept."""
    before = model.gaussians.means.clone()
    try:
        refit_(model, loader, lam, **options)
    except (InvalidInputError, RuntimeError, OSError) as error:
        told = {"type": type(error).__name__, "message": str(error)}
        return {**told, "kept": torch.equal(before, model.gaussians.means)}
    return {"type": "nothing", "message": "", "kept": False}


# -- what is done --------------------------------------------------------------------------


def fits(rank, world):
    results = {}
    for covariance, tied in FITS:
        for offset in OFFSETS:
            model = model_of(covariance, tied, offset)
            result = refit_(model, shard(rank, world), LAM)
            results[covariance, tied, offset] = {
                "status": str(result.status),
                "result": state_of(result.gaussians),
                "model": state_of(model.gaussians),
            }
    return results


def a_separation(rank, world):
    model = model_of("isotropic", True)
    result = refit_(model, shard(rank, world), separation=30.0)
    return {"lam": torch.tensor(result.lam), **state_of(model.gaussians)}


def statistics(rank, world):
    gathered = gather_statistics(model_of("dense", False, 1e4), shard(rank, world))
    return {name: getattr(gathered, name) for name in ("counts", "means", "covariances")}


def fits_that_differ(rank, world):
    """Differ as results of different processors would, here by more than rounding."""
    model = model_of("diagonal", False)
    options = {"max_iter": 2, "tol": 0.0} if rank > 0 else {}
    result = refit_(model, shard(rank, world), LAM, **options)
    return {
        "n_iter": torch.tensor(result.n_iter),
        "result": state_of(result.gaussians),
        "model": state_of(model.gaussians),
    }


def an_empty_shard(rank, world):
    model = model_of("diagonal", False)
    everything = [batch for other in range(world) for batch in shard(other, world)]
    refit_(model, [] if rank == 2 else everything if rank == 1 else iter([]), LAM)
    return state_of(model.gaussians)


def nothing_anywhere(rank, world):
    return raised(model_of("diagonal", False), [])


def a_latent_that_is_not_finite(rank, world):
    loader = shard(rank, world)
    if rank == 1:
        x, y = loader[1]
        loader[1] = (x.index_fill(0, torch.tensor([3]), torch.nan), y)
    return raised(model_of("diagonal", False), loader)


def a_loader_that_fails(rank, world):
    def loader():
        yield from shard(rank, world)
        if rank == 2:
            raise OSError("disk gone")

    return raised(model_of("diagonal", False), loader())


def an_option_at_fault(rank, world):
    return raised(model_of("diagonal", False), shard(rank, world), -1.0 if rank == 3 else LAM)


def an_unbounded_fit(rank, world):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnboundedObjectiveWarning)
        return raised(model_of("diagonal", False), shard(rank, world), 1e4)


def a_fit_rejected_by_one(rank, world):
    accept = ["max_iter"] if rank == 0 else ["converged"]
    return raised(model_of("diagonal", False), shard(rank, world), accept=accept)


def a_copy_in_one(rank, world):
    copies = [model_of("diagonal", False, seed=1)] if rank == 0 else []
    return raised(model_of("diagonal", False), shard(rank, world), copies=copies)


def sizes_that_differ(rank, world):
    model = model_of("dense" if rank == 2 else "diagonal", False)
    return raised(model, shard(rank, world))


def training(rank, world):
    model = model_of("diagonal", False)
    wrapped = DistributedDataParallel(model)
    averaged = AveragedModel(wrapped, avg_fn=get_ema_avg_fn(0.5), use_buffers=rank % 2 == 0)
    optimizer = torch.optim.Adam(wrapped.parameters(), lr=0.05)
    loader = shard(rank, world)
    for step in range(3):
        optimizer.zero_grad()
        wrapped(*loader[step % len(loader)]).mean().backward()
        optimizer.step()
        averaged.update_parameters(wrapped)
        if step == 1:
            refit_(wrapped, loader, LAM, copies=[averaged])
            refitted = {name: buffer.clone() for name, buffer in model.named_buffers()}
            copied = averaged.module.module
            refitted |= {f"copy {name}": buffer.clone() for name, buffer in copied.named_buffers()}
    return refitted


class ActNorm(nn.Module):
    """Whitens with the first batch that it sees in train mode."""

    def __init__(self, dim):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("seen", torch.tensor(0))

    def forward(self, x):
        if self.training and self.seen == 0:
            self.shift.data = x.detach().mean(0)
            self.seen += 1
        return x - self.shift


def warm_up(rank, world):
    flow = nn.ModuleList([ActNorm(DIM), Coupling(DIM, dtype=torch.float64)])
    codec = (lambda x: flow[1](flow[0](x)), lambda z: flow[1].inverse(z) + flow[0].shift)
    model = ClassFlow(
        flow, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=codec
    )
    FixedPointSchedule(LAM, warm_up=1).step(model, shard(rank, world), 0)
    return {"shift": flow[0].shift.detach().clone(), **state_of(model.gaussians)}


def sharded(rank, world):
    """Train, refit and predict under FSDP2 and without it, on the same batches everywhere."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    x, y = data()
    plain, shards = model_of("diagonal", False), model_of("diagonal", False)
    fully_shard(shards, mesh=init_device_mesh("cpu", (world,)))
    results = {}
    for name, model in (("plain", plain), ("shards", shards)):
        model.gaussians.fit_expected = True  # before the first fit all classes are as probable
        results[f"{name} before"] = model.predict_proba(x)
        optimizer = torch.optim.SGD(model.parameters(), 1e-2)
        for step in range(3):
            refit_(model, [(x, y)], LAM)
            optimizer.zero_grad()
            loss = model(x, y) if step < 2 else -model.class_log_prob(x)[:, 0]
            loss.mean().backward()
            model.predict(x)  # what it gathers is outdated after the step
            optimizer.step()
        whole = [getattr(p, "full_tensor", lambda p=p: p)() for p in model.parameters()]
        results[name] = {
            "parameters": torch.cat([p.detach().flatten() for p in whole]),
            "classes": model.predict(x),
            "samples": model.sample([0, 1, 2], seed=0),
            "scores": torch.stack([rejection_score(model, x), typicality_score(model, x)]),
            **state_of(model.gaussians),
        }
    return results


# -- the processes -------------------------------------------------------------------------

OF_FOUR = [
    fits,
    a_separation,
    statistics,
    fits_that_differ,
    an_empty_shard,
    nothing_anywhere,
    a_latent_that_is_not_finite,
    a_loader_that_fails,
    an_option_at_fault,
    an_unbounded_fit,
    a_fit_rejected_by_one,
    a_copy_in_one,
    sizes_that_differ,
    warm_up,
]
OF_TWO = [
    fits,
    a_separation,
    statistics,
    training,
    sharded,
]  # DDP and optimizers take seconds to import


def joined(rank, world, folder, tasks):
    """Return the results of the tasks in a group of ``world`` processes."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / f'group-{world}'}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=60),
    )
    try:
        return {task.__name__: task(rank, world) for task in tasks}
    finally:
        dist.destroy_process_group()


def main(rank, folder):
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    seen = {4: joined(rank, 4, folder, OF_FOUR)}
    if rank < 2:
        seen[2] = joined(rank, 2, folder, OF_TWO)
    torch.save(seen, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
