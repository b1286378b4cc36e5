"""Read one folder per class: root/train/CLASS/NAME.png, root/val or test/CLASS/NAME.png."""

from pathlib import Path

import torch
from fpigauss import InvalidInputError

from nfpi.data._pictures import SUFFIXES, read_pictures
from nfpi.data.image_set import ImageSet

__all__ = ["is_folder", "read_folder"]


def is_folder(root: Path) -> bool:
    """Return whether there is a folder of training classes."""
    return (root / "train").is_dir()


def read_folder(root: Path, size: int | None, progress: bool) -> tuple[ImageSet, ImageSet]:
    """Read both parts; the classes are the folders of train, sorted by name."""
    held_out = next((root / name for name in ("val", "test") if (root / name).is_dir()), None)
    if held_out is None:
        raise InvalidInputError(f"{root} has train, but neither val nor test; add one of them")
    classes = _classes(root / "train")
    if not classes:
        raise InvalidInputError(
            f"{root / 'train'} has no folders; put the images of each class in one of its own"
        )
    strange = sorted(set(_classes(held_out)) - set(classes))
    if strange:
        raise InvalidInputError(
            f"{held_out / strange[0]} is a class that {root / 'train'} does not have; "
            "the same folders are expected in both"
        )
    train = _read(root / "train", classes, size, progress)
    return train, _read(held_out, classes, size, progress)


def _classes(part: Path) -> list[str]:
    return sorted(each.name for each in part.iterdir() if each.is_dir() and not _hidden(each))


def _read(part: Path, classes: list[str], size: int | None, progress: bool) -> ImageSet:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(
            path
            for path in (part / name).rglob("*")
            if path.suffix.lower() in SUFFIXES and not _hidden(path)
        )
        paths += found
        labels += [label] * len(found)
        if not found and part.name == "train":
            raise InvalidInputError(
                f"{part / name} has no {', '.join(SUFFIXES)}; every class needs one"
            )
    if not paths:
        raise InvalidInputError(
            f"{part} has no {', '.join(SUFFIXES)} in folders named as the classes of train"
        )
    images = read_pictures([str(path) for path in paths], paths.__getitem__, size, progress)
    return ImageSet(images, torch.tensor(labels), len(classes), str(part))


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")
