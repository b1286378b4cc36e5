"""WebDataset shards: tar files of NAME.png and NAME.cls."""

import re
import tarfile
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch

from fpigauss import InvalidInputError
from nfpi.data._pictures import SUFFIXES, read_pictures
from nfpi.data.image_set import ImageSet

__all__ = ["is_shards", "read_shards"]


class _Sample(NamedTuple):
    """Where a picture is, and its class."""

    name: str
    shard: tarfile.TarFile
    picture: tarfile.TarInfo
    label: int


def is_shards(folder: Path) -> bool:
    """Whether there are shards to train on."""
    return bool(_shards(folder, "train"))


def read_shards(folder: Path, size: int | None, progress: bool) -> tuple[ImageSet, ImageSet]:
    """Classes are 0 to the largest of train."""
    held_out = _shards(folder, "val") or _shards(folder, "test")
    if not held_out:
        raise InvalidInputError(
            f"{folder} has shards *train*.tar, but neither *val*.tar nor *test*.tar"
        )
    train = _read(_shards(folder, "train"), None, size, progress, f"{folder} (train)")
    return train, _read(held_out, train.n_classes, size, progress, f"{folder} (held out)")


def _shards(folder: Path, word: str) -> list[Path]:
    """The shards of a part, none of them missing by its number."""
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
    with ExitStack() as stack:
        samples = [sample for path in paths for sample in _samples(path, stack)]
        if not samples:
            raise InvalidInputError(f"{name}: {paths[0].name} and the like hold no samples")
        labels = [sample.label for sample in samples]
        limit = max(labels) + 1 if n_classes is None else n_classes
        for sample in samples:
            if not 0 <= sample.label < limit:
                raise InvalidInputError(
                    f"{sample.name}: class {sample.label} is outside 0..{limit - 1}; "
                    "number the classes from 0, those of held-out shards as in training"
                )
        images = read_pictures(
            [sample.name for sample in samples], lambda i: _bytes(*samples[i][:3]), size, progress
        )
    return ImageSet(images, torch.tensor(labels), limit, name)


def _samples(path: Path, stack: ExitStack) -> list[_Sample]:
    """Members that share all of their name up to the last part's first dot are one sample."""
    try:
        # "r:": not compressed, as members are read in any order
        shard = stack.enter_context(tarfile.open(path, "r:"))
        members = [member for member in shard.getmembers() if member.isfile()]
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise InvalidInputError(
            f"{path} cannot be read as tar, it is truncated or damaged: {error}; get it again"
        ) from error
    groups: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in members:
        whole = PurePosixPath(member.name)
        stem, _, suffix = whole.name.partition(".")
        if stem:
            groups.setdefault(str(whole.parent / stem), {})[f".{suffix.lower()}"] = member
    return [_sample(path, shard, key, parts) for key, parts in groups.items()]


def _sample(
    path: Path, shard: tarfile.TarFile, key: str, parts: dict[str, tarfile.TarInfo]
) -> _Sample:
    name = f"{path}: {key}"
    picture = next((parts[suffix] for suffix in SUFFIXES if suffix in parts), None)
    if picture is None or ".cls" not in parts:
        raise InvalidInputError(
            f"{name} has {', '.join(sorted(parts))}; a picture ({', '.join(SUFFIXES)}) and its "
            "class (.cls) are expected"
        )
    text = _bytes(f"{name}.cls", shard, parts[".cls"]).strip()
    try:
        return _Sample(name, shard, picture, int(text))
    except ValueError:
        raise InvalidInputError(
            f"{name}.cls holds {text[:20]!r}; the number of a class is expected"
        ) from None


def _bytes(name: str, shard: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        file = shard.extractfile(member)
        content = b"" if file is None else file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InvalidInputError(f"{name} cannot be read: {error}; get the shard again") from error
    if len(content) != member.size:
        raise InvalidInputError(f"{name} is cut short; get the shard again")
    return content
