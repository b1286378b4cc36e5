"""Train a small classifier as an energy model (JEM), and draw images from it.

The logits f(x)[y] are minus the energies of (x, y): p(y|x) is their softmax, and p(x) is
proportional to the sum of their exponentials, whose integral is not known. Hence there is no
likelihood. Images are drawn by Langevin dynamics (SGLD), from those that earlier steps left.

Grathwohl et al., Your classifier is secretly an energy based model and you should treat it like
one, ICLR 2020.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from fpigauss import InvalidInputError
from torch import Generator, Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm

from nfpi.batches import Batches
from nfpi.classifiers import ImageShape
from nfpi.data import ImageSet
from nfpi.run import NonFiniteLossError
from nfpi.seeding import seeded

__all__ = ["EnergyOptions", "EnergyRun", "energy_net", "train_energy"]


@dataclass(frozen=True)
class EnergyOptions:
    """How an energy model is trained and sampled; pixels are scaled to [-1, 1].

    Parameters
    ----------
    epochs, batch_size, channels : int
        Passes over the images, images per batch, and channels of the first convolution.
    lr : float
        Rate of Adam.
    steps, final_steps : int
        Steps of SGLD per batch, and at the end from the last images, with the energy of a class.
    step_size, noise : float
        Of SGLD. The paper's noise is smaller than what its step size would ask for.
    kept, restarts : int, float
        Images that are kept to go on from, and the share of them that starts afresh.
    data_noise : float
        Deviation of the noise added to training images.
    weight : float
        Of -log p(x) beside the cross-entropy; 0 trains a classifier.
    """

    epochs: int
    batch_size: int = 128
    channels: int = 32
    lr: float = 1e-3
    steps: int = 20
    final_steps: int = 40
    step_size: float = 1.0
    noise: float = 0.01
    kept: int = 5_000
    restarts: float = 0.05
    data_noise: float = 0.03
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check what would fail late."""
        for name in ("epochs", "batch_size", "channels", "steps"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name} is {getattr(self, name)!r}; pass an int >= 1")
        if self.kept < self.batch_size:
            raise InvalidInputError(
                f"kept is {self.kept}, less than a batch; pass at least {self.batch_size}"
            )


@dataclass(frozen=True)
class EnergyRun:
    """A trained energy model.

    Attributes
    ----------
    metrics : dict
        nf_acc: accuracy on test images; seconds and processor_seconds of training.
    history : list of dict
        One entry per epoch: loss, the cross-entropy in it, seconds.
    generate : callable
        ``generate(n, seed)`` draws an ImageSet, equally many images per class, up to one.
    """

    metrics: dict[str, float]
    history: list[dict[str, Any]]
    generate: Callable[[int, int], ImageSet]


def energy_net(n_classes: int, image_shape: ImageShape, channels: int = 32) -> nn.Module:
    """Build a smooth network of three convolutions without batch normalization.

    Parameters
    ----------
    n_classes : int
        K.
    image_shape : (C, H, W)
    channels : int
        Channels of the first convolution; the others have twice as many.

    Returns
    -------
    nn.Module
        Maps images in [-1, 1] to logits (N, K).
    """
    n_channels, height, width = image_shape
    if height % 4 or width % 4:
        raise InvalidInputError(
            f"image_shape is {image_shape}: an energy model needs height and width to be multiples "
            "of 4; resize the images"
        )
    return nn.Sequential(
        nn.Conv2d(n_channels, channels, 3, padding=1),
        nn.SiLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.SiLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(2 * channels, 2 * channels, 3, padding=1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(2 * channels * (height // 4) * (width // 4), 4 * channels),
        nn.SiLU(),
        nn.Linear(4 * channels, n_classes),
    )


def train_energy(
    images: ImageSet,
    test: ImageSet,
    options: EnergyOptions,
    *,
    seed: int,
    device: torch.device,
    progress: bool = False,
) -> EnergyRun:
    """Train an energy model from the start, and judge it as a classifier.

    Parameters
    ----------
    images, test : ImageSet
    options : EnergyOptions
    seed : int
        Seeds weights, batches and SGLD.
    device : torch.device
    progress : bool
        Show a progress bar over epochs.

    Returns
    -------
    EnergyRun

    Raises
    ------
    NonFiniteLossError
        If the loss is not finite, or energies run away from each other.
    """
    with seeded(device, seed):
        net = energy_net(images.n_classes, images.image_shape, options.channels).to(device)
    # float32 random numbers of the host: the same on every device
    generator = Generator().manual_seed(seed)
    sampler = _Sampler(net, images.image_shape, options, generator, device)
    optimizer = torch.optim.Adam(net.parameters(), options.lr)
    batches = Batches(images, options.batch_size, seed=seed)
    history: list[dict[str, Any]] = []
    for epoch in tqdm(range(options.epochs), "epochs", disable=not progress):
        start, processor = time.perf_counter(), time.process_time()
        losses = [
            _step(net, optimizer, sampler, batch, epoch)
            for batch in batches.epoch(epoch)
            if len(batch[0]) == options.batch_size
        ]
        loss, entropy = (sum(column) / len(losses) for column in zip(*losses, strict=True))
        history.append(
            {
                "epoch": epoch,
                "loss": loss,
                "cross_entropy": entropy,
                "seconds": time.perf_counter() - start,
                "processor_seconds": time.process_time() - processor,
            }
        )
    metrics = {"nf_acc": _accuracy(net, test, device)}
    for name in ("seconds", "processor_seconds"):
        metrics[name] = sum(entry[name] for entry in history)
    return EnergyRun(metrics, history, sampler.generate)


# -- inside --------------------------------------------------------------------------------

#: An energy gap beyond this is not recovered from.
_RUNAWAY = 1e4


def _step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    sampler: "_Sampler",
    batch: tuple[Tensor, Tensor],
    epoch: int,
) -> tuple[float, float]:
    """Make one step of the optimizer; return the loss, and the cross-entropy in it."""
    options, device = sampler.options, sampler.device
    x, y = 2.0 * batch[0] - 1.0, batch[1]
    noise = options.data_noise * torch.randn(x.shape, generator=sampler.generator)
    logits = net((x + noise).to(device))
    entropy = functional.cross_entropy(logits, y.to(device))
    loss = entropy
    if options.weight:
        drawn = sampler.draw(len(x))
        gap = net(drawn).logsumexp(1).mean() - logits.logsumexp(1).mean()
        loss = entropy + options.weight * gap
    value = float(loss.detach())
    if not math.isfinite(value) or abs(value) > _RUNAWAY:
        raise NonFiniteLossError(
            f"the loss is {value:g} in epoch {epoch}; lower lr, or add noise to the images"
        )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return value, float(entropy.detach())


@torch.no_grad()
def _accuracy(net: nn.Module, test: ImageSet, device: torch.device) -> float:
    right = 0
    for images, labels in zip(test.images.split(500), test.labels.split(500), strict=True):
        x = (images.to(device).float() + 0.5) / 128.0 - 1.0
        right += int((net(x).argmax(1).cpu() == labels).sum())
    return right / len(test)


class _Sampler:
    """SGLD that goes on from the images of earlier calls."""

    def __init__(
        self,
        net: nn.Module,
        shape: ImageShape,
        options: EnergyOptions,
        generator: Generator,
        device: torch.device,
    ) -> None:
        self.net, self.options, self.device = net, options, device
        self.generator, self._shape = generator, shape
        self._kept = self._fresh(options.kept, generator)

    def _fresh(self, n: int, generator: Generator) -> Tensor:
        """Draw images of uniform noise."""
        return 2.0 * torch.rand((n, *self._shape), generator=generator) - 1.0

    def draw(self, n: int) -> Tensor:
        """Draw n images from the model, and keep them."""
        rows = torch.randperm(len(self._kept), generator=self.generator)[:n]
        anew = torch.rand(n, generator=self.generator) < self.options.restarts
        start = torch.where(
            anew[:, None, None, None], self._fresh(n, self.generator), self._kept[rows]
        )
        drawn = self._moved(start, self.options.steps, self.generator)
        self._kept[rows] = drawn.cpu()
        return drawn

    def _moved(
        self, x: Tensor, steps: int, generator: Generator, labels: Tensor | None = None
    ) -> Tensor:
        """Move images by SGLD, up the logit of their class or up log p(x)."""
        x = x.to(self.device)
        for _ in range(steps):
            x = x.detach().requires_grad_()
            logits = self.net(x)
            ascended = (
                logits.logsumexp(1) if labels is None else logits.gather(1, labels[:, None])[:, 0]
            )
            (slope,) = torch.autograd.grad(ascended.sum(), x)
            noise = torch.randn(x.shape, generator=generator).to(self.device)
            x = x.detach() + self.options.step_size * slope + self.options.noise * noise
        return x.detach()

    def generate(self, n: int, seed: int) -> ImageSet:
        """Draw images of every class: from kept ones that look like it, up its logit."""
        generator = Generator().manual_seed(seed)
        with torch.no_grad():
            looks = torch.cat(
                [self.net(part.to(self.device)).argmax(1).cpu() for part in self._kept.split(500)]
            )
        n_classes = int(self.net(self._kept[:1].to(self.device)).shape[1])
        labels = torch.arange(n) % n_classes
        starts = self._fresh(n, generator)
        for k in range(n_classes):
            (candidates,), mine = (looks == k).nonzero(as_tuple=True), labels == k
            if len(candidates):
                chosen = torch.randint(len(candidates), (int(mine.sum()),), generator=generator)
                starts[mine] = self._kept[candidates[chosen]]
        parts = [
            self._moved(x, self.options.final_steps, generator, y.to(self.device)).cpu()
            for x, y in zip(starts.split(500), labels.split(500), strict=True)
        ]
        levels = (128.0 * (torch.cat(parts).nan_to_num(0.0) + 1.0)).floor().clamp(0.0, 255.0)
        return ImageSet(levels.to(torch.uint8), labels, n_classes, "generated images")
