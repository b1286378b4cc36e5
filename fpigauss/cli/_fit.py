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
from fpigauss.cli._words import flag_of
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
            help="How far apart the closest two classes should be: their KLD in nats, met from "
            "above within 5 %; lam is found. With --tied, 50 nats are ten standard deviations.",
        ),
    ] = None,
    max_overlap: Annotated[
        float | None,
        typer.Option(
            "--max-overlap",
            metavar="NUMBER",
            show_default=False,
            rich_help_panel=APART,
            help="The largest overlap of two classes, in (0, 1]: the probability that a row of one "
            "is more likely under the other, plus the reverse.",
        ),
    ] = None,
    per_dim: Annotated[
        float | None,
        typer.Option(
            "--per-dim",
            metavar="NATS",
            show_default=False,
            rich_help_panel=APART,
            help="The separation divided by the number of dimensions, in nats.",
        ),
    ] = None,
    z: ZName = None,
    y: YName = None,
    memory_limit: MemoryLimit = None,
    force: ForceFlag = False,
    **options: Any,
) -> int:
    """Fit one Gaussian per class, as far apart as asked, or pushed apart by a given lam.

    A separation moves the Gaussians away from the rows: to classify or describe rows that stay
    where they are, take --lam 0, and --covariance dense if there are many rows per class. fpigauss
    path shows what each separation costs.

    LATENTS may also be a file of statistics, which fpigauss statistics and merge write. The exit
    code is 1 if the fit did not converge (what it reached is written) or no lam separates the
    classes as asked (nothing is written).

    For example:

        fpigauss fit z.npy y.npy --separation 150 --out gaussians.npz

        fpigauss fit z.npy y.npy --lam 0 --covariance dense --out gaussians.npz

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
        },
        remarks={"smallest KLD": " nats"},
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
    if len(given) > 1:
        raise InvalidInputError(
            f"{' and '.join(map(flag_of, given))} are given; pass only one of "
            f"{', '.join(map(flag_of, targets))}"
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

    Each row has lam; status, how the fit ended; n_iter, its evaluations; the two parts of the
    objective, likelihood (the negative log-likelihood, which grows as the fit gets worse) and
    repulsion; smallest_kld and median_kld in nats; overlap, the largest one; and with --validation
    accuracy, nll (the log-loss in nats) and ece (the calibration error). On a terminal the most
    important columns are shown, with a few digits. The exit code is 1 if a fit did not converge.

    Choose the largest separation (smallest_kld) at which accuracy and log-loss are good enough, and
    pass it to fpigauss fit --separation. Without --tied, the path ends just below the critical lam,
    where the classes have moved little.

    For example:

        fpigauss path z.npy y.npy --tied --validation held_out.npz --out path.csv

        fpigauss plot path.csv --out path.png

        fpigauss fit z.npy y.npy --separation 20 --out gaussians.npz
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
    if out is None and session.for_people:
        session.table(result.columns(), but=_DETAILS)
    else:
        with opened_table(out, session, array="lam") as table:
            table.write(result.columns())
    if out is not None:
        session.report({"fits": len(result), "converged": _n_converged(result), "table": out})
    return 0 if _n_converged(result) == len(result) else NOT_MET


#: Columns of a path that do not fit on a line beside the others.
_DETAILS = ("n_iter", "repulsion", "median_kld")


def _n_converged(result: LamPath) -> int:
    return int(np.sum(result.status == "converged"))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidInputError(
            f"--lams is {text}; pass numbers separated by commas, 0,10,100"
        ) from None
