"""What a batch goes through on its way to a classifier.

Mixing (cutmix, mixup) changes labels too; auto-augment, rand-augment and erasing are kornia's
(extra ``fpigauss[paper]``, imported when they are asked for); a flow moves images in its latent
space. All of them draw from torch's own generators: seed these.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Beta

from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, LatentAugmentation, LatentGaussians
from nfpi.batches import dequantised, make_augment
from nfpi.checkpoints import fingerprint
from nfpi.data import ImageSet
from nfpi.extras import import_extra

__all__ = [
    "BATCHWISE",
    "IMAGEWISE",
    "FlowAugmentation",
    "check_flow_augmentation",
    "cutmix",
    "make_pipeline",
    "mixup",
    "policy",
    "split_names",
]

#: From images (B, C, H, W) in [0, 1] and classes (B,) to images and classes, or soft labels (B, K).
Pipeline = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

#: Names that ``make_augment`` knows: an image at a time.
IMAGEWISE = ("flip", "crop", "rotate", "jitter")

#: Names that ``make_pipeline`` knows besides, in the order in which they are applied.
BATCHWISE = ("auto", "rand", "erase", "cutmix", "mixup")

#: Concentrations of the beta distributions, the usual ones of transformers' training.
_CUTMIX, _MIXUP = 1.0, 0.8

#: Kornia draws one policy for all images that it is given: so many of a batch share one.
_ALIKE = 32


def cutmix(x: Tensor, y: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of every image's partner into it; labels are shared by area.

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
    side = (1.0 - _drawn(_CUTMIX)) ** 0.5  # the rectangle's share of either side
    tall, wide = side * height, side * width
    middle = torch.rand(2).tolist()
    top, left = middle[0] * height - tall / 2, middle[1] * width - wide / 2
    rows = slice(max(0, round(top)), min(height, round(top + tall)))
    columns = slice(max(0, round(left)), min(width, round(left + wide)))
    partner = torch.randperm(len(x)).to(x.device)
    mixed = x.clone()
    mixed[:, :, rows, columns] = x[partner, :, rows, columns]
    # what was really pasted: the rectangle may reach over the border
    area = (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    return mixed, _shared(y, partner, 1.0 - area, n_classes)


def mixup(x: Tensor, y: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Blend every image with a partner, and their labels alike.

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
    """An augmentation of images by kornia.

    Parameters
    ----------
    name : {"auto", "rand", "erase"}
        Auto-augment, rand-augment (two operations of magnitude 9 of 30), or random erasing of a
        quarter of the images.
    small : bool
        Auto-augment's policy: that of CIFAR-10, or else that of ImageNet.

    Returns
    -------
    callable
        (B, C, H, W) images in [0, 1], of one channel or three, to the same.

    Raises
    ------
    ImportError
        If kornia is not installed; the message names the extra.
    """
    what = f"augmentation {name!r}"
    if name == "erase":
        erasing: Callable[..., Tensor]
        erasing = import_extra("kornia.augmentation", "paper", what).RandomErasing(p=0.25)
        return erasing
    auto = import_extra("kornia.augmentation.auto", "paper", what)
    if name == "auto":
        operation = auto.AutoAugment("cifar10" if small else "imagenet")
    else:
        operation = auto.RandAugment(n=2, m=9)

    def augmented(x: Tensor) -> Tensor:
        colour = x.expand(-1, 3, -1, -1)  # the operations know colour images alone
        parts = [operation(part) for part in colour.split(_ALIKE)]
        changed = torch.cat(parts).clamp(0.0, 1.0)
        return changed.mean(1, keepdim=True) if x.shape[1] == 1 else changed

    return augmented


@dataclass
class FlowAugmentation:
    """Replaces a part of every batch by its augmentation in the latent space of a flow.

    Parameters
    ----------
    model : ClassFlow
        A trained flow of images in [0, 1); where axes matter, over Gaussians that are estimated
        from its latents.
    method, strength, n_axes
        As in ``LatentAugmentation``.
    share : float
        The part of the images that is replaced, 0..1. Those whose decoding is not finite stay.
    partners : ImageSet, optional
        Of the classes of the batches. "mix" then gives every image that it moves another one of
        its class from here; otherwise partners come from the batch, and an image that is alone in
        its class stays as it is, as most are where classes are many.
    """

    model: ClassFlow
    method: Literal["mix", "noise"] = "mix"
    strength: float = 0.5
    n_axes: int | None = None
    share: float = 0.5
    partners: ImageSet | None = field(default=None, repr=False)
    _augment: LatentAugmentation = field(init=False, repr=False)
    _by_class: Tensor = field(init=False, repr=False)
    _counts: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the arguments."""
        n_classes = self.model.gaussians.n_classes
        if self.partners is not None and self.partners.n_classes != n_classes:
            raise InvalidInputError(
                f"partners has {self.partners.n_classes} classes, the flow {n_classes}; pass "
                "images of the flow's classes"
            )
        if self.partners is not None:
            self._by_class = self.partners.labels.argsort(stable=True)
            self._counts = self.partners.labels.bincount(minlength=n_classes)
            if not bool(self._counts.all()):
                absent = int((self._counts == 0).nonzero()[0])
                raise InvalidInputError(f"partners: class {absent} has no image; leave none out")
        if not 0.0 <= self.share <= 1.0:
            raise InvalidInputError(f"share is {self.share!r}; pass a number from 0 to 1")
        self._augment = LatentAugmentation(
            self.model, method=self.method, strength=self.strength, n_axes=self.n_axes
        )

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """New images of a batch.

        Parameters
        ----------
        x : (B, C, H, W) tensor
            Images in [0, 1).
        y : (B,) int64 tensor

        Returns
        -------
        x, y
            Of the same shapes, ``y`` as it was.
        """
        chosen = (torch.rand(len(x)) < self.share).nonzero()[:, 0].to(x.device)
        if not len(chosen):
            return x, y
        own = x[chosen], y[chosen]
        if self.partners is None or self.method != "mix":
            moved, _ = self._augment(*own)
        else:
            others = self._drawn_partners(self.partners, own[1])
            moved, _ = self._augment(torch.cat([own[0], others.to(x)]), own[1].repeat(2))
            moved = moved[: len(chosen)]
        usable = moved.flatten(1).isfinite().all(1)
        changed = x.clone()
        changed[chosen[usable]] = moved[usable].clamp(0.0, 1.0)
        return changed, y

    def _drawn_partners(self, images: ImageSet, y: Tensor) -> Tensor:
        """An image of the class of every row of ``y``."""
        labels = y.cpu()
        within = torch.randint(1 << 62, labels.shape) % self._counts[labels]
        rows = self._by_class[(self._counts.cumsum(0) - self._counts)[labels] + within]
        return dequantised(images.images[rows], torch.default_generator)

    def settings(self) -> dict[str, Any]:
        """The arguments, but for flow and partners."""
        return {name: getattr(self, name) for name in ("method", "strength", "n_axes", "share")}

    def identity(self) -> dict[str, Any]:
        """The settings, and what tells the flow from others.

        That is what was trained alone: Gaussians that are estimated afterwards follow from it, but
        not to the last bit on every device.
        """
        gaussians = self.model.gaussians
        return {
            **self.settings(),
            "partners": None if self.partners is None else len(self.partners),
            "gaussians": type(gaussians).__name__,
            "covariances": list(gaussians.class_gaussians().covariances.shape),
            "weights": fingerprint(*self.model.codec.parameters()),
        }


def check_flow_augmentation(n_classes: int, dim: int, **settings: Any) -> None:
    """Refuse settings of ``FlowAugmentation`` before a flow is trained for them.

    Parameters
    ----------
    n_classes, dim : int
        K and d of the flow's Gaussians.
    **settings
        ``method``, ``strength``, ``n_axes`` and ``share``.

    Raises
    ------
    InvalidInputError
        If one cannot be used.
    """
    as_is = (lambda x: (x, x.new_zeros(len(x))), lambda z: z)
    FlowAugmentation(ClassFlow(None, LatentGaussians(n_classes, dim), codec=as_is), **settings)


def make_pipeline(
    names: Collection[str],
    n_classes: int,
    *,
    flow: FlowAugmentation | None = None,
    small: bool = True,
) -> Pipeline:
    """Augmentations as one function of a batch.

    The flow comes first, as it was trained on images that nothing has changed; then flips, crops
    and the like, in the order of ``names``; the policies, erasing, and last cutmix or mixup: one
    of them for every batch at random, if both are named.

    Parameters
    ----------
    names : collection of str
        Of ``IMAGEWISE`` and ``BATCHWISE``.
    n_classes : int
        K.
    flow : FlowAugmentation, optional
        Moves images in a latent space.
    small : bool
        As in ``policy``.

    Returns
    -------
    callable
        (x, y) to (x, y); soft labels (B, K) after a mix.

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
    """Names of augmentations as those of ``make_augment`` and the others.

    Raises
    ------
    InvalidInputError
        If one of them is unknown.
    """
    unknown = [name for name in names if name not in IMAGEWISE + BATCHWISE]
    if unknown:
        raise InvalidInputError(
            f"there is no augmentation {unknown[0]!r}; pass some of "
            f"{', '.join(IMAGEWISE + BATCHWISE)}"
        )
    batchwise = [name for name in names if name in BATCHWISE]
    return [name for name in names if name in IMAGEWISE], batchwise
