"""Commands that look at files or convert them: ``info``, ``plot`` and ``convert``."""

import io
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from fpigauss import open_latents
from fpigauss._array.files import replaced
from fpigauss.cli._command import ForceFlag, LabelsArgument, YName, ZName
from fpigauss.cli._inputs import SAVED, Batches, check_alone, check_out, saved, there
from fpigauss.cli._session import Session
from fpigauss.cli._tables import TABLES, opened_table, writing
from fpigauss.divergence import smallest_kld
from fpigauss.errors import InvalidInputError
from fpigauss.fit import LamPath
from fpigauss.gaussians import ClassGaussians
from fpigauss.overlap import largest_log_overlap
from fpigauss.statistics import ClassStatistics

__all__ = ["convert", "info", "plot"]

_PICTURES = (".png", ".pdf", ".svg")
#: Rows that are drawn beside ellipses at most.
_MOST_POINTS = 5000
#: Classes that are listed at most.
_MOST_LISTED = 20
#: The columns of a path, and those that it has only with validation data.
_COLUMNS = {field.name for field in fields(LamPath)} - {"gaussians"}
_ON_VALIDATION = {"accuracy", "nll", "ece"}
#: Characters of the first line of a path, several times what there are.
_LONGEST_HEADER = 1000

_File = Annotated[
    str,
    typer.Argument(
        metavar="FILE", show_default=False, help="Gaussians, statistics, or latents of any format."
    ),
]


def info(
    session: Session,
    file: _File,
    labels: LabelsArgument = None,
    *,
    z: ZName = None,
    y: YName = None,
) -> None:
    """Say what is in a file: Gaussians, statistics, a path, or latents with or without labels.

    Latents are read once, in batches.

    For example:

        fpigauss info gaussians.npz

        fpigauss info train.parquet --y species
    """
    found = saved(file)
    if found is not None:
        check_alone(file, labels, z=z, y=y)
    if isinstance(found, ClassGaussians):
        figures = _of_gaussians(found, every=session.json)
        session.report(figures, remarks={"smallest KLD": " nats"})
    elif isinstance(found, ClassStatistics):
        session.report(_of_statistics(found, every=session.json))
    elif labels is None and z is None and y is None and _has_path(file):
        ends = " (at the first and the last lam)"
        session.report(_of_path(_path_in(file)), remarks={"smallest KLD": f" nats{ends}"})
    else:
        _report_latents(session, file, labels, z=z, y=y)


def _of_gaussians(found: ClassGaussians, *, every: bool) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "contents": "Gaussians",
        "classes": found.n_classes,
        "dimensions": found.dim,
        "covariance": found.family.name,
        "tied": found.tied,
        "labels": _listed(found.classes.tolist(), every=every),
    }
    if found.counts is not None:
        figures["rows"] = round(float(np.sum(found.counts)))
    if found.n_classes > 1:
        figures["smallest KLD"] = smallest_kld(found)
        figures["largest overlap"] = float(np.exp(largest_log_overlap(found)))
    return figures


def _of_statistics(found: ClassStatistics, *, every: bool) -> dict[str, Any]:
    return {
        "contents": "statistics",
        "classes": found.n_classes,
        "dimensions": found.dim,
        "covariances": found.covariance,
        "labels": _listed(found.classes.tolist(), every=every),
        "rows": round(float(np.sum(found.counts))),
        "fewest rows of a class": round(float(np.min(found.counts))),
        "most rows of a class": round(float(np.max(found.counts))),
    }


def _of_path(found: LamPath) -> dict[str, Any]:
    return {
        "contents": "path",
        "fits": len(found),
        "converged": int(np.sum(found.status == "converged")),
        "lam": found.lam[[0, -1]].tolist(),
        "smallest KLD": found.smallest_kld[[0, -1]].tolist(),
    }


def _report_latents(session: Session, file: str, labels: str | None, **names: Any) -> None:
    latents = open_latents(file, labels, **names)
    n_rows, not_finite, dtype = 0, 0, ""
    counts: Counter[Any] = Counter()
    for rows, targets in Batches(session, latents, file):
        n_rows += len(rows)
        dtype = str(rows.dtype)
        not_finite += int(np.sum(~np.isfinite(rows).all(axis=1)))
        if targets is not None:
            values, numbers = np.unique(targets, return_counts=True)
            counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    figures: dict[str, Any] = {
        "contents": "latents",
        "rows": n_rows,
        "dimensions": latents.dim,
        "dtype": dtype,
        "rows that are not finite": not_finite,
    }
    if latents.has_labels:
        figures |= {
            "classes": len(counts),
            "labels": _listed(sorted(counts), every=session.json),
            "fewest rows of a class": min(counts.values(), default=0),
            "most rows of a class": max(counts.values(), default=0),
        }
    else:
        figures["labels"] = None if session.json else "none"
    session.report(figures, remarks={} if latents.has_labels else {"labels": there(latents)})


def _listed(labels: list[Any], *, every: bool) -> list[Any]:
    if every or len(labels) <= _MOST_LISTED:
        return labels
    return [*labels[:_MOST_LISTED], "..."]


def plot(
    session: Session,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="Gaussians, or a table that fpigauss path has written (.csv, .parquet).",
        ),
    ],
    latents: Annotated[
        str | None,
        typer.Argument(
            metavar="LATENTS", show_default=False, help="Rows to draw beside the ellipses."
        ),
    ] = None,
    labels: LabelsArgument = None,
    *,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="PICTURE",
            show_default=False,
            help="Where the picture goes: .png, .pdf or .svg.",
        ),
    ],
    kind: Annotated[
        Literal["ellipses", "kld", "path"] | None,
        typer.Option(
            "--kind",
            metavar="NAME",
            show_default=False,
            help="Of Gaussians, ellipses (in a plane; the default) or kld, a map of their "
            "divergences; of a table, path, what a path of lam costs and gives.",
        ),
    ] = None,
    z: ZName = None,
    y: YName = None,
    force: ForceFlag = False,
) -> None:
    """Draw Gaussians, their divergences, or a path of lam; needs the extra plot.

    Of more than two dimensions, ellipses are drawn in the plane along which the classes part most.
    After a fit with a separation, they lie apart from rows that have stayed where they were.

    For example:

        fpigauss plot gaussians.npz train.parquet --out gaussians.png

        fpigauss plot gaussians.npz --kind kld --out kld.pdf

        fpigauss plot path.csv --out path.png
    """
    check_out(out, _PICTURES, force=force)
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise InvalidInputError('pictures need matplotlib: pip install "fpigauss[plot]"') from error
    mpl.use("Agg")
    from fpigauss.plot import GaussiansDisplay, KLDDisplay, PathDisplay

    found = saved(file)
    if kind == "path" or (kind is None and found is None):
        figure = PathDisplay.from_path(_path_in(file)).figure_
    elif not isinstance(found, ClassGaussians):
        raise InvalidInputError(
            f"{file} has no Gaussians to draw; pass a file that fpigauss fit has written"
        )
    elif kind == "kld":
        figure = KLDDisplay.from_gaussians(found).figure_
    else:
        points = _some_rows(session, latents, labels, z=z, y=y)
        figure = GaussiansDisplay.from_gaussians(found, *points).figure_
    with writing(out), replaced(out) as target:
        contents = io.BytesIO()
        figure.savefig(contents, format=Path(out).suffix[1:].lower(), dpi=150)
        target.write(contents.getvalue())
    session.report({"picture": out})


def _some_rows(
    session: Session, path: str | None, labels: str | None, **names: Any
) -> tuple[Any, Any]:
    """Read rows spread over a file, no more than can be drawn."""
    if path is None:
        return None, None
    latents = open_latents(path, labels, **names)
    rows: list[Any] = []
    targets: list[Any] = []
    every = 1 if latents.n_rows is None else max(1, latents.n_rows // _MOST_POINTS)
    first = 0
    for z, y in Batches(session, latents, path):
        kept = slice(-first % every, None, every)
        rows.append(np.array(z[kept]))
        targets += [] if y is None else [np.array(y[kept])]
        first += len(z)
    return np.concatenate(rows), np.concatenate(targets) if targets else None


def _has_path(file: str) -> bool:
    """Whether a table has the columns of a path."""
    try:
        if file.lower().endswith(".parquet"):
            from pyarrow.parquet import read_schema

            names = read_schema(file).names
        elif file.lower().endswith(".csv"):
            with Path(file).open(encoding="utf-8") as lines:
                names = lines.readline(_LONGEST_HEADER).rstrip().split(",")
        else:
            return False
    except (OSError, ValueError, ImportError):  # whoever reads it says what is wrong
        return False
    return set(names) >= _COLUMNS - _ON_VALIDATION


def _path_in(file: str) -> LamPath:
    """Read the table of a path."""
    try:
        from pyarrow import csv, parquet
    except ModuleNotFoundError as error:
        raise InvalidInputError('tables need pyarrow: pip install "fpigauss[cli]"') from error
    ending = Path(file).suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise InvalidInputError(
            f"{file} contains neither Gaussians nor the table of a path; pass what fpigauss fit or "
            "fpigauss path has written"
        )
    table = parquet.read_table(file) if ending == ".parquet" else csv.read_csv(file)
    missing = sorted(_COLUMNS - _ON_VALIDATION - set(table.column_names))
    if missing:
        raise InvalidInputError(
            f"{file} has no column {missing[0]}; pass a table that fpigauss path has written"
        )
    arrays: dict[str, Any] = {
        name: table.column(name).to_numpy() if name in table.column_names else None
        for name in _COLUMNS
    }
    return LamPath(**arrays, gaussians=(None,) * len(table))


def convert(
    session: Session,
    file: _File,
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            show_default=False,
            help="Gaussians and statistics: .npz or .safetensors; latents: .parquet, .csv, or .npy "
            "without labels.",
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", metavar="LABELS", show_default=False, help="The labels of latents."
        ),
    ] = None,
    *,
    z: ZName = None,
    y: YName = None,
    force: ForceFlag = False,
) -> None:
    """Write a file in another format: Gaussians, statistics, or latents with their labels.

    A file of safetensors has means and covariances as tensors, and family, classes and the rest as
    a JSON object in its metadata, so that anything can read it.

    For example:

        fpigauss convert gaussians.npz gaussians.safetensors

        fpigauss convert z.npy train.parquet --labels y.npy
    """
    found = saved(file)
    if found is not None:
        check_alone(file, labels, z=z, y=y)
        check_out(out, SAVED, force=force, name="OUT")
        with writing(out):
            found.save(out)
        session.report({"out": out})
        return
    check_out(out, TABLES, force=force, name="OUT", reads=[file, labels])
    latents = open_latents(file, labels, z=z, y=y)
    n_rows = 0
    with opened_table(out, session, array="embedding") as table:
        for rows, targets in Batches(session, latents, file):
            rows = rows.astype(np.uint8) if rows.dtype == np.bool_ else rows  # as tables are read
            table.write({"embedding": rows} | ({} if targets is None else {"label": targets}))
            n_rows += len(rows)
    session.report({"rows": n_rows, "out": out})
