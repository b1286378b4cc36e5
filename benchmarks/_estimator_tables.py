"""The tables of ``benchmarks.estimators``: every figure, and the differences within splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from benchmarks._classifiers import (
    LINEAR,
    LOGISTIC,
    REFERENCE,
    SCORES,
    SEPARATIONS,
    with_separation,
)
from benchmarks._intervals import markdown, over_splits

FIGURES = ("accuracy", "log-loss", "ECE", "seconds")


class Split(Protocol):
    """A data set that was split."""

    @property
    def name(self) -> str: ...

    @property
    def test_to_train(self) -> float:
        """How many rows are held out for one of training."""


#: A number per split, by data set and method.
Values = dict[tuple[str, ...], np.ndarray]


def by_split(rows: Sequence[dict[str, Any]], value: str, *keys: str) -> Values:
    """Group a value by data set and ``keys``: a number per split, averaged over what is left."""
    found: dict[tuple[str, ...], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[tuple(row[key] for key in ("data", *keys))][row["split"]].append(row[value])
    return {
        key: np.array([np.mean(splits[split]) for split in sorted(splits)])
        for key, splits in found.items()
    }


def table(
    head: str,
    cells: dict[str, Callable[[str], np.ndarray]],
    sets: Sequence[Split],
    *,
    signed: bool = False,
) -> str:
    """Write a row per name and a column per data set, of what the cell's function gives."""
    rows = [
        [
            name,
            *(
                over_splits(values(data.name), data.test_to_train).text(3, signed=signed)
                for data in sets
            ),
        ]
        for name, values in cells.items()
    ]
    return markdown([head, *(data.name for data in sets)], rows)


def difference(
    found: Values, one: tuple[str, ...], other: tuple[str, ...]
) -> Callable[[str], np.ndarray]:
    """Return the function of a data set that gives the differences in its splits."""
    return lambda name: found[(name, *one)] - found[(name, *other)]


def named(fit: str, score: str) -> str:
    """Return the name of a score of unknown rows."""
    return f"{fit}: {score}" if score else fit


def summary(
    classified: Sequence[dict[str, Any]],
    detected: Sequence[dict[str, Any]],
    sets: Sequence[Split],
) -> str:
    """Count the data sets in which a separation made a figure better or worse."""
    rows = []
    for figure in FIGURES[:3]:
        found = by_split(classified, figure, "method")
        sign = 1.0 if figure == "accuracy" else -1.0
        cells = [
            _verdict(difference(found, (with_separation(nats),), (REFERENCE,)), sets, sign)
            for nats in SEPARATIONS
        ]
        rows.append([figure, *cells])
    found = by_split(detected, "AUROC", "fit", "score")
    left_out = [data for data in sets if (data.name, LOGISTIC, "") in found]
    for method in SCORES if left_out else ():
        cells = [
            _verdict(
                difference(found, (with_separation(nats), method), (REFERENCE, method)),
                left_out,
                1.0,
            )
            for nats in SEPARATIONS
        ]
        rows.append([f"AUROC, {method}", *cells])
    text = (
        "One covariance, with a separation against without, same splits: in how many data sets the "
        "interval of the difference lies on the better or on the worse side of zero.\n"
    )
    head = [f"{nats:g} nats" for nats in SEPARATIONS]
    return text + "\n" + markdown(["", *head], rows)


def _verdict(differences: Callable[[str], np.ndarray], sets: Sequence[Split], sign: float) -> str:
    found = [over_splits(sign * differences(data.name), data.test_to_train) for data in sets]
    better = sum(interval.excludes_zero and interval.mean > 0.0 for interval in found)
    worse = sum(interval.excludes_zero and interval.mean < 0.0 for interval in found)
    return f"better in {better}, worse in {worse} of {len(sets)}"


def classification_tables(rows: Sequence[dict[str, Any]], sets: Sequence[Split]) -> list[str]:
    """Write one table per figure, then the differences."""
    names = list(dict.fromkeys(row["method"] for row in rows))
    grouped = {figure: by_split(rows, figure, "method") for figure in FIGURES}
    parts = []
    for figure, found in grouped.items():
        title = "Seconds of a fit, beside other work" if figure == "seconds" else figure
        cells = {name: lambda data, key=name, of=found: of[data, key] for name in names}
        parts += [f"#### {title[0].upper()}{title[1:]}\n", table("method", cells, sets)]
    parts.append(f"#### What repulsion changes: separated minus {REFERENCE}\n")
    for figure in FIGURES[:3]:
        cells = {
            f"{nats:g} nats": difference(grouped[figure], (with_separation(nats),), (REFERENCE,))
            for nats in SEPARATIONS
        }
        parts.append(table(f"{figure}, separation", cells, sets, signed=True))
    parts.append(f"#### Every method minus {LINEAR}\n")
    for figure in FIGURES[:2]:
        cells = {
            name: difference(grouped[figure], (name,), (LINEAR,))
            for name in names
            if name != LINEAR
        }
        parts.append(table(figure, cells, sets, signed=True))
    return parts


def detection_tables(rows: Sequence[dict[str, Any]], sets: Sequence[Split]) -> list[str]:
    """Write the AUROC of every score, then the differences."""
    found = by_split(rows, "AUROC", "fit", "score")
    names = list(dict.fromkeys((row["fit"], row["score"]) for row in rows))
    every = {named(*name): lambda data, key=name: found[(data, *key)] for name in names}
    repelled = {
        f"{method}, {nats:g} nats": difference(
            found, (with_separation(nats), method), (REFERENCE, method)
        )
        for method in SCORES
        for nats in SEPARATIONS
    }
    against = {named(*name): difference(found, name, (LOGISTIC, "")) for name in names if name[1]}
    return [
        "#### AUROC of a class left out\n",
        table("score", every, sets),
        "#### AUROC, what repulsion changes: minus the same score without it\n",
        table("score", repelled, sets, signed=True),
        "#### AUROC minus that of LogisticRegression's largest posterior\n",
        table("score", against, sets, signed=True),
    ]
