"""The training of a flow toward separated Gaussians, in the loop of skorch.

skorch is made for estimators: it trains in memory, prints and writes nothing, warns of nothing, and
restores the best epoch by itself. Lightning would write checkpoints for that, and has loggers and
signal handlers to be turned off. skorch is also a little quicker for small tables: 30 epochs of 100
rows take .09 s, .13 s in Lightning, and an import 1.1 s, 2.5 s of Lightning.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.utils.data import Sampler

from fpigauss import InvalidInputError
from fpigauss_torch._support import evaluating
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.gaussians import LatentGaussians

__all__ = ["Rows", "Training", "encoded"]

Floats = np.ndarray[Any, np.dtype[Any]]

#: The epochs before which the Gaussians are refitted, as those of FixedPointSchedule.
_REFITS = (0, 1)
#: Rows that are encoded at a time.
_BLOCK = 4096
#: The largest norm of a gradient.
_CLIPPED = 5.0
#: What a learning rate is multiplied by where the loss of held-out rows no longer falls.
_SLOWED = 0.3


@dataclass(frozen=True)
class Rows:
    """Rows (N, d) for a flow, their classes (N,) and weights (N,)."""

    x: Floats
    codes: Floats
    weights: Floats

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.x)

    def __getitem__(self, taken: Any) -> "Rows":
        """Take some of them."""
        return Rows(self.x[taken], self.codes[taken], self.weights[taken])

    def dataset(self) -> Dataset:
        """Return them as skorch takes them: what the module takes, and nothing to compare with."""
        columns = {
            "x": self.x.astype(np.float32),
            "codes": self.codes.astype(np.int64),
            "weights": (self.weights / self.weights.mean()).astype(np.float32),
        }
        return Dataset(columns, np.zeros(len(self), dtype=np.float32))


@dataclass(frozen=True)
class Training:
    """How to train.

    ``steps`` (d, d) takes uniform noise in columns of integers to the rows that the flow sees, and
    ``noise`` is the standard deviation of normal noise in all of them. ``generator`` draws batches
    and, like one of ``seed`` on another device, noise: the global one belongs to all threads.
    """

    separation: float
    steps: Floats
    noise: float
    learning_rate: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    patience: int
    device: str
    seed: int
    generator: torch.Generator

    def run(
        self, model: ClassFlow, rows: Rows, held_out: Rows, tick: Callable[[], Any]
    ) -> list[dict[str, float]]:
        """Train a model in place; with held-out rows, until it no longer gets better on them.

        Returns the losses of every epoch, in nats. Rows or weights of the model that leave the
        finite numbers are an error.
        """
        refits = _Refits(rows, self, tick)
        callbacks = [refits, GradientNormClipping(_CLIPPED)]
        if len(held_out):
            slower = LRScheduler(
                "ReduceLROnPlateau",
                monitor="valid_loss",
                factor=_SLOWED,
                patience=max(self.patience // 3, 1),
            )
            stop = EarlyStopping(
                patience=self.patience, threshold=0.0, load_best=True, sink=_unheard
            )
            callbacks += [slower, stop]
        net = NeuralNet(
            _Objective(model, self.steps, self.noise, self._noise_generator()),
            _Mean,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=self.weight_decay,
            lr=self.learning_rate,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            train_split=predefined_split(held_out.dataset()) if len(held_out) else None,
            iterator_train__sampler=_Shuffled(len(rows), self.generator),
            iterator_train__generator=self.generator,
            iterator_valid__batch_size=_BLOCK,
            iterator_valid__generator=self.generator,
            callbacks=callbacks,
            verbose=0,
            device=self.device,
        )
        net.fit(rows.dataset(), None)
        if not all(bool(values.isfinite().all()) for values in model.parameters()):
            raise self._diverged()
        names = ("train_loss", "valid_loss") if len(held_out) else ("train_loss",)
        return [{name: float(epoch[name]) for name in names} for epoch in net.history]

    def _noise_generator(self) -> torch.Generator:
        if torch.device(self.device).type == "cpu":
            return self.generator
        return torch.Generator(self.device).manual_seed(self.seed)

    def _diverged(self) -> InvalidInputError:
        return InvalidInputError(
            "learning_rate: training left the finite numbers at "
            f"learning_rate={self.learning_rate:g}; pass a lower one"
        )

    def refit(self, objective: "_Objective", rows: Rows) -> None:
        """Fit the Gaussians of a model to latents of rows with the noise of training."""
        x = torch.tensor(rows.x, dtype=torch.float32, device=objective.steps.device)
        z, _log_det = encoded(objective.model, objective.noisy(x))
        if not bool(z.isfinite().all()):
            raise self._diverged()
        gaussians = objective.model.gaussians
        assert isinstance(gaussians, LatentGaussians)
        gaussians.fit_(
            z,
            torch.as_tensor(rows.codes, device="cpu"),
            separation=self.separation,
            sample_weight=rows.weights,
        )


@torch.no_grad()
def encoded(model: ClassFlow, x: Floats | Tensor) -> tuple[Tensor, Tensor]:
    """Encode rows in blocks, in evaluation mode: latents (N, d) and log-determinants (N,)."""
    with evaluating(model):
        parts = [model.encode(block) for block in torch.as_tensor(x, device="cpu").split(_BLOCK)]
    return torch.cat([z for z, _ in parts]), torch.cat([log_det for _, log_det in parts])


class _Objective(nn.Module):
    """The weighted negative log-likelihood of every row, under noise while training."""

    steps: Tensor

    def __init__(
        self, model: ClassFlow, steps: Floats, noise: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.model = model
        self.noise = noise
        self.generator = generator
        self.register_buffer("steps", torch.tensor(steps, dtype=torch.float32, device="cpu"))

    def forward(self, x: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
        x = self.noisy(x) if self.training else x
        loss: Tensor = weights * self.model(x, codes)
        return loss

    def noisy(self, x: Tensor) -> Tensor:
        uniform = torch.empty_like(x).uniform_(generator=self.generator) - 0.5
        normal = torch.empty_like(x).normal_(generator=self.generator)
        return x + uniform @ self.steps + self.noise * normal


class _Shuffled(Sampler[int]):
    """All rows in a new order, which takes one number of the generator, as a loader's own does."""

    def __init__(self, n_rows: int, generator: torch.Generator) -> None:
        self.n_rows = n_rows
        self.generator = generator

    def __len__(self) -> int:
        return self.n_rows

    def __iter__(self) -> Iterator[int]:
        seed = int(
            torch.empty((), dtype=torch.int64, device="cpu").random_(generator=self.generator)
        )
        own = torch.Generator("cpu").manual_seed(seed)
        order = torch.randperm(self.n_rows, generator=own, device="cpu")
        return iter(order.tolist())


class _Mean(nn.Module):
    """What skorch minimizes: the mean of the losses."""

    def forward(self, losses: Tensor, _: Tensor) -> Tensor:
        return losses.mean()


class _Refits(Callback):
    """Refits before the first epochs."""

    def __init__(self, rows: Rows, training: Training, tick: Callable[[], Any]) -> None:
        self.rows = rows
        self.training = training
        self.tick = tick

    def on_epoch_begin(self, net: NeuralNet, **_: Any) -> None:
        if len(net.history) - 1 in _REFITS:
            self.training.refit(net.module_, self.rows)
        self.tick()


def _unheard(_: str) -> None:
    """Take what skorch would print."""
