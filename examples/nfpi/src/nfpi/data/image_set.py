"""Labeled images in memory, as 8-bit values."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from fpigauss import InvalidInputError
from torch import Tensor
from torch.nn import functional

__all__ = ["ImageSet", "resize", "stratified_split"]

#: Images resized at once: float copies of 4096 images of 64x64x3 take 200 MB.
_CHUNK = 4096


@dataclass(frozen=True)
class ImageSet:
    """Images and their classes.

    Parameters
    ----------
    images : (N, C, H, W) uint8 tensor
        C is 1 or 3.
    labels : (N,) int64 tensor
        Classes 0..n_classes-1.
    n_classes : int
        K.
    name : str
        Their origin, for error messages.
    families : (N,) int64 tensor, optional
        Images of a family resemble each other: a split that keeps families whole is harder.

    Raises
    ------
    InvalidInputError
        If shapes, dtypes or labels do not fit this description.
    """

    images: Tensor
    labels: Tensor
    n_classes: int
    name: str
    families: Tensor | None = None

    def __post_init__(self) -> None:
        """Check, once for all readers."""
        images, labels = self.images, self.labels
        if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != torch.uint8:
            raise InvalidInputError(
                f"{self.name}: images are {images.dtype} of shape {tuple(images.shape)}; "
                "uint8 (N, C, H, W) with C = 1 or 3 is expected"
            )
        if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
            raise InvalidInputError(
                f"{self.name}: labels are {labels.dtype} of shape {tuple(labels.shape)} for "
                f"{len(images)} images; one int64 per image is expected"
            )
        families = self.families
        if families is not None and (families.shape, families.dtype) != (labels.shape, torch.int64):
            raise InvalidInputError(
                f"{self.name}: families are {families.dtype} of shape {tuple(families.shape)}; one "
                "int64 per image is expected"
            )
        if not len(labels):
            raise InvalidInputError(f"{self.name}: there are no images")
        outside = ((labels < 0) | (labels >= self.n_classes)).nonzero()[:, 0]
        if len(outside):
            raise InvalidInputError(
                f"{self.name}: image {int(outside[0])} has label {int(labels[outside[0]])}, and "
                f"{len(outside) - 1} more are outside 0..{self.n_classes - 1}; "
                "number the classes from 0"
            )

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def checked_classes(self) -> Self:
        """Return the set itself if every class has an image.

        Returns
        -------
        ImageSet

        Raises
        ------
        InvalidInputError
            Names the first class without one.
        """
        labels, n_classes = self.labels, self.n_classes
        if n_classes > len(labels):  # counting them might take more memory than there is
            raise InvalidInputError(
                f"{self.name}: image {int(labels.argmax())} has label {int(labels.max())}, and "
                f"there are {len(labels)} images; number the classes from 0, without gaps"
            )
        missing = (torch.bincount(labels, minlength=n_classes) == 0).nonzero()[:, 0]
        if len(missing):
            raise InvalidInputError(
                f"{self.name}: class {int(missing[0])} of 0..{n_classes - 1} has no image; number "
                "the classes from 0, without gaps"
            )
        return self

    def subset(self, indices: Tensor) -> Self:
        """Return the images at ``indices``, in that order.

        Parameters
        ----------
        indices : (M,) integer or (N,) bool tensor

        Returns
        -------
        ImageSet
        """
        families = None if self.families is None else self.families[indices]
        return replace(
            self, images=self.images[indices], labels=self.labels[indices], families=families
        )

    def of_classes(self, n: int | None) -> Self:
        """Return the images of ``n`` classes, spread evenly over all and numbered anew.

        Parameters
        ----------
        n : int or None
            At least 2; None means all classes.

        Returns
        -------
        ImageSet
        """
        if n is None or n == self.n_classes:
            return self
        if not 2 <= n <= self.n_classes:
            raise InvalidInputError(
                f"{self.name}: {n} classes were asked for; pass 2 to {self.n_classes}"
            )
        kept = torch.from_numpy(np.linspace(0, self.n_classes - 1, n).round().astype(np.int64))
        number = torch.full((self.n_classes,), -1).index_put_((kept,), torch.arange(n))
        rows = (number[self.labels] >= 0).nonzero()[:, 0]
        part = self.subset(rows)
        return replace(part, labels=number[part.labels], n_classes=n)

    def held_out(self, n_kept: int, seed: int) -> tuple[Self, Self]:
        """Split validation images off, with classes in the same proportions.

        Parameters
        ----------
        n_kept : int
            Images to keep. Without effect if there are families: every sixth of these is held
            out, so that none is in both parts.
        seed : int
            Determines which; without effect if there are families.

        Returns
        -------
        tuple of ImageSet
            The images kept, and those held out.
        """
        if self.families is None:
            kept, held = stratified_split(self.labels, n_kept, seed)
            return self.subset(kept), self.subset(held)
        out = torch.isin(self.families, self.families.unique()[5::6])
        return self.subset(~out).checked_classes(), self.subset(out)

    def limited(self, n: int | None, seed: int) -> Self:
        """Return ``n`` of the images, with classes in the same proportions.

        Parameters
        ----------
        n : int or None
            At least one per class; None means all images.
        seed : int
            Determines which.

        Returns
        -------
        ImageSet
        """
        if n is None or n == len(self):
            return self
        if not self.n_classes <= n <= len(self):
            raise InvalidInputError(
                f"{self.name}: a limit of {n} images was asked for; there are {len(self)} of "
                f"{self.n_classes} classes, so pass {self.n_classes} to {len(self)}"
            )
        return self.subset(stratified_split(self.labels, n, seed)[0])

    def resized(self, size: int | None) -> Self:
        """Crop to the largest central square and scale it to ``size`` x ``size``.

        Parameters
        ----------
        size : int or None
            None returns the images unchanged.

        Returns
        -------
        ImageSet
        """
        if size is None or self.images.shape[2:] == (size, size):
            return self
        chunks = [resize(chunk, size) for chunk in self.images.split(_CHUNK)]
        return replace(self, images=torch.cat(chunks))


def resize(images: Tensor, size: int) -> Tensor:
    """Crop images to the largest central square and scale it to ``size`` x ``size``.

    If ``size`` divides the square's side, blocks of pixels are averaged; otherwise interpolation is
    bilinear and antialiased.

    Parameters
    ----------
    images : (N, C, H, W) uint8 tensor
    size : int

    Returns
    -------
    (N, C, size, size) uint8 tensor
    """
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[:, :, top : top + side, left : left + side]
    if side == size:
        return square
    if side % size == 0:
        scaled = functional.interpolate(square.float(), (size, size), mode="area")
    else:
        scaled = functional.interpolate(
            square.float(), (size, size), mode="bilinear", antialias=True
        )
    return scaled.round().clamp(0, 255).to(torch.uint8)


def stratified_split(labels: Tensor, n_first: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split row numbers in two, with classes in the same proportions in each part.

    Parameters
    ----------
    labels : (N,) int64 tensor
        Classes >= 0.
    n_first : int
        Size of the first part, at least the number of classes: it has every class.
    seed : int
        Determines which.

    Returns
    -------
    tuple of (n_first,) and (N - n_first,) int64 tensors
        Ascending.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels.numpy()[order]
    counts = np.bincount(shuffled)
    wanted = counts * (n_first / len(labels))
    sizes = np.maximum(np.floor(wanted).astype(int), np.minimum(counts, 1))
    while sizes.sum() < n_first:
        sizes[np.argmax(wanted - sizes)] += 1
    while sizes.sum() > n_first:  # if one per class exceeds its share
        sizes[np.argmax(sizes)] -= 1
    first = np.zeros(len(labels), dtype=bool)
    for label, size in enumerate(sizes):
        first[order[np.flatnonzero(shuffled == label)[:size]]] = True
    return torch.from_numpy(np.flatnonzero(first)), torch.from_numpy(np.flatnonzero(~first))
