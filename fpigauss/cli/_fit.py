"""Commands that fit: ``fit`` and ``path``."""

from typing import Annotated, Any

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
from fpigauss.cli._inputs import (
    SAVED,
    check_labels,
    check_out,
    held_in_memory,
    reading,
    statistics_of,
)
from fpigauss.cli._options import APART, given_options
from fpigauss.cli._outcome import NOT_MET
from fpigauss.cli._session import Session
from fpigauss.cli._tables import opened_table, writing
from fpigauss.divergence import smallest_kld
from fpigauss.errors import InvalidInputError
from fpigauss.fit import FixedPoint, LamPath, solve_separated
from fpigauss.fit._lam_path import checked_lams, path_over
from fpigauss.fit._separation import separation_of

__all__ = ["fit", "path"]


def fit(
    session: Session,
    latents: LatentsArgument,
    labels: LabelsArgument = None,
    *,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="GAUSSIANS",
            show_default=False,
            help="Where the Gaussians go: .npz, or .safetensors with metadata in JSON.",
        ),
    ],
    separation: Annotated[
        float | None,
        typer.Option(
            "--separation",
            "-s",
            metavar="NATS",
            show_default=False,
            rich_help_panel=APART,
            help="How far apart the closest two classes should be, in nats of KLD; lam is found.",
        ),
    ] = None,
    max_overlap: Annotated[
        float | None,
        typer.Option(
            "--max-overlap",
            metavar="NUMBER",
            show_default=False,
            rich_help_panel=APART,
            help="The largest overlap of two classes, a number in (0, 1].",
        ),
    ] = None,
    per_dim: Annotated[
        float | None,
        typer.Option(
            "--per-dim",
            metavar="NATS",
            show_default=False,
            rich_help_panel=APART,
            help="The separation in nats per dimension.",
        ),
    ] = None,
    z: ZName = None,
    y: YName = None,
    memory_limit: MemoryLimit = None,
    force: ForceFlag = False,
    **options: Any,
) -> int:
    """Fit one Gaussian per class, as far apart as asked, or pushed apart by a given lam.

    LATENTS may also be a file of statistics, which fpigauss statistics and merge write. The exit
    code is 1 if the fit did not converge (what it reached is written) or no lam separates the
    classes as asked (nothing is written).

    For example:

        fpigauss fit z.npy y.npy --separation 150 --out gaussians.npz

        fpigauss fit train.parquet --lam 50 --tied --covariance isotropic --out g.safetensors
    """
    check_out(out, SAVED, force=force, reads=[latents, labels])
    options |= {"memory_limit": memory_limit}
    targets: dict[str, Any] = {
        "min_kld": separation,
        "max_overlap": max_overlap,
        "per_dim": per_dim,
    }
    given = given_options(options) | {"progress": session.progress}
    _check_one_target(targets, given.get("lam"))
    fixed_point = FixedPoint(**given)  # checked before anything is read
    found = statistics_of(
        session,
        latents,
        labels,
        covariance=_gathered_for(fixed_point),
        **reading(z, y, memory_limit),
    )
    check_labels(found, latents)
    figures: dict[str, Any] = {}
    if "lam" in given:
        result = fixed_point.solve(found)
    else:
        separated = solve_separated(found, **targets, **given)
        result = separated.result
        figures = {"fits": len(separated.path)}
    with writing(out):
        result.gaussians.save(out)
    session.report(
        {
            "status": str(result.status),
            "lam": result.lam,
            "smallest KLD": smallest_kld(result.gaussians),
            "classes": result.gaussians.n_classes,
            "dimensions": result.gaussians.dim,
            "rows": round(float(np.sum(found.counts))),
            "evaluations": result.n_iter,
            "residual": result.residual,
            **figures,
            "gaussians": out,
        }
    )
    return 0 if result.converged else NOT_MET


def _check_one_target(targets: dict[str, Any], lam: float | None) -> None:
    """Raise unless just one of lam and the targets is given, with a value that can be used."""
    given = [name for name, value in targets.items() if value is not None]
    if lam is not None and given:
        raise InvalidInputError(
            "--lam is given beside a separation, which finds a lam; leave out one of the two"
        )
    if lam is None and not given:
        raise InvalidInputError(
            "neither a separation nor lam is given; pass --separation NATS (50, say), or --lam"
        )
    if given:
        separation_of(targets)


def _gathered_for(fixed_point: FixedPoint) -> str:
    return "dense" if fixed_point.strategies.family.needs_dense else "diagonal"


def path(
    session: Session,
    latents: LatentsArgument,
    labels: LabelsArgument = None,
    *,
    lams: Annotated[
        str | None,
        typer.Option(
            "--lams",
            metavar="L1,L2,...",
            show_default=False,
            help="The lam to fit at, separated by commas; by default a grid that suits the data.",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation",
            metavar="LATENTS",
            show_default=False,
            help="Held-out rows, to measure accuracy, log-loss and calibration on.",
        ),
    ] = None,
    validation_labels: Annotated[
        str | None,
        typer.Option(
            "--validation-labels",
            metavar="LABELS",
            show_default=False,
            help="Their labels, if they are in a file of their own.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="TABLE",
            show_default=False,
            help="Where the table goes: .parquet or .csv; csv on stdout by default.",
        ),
    ] = None,
    z: ZName = None,
    y: YName = None,
    memory_limit: MemoryLimit = None,
    force: ForceFlag = False,
    **options: Any,
) -> int:
    """Fit at many lam, and print what each gives: choose a separation by it.

    Each row has lam, how the fit ended, the two parts of the objective, the smallest and the median
    KLD, the largest overlap and, with validation, accuracy, log-loss (nll) and calibration error
    (ece). The exit code is 1 if a fit did not converge.

    For example:

        fpigauss path z.npy y.npy --tied --validation held_out.npz --out path.csv

        fpigauss plot path.csv --out path.png
    """
    if out is not None:
        reads = [latents, labels, validation, validation_labels]
        check_out(out, (".parquet", ".csv"), force=force, reads=reads)
    grid = checked_lams(None if lams is None else _numbers(lams))
    given = given_options(options | {"memory_limit": memory_limit})
    fixed_point = FixedPoint(**given, progress=session.progress)
    fixed_point.check_start()
    names = reading(z, y, memory_limit)
    found = statistics_of(session, latents, labels, covariance=_gathered_for(fixed_point), **names)
    check_labels(found, latents)
    held_out = None
    if validation is not None:
        names["memory_limit"] = fixed_point.memory_limit
        held_out = held_in_memory(session, validation, validation_labels, **names)
    result = path_over(found, fixed_point, grid, held_out)
    with opened_table(out, session, array="lam") as table:
        table.write(result.columns())
    if out is not None:
        session.report({"fits": len(result), "converged": _n_converged(result), "table": out})
    return 0 if _n_converged(result) == len(result) else NOT_MET


def _n_converged(result: LamPath) -> int:
    return int(np.sum(result.status == "converged"))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidInputError(
            f"--lams is {text}; pass numbers separated by commas, 0,10,100"
        ) from None
