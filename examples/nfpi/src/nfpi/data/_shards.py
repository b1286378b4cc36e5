"""Read WebDataset shards: tar files of NAME.png and NAME.cls.

Shards are indexed first and pictures read when they are decoded, so that compressed images need
not fit in memory next to the decoded ones, as they would in a list from webdataset's own stream.
"""

import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from fpigauss import InvalidInputError

from nfpi.data._pictures import SUFFIXES, read_pictures
from nfpi.data.image_set import ImageSet

__all__ = ["is_shards", "read_shards"]


class _Member(NamedTuple):
    """The position of a file in a shard, which need not stay open: there may be thousands."""

    shard: Path
    name: str
    start: int
    size: int

    def __str__(self) -> str:
        """Return the name for messages."""
        return f"{self.shard}: {self.name}"


class _Sample(NamedTuple):
    """A picture and its class."""

    picture: _Member
    label: int


def is_shards(folder: Path) -> bool:
    """Return whether there are training shards."""
    return bool(_shards(folder, "train"))


def read_shards(folder: Path, size: int | None, progress: bool) -> tuple[ImageSet, ImageSet]:
    """Read both parts; the classes are 0 to the largest label in train."""
    held_out = _shards(folder, "val") or _shards(folder, "test")
    if not held_out:
        raise InvalidInputError(
            f"{folder} has shards *train*.tar, but neither *val*.tar nor *test*.tar"
        )
    train = _read(_shards(folder, "train"), None, size, progress, f"{folder} (train)")
    return train, _read(held_out, train.n_classes, size, progress, f"{folder} (held out)")


def _shards(folder: Path, word: str) -> list[Path]:
    """List the shards of a part, and refuse gaps in their numbers."""
    paths = sorted(path for path in folder.glob("*.tar") if _part(path) == word)
    numbers = sorted(int(digits[-1]) for path in paths if (digits := re.findall(r"\d+", path.stem)))
    if len(numbers) == len(paths) > 0:
        absent = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
        if absent:
            raise InvalidInputError(
                f"{folder}: of the {word} shards {numbers[0]}..{numbers[-1]} number {absent[0]} "
                "is missing; get it, or number those that are there without gaps"
            )
    return paths


def _part(path: Path) -> str | None:
    return next((word for word in ("train", "val", "test") if word in path.name), None)


def _read(
    paths: list[Path], n_classes: int | None, size: int | None, progress: bool, name: str
) -> ImageSet:
    samples = [sample for path in paths for sample in _samples(path)]
    if not samples:
        raise InvalidInputError(f"{name}: {paths[0].name} and the like hold no samples")
    labels = [sample.label for sample in samples]
    limit = max(labels) + 1 if n_classes is None else n_classes
    for sample in samples:
        if not 0 <= sample.label < limit:
            raise InvalidInputError(
                f"{sample.picture}: class {sample.label} is outside 0..{limit - 1}; "
                "number the classes from 0, those of held-out shards as in training"
            )
    images = read_pictures(
        [str(sample.picture) for sample in samples],
        lambda i: _bytes(samples[i].picture),
        size,
        progress,
    )
    return ImageSet(images, torch.tensor(labels), limit, name)


def _samples(path: Path) -> list[_Sample]:
    """Group members into samples by their path up to the first dot of the file name."""
    try:
        # "r:" refuses compression, because members are read in any order
        with tarfile.open(path, "r:") as shard:
            members = [
                _Member(path, member.name, member.offset_data, member.size)
                for member in shard
                if member.isfile()
            ]
    except OSError as error:  # from the system: the file itself may be fine
        raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise InvalidInputError(
            f"{path} cannot be read as tar, it is truncated or damaged: {error}; get it again"
        ) from error
    groups: dict[str, dict[str, _Member]] = {}
    for member in members:
        whole = PurePosixPath(member.name)
        stem, _, suffix = whole.name.partition(".")
        if stem:
            groups.setdefault(str(whole.parent / stem), {})[f".{suffix.lower()}"] = member
    return [_sample(f"{path}: {key}", parts) for key, parts in groups.items()]


def _sample(name: str, parts: dict[str, _Member]) -> _Sample:
    picture = next((parts[suffix] for suffix in SUFFIXES if suffix in parts), None)
    if picture is None or ".cls" not in parts:
        raise InvalidInputError(
            f"{name} has {', '.join(sorted(parts))}; a picture ({', '.join(SUFFIXES)}) and its "
            "class (.cls) are expected"
        )
    text = _bytes(parts[".cls"]).strip()
    try:
        return _Sample(picture, int(text))
    except ValueError:
        raise InvalidInputError(
            f"{name}.cls holds {text[:20]!r}; the number of a class is expected"
        ) from None


def _bytes(member: _Member) -> bytes:
    try:
        with member.shard.open("rb") as shard:
            shard.seek(member.start)
            content = shard.read(member.size)
    except OSError as error:
        raise InvalidInputError(f"{member} cannot be read: {error.strerror or error}") from error
    if len(content) != member.size:
        raise InvalidInputError(f"{member} is cut short; get the shard again")
    return content
