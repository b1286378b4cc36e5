"""Augment the batches of a classifier.

Mixing (cutmix, mixup) changes labels too; auto-augment, rand-augment and erasing come from kornia,
which is imported on first use; a flow moves images in its latent space. All of them draw from
torch's global generators: seed these.
"""

from collections.abc import Callable, Collection
from typing import Literal

import torch
import torch.nn.functional as F
from fpigauss import InvalidInputError
from torch import Tensor
from torch.distributions import Beta

from nfpi.batches import make_augment
from nfpi.flow_augmentation import FlowAugmentation

__all__ = [
    "BATCHWISE",
    "IMAGEWISE",
    "cutmix",
    "make_pipeline",
    "mixup",
    "policy",
    "split_names",
]

#: Maps images (B, C, H, W) in [0, 1] and classes (B,) to images and classes or soft labels (B, K).
Pipeline = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

#: Names known to ``make_augment``, which works image by image.
IMAGEWISE = ("flip", "crop", "rotate", "jitter")

#: Further names known to ``make_pipeline``, in the order in which they are applied.
BATCHWISE = ("auto", "rand", "erase", "cutmix", "mixup")

#: Concentrations of the beta distributions, as usual for training transformers.
_CUTMIX, _MIXUP = 1.0, 0.8

#: Kornia draws one policy per call: this many images of a batch share one.
_ALIKE = 32


def cutmix(x: Tensor, y: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Paste a rectangle from a partner into every image, and mix labels by area.

    Parameters
    ----------
    x : (B, C, H, W) tensor
        Images.
    y : (B,) int64 tensor
        Their classes.
    n_classes : int
        K.

    Returns
    -------
    x : (B, C, H, W) tensor
    y : (B, K) tensor
        Soft labels.
    """
    height, width = x.shape[2:]
    side = (1.0 - _drawn(_CUTMIX)) ** 0.5  # the rectangle's share of each side
    tall, wide = side * height, side * width
    middle = torch.rand(2).tolist()
    top, left = middle[0] * height - tall / 2, middle[1] * width - wide / 2
    rows = slice(max(0, round(top)), min(height, round(top + tall)))
    columns = slice(max(0, round(left)), min(width, round(left + wide)))
    partner = torch.randperm(len(x)).to(x.device)
    mixed = x.clone()
    mixed[:, :, rows, columns] = x[partner, :, rows, columns]
    # the area actually pasted: the rectangle may extend over the border
    area = (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    return mixed, _shared(y, partner, 1.0 - area, n_classes)


def mixup(x: Tensor, y: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Blend every image with a partner, and their labels likewise.

    Parameters
    ----------
    x, y, n_classes
        As in ``cutmix``.

    Returns
    -------
    x, y
        As in ``cutmix``.
    """
    share = _drawn(_MIXUP)
    partner = torch.randperm(len(x)).to(x.device)
    return share * x + (1.0 - share) * x[partner], _shared(y, partner, share, n_classes)


def _drawn(concentration: float) -> float:
    return float(Beta(concentration, concentration).sample())


def _shared(y: Tensor, partner: Tensor, own: float, n_classes: int) -> Tensor:
    one_hot = F.one_hot(y, n_classes).float()
    return own * one_hot + (1.0 - own) * one_hot[partner]


def policy(name: Literal["auto", "rand", "erase"], *, small: bool = True) -> Callable[..., Tensor]:
    """Build an augmentation from kornia.

    Parameters
    ----------
    name : {"auto", "rand", "erase"}
        Auto-augment, rand-augment (two operations at magnitude 9 of 30), or random erasing in a
        quarter of the images.
    small : bool
        Use auto-augment's policy for CIFAR-10, otherwise the one for ImageNet.

    Returns
    -------
    callable
        Maps images (B, C, H, W) in [0, 1], with one channel or three, to the same.
    """
    import kornia.augmentation.auto

    if name == "erase":
        erasing: Callable[..., Tensor] = kornia.augmentation.RandomErasing(p=0.25)
        return erasing
    operation: Callable[[Tensor], Tensor]
    if name == "auto":
        operation = kornia.augmentation.auto.AutoAugment("cifar10" if small else "imagenet")
    else:
        operation = kornia.augmentation.auto.RandAugment(n=2, m=9)

    def augmented(x: Tensor) -> Tensor:
        color = x.expand(-1, 3, -1, -1)  # the operations only work on color images
        parts = [operation(part) for part in color.split(_ALIKE)]
        changed = torch.cat(parts).clamp(0.0, 1.0)
        return changed.mean(1, keepdim=True) if x.shape[1] == 1 else changed

    return augmented


def make_pipeline(
    names: Collection[str],
    n_classes: int,
    *,
    flow: FlowAugmentation | None = None,
    small: bool = True,
) -> Pipeline:
    """Combine augmentations into one function of a batch.

    The flow comes first because it was trained on unchanged images; then flips, crops and the like,
    in the order of ``names``; then policies and erasing; last cutmix or mixup. If both are named,
    each batch gets one of them at random.

    Parameters
    ----------
    names : collection of str
        Names from ``IMAGEWISE`` and ``BATCHWISE``.
    n_classes : int
        K.
    flow : FlowAugmentation, optional
        Moves images in a latent space.
    small : bool
        As in ``policy``.

    Returns
    -------
    callable
        Maps (x, y) to (x, y), with soft labels (B, K) after a mix.

    Raises
    ------
    InvalidInputError
        If a name is unknown.
    """
    imagewise, _ = split_names(names)
    changed = make_augment(imagewise)
    policies = [policy(name, small=small) for name in ("auto", "rand", "erase") if name in names]
    mixes = [mix for name, mix in (("cutmix", cutmix), ("mixup", mixup)) if name in names]

    def pipeline(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if flow is not None:
            x, y = flow(x, y)
        x = changed(x, torch.default_generator)
        for augmented in policies:
            x = augmented(x)
        if mixes:
            mix = mixes[int(torch.randint(len(mixes), ()))]
            x, y = mix(x, y, n_classes)
        return x, y

    return pipeline


def split_names(names: Collection[str]) -> tuple[list[str], list[str]]:
    """Split names of augmentations into those of ``make_augment`` and the others.

    Raises
    ------
    InvalidInputError
        If a name is unknown.
    """
    unknown = [name for name in names if name not in IMAGEWISE + BATCHWISE]
    if unknown:
        raise InvalidInputError(
            f"there is no augmentation {unknown[0]!r}; pass some of "
            f"{', '.join(IMAGEWISE + BATCHWISE)}"
        )
    batchwise = [name for name in names if name in BATCHWISE]
    return [name for name in names if name in IMAGEWISE], batchwise
