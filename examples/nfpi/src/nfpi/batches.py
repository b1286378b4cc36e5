"""Batches of dequantized images, in an order set by seed and epoch alone."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from fpigauss import InvalidInputError
from torch import Generator, Tensor
from torch.nn import functional

from nfpi.data import ImageSet

__all__ = ["Augment", "Batches", "Epoch", "dequantized", "make_augment"]

#: An augmentation takes images (B, C, H, W) in [0, 1] and the generator to draw from.
Augment = Callable[[Tensor, Generator], Tensor]

#: The paper names its augmentations without numbers: these are ours, in degrees and relative
#: changes. Those of the authors' code are "released".
_ROTATION = 10.0
_JITTER = 0.2

#: Pixels of padding before the released rotation, and the side from which it is milder.
_BORDER, _LARGE = 8, 64


class Batches:
    """Batches (x, y): x float32 (B, C, H, W) in [0, 1), y int64 (B,).

    Each epoch has its own order, augmentations and dequantization noise, set by ``seed`` and the
    epoch's number alone, so a resumed run sees the same batches as an unbroken one. Iterating over
    the object gives epoch 0 without augmentation: Gaussians are fitted on that, or on
    ``as_trained``.

    Parameters
    ----------
    image_set : ImageSet
    batch_size : int
        Images per batch, over all ranks together; the last batch of an epoch may be smaller.
    seed : int
        Seeds order, augmentation and noise.
    augment : callable, optional
        ``augment(x, generator)``, as returned by ``make_augment``; it gets 8-bit values divided by
        255, and its result is rounded to such values again.
    shuffle : bool
        Whether ``epoch`` reorders the images.
    rank, n_ranks : int
        With several processes, each yields its part of every batch; together the parts are what a
        single process would yield. A last batch with fewer images than ranks is dropped.
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
        """Check the sizes."""
        if not 0 <= rank < n_ranks:
            raise InvalidInputError(f"rank is {rank} of n_ranks {n_ranks}; ranks count from 0")
        if batch_size < n_ranks:
            raise InvalidInputError(
                f"batch_size is {batch_size}; pass at least one image per rank, {n_ranks}"
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
        """Return the number of batches per epoch."""
        whole, rest = divmod(len(self.image_set), self.batch_size)
        return whole + (rest >= self.n_ranks)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over epoch 0, without augmentation."""
        return self._batches(0, None)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the batches of one epoch.

        Parameters
        ----------
        epoch : int
            Counted from 0.

        Returns
        -------
        iterator of (x, y)
        """
        return self._batches(epoch, self.augment)

    def as_trained(self, epoch: int) -> "Epoch":
        """Return the batches of one epoch, augmented, to be iterated over more than once.

        Parameters
        ----------
        epoch : int
            Counted from 0.

        Returns
        -------
        Epoch
        """
        return Epoch(self, epoch)

    def _batches(self, epoch: int, augment: Augment | None) -> Iterator[tuple[Tensor, Tensor]]:
        # separate streams: one more augmentation leaves order and noise as they were
        order, noise, change = (_generator(self.seed, epoch, stream) for stream in range(3))
        n_images = len(self.image_set)
        rows = torch.randperm(n_images, generator=order) if self.shuffle else torch.arange(n_images)
        for batch in rows.split(self.batch_size)[: len(self)]:
            images = self.image_set.images[batch]
            if augment is not None:
                changed = augment(images / 255, change)
                images = (255 * changed).round().clamp(0, 255).to(torch.uint8)
            # drawn for the whole batch on every rank: random numbers do not depend on their number
            x, y = dequantized(images, noise), self.image_set.labels[batch]
            yield x[self.rank :: self.n_ranks], y[self.rank :: self.n_ranks]


@dataclass(frozen=True)
class Epoch:
    """The batches of one epoch."""

    batches: Batches
    number: int

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the batches, the same ones every time."""
        return self.batches.epoch(self.number)


def dequantized(images: Tensor, generator: Generator) -> Tensor:
    """Return (u + U) / 256, U uniform in [0, 1): gray levels u as draws from a density on [0, 1).

    Parameters
    ----------
    images : (N, C, H, W) uint8 tensor
    generator : torch.Generator

    Returns
    -------
    (N, C, H, W) float32 tensor
    """
    # 16 bits of noise and 8 of the image fit the 24 of a float32, so no sum rounds to 1
    noise = torch.randint(0, 1 << 16, images.shape, generator=generator, dtype=torch.int32)
    return ((images.int() << 16) + noise).float() / (1 << 24)


def make_augment(names: Sequence[str], seed: int = 0) -> Callable[..., Tensor]:
    """Chain augmentations by name; each is drawn anew for every image.

    ==========  ======================================================================
    "flip"      mirror left and right, with probability 1/2
    "crop"      shift by up to an eighth each way, reflecting at the border
    "rotate"    rotate by up to 10 degrees
    "jitter"    scale brightness, contrast and saturation by 0.8 to 1.2
    "released"  all of it with the numbers of the authors' code: flip; brightness and
                contrast by up to 0.1, saturation by 0.05; 8 pixels of padding with the
                border's values; rotation by up to 12 degrees, to the nearest pixel; a
                random crop of the middle with 2 pixels to spare. From 64 pixels on, half
                the jitter and 2 degrees
    ==========  ======================================================================

    Parameters
    ----------
    names : sequence of str
    seed : int
        Used by calls without a generator.

    Returns
    -------
    callable
        ``augment(x, generator=None)`` takes and returns floating x (B, C, H, W) in [0, 1], on any
        device. Random numbers are drawn on the CPU, so a seed gives the same result everywhere.

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
    return _window(padded, rows, columns)


def _window(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return rows (B, H) and columns (B, W) of images, each image's own."""
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    pixels = rearrange(x, "b c h w -> b h w c")
    return rearrange(pixels[batch, rows[:, :, None], columns[:, None, :]], "b h w c -> b c h w")


def _shift(x: Tensor, most: int, generator: Generator) -> Tensor:
    """Draw one integer in 0..2 most per image, (B, 1)."""
    return torch.randint(0, 2 * most + 1, (len(x), 1), generator=generator).to(x.device)


def _rotate(x: Tensor, generator: Generator) -> Tensor:
    return _turned(x, generator, _ROTATION, mode="bilinear")


def _turned(x: Tensor, generator: Generator, degrees: float, mode: str) -> Tensor:
    height, width = x.shape[2:]
    angle = math.radians(degrees) * (2 * _uniform(x, generator)[:, 0, 0, 0] - 1)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # coordinates span [-1, 1] on both axes, whatever the sides: hence their ratio
    top = torch.stack([cos, -sin * height / width, zero], 1)
    bottom = torch.stack([sin * width / height, cos, zero], 1)
    grid = functional.affine_grid(torch.stack([top, bottom], 1), list(x.shape), align_corners=False)
    turned = functional.grid_sample(
        x, grid, mode=mode, padding_mode="reflection", align_corners=False
    )
    return turned.clamp(0, 1)


def _released(x: Tensor, generator: Generator) -> Tensor:
    side = x.shape[3]
    small = side < _LARGE
    strength = 1.0 if small else 0.5
    x = _jittered(_flip(x, generator), generator, 0.1 * strength, 0.05 * strength)
    border = min(_BORDER, side // 4)
    x = functional.pad(x, (border,) * 4, mode="replicate")
    x = _turned(x, generator, 12.0 if small else 2.0, mode="nearest")
    spare = border // 4  # a crop to 36 pixels, then one to 32
    down, across = (_shift(x, spare, generator) + border - spare for _ in range(2))
    height, width = x.shape[2] - 2 * border, side
    return _window(x, down + torch.arange(height, device=x.device),
                   across + torch.arange(width, device=x.device))  # fmt: skip


def _jitter(x: Tensor, generator: Generator) -> Tensor:
    return _jittered(x, generator, _JITTER, _JITTER)


def _jittered(x: Tensor, generator: Generator, strength: float, saturation: float) -> Tensor:
    def factor(strength: float = strength) -> Tensor:
        return 1 + strength * (2 * _uniform(x, generator) - 1)

    x = (x * factor()).clamp(0, 1)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (mean + factor() * (x - mean)).clamp(0, 1)
    if x.shape[1] == 1:
        return x
    gray = (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    return (gray + factor(saturation) * (x - gray)).clamp(0, 1)


def _uniform(x: Tensor, generator: Generator) -> Tensor:
    """Draw one number of U[0, 1) per image, (B, 1, 1, 1)."""
    return torch.rand(len(x), 1, 1, 1, generator=generator).to(x)


_AUGMENTATIONS: dict[str, Augment] = {
    "flip": _flip,
    "crop": _crop,
    "rotate": _rotate,
    "jitter": _jitter,
    "released": _released,
}


def _generator(seed: int, epoch: int, stream: int) -> Generator:
    """Return a generator that is independent for every triple."""
    state = np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0]
    return Generator().manual_seed(int(state >> np.uint64(1)))
