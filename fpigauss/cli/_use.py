"""Commands that use Gaussians: ``predict``, ``score`` and ``sample``."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import typer

from fpigauss._array.checks import check_draws, check_nonnegative, check_positive_integer
from fpigauss._array.typing import Labels
from fpigauss.cli._command import ForceFlag, LabelsArgument, LatentsArgument, YName, ZName
from fpigauss.cli._inputs import background_in, check_out, latents_to_score
from fpigauss.cli._options import labels_like
from fpigauss.cli._session import Session
from fpigauss.cli._tables import TABLES, Columns, opened_table
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians
from fpigauss.open_set import open_set_score, open_set_threshold

__all__ = ["GaussiansArgument", "predict", "sample", "score"]

#: Bytes of samples drawn at a time.
_BLOCK_BYTES = 2**24

#: What the methods of scoring measure.
_SCORES = {
    "likelihood": "the negative log-density in nats",
    "mahalanobis": "the squared Mahalanobis distance from the nearest class",
    "relative_mahalanobis": "that less the one from all known rows (--background)",
    "typicality": "how unusual the distance from the predicted class is among its own rows, in "
    "standard deviations",
    "entropy": "that of the class probabilities, in nats",
}

GaussiansArgument = Annotated[
    str,
    typer.Argument(
        metavar="GAUSSIANS", show_default=False, help="A file of Gaussians, from fpigauss fit."
    ),
]
_Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="TABLE",
        show_default=False,
        help="Where the rows go: .parquet, .csv or .npy; csv on stdout by default.",
    ),
]
_Priors = Annotated[
    Literal["equal", "counts"],
    typer.Option(
        "--priors",
        metavar="NAME",
        help="How frequent the classes are: equal, or counts, as in the data of the fit.",
    ),
]
_Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAME",
        autocompletion=lambda: list(_SCORES),
        help="What is scored, higher for what is more unknown: "
        + "; ".join(f"{name}, {what}" for name, what in _SCORES.items())
        + ".",
    ),
]


def _prior_of(priors: str) -> str | None:
    return None if priors == "equal" else priors


def predict(
    session: Session,
    gaussians: GaussiansArgument,
    latents: LatentsArgument,
    labels: LabelsArgument = None,
    *,
    out: _Out = None,
    proba: Annotated[
        bool,
        typer.Option(
            "--proba",
            metavar="",
            show_default=False,
            help="Write the probability of each class too, p_CLASS; to .npy, these alone.",
        ),
    ] = False,
    priors: _Priors = "equal",
    z: ZName = None,
    y: YName = None,
    force: ForceFlag = False,
) -> None:
    """Predict the label of each row: that of the most probable class.

    The table has the column label, in the order of the rows. Where these have labels, or LABELS
    are passed, the accuracy is reported.

    For example:

        fpigauss predict gaussians.npz new.npy --out labels.parquet

        fpigauss predict gaussians.npz new.parquet --proba | head
    """
    if out is not None:
        check_out(out, TABLES, force=force, reads=[gaussians, latents, labels])
    found, prior = ClassGaussians.load(gaussians), _prior_of(priors)
    opened, batches = latents_to_score(session, found, latents, labels, z=z, y=y)
    n_rows = n_right = n_foreign = 0
    with opened_table(out, session, array="p" if proba else "label") as table, batches.located():
        for rows, targets in batches:
            predicted = np.asarray(found.predict(rows, priors=prior))
            probabilities = found.predict_proba(rows, priors=prior) if proba else None
            table.write(
                _predicted(
                    predicted,
                    probabilities,
                    found,
                    out is not None and out.lower().endswith(".npy"),
                )
            )
            n_rows += len(predicted)
            if targets is not None:
                n_right += int(np.sum(np.equal(*_of_one_kind(predicted, targets))))
                n_foreign += int(np.sum(~np.isin(*_of_one_kind(targets, found.classes))))
    figures: dict[str, Any] = {"rows": n_rows}
    if opened.has_labels:
        figures["accuracy"] = n_right / n_rows
    if n_foreign:
        session.note(
            f"{n_foreign} of {n_rows} rows have labels of which there is no Gaussian; they count "
            "as wrong"
        )
    _finish(session, out, figures)


def _predicted(
    predicted: Any, probabilities: Any, found: ClassGaussians, one_array: bool
) -> Columns:
    if probabilities is None:
        return {"label": predicted}
    if one_array:
        return {"p": probabilities}
    by_class = zip(found.classes.tolist(), np.asarray(probabilities).T, strict=True)
    return {"label": predicted} | {f"p_{label}": column for label, column in by_class}


def _of_one_kind(first: Labels, second: Labels) -> tuple[Labels, Labels]:
    """Return labels as they are, or as strings where only one of them are strings."""
    if (first.dtype.kind == "U") != (second.dtype.kind == "U"):
        return first.astype(str), second.astype(str)
    return first, second


def _finish(
    session: Session,
    out: str | None,
    figures: dict[str, Any],
    remarks: Mapping[str, str] | None = None,
) -> None:
    """Report on stdout if the rows are in a file, otherwise in a note."""
    if out is not None:
        session.report(figures | {"out": out}, remarks=remarks)
        return
    after = remarks or {}
    shown = (f"{name} {value:.6g}{after.get(name, '')}" for name, value in figures.items())
    session.note(", ".join(shown))


def score(
    session: Session,
    gaussians: GaussiansArgument,
    latents: LatentsArgument,
    *,
    method: _Method = "likelihood",
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out",
            metavar="LATENTS",
            show_default=False,
            help="Rows of known classes that were not fitted, to find the threshold from.",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="NUMBER",
            show_default=False,
            help="The part of known rows that may be rejected (default: 0.05).",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", metavar="NUMBER", show_default=False, help="Reject above this score."
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            "--background",
            metavar="FILE",
            show_default=False,
            help="For relative_mahalanobis: statistics, or latents, of all known rows.",
        ),
    ] = None,
    priors: _Priors = "equal",
    out: _Out = None,
    z: ZName = None,
    y: YName = None,
    force: ForceFlag = False,
) -> None:
    """Score how unknown each row is, and say which rows to reject.

    With held-out rows, the threshold is one that a new row of a known class exceeds with a
    probability of at most the rate. The table has the column score and, with a threshold, rejected;
    a file of npy has the scores.

    For example:

        fpigauss score gaussians.npz new.npy --held-out held_out.npy --rate 0.01 --out scores.csv

        fpigauss score gaussians.npz new.npy --method mahalanobis --threshold 25
    """
    if out is not None:
        reads = [gaussians, latents, held_out, background]
        check_out(out, TABLES, force=force, reads=reads)
    _check_threshold(held_out, rate, threshold)
    found = ClassGaussians.load(gaussians)
    options: dict[str, Any] = {"method": method, "priors": _prior_of(priors)}
    names: dict[str, Any] = {"z": z, "y": y}
    if background is not None:
        options["background"] = background_in(session, background, **names)
    open_set_score(found, found.means[:1], **options)  # raises before anything is read

    def scored(path: str) -> Iterator[Any]:
        _, batches = latents_to_score(session, found, path, **names)
        return (open_set_score(found, rows, **options) for rows, _ in batches)

    if held_out is not None:
        known = np.concatenate(list(scored(held_out)))
        threshold = open_set_threshold(known, rate=0.05 if rate is None else rate)
    figures: dict[str, Any] = {"rows": 0}
    if threshold is not None:
        figures |= {"threshold": threshold, "rejected": 0}
    with opened_table(out, session, array="score") as table:
        for scores in scored(latents):
            columns: dict[str, Any] = {"score": scores}
            if threshold is not None:
                columns["rejected"] = scores > threshold
                figures["rejected"] += int(np.sum(columns["rejected"]))
            table.write(columns)
            figures["rows"] += len(scores)
    share = 100.0 * figures.get("rejected", 0) / max(1, figures["rows"])
    _finish(session, out, figures, {"rejected": f" ({share:.3g} % of the rows)"})


def _check_threshold(held_out: str | None, rate: float | None, threshold: float | None) -> None:
    if held_out is not None and threshold is not None:
        raise InvalidInputError(
            "--threshold is given beside --held-out, which finds one; leave out one of the two"
        )
    if rate is not None and held_out is None:
        raise InvalidInputError(
            "--rate is given without held-out rows; pass them too, --held-out LATENTS"
        )
    if threshold is not None and math.isnan(threshold):
        raise InvalidInputError("--threshold is NaN, and no score exceeds that; pass a number")
    if rate is not None and not 0.0 < rate < 1.0:
        raise InvalidInputError(f"--rate is {rate:g}; pass a number, 0 < rate < 1")


def sample(
    session: Session,
    gaussians: GaussiansArgument,
    *,
    n: Annotated[
        int, typer.Option("-n", "--n", metavar="N", help="How many rows; with --label, of each.")
    ] = 1,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            "-l",
            metavar="LABEL",
            show_default=False,
            help="A class to draw from; repeat it for more. By default, each row is of a class "
            "drawn uniformly.",
        ),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option("--temperature", metavar="NUMBER", help="Multiplies the standard deviations."),
    ] = 1.0,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            metavar="N",
            show_default=False,
            help="A number, for the same rows again.",
        ),
    ] = None,
    out: _Out = None,
    force: ForceFlag = False,
) -> None:
    """Draw rows from the Gaussians, of all classes or of some.

    The table has the columns embedding and label, as fit and predict read them; a file of npy has
    the rows alone.

    For example:

        fpigauss sample gaussians.npz -n 1000 --seed 0 --out samples.parquet

        fpigauss sample gaussians.npz --label cat --label dog -n 5
    """
    if out is not None:
        check_out(out, TABLES, force=force)
    check_positive_integer(n, "-n")
    check_nonnegative(temperature, "--temperature")
    found = ClassGaussians.load(gaussians)
    check_draws(n * len(labels or [None]), found.dim, "-n")
    source = np.random.default_rng(seed)
    if labels:
        chosen = labels_like(labels, found.classes, "--label")
        drawn = np.repeat(np.asarray(chosen, dtype=found.classes.dtype), n)
    else:
        drawn = found.classes[source.integers(found.n_classes, size=n)]
    step = max(1, _BLOCK_BYTES // (8 * found.dim))
    with opened_table(out, session, array="embedding") as table:
        for start in range(0, len(drawn), step):
            own = drawn[start : start + step]
            rows = found.sample(own, temperature=temperature, seed=source)
            table.write({"embedding": rows, "label": own})
    _finish(session, out, {"rows": len(drawn)})
