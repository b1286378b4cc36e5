"""Commands that gather statistics and merge them: ``statistics`` and ``merge``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from fpigauss.cli._command import (
    ForceFlag,
    LabelsArgument,
    LatentsArgument,
    MemoryLimit,
    YName,
    ZName,
)
from fpigauss.cli._inputs import SAVED, check_out, reading, statistics_of
from fpigauss.cli._session import Session
from fpigauss.cli._tables import writing
from fpigauss.errors import InvalidInputError
from fpigauss.statistics import ClassStatistics

__all__ = ["merge", "statistics"]

_Gathered = Annotated[
    Literal["diagonal", "dense"],
    typer.Option(
        "--covariance",
        metavar="NAME",
        help="What is gathered, diagonal or dense; a fit of dense covariances needs the latter.",
    ),
]


def statistics(
    session: Session,
    latents: LatentsArgument,
    labels: LabelsArgument = None,
    *,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="STATISTICS",
            show_default=False,
            help="Where the statistics go: .npz or .safetensors.",
        ),
    ],
    covariance: _Gathered = "diagonal",
    z: ZName = None,
    y: YName = None,
    memory_limit: MemoryLimit = None,
    force: ForceFlag = False,
) -> None:
    """Gather counts, means and covariances per class in one pass, to merge or to fit from.

    What was gathered of parts of the data, on different machines even, can be merged exactly.

    For example:

        fpigauss statistics part_0.parquet --out part_0.npz
    """
    check_out(out, SAVED, force=force, reads=[latents, labels])
    names = reading(z, y, memory_limit)
    found = statistics_of(session, latents, labels, covariance=covariance, **names)
    _saved(session, found, out)


def merge(
    session: Session,
    parts: Annotated[
        list[str],
        typer.Argument(metavar="STATISTICS...", show_default=False, help="Files of statistics."),
    ],
    *,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="STATISTICS",
            show_default=False,
            help="Where their merge goes: .npz or .safetensors.",
        ),
    ],
    force: ForceFlag = False,
) -> None:
    """Merge the statistics of parts of the data; the result equals that of one pass.

    The parts have the same dimensions and covariances; a class may be in some of them only.

    For example:

        fpigauss merge part_0.npz part_1.npz --out all.npz
    """
    check_out(out, SAVED, force=force)
    _check_parts(session, parts, out)
    total = ClassStatistics.load(parts[0])
    for part in parts[1:]:
        try:
            total = total.merge(ClassStatistics.load(part))
        except InvalidInputError as error:
            raise InvalidInputError(f"{part}: {error}") from error
    _saved(session, total, out)


def _check_parts(session: Session, parts: Sequence[str], out: str) -> None:
    """Raise if a part is passed twice, under any name; note if the merge takes the place of one."""
    files = [Path(part).resolve() for part in parts]
    for i, part in enumerate(parts):
        if files[i] in files[:i]:
            raise InvalidInputError(
                f"{part} is passed twice, and its rows would count twice; pass each part once"
            )
    if Path(out).resolve() in files:
        session.note(f"{out} is one of the parts: merging these again would count the others twice")


def _saved(session: Session, found: ClassStatistics, out: str) -> None:
    with writing(out):
        found.save(out)
    session.report(
        {
            "rows": round(float(np.sum(found.counts))),
            "classes": found.n_classes,
            "dimensions": found.dim,
            "covariances": found.covariance,
            "statistics": out,
        }
    )
