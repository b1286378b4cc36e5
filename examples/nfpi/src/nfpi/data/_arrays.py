"""Read images stored as arrays: scikit-learn's digits, and npz files."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from fpigauss import InvalidInputError
from torch import Tensor

from nfpi.data.image_set import ImageSet, stratified_split

__all__ = ["read_digits", "read_npz"]

#: Seeds the split of data that come without one.
_SPLIT_SEED = 0


def read_digits() -> tuple[ImageSet, ImageSet]:
    """Read scikit-learn's 1,797 digits of 8x8 pixels, four fifths to train on.

    Their 17 gray levels are spread 15 apart, plus seeded noise in between, so that a density over
    them has no spikes.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    rng = np.random.default_rng(_SPLIT_SEED)
    gray = 15 * digits.images.astype(np.uint8)[:, None]  # (1797, 1, 8, 8), 0..240
    gray = gray + rng.integers(0, 15, gray.shape, dtype=np.uint8)
    images, labels = torch.from_numpy(gray), torch.from_numpy(digits.target.astype(np.int64))
    return _split(ImageSet(images, labels, 10, "digits"), round(0.8 * len(labels)))


def read_npz(path: Path) -> tuple[ImageSet, ImageSet]:
    """Read an npz file with x_train, y_train, x_test, y_test, or with x and y, split 6 to 1.

    In the former, family_train is read too if it is there.
    """
    arrays = _arrays(path)
    if "x_train" in arrays:
        y_train = _labels(arrays["y_train"], f"{path}: y_train")
        n_classes = int(y_train.max()) + 1 if len(y_train) else 0
        train = ImageSet(
            _images(arrays["x_train"], f"{path}: x_train"), y_train, n_classes, f"{path} (train)",
            _labels(arrays["family_train"], f"{path}: family_train")
            if "family_train" in arrays
            else None,
        )  # fmt: skip
        test = ImageSet(
            _images(arrays["x_test"], f"{path}: x_test"),
            _labels(arrays["y_test"], f"{path}: y_test"),
            n_classes,
            f"{path} (test)",
        )
        return train, test
    labels = _labels(arrays["y"], f"{path}: y")
    n_classes = int(labels.max()) + 1 if len(labels) else 0
    everything = ImageSet(_images(arrays["x"], f"{path}: x"), labels, n_classes, str(path))
    return _split(everything, round(len(labels) * 6 / 7))


def _split(everything: ImageSet, n_train: int) -> tuple[ImageSet, ImageSet]:
    n_classes = everything.checked_classes().n_classes
    if not n_classes <= n_train < len(everything):
        raise InvalidInputError(
            f"{everything.name}: {len(everything)} images of {n_classes} classes are too few to be "
            "split; give the file x_train, y_train, x_test and y_test"
        )
    train, test = stratified_split(everything.labels, n_train, _SPLIT_SEED)
    return everything.subset(train), everything.subset(test)


def _arrays(path: Path) -> dict[str, Any]:
    """Read the arrays under one of the two known sets of names."""
    try:
        # opened here because numpy does not close files it cannot read
        with path.open("rb") as content:
            file = np.load(content, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise InvalidInputError(f"{path} holds a single array; pass an npz file")
            for names in (("x_train", "y_train", "x_test", "y_test"), ("x", "y")):
                if set(names) <= set(file.files):
                    others = {"family_train"} & set(file.files) if "x_train" in names else ()
                    return {name: file[name] for name in (*names, *others)}
            found = ", ".join(file.files) or "nothing"
    # RuntimeError: a damaged byte can request zip features such as encryption
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InvalidInputError):
            raise
        if "Object arrays" in str(error):
            raise InvalidInputError(
                f"{path} contains Python objects; save images as uint8 arrays and labels as "
                "integers"
            ) from error
        raise InvalidInputError(
            f"{path} cannot be read as npz, it is truncated or damaged: {error}; get it again"
        ) from error
    raise InvalidInputError(
        f"{path} holds {found}; x_train, y_train, x_test, y_test, or x and y are expected"
    )


def _images(array: Any, name: str) -> Tensor:
    """Return (N, H, W), (N, H, W, C) or (N, C, H, W) as (N, C, H, W)."""
    shape = array.shape
    if array.dtype != np.uint8 or len(shape) not in (3, 4):
        raise InvalidInputError(
            f"{name} is {array.dtype} of shape {shape}; uint8 images are expected, 0..255, "
            "of shape (N, H, W), (N, H, W, C) or (N, C, H, W)"
            + ("; multiply values in [0, 1] by 255 and round" if array.dtype.kind == "f" else "")
        )
    if len(shape) == 3:
        array = array[:, None]
    elif shape[3] in (1, 3):
        array = np.ascontiguousarray(rearrange(array, "n h w c -> n c h w"))
    return torch.from_numpy(array)


def _labels(array: Any, name: str) -> Tensor:
    """Return (N,) or (N, 1) integers as (N,)."""
    if (
        array.dtype.kind not in "iu"
        or array.ndim not in (1, 2)
        or array.shape[1:] not in ((), (1,))
    ):
        raise InvalidInputError(
            f"{name} is {array.dtype} of shape {array.shape}; integers 0..K-1 are expected, "
            "of shape (N,)"
            + (
                "; numpy.unique(y, return_inverse=True)[1] numbers words"
                if array.dtype.kind == "U"
                else ""
            )
        )
    return torch.from_numpy(array.reshape(-1).astype(np.int64))
