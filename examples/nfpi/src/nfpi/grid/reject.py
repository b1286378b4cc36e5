"""Build the grid "reject": a flow of some classes is shown images of others, and of other data."""

from collections.abc import Iterable, Sequence

from nfpi.grid.claims import Claim, Side
from nfpi.grid.collect import Collector
from nfpi.grid.model import Column, Grid, Table
from nfpi.grid.settings import DATA_TIED, TIED, Config, fixed_point, short, small_flow

__all__ = ["CLASSIFIER_ROWS", "FLOW_ROWS", "reject_grid"]

_SEEDS, _TUNING_SEED = (0, 1, 2, 3, 4), 100

_NOTE = (
    "Fashion-MNIST at 14x14, a small fully connected coupling flow, 12 epochs on 10,000 training "
    "images of eight classes; seed s leaves out classes s and s + 5, so that each is left out "
    "once. All methods of a seed see the same images. Budget: 10 minutes of one core."
)

#: lam / K^2, with alpha = 10, at which the closest two classes are some 150 nats apart, as far as
#: ``FixedPointSchedule`` puts them by default; and others, for the table of levels alone.
_DEFAULT, _LEVELS = 100, (10, 100, 1000)

_COLUMNS_NOTE = (
    "AUROC: the probability that an image of no class scores higher than one of a known class. FPR "
    "at 95 %: the share of images of no class that are accepted where 95 % of the known test "
    "images are. Higher AUROC and lower FPR are better. The CNN is trained on the same images for "
    "ten epochs; its features are the units before the last layer, with one shared covariance "
    "(OAS). The score of the claims, the Mahalanobis distance, was the best of the flow with "
    "separated Gaussians, and of that with lam = 0, in trials with two other seeds, 2,500 images "
    "and six epochs."
)

#: Scores of flows and of the classifier: their labels.
FLOW_ROWS = {
    "likelihood": "likelihood",
    "mahalanobis": "Mahalanobis distance",
    "relative_mahalanobis": "relative Mahalanobis distance",
    "typicality": "typicality",
    "entropy": "entropy of the posterior",
}
CLASSIFIER_ROWS = {
    "cnn_softmax": "largest softmax",
    "cnn_energy": "energy",
    "cnn_mahalanobis": "Mahalanobis distance of features",
    "cnn_relative_mahalanobis": "relative Mahalanobis distance of features",
}

#: The score of the claims, chosen by trials: two other seeds, 2,500 images, six epochs.
_CHOSEN = "mahalanobis"
_SETS = {"left_out": "the classes left out", "foreign": "images of other data"}


def reject_grid(
    dataset: str = "fashion_mnist",
    foreign: str | None = "mnist",
    *,
    left_out: int | Sequence[int] = 2,
    n_known: int = 8,
    seeds: Sequence[int] = _SEEDS,
    base: Config | None = None,
    note: str = _NOTE,
    command: str = "",
) -> Grid:
    """Build the grid, to be committed before its first run.

    Parameters
    ----------
    dataset : str
        The images whose classes are known, but for those left out.
    foreign : str, optional
        Images that are all of no known class.
    left_out : int or sequence of int
        See ``nfpi.rejection.left_out_classes``.
    n_known : int
        Classes that are left.
    seeds : sequence of int
    base : mapping, optional
        The config shared by all runs; by default that of ``small_flow``.
    note, command : str
        A description, and what made them, for the tables.
    """
    # the committed grid's trials were on its own images
    of = "2,500 images" if note is _NOTE else "2,500 images of Fashion-MNIST"
    columns_note = _COLUMNS_NOTE.replace("2,500 images", of)
    sets = list(_SETS)[: 1 if foreign is None else 2]
    blank = {
        "reject": Table(
            "Rows of no class",
            _columns(sets),
            note=columns_note,
            headlines=tuple(f"{name}-{of}" for name in ("above-all", "repulsion") for of in sets),
        ),
        "lams": Table(
            "Rows of no class: lam of the separated Gaussians", _columns(sets), note=columns_note
        ),
    }
    runs = Collector(blank, dataset, seeds, _TUNING_SEED)
    options: Config = {"left_out": left_out if isinstance(left_out, int) else list(left_out)}
    if foreign is not None:
        options["foreign"] = foreign

    def add(table: str, label: str, setting: str, gaussians: Config, scores: Iterable[str]) -> None:
        labels = FLOW_ROWS | CLASSIFIER_ROWS
        own = {"classifier": "small_cnn"} if setting == "plain" else {}
        for score in scores:
            of = "trained CNN" if score in CLASSIFIER_ROWS else label
            runs.add(
                table, f"{of}: {labels[score]}", setting, {"gaussians": gaussians}, metric=score,
                kind="rejection", options=options | own,
            )  # fmt: skip

    def exact(level: int) -> Config:
        gaussians: Config = fixed_point(float(level * n_known**2), TIED)["gaussians"]
        return gaussians

    add("reject", "separated Gaussians", "exact", exact(_DEFAULT), FLOW_ROWS)
    add("reject", "Gaussians of the data (lam = 0)", "data", DATA_TIED, FLOW_ROWS)
    plain: Config = {"scheme": "random_means", "scale": 0.0}
    add("reject", "one Gaussian", "plain", plain, ("likelihood", "typicality"))
    add("reject", "trained CNN", "plain", plain, CLASSIFIER_ROWS)
    for level in _LEVELS:
        setting = "exact" if level == _DEFAULT else f"exact-{level}"
        lam = short(float(level * n_known**2))
        add("lams", f"lam = {lam}", setting, exact(level), FLOW_ROWS)
    return Grid(
        scale="reject",
        note=note,
        base=small_flow(limit=10_000) if base is None else base,
        runs=tuple(runs.runs.values()),
        tables=runs.filled(blank),
        claims=tuple(claim for of in sets for claim in _claims_of(of)),
        command=command,
    )


def _columns(sets: Sequence[str]) -> tuple[Column, ...]:
    headings = {"left_out": "left out", "foreign": "other data"}
    return (
        *(
            column
            for of in sets
            for column in (
                Column(f"auroc_{{}}_{of}", f"AUROC, {headings[of]}"),
                Column(f"fpr95_{{}}_{of}", f"FPR at 95 %, {headings[of]}"),
            )
        ),
        Column("accuracy_{}", "accuracy on known classes"),
    )


def _claims_of(of: str) -> Iterable[Claim]:
    """State what separated Gaussians would have to be better than, for one set of images."""
    rivals = {
        "data": ("Gaussians of the data (lam = 0), same score", ("data", _CHOSEN)),
        "plain": ("likelihood of a flow with one Gaussian", ("plain", "likelihood")),
        **{
            score: (f"{label}, trained CNN", ("plain", score))
            for score, label in CLASSIFIER_ROWS.items()
        },
    }

    def pair(figure: str, setting: str, score: str) -> tuple[Side, Side]:
        return (
            Side("exact", f"{figure}_{_CHOSEN}_{of}"),
            Side(setting, f"{figure}_{score}_{of}"),
        )

    yield Claim(
        f"above-all-{of}",
        f"By its {FLOW_ROWS[_CHOSEN]}, a flow with separated Gaussians rejects {_SETS[of]} better "
        "(AUROC) than the same with lam = 0, a flow with one Gaussian, and every score of a CNN.",
        "greater",
        tuple(pair("auroc", *where) for _, where in rivals.values()),
    )
    yield Claim(
        f"repulsion-{of}",
        f"The repulsion itself helps to reject {_SETS[of]}, beside lam = 0 (AUROC, "
        f"{FLOW_ROWS[_CHOSEN]}).",
        "greater",
        (pair("auroc", "data", _CHOSEN),),
    )
    for name, (label, where) in rivals.items():
        for figure, words in (("auroc", "AUROC"), ("fpr95", "FPR at 95 %")):
            if (name, figure) == ("data", "auroc"):
                continue  # said above
            yield Claim(
                f"above-{name}-{of}-{figure}",
                f"{words}, {_SETS[of]}: {FLOW_ROWS[_CHOSEN]} of separated Gaussians is better than "
                f"{label}.",
                "greater",
                (pair(figure, *where),),
                lower_is_better=figure == "fpr95",
            )
    for score, label in FLOW_ROWS.items():
        if score != _CHOSEN:
            yield Claim(
                f"repulsion-helps-{score}-{of}",
                f"AUROC, {_SETS[of]}: {label} is better with the repulsion than without.",
                "greater",
                (
                    (
                        Side("exact", f"auroc_{score}_{of}"),
                        Side("data", f"auroc_{score}_{of}"),
                    ),
                ),
            )
