"""Decode compressed pictures into one tensor, several at a time."""

import io
import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from fpigauss import InvalidInputError
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from nfpi.data.image_set import resize

__all__ = ["SUFFIXES", "read_pictures"]

SUFFIXES = (".png", ".jpg", ".jpeg")

#: Modes of PIL that fit one channel of 8 bits, and those that convert to three.
_GRAY = ("1", "L", "LA")
_COLOR = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")


def read_pictures(
    names: Sequence[str],
    content: Callable[[int], bytes | Path],
    size: int | None,
    progress: bool,
) -> Tensor:
    """Decode pictures; with ``size``, crop and scale each immediately.

    Parameters
    ----------
    names : sequence of str
        One per picture, for messages.
    content : callable
        ``content(i)`` returns the bytes or the path of the i-th; called in order, by one thread.
    size : int or None
        As in ``resize``; None if all pictures have the same size.
    progress : bool
        Show a progress bar.

    Returns
    -------
    (N, C, H, W) uint8 tensor
        C is 1 if every picture is gray, otherwise 3.
    """
    images, all_gray = torch.empty(0), True
    # decoding releases Python's lock, so threads help; working in parts bounds the queue
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        tqdm(total=len(names), disable=not progress, unit="image") as bar,
    ):
        for start in range(0, len(names), 256):
            part = range(start, min(start + 256, len(names)))
            jobs = [pool.submit(_decoded, content(i), names[i], size) for i in part]
            for i, job in zip(part, jobs, strict=True):
                picture, gray = job.result()
                if i == 0:
                    images = torch.empty(len(names), *picture.shape, dtype=torch.uint8)
                if picture.shape != images.shape[1:]:
                    raise InvalidInputError(
                        f"{names[i]} has {_pixels(picture)} pixels, {names[0]} "
                        f"{_pixels(images)}; pass size= to have all images resized"
                    )
                images[i] = picture
                all_gray &= gray
            bar.update(len(part))
    return images[:, :1].clone() if all_gray else images


def _decoded(content: bytes | Path, name: str, size: int | None) -> tuple[Tensor, bool]:
    """Return one picture as (3, H, W) uint8, and whether it is gray."""
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as picture:
            mode = picture.mode
            if mode in _GRAY + _COLOR:
                if size is not None:
                    # a JPEG can be decoded at a half, a quarter, ..., not below the requested size
                    picture.draft(None, (2 * size, 2 * size))
                pixels = np.array(
                    picture.convert("L").convert("RGB") if mode in _GRAY else picture.convert("RGB")
                )
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise InvalidInputError(
            f"{name} cannot be decoded, it is truncated or damaged: {error}; get it again"
        ) from error
    if mode not in _GRAY + _COLOR:
        raise InvalidInputError(
            f'{name} is a picture of mode "{mode}"; convert it to 8 bits per channel'
        )
    image = rearrange(torch.from_numpy(pixels), "h w c -> c h w")
    return (image if size is None else resize(image[None], size)[0]), mode in _GRAY


def _pixels(images: Tensor) -> str:
    return f"{images.shape[-2]}x{images.shape[-1]}"
