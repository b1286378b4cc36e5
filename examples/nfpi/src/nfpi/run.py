"""The state of a training run between epochs: model, optimizer, and their checkpoints."""

import math
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nfpi.batches import Augment, Batches, Epoch, make_augment
from nfpi.checkpoints import write_atomically
from nfpi.config import RunConfig
from nfpi.data import ImageSet
from nfpi.epochwise import EpochwiseGaussians, gather_sums
from nfpi.flows import density_dim, latent_dim, make_flow, without_log_determinants
from nfpi.gaussians import Objective, make_prior, make_schedule, start_
from nfpi.layer import LayerObjective, check_layer
from nfpi.optimization import WeightAverage, largest_gradient, make_optimizer
from nfpi.seeding import seeded

__all__ = ["NonFiniteLossError", "TrainingRun", "chosen_device", "place_among_processes"]


class NonFiniteLossError(RuntimeError):
    """The loss or a gradient is NaN or infinite: training cannot continue."""


class TrainingRun:
    """A run in training.

    Parameters
    ----------
    config : RunConfig
        The run's config.
    images : ImageSet
        Training images.
    device : torch.device
        Where to train.
    folder : Path, optional
        Gets the batch at which a loss is not finite.

    Attributes
    ----------
    model : ClassFlow
        The model in training.
    average : WeightAverage or None
        Its averaged copy, if the config asks for one.
    density_dim : int
        Dimension of what the flow's density is of.
    batches : Batches
        Batches of the images; with several processes, this one's part of them.
    """

    def __init__(
        self, config: RunConfig, images: ImageSet, device: torch.device, folder: Path | None
    ) -> None:
        """Build the state before epoch 0."""
        training = config.training
        self.config, self.device, self.folder = config, device, folder
        torch.set_float32_matmul_precision("high" if training.tf32 else "highest")
        self.schedule = make_schedule(config.gaussians, training.epochs)
        rank, n_ranks = place_among_processes()
        check_layer(config.gaussians, n_ranks)
        size, seed = training.batch_size, training.seed
        augment = make_augment(training.augment) if training.augment else None
        self.batches = Batches(images, size, seed=seed, augment=augment, rank=rank, n_ranks=n_ranks)
        with seeded(device, seed):
            flow = make_flow(config.flow.name, images.image_shape, **config.flow.options)
            dim = latent_dim(images.image_shape, flow)
            self.density_dim = density_dim(images.image_shape, flow)
            prior = make_prior(config.gaussians, images.n_classes, dim, seed)
            self.model = ClassFlow(flow, prior).to(device)
            # layers initialized from data (ActNorm) must see the same batch in all processes
            self._show(self._first_batch(images, augment))
            start_(self.model, self._fitted_on(0), config.gaussians.init)
        self.average: WeightAverage[ClassFlow] | None = None
        if training.ema_decay:
            self.average = WeightAverage(self.model, training.ema_decay, training.ema_power)
        self.objective = self._objective()
        if n_ranks > 1:
            # refits give all processes the same Gaussians, so buffers need no broadcast
            self.objective = DistributedDataParallel(self.objective, broadcast_buffers=False)
        self.optimizer, self.rates = make_optimizer(config, self.model, len(self.batches))

    def _first_batch(self, images: ImageSet, augment: Augment | None) -> Tensor:
        """Return what initializes the layers: one batch, or as many images as asked for."""
        training = self.config.training
        size, seed = training.init_images, training.seed
        if size is None:
            return next(iter(Batches(images, training.batch_size, seed=seed)))[0]
        return next(Batches(images, size, seed=seed, augment=augment).epoch(0))[0]

    def _objective(self) -> nn.Module:
        """Build the loss."""
        gaussians = self.config.gaussians
        if gaussians.scheme == "layer":
            return LayerObjective(self.model, gaussians)
        loss = gaussians.loss
        if loss is None and gaussians.scheme in ("ib_inn", "klj"):
            loss = "bottleneck"
        if loss != "cross_entropy" and not self.config.flow.options.get("trains_logdet", True):
            raise InvalidInputError(
                "flow.options.trains_logdet is false, but the loss needs log-determinants; pass "
                'gaussians.loss = "cross_entropy", or leave it out'
            )
        beta = gaussians.beta if loss == "bottleneck" else None
        return Objective(
            self.model, beta, self.config.training.compile, cross_entropy=loss == "cross_entropy"
        )

    @torch.no_grad()
    def _show(self, x: Tensor) -> None:
        """Encode a batch as in training."""
        self.model.train()
        self.model.encode(x.to(self.device))

    @property
    def judged(self) -> ClassFlow:
        """Return the averaged copy if there is one, otherwise the model."""
        return self.model if self.average is None else self.average.model

    # -- an epoch --------------------------------------------------------------------------

    def epoch(self, epoch: int) -> dict[str, Any]:
        """Refit if due, then train on all images once.

        Parameters
        ----------
        epoch : int
            Counted from 0.

        Returns
        -------
        dict
            epoch, the mean loss (over this process's images), lr, seconds, and those of the
            processor, which a busy machine does not stretch; after a fit also
            fit_status, fit_n_iter, fit_residual, fit_seconds.

        Raises
        ------
        NonFiniteLossError
            Names the step; its batch is saved.
        """
        start, processor = time.perf_counter(), time.process_time()
        # the epoch's number seeds all that is random in it: checkpoints contain no generators
        with seeded(self.device, self.config.training.seed, epoch):
            fit = self._refitted(epoch)
            self.model.train()
            if isinstance(self.objective, LayerObjective):
                self.objective.active = epoch >= min(self.config.gaussians.epochs)
            loss, n_rows = 0.0, 0
            for step, (x, y) in enumerate(self.batches.epoch(epoch), epoch * len(self.batches)):
                loss += self._step(step, x, y) * len(x)
                n_rows += len(x)
            if isinstance(self.objective, LayerObjective):
                fit = self._refitted(epoch + 1)
        if self.average is not None:
            self.average.take_buffers()
            if epoch < self.config.training.ema_start:
                self.average.follow(0)  # it has not started: it equals the model
        return {
            "epoch": epoch,
            "loss": loss / n_rows,
            "lr": self.optimizer.param_groups[0]["lr"],
            **fit,
            "seconds": time.perf_counter() - start,
            "processor_seconds": time.process_time() - processor,
        }

    def _fitted_on(self, epoch: int) -> Batches | Epoch:
        """Return the batches that Gaussians are fitted to before an epoch."""
        augmented = self.config.gaussians.fit_augmented
        return self.batches.as_trained(epoch) if augmented else self.batches

    def _refitted(self, epoch: int) -> dict[str, Any]:
        """Refit if due, and report the result."""
        start = time.perf_counter()
        loader = self._fitted_on(epoch)
        prior = self.model.gaussians
        if isinstance(prior, EpochwiseGaussians) and epoch > 0:
            made = prior.step_(gather_sums(self.model, loader, self.device))
            return made | {"fit_seconds": time.perf_counter() - start}
        if self.schedule is None or not self.schedule.due(epoch):
            return {}
        with without_log_determinants(self.model):
            result = self.schedule.force(self.model, loader, epoch, device=self.device)
        return {
            "fit_status": str(result.status),
            "fit_n_iter": result.n_iter,
            "fit_residual": float(result.residual),
            "fit_seconds": time.perf_counter() - start,
        }

    def _step(self, step: int, x: Tensor, y: Tensor) -> float:
        """Make one step of the optimizer, and return the loss."""
        training = self.config.training
        x_here, y_here = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate(step)
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=training.amp):
                loss = self.objective(x_here, y_here)
        except InvalidInputError as error:  # a penalty refuses Gaussians that are not finite
            raise self._nonfinite(f"the loss has no value ({error})", step, x, y) from error
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._nonfinite(f"the loss is {value}", step, x, y)
        self.optimizer.zero_grad()
        loss.backward()
        if training.clip is None:
            size = largest_gradient(self.model.parameters())
        else:
            size = float(nn.utils.clip_grad_norm_(self.model.parameters(), training.clip))
        if not math.isfinite(size):
            raise self._nonfinite(f"the gradient's size is {size}", step, x, y)
        self.optimizer.step()
        followed = step - training.ema_start * len(self.batches)
        if self.average is not None and followed >= 0:
            self.average.follow(followed)
        return value

    def _nonfinite(self, what: str, step: int, x: Tensor, y: Tensor) -> NonFiniteLossError:
        """Save the batch, and return the error to raise."""
        place = "give a folder to have its batch saved"
        if self.folder is not None:
            rank, n_ranks = place_among_processes()
            # every process has a part of the batch, and a gradient fails in all of them at once
            part = f"_{rank}" if n_ranks > 1 else ""
            path = self.folder / f"nonfinite_batch{part}.pt"
            write_atomically(path, lambda at: torch.save({"x": x, "y": y, "step": step}, at))
            place = f"its batch is saved as {str(path)!r}"
        return NonFiniteLossError(
            f"{what} at step {step} (epoch {step // len(self.batches)}); {place}. Lower "
            "training.lr or gaussians.lam, warm up for longer, or set training.clip"
        )

    # -- what a checkpoint keeps -----------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything that differs from a newly built run."""
        state = {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.model.state_dict(),
            "optimiser": self.optimizer.state_dict(),
        }
        if isinstance(self.objective, LayerObjective):
            state["memory"] = self.objective.remembered()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from the state of a run with the same config."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.model.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimiser"])
        if isinstance(self.objective, LayerObjective):
            self.objective.remember(state["memory"])


def chosen_device(device: torch.device | str | None = None) -> torch.device:
    """Choose the device to train on.

    Parameters
    ----------
    device : torch.device or str, optional
        By default a GPU if there is one: with torchrun, one per process.

    Returns
    -------
    torch.device

    Raises
    ------
    InvalidInputError
        If the machine has no such device.
    """
    if device is None:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:  # the latter if torch was built without it
        raise InvalidInputError(
            f'device {str(device)!r} cannot be used here; pass "cpu", or a GPU that torch sees '
            f"({torch.cuda.device_count()} of CUDA)"
        ) from error
    return torch.device(device)


def place_among_processes() -> tuple[int, int]:
    """Return the rank, and the number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
