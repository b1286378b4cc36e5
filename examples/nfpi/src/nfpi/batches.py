"""Batches of dequantized images, in an order that only the seed and the epoch decide."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from einops import rearrange
from fpigauss import InvalidInputError
from torch import Generator, Tensor
from torch.nn import functional

from nfpi.data import ImageSet

__all__ = ["Batches", "dequantized", "make_augment"]

#: An augmentation: images (B, C, H, W) in [0, 1] and where its random numbers come from.
Augment = Callable[[Tensor, Generator], Tensor]

#: The paper names its augmentations and gives no numbers: degrees, and relative changes.
_ROTATION = 10.0
_JITTER = 0.2


class Batches:
    """Batches (x, y): x float32 (B, C, H, W) in [0, 1), y int64 (B,).

    Every epoch has its own order, augmentations and dequantization noise, and these depend on
    ``seed`` and the epoch's number alone: a run that is resumed sees what an unbroken one does.
    Iterating the object itself gives epoch 0, without augmentation: what Gaussians are fitted on.

    Parameters
    ----------
    image_set : ImageSet
    batch_size : int
        Images in a batch, of all ranks together; the last batch of an epoch may be smaller.
    seed : int
        Of everything that is random.
    augment : callable, optional
        ``augment(x, generator)``, as ``make_augment`` gives it; images come as 8-bit numbers over
        255, and are rounded to such again.
    shuffle : bool
        Whether ``epoch`` reorders the images.
    rank, n_ranks : int
        With several processes: each yields its part of every batch, the parts together what one
        process would yield. A last batch with fewer images than ranks is left out.
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        *,
        seed: int,
        augment: Augment | None = None,
        shuffle: bool = True,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        """Check sizes."""
        if not 0 <= rank < n_ranks:
            raise InvalidInputError(f"rank is {rank} of n_ranks {n_ranks}; ranks count from 0")
        if batch_size < n_ranks:
            raise InvalidInputError(
                f"batch_size is {batch_size}; pass at least one image a rank, {n_ranks}"
            )
        if len(image_set) < n_ranks:
            raise InvalidInputError(
                f"{image_set.name}: {len(image_set)} images for {n_ranks} ranks; use fewer ranks"
            )
        self.image_set = image_set
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.shuffle = shuffle
        self.rank = rank
        self.n_ranks = n_ranks

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self.image_set), self.batch_size)
        return whole + (rest >= self.n_ranks)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Epoch 0, without augmentation."""
        return self._batches(0, None)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch.

        Parameters
        ----------
        epoch : int
            From 0.

        Returns
        -------
        iterator of (x, y)
        """
        return self._batches(epoch, self.augment)

    def _batches(self, epoch: int, augment: Augment | None) -> Iterator[tuple[Tensor, Tensor]]:
        # a stream each, so that an augmentation more leaves order and noise as they were
        order, noise, change = (_generator(self.seed, epoch, stream) for stream in range(3))
        n_images = len(self.image_set)
        rows = torch.randperm(n_images, generator=order) if self.shuffle else torch.arange(n_images)
        for batch in rows.split(self.batch_size)[: len(self)]:
            images = self.image_set.images[batch]
            if augment is not None:
                changed = augment(images / 255, change)
                images = (255 * changed).round().clamp(0, 255).to(torch.uint8)
            # the whole batch on every rank: random numbers do not depend on how many there are
            x, y = dequantized(images, noise), self.image_set.labels[batch]
            yield x[self.rank :: self.n_ranks], y[self.rank :: self.n_ranks]


def dequantized(images: Tensor, generator: Generator) -> Tensor:
    """(u + U) / 256 with U uniform in [0, 1): a density in [0, 1) for the gray levels of images.

    Parameters
    ----------
    images : (N, C, H, W) uint8 tensor
    generator : torch.Generator

    Returns
    -------
    (N, C, H, W) float32 tensor
    """
    # 16 bits of noise: with 8 of the image they fit the 24 of a float32, so that no sum rounds to 1
    noise = torch.randint(0, 1 << 16, images.shape, generator=generator, dtype=torch.int32)
    return ((images.int() << 16) + noise).float() / (1 << 24)


def make_augment(names: Sequence[str], seed: int = 0) -> Callable[..., Tensor]:
    """Augmentations by name, one after the other, each drawn anew for every image.

    ========  ======================================================================
    "flip"    left and right exchanged, with probability 1/2
    "crop"    moved by up to an eighth each way, what comes in mirrored at the border
    "rotate"  turned by up to 10 degrees
    "jitter"  brightness, contrast and saturation times 0.8 to 1.2
    ========  ======================================================================

    Parameters
    ----------
    names : sequence of str
    seed : int
        Of the random numbers where a call brings no generator.

    Returns
    -------
    callable
        ``augment(x, generator=None)``: x floating (B, C, H, W) in [0, 1], on any device; the result
        likewise. Random numbers are drawn on the CPU, so a seed gives the same everywhere.

    Raises
    ------
    InvalidInputError
        If a name is unknown.
    """
    for name in names:
        if name not in _AUGMENTATIONS:
            raise InvalidInputError(
                f"augment has {name!r}; there are {', '.join(sorted(_AUGMENTATIONS))}"
            )
    steps = [_AUGMENTATIONS[name] for name in names]
    own = Generator().manual_seed(seed)

    def augment(x: Tensor, generator: Generator | None = None) -> Tensor:
        for step in steps:
            x = step(x, own if generator is None else generator)
        return x

    return augment


def _flip(x: Tensor, generator: Generator) -> Tensor:
    return torch.where(_uniform(x, generator) < 0.5, x.flip(-1), x)


def _crop(x: Tensor, generator: Generator) -> Tensor:
    height, width = x.shape[2:]
    down, across = (max(1, round(side / 8)) for side in (height, width))
    padded = functional.pad(x, (across, across, down, down), mode="reflect")
    rows = _shift(x, down, generator) + torch.arange(height, device=x.device)  # (B, H)
    columns = _shift(x, across, generator) + torch.arange(width, device=x.device)  # (B, W)
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    pixels = rearrange(padded, "b c h w -> b h w c")
    cropped = pixels[batch, rows[:, :, None], columns[:, None, :]]
    return rearrange(cropped, "b h w c -> b c h w")


def _shift(x: Tensor, most: int, generator: Generator) -> Tensor:
    """Whole numbers 0..2 most, (B, 1)."""
    return torch.randint(0, 2 * most + 1, (len(x), 1), generator=generator).to(x.device)


def _rotate(x: Tensor, generator: Generator) -> Tensor:
    height, width = x.shape[2:]
    angle = math.radians(_ROTATION) * (2 * _uniform(x, generator)[:, 0, 0, 0] - 1)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # coordinates run over [-1, 1] on both axes, whatever the sides: hence their ratio
    top = torch.stack([cos, -sin * height / width, zero], 1)
    bottom = torch.stack([sin * width / height, cos, zero], 1)
    grid = functional.affine_grid(torch.stack([top, bottom], 1), list(x.shape), align_corners=False)
    turned = functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    return turned.clamp(0, 1)


def _jitter(x: Tensor, generator: Generator) -> Tensor:
    def factor() -> Tensor:
        return 1 + _JITTER * (2 * _uniform(x, generator) - 1)

    x = (x * factor()).clamp(0, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (mean + factor() * (x - mean)).clamp(0, 1)
    if x.shape[1] == 1:
        return x
    gray = (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    return (gray + factor() * (x - gray)).clamp(0, 1)


def _uniform(x: Tensor, generator: Generator) -> Tensor:
    """One of U[0, 1) an image, (B, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, generator=generator).to(x)


_AUGMENTATIONS: dict[str, Augment] = {
    "flip": _flip,
    "crop": _crop,
    "rotate": _rotate,
    "jitter": _jitter,
}


def _generator(seed: int, epoch: int, stream: int) -> Generator:
    """Independent for every triple."""
    state = np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0]
    return Generator().manual_seed(int(state >> np.uint64(1)))
