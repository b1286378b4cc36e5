"""Files that commands read and write: what is ours, data in batches, what may be written."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fpigauss import Latents, open_latents
from fpigauss._array.files import kind_of
from fpigauss.cli._session import Session
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians
from fpigauss.latents._faults import listed_names
from fpigauss.statistics import ClassStatistics

__all__ = [
    "SAVED",
    "Batches",
    "background_in",
    "check_alone",
    "check_labels",
    "check_out",
    "held_in_memory",
    "latents_to_score",
    "reading",
    "saved",
    "statistics_of",
    "there",
]

#: What Gaussians and statistics are saved as.
SAVED = (".npz", ".safetensors")

_KINDS: dict[str, type[ClassGaussians] | type[ClassStatistics]] = {
    "ClassGaussians": ClassGaussians,
    "ClassStatistics": ClassStatistics,
}


def check_out(
    out: str,
    endings: Sequence[str],
    *,
    force: bool,
    name: str = "--out",
    reads: Sequence[str | None] = (),
) -> None:
    """Refuse, before any work, to write to a path that cannot or should not be written to.

    That is also a path of ``reads``, the data of the command, whatever ``force`` says.
    """
    path = Path(out)
    if path.suffix.lower() not in endings:
        raise InvalidInputError(f"{name} is {out}; pass a path that ends in {_listed(endings)}")
    if path.is_dir():
        raise InvalidInputError(f"{name} is {out}, a folder; pass the path of a file")
    if not path.absolute().parent.is_dir():
        raise InvalidInputError(
            f"{name} is {out}, but the folder {path.parent} does not exist; make it first"
        )
    if path.exists() and not force:
        raise InvalidInputError(f"{out} exists; pass --force to replace it, or another {name}")
    if any(data and Path(data).exists() and path.samefile(data) for data in reads if path.exists()):
        raise InvalidInputError(f"{out} contains the data that is read; pass another {name}")


def _listed(endings: Sequence[str]) -> str:
    return " or ".join([", ".join(endings[:-1]), endings[-1]]) if endings[1:] else endings[0]


def saved(path: str) -> ClassGaussians | ClassStatistics | None:
    """Load Gaussians or statistics; None if a file is neither."""
    if not Path(path).is_file():
        return None
    kind = _KINDS.get(str(kind_of(path)))
    return None if kind is None else kind.load(path)


def reading(z: Any, y: str | None, memory_limit: int | None) -> dict[str, Any]:
    """Return the arguments of open_latents that are given."""
    named = {"z": z, "y": y, "memory_limit": memory_limit}
    return {name: value for name, value in named.items() if value is not None}


class Batches:
    """Batches (z, y) of opened latents, read with a bar or notes, which know where they lie."""

    def __init__(self, session: Session, latents: Latents, path: str) -> None:
        self._session, self._latents, self._path = session, latents, path
        self._first: int | None = None

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Read the batches from the first."""
        first = 0
        for z, y in self._session.read(self._latents, self._latents.n_rows, self._path):
            self._first = first  # whatever is raised now is about these rows
            yield z, y
            self._first = None
            first += len(z)

    @contextmanager
    def located(self) -> Iterator[None]:
        """Count the rows that errors name from the first of the file, not of a batch."""
        try:
            yield
        except InvalidInputError as error:
            if self._first is None:  # what readers raise says where
                raise
            first, text = self._first, re.sub(r"^batch \d+: ", "", str(error))
            text = re.sub(r"\brow (\d+)", lambda found: f"row {first + int(found[1])}", text)
            raise InvalidInputError(f"{self._path}: {text}") from error


def statistics_of(
    session: Session,
    path: str,
    labels: str | None,
    *,
    covariance: str = "diagonal",
    **names: Any,
) -> ClassStatistics:
    """Load statistics, or gather those of labeled latents in one pass."""
    found = saved(path)
    if isinstance(found, ClassStatistics):
        check_alone(path, labels, **names)
        return found
    if isinstance(found, ClassGaussians):
        raise InvalidInputError(f"{path} contains Gaussians; pass latents, or their statistics")
    latents = open_latents(path, labels, **names)
    if not latents.has_labels:
        raise InvalidInputError(
            f"{path} has no labels{there(latents)}; pass a file of labels after it, or their name, "
            "--y NAME"
        )
    batches = Batches(session, latents, path)
    with batches.located():
        return ClassStatistics.from_batches(batches, covariance=covariance)


def check_alone(path: str, labels: str | None, *, z: Any = None, y: Any = None, **_: Any) -> None:
    """Raise if labels or names are passed with a file of ours, which has no use for them."""
    given = {"LABELS": labels, "--z": z, "--y": y}
    for name, value in given.items():
        if value is not None:
            raise InvalidInputError(
                f"{path} contains Gaussians or statistics, not latents; leave out {name}, or pass "
                "the latents"
            )


def check_labels(statistics: ClassStatistics, path: str) -> None:
    """Raise if labels tell rows apart, not classes."""
    if float(np.max(statistics.counts)) <= 1.0:
        raise InvalidInputError(
            f"{path} has {statistics.n_classes} classes, each with one row; pass labels that rows "
            "of a class share"
        )


def latents_to_score(
    session: Session, gaussians: ClassGaussians, path: str, labels: str | None = None, **names: Any
) -> tuple[Latents, Batches]:
    """Open latents that must be as wide as Gaussians; return them and their batches."""
    latents = open_latents(path, labels, **names)
    if latents.dim != gaussians.dim:
        raise InvalidInputError(
            f"{path} has {latents.dim} dimensions, but the Gaussians have {gaussians.dim}; "
            "pass latents of the space that they were fitted in"
        )
    return latents, Batches(session, latents, path)


def there(latents: Latents) -> str:
    """Say which arrays or columns lie in a file where labels are missed."""
    return f" (it contains {listed_names(latents.names)})" if latents.names else ""


def background_in(session: Session, path: str, **names: Any) -> ClassGaussians | ClassStatistics:
    """Load statistics or one Gaussian, or gather all rows of a file, dense, as of one class."""
    found = saved(path)
    if found is not None:
        return found
    latents = open_latents(path, **names)
    batches = Batches(session, latents, path)
    as_one = ((z, np.zeros(len(z), dtype=np.int64)) for z, _ in batches)
    with batches.located():
        return ClassStatistics.from_batches(as_one, covariance="dense")


def held_in_memory(
    session: Session, path: str, labels: str | None, memory_limit: int, **names: Any
) -> tuple[Any, Any]:
    """Read held-out latents and labels whole, if they fit into the memory limit."""
    latents = open_latents(path, labels, memory_limit=memory_limit, **names)
    if not latents.has_labels:
        raise InvalidInputError(
            f"{path} has no labels{there(latents)}; pass held-out rows with labels"
        )
    rows, targets, n_bytes, n_rows = [], [], 0, 0
    for z, y in Batches(session, latents, path):
        wrong = np.flatnonzero(~np.isfinite(z).all(axis=1))
        if len(wrong):
            raise InvalidInputError(
                f"{path}: z contains NaN or infinity in row {n_rows + wrong[0]}; drop or repair "
                "the row"
            )
        n_rows += len(z)
        rows.append(z)
        targets.append(y)
        n_bytes += z.nbytes
        if n_bytes > memory_limit:
            raise InvalidInputError(
                f"{path} takes more than the {memory_limit} bytes of --memory-limit; pass fewer "
                "held-out rows, or a larger limit"
            )
    return np.concatenate(rows), np.concatenate(targets)
