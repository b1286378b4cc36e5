"""Files that commands read and write: what is ours, data in batches, what may be written."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fpigauss import open_latents
from fpigauss._array.files import kind_of
from fpigauss.cli._session import Session
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians
from fpigauss.statistics import ClassStatistics

__all__ = [
    "SAVED",
    "batches_of",
    "check_labels",
    "check_out",
    "held_in_memory",
    "latents_to_score",
    "latents_without_labels",
    "saved",
    "statistics_of",
]

#: What Gaussians and statistics are saved as.
SAVED = (".npz", ".safetensors")

_KINDS: dict[str, type[ClassGaussians] | type[ClassStatistics]] = {
    "ClassGaussians": ClassGaussians,
    "ClassStatistics": ClassStatistics,
}


def check_out(out: str, endings: Sequence[str], *, force: bool) -> None:
    """Refuse, before any work, to write to a path that cannot or should not be written to."""
    path = Path(out)
    if path.suffix.lower() not in endings:
        raise InvalidInputError(f"--out is {out}; pass a path that ends in {_listed(endings)}")
    if path.is_dir():
        raise InvalidInputError(f"--out is {out}, a folder; pass the path of a file")
    if not path.absolute().parent.is_dir():
        raise InvalidInputError(
            f"--out is {out}, but the folder {path.parent} does not exist; make it first"
        )
    if path.exists() and not force:
        raise InvalidInputError(f"{out} exists; pass --force to replace it, or another --out")


def _listed(endings: Sequence[str]) -> str:
    return " or ".join([", ".join(endings[:-1]), endings[-1]]) if endings[1:] else endings[0]


def saved(path: str) -> ClassGaussians | ClassStatistics | None:
    """Load Gaussians or statistics; None if a file is neither."""
    if not Path(path).is_file():
        return None
    kind = _KINDS.get(str(kind_of(path)))
    return None if kind is None else kind.load(path)


def batches_of(session: Session, latents: Any, path: str) -> Iterator[tuple[Any, Any]]:
    """Yield batches of opened latents, with a bar or a note."""
    return session.read(latents, latents.n_rows, path)


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
        return found
    if isinstance(found, ClassGaussians):
        raise InvalidInputError(f"{path} contains Gaussians; pass latents, or their statistics")
    latents = open_latents(path, labels, **names)
    if not latents.has_labels:
        raise InvalidInputError(
            f"{path} has no labels; pass a file of labels after it, or their name, --y NAME"
        )
    return ClassStatistics.from_batches(batches_of(session, latents, path), covariance=covariance)


def check_labels(statistics: ClassStatistics, path: str) -> None:
    """Raise if labels tell rows apart, not classes."""
    if float(np.max(statistics.counts)) <= 1.0:
        raise InvalidInputError(
            f"{path} has {statistics.n_classes} classes, each with one row; pass labels that rows "
            "of a class share"
        )


def latents_to_score(
    session: Session, gaussians: ClassGaussians, path: str, labels: str | None = None, **names: Any
) -> tuple[Any, Iterator[tuple[Any, Any]]]:
    """Open latents that must be as wide as Gaussians; return them and their batches."""
    latents = open_latents(path, labels, **names)
    if latents.dim != gaussians.dim:
        raise InvalidInputError(
            f"{path} has {latents.dim} dimensions, but the Gaussians have {gaussians.dim}; "
            "pass latents of the space that they were fitted in"
        )
    return latents, batches_of(session, latents, path)


def latents_without_labels(session: Session, path: str, **names: Any) -> ClassStatistics:
    """Load statistics, or gather those of all rows of a file together, dense, as of one class."""
    found = saved(path)
    if isinstance(found, ClassStatistics):
        return found
    latents = open_latents(path, **names)
    batches = batches_of(session, latents, path)
    as_one = ((z, np.zeros(len(z), dtype=np.int64)) for z, _ in batches)
    return ClassStatistics.from_batches(as_one, covariance="dense")


def held_in_memory(
    session: Session, path: str, labels: str | None, memory_limit: int, **names: Any
) -> tuple[Any, Any]:
    """Read held-out latents and labels whole, if they fit into the memory limit."""
    latents = open_latents(path, labels, memory_limit=memory_limit, **names)
    if not latents.has_labels:
        raise InvalidInputError(f"{path} has no labels; pass held-out rows with labels")
    rows, targets, n_bytes = [], [], 0
    for z, y in batches_of(session, latents, path):
        rows.append(z)
        targets.append(y)
        n_bytes += z.nbytes
        if n_bytes > memory_limit:
            raise InvalidInputError(
                f"{path} takes more than the {memory_limit} bytes of --memory-limit; pass fewer "
                "held-out rows, or a larger limit"
            )
    return np.concatenate(rows), np.concatenate(targets)
