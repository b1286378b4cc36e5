"""Build the grid "neighbors": whether classes that resemble each other are near each other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from nfpi.grid.claims import Claim, Side
from nfpi.grid.collect import Collector
from nfpi.grid.model import Column, Grid, Table, merged
from nfpi.grid.settings import DATA_TIED, TIED, Config, fixed_point, gradient, short, small_flow

__all__ = ["neighbors_again_grid", "neighbors_grid"]

_SEEDS, _TUNING_SEED = (0, 1, 2), 100

_NOTE = (
    "Fashion-MNIST (10 classes) and glyphs (62 letters and digits) at 14x14, 10,000 training "
    "images, a small fully connected coupling flow, 10 epochs. The referee of a seed, a small CNN, "
    "is trained on the same images; two classes resemble each other as far as it gives test images "
    "of one a posterior of the other. Budget: 12 minutes of one core. If need be, the grid is cut "
    "from its end, by whole settings; what is cut decides nothing."
)

_NOTE_AGAIN = (
    "As the grid neighbors, on glyphs with other seeds alone: planned when that grid had ended, of "
    "which three seeds decided little, and before the first of these runs. Settings are those that "
    "its tuning runs chose. Budget: 5 minutes of one core."
)
_SEEDS_AGAIN = (3, 4, 5, 6, 7)

_DATA_SETS = {"fashion_mnist": ("fashion", "Fashion-MNIST", 10), "glyphs": ("glyphs", "Glyphs", 62)}

_LABELS = {
    "exact": "fixed point",
    "random": "random means",
    "gd": "gradient descent, linear",
    "learned": "learned means",
    "data": "data (lam = 0)",
}
#: What is run first, for all data sets, before the rest.
_ORDER = (("exact", "random", "gd"), ("data", "learned"))

_COLUMNS = (
    Column("accuracy_{}", "accuracy"),
    Column("closeness_{}", "closeness", 2),
    Column("severity_{}", "severity of a mistake"),
    Column("grave_{}", "grave mistakes", 4),
    Column("mixed_{}", "mixing of neighbors"),
)

_NOTE_OF_MEASURES = (
    "Closeness: Spearman's correlation, over pairs of classes, of resemblance with minus the "
    "symmetrized KLD of the Gaussians. Severity: the other classes of every class are ranked by "
    "resemblance; a mistake for the most similar one counts 0, for the least similar one 1, at "
    "random 1/2. Grave mistakes: the share of test images with a mistake of more than 1/4. Mixing "
    "of neighbors: the referee's posterior of both classes together, for images half way (in the "
    "latents; in the row of pixels, between the images) between two test images of a class and of "
    "the one that resembles it most."
)
_COLUMNS_NOTE = (
    f"{_NOTE_OF_MEASURES} The first three methods take, of three settings each, that"
    " of the highest accuracy on images held out of the training images: the fixed point "
    "of lam 30, 100 and 300 K^2, random means of spreads 1, 1.5 and 2, gradient descent of lam 100 "
    "K^2 at rates 1e-2 and 1e-1, and of 300 K^2 at 1e-2. Learned means have the rate 1e-3, which "
    "tuning runs of the grid cpu chose on Fashion-MNIST."
)

#: What each measure is called in claims, and whether less of it is better.
_MEASURES = {
    "closeness": ("resembling classes are nearer (closeness)", False),
    "severity": ("mistakes are less severe", True),
    "grave": ("grave mistakes are rarer", True),
    "mixed": ("mixtures of neighbors are more often of either class", False),
}


def neighbors_grid(
    data_sets: Mapping[str, tuple[str, str, int]] | None = None,
    *,
    seeds: Sequence[int] = _SEEDS,
    base: Config | None = None,
    note: str = _NOTE,
    command: str = "",
) -> Grid:
    """Build the grid, to be committed before its first run.

    Parameters
    ----------
    data_sets : mapping, optional
        By name: the name of the table, its title, and the number of classes.
    seeds : sequence of int
    base : mapping, optional
        The config shared by all runs; by default that of ``small_flow``, for ten epochs.
    note, command : str
        A description, and what made them, for the tables.
    """
    data_sets = _DATA_SETS if data_sets is None else data_sets
    blank = {
        mark: Table(
            title,
            _COLUMNS,
            note=_COLUMNS_NOTE,
            headlines=_headlines(mark),
        )
        for mark, title, _ in data_sets.values()
    }
    runs = Collector(blank, next(iter(data_sets)), seeds, _TUNING_SEED)
    for names in _ORDER:
        for dataset, (mark, _, n_classes) in data_sets.items():
            for name in names:
                _add_method(runs, name, dataset, mark, n_classes=n_classes, first_seed=seeds[0])
    for mark, _, _ in data_sets.values():
        for metric, label in (("pixels", "pixels, without a flow"), ("cnn", "the referee itself")):
            runs.add(mark, label, f"{mark}-data", {}, metric=metric)
    return Grid(
        scale="neighbors",
        note=note,
        base=small_flow(10, limit=10_000) if base is None else base,
        runs=tuple(runs.runs.values()),
        tables=runs.filled(blank),
        claims=tuple(
            claim for mark, title, _ in data_sets.values() for claim in _claims(mark, title)
        ),
        command=command,
    )


def neighbors_again_grid() -> Grid:
    """Build the grid of more seeds, to be committed before its first run."""
    mark, title, n_classes = _DATA_SETS["glyphs"]
    blank = {mark: Table(title, _COLUMNS, note=_NOTE_OF_MEASURES, headlines=_headlines(mark))}
    runs = Collector(blank, "glyphs", _SEEDS_AGAIN, _TUNING_SEED)
    for name, choice in (("exact", "1.1532e6"), ("random", "2"), ("gd", "1.1532e6-0.01")):
        config, choices = _methods(n_classes)[name]
        runs.add(
            mark, _LABELS[name], f"{mark}-{name}", merged(config, choices[choice]), metric="flow",
            kind="neighbors",
        )  # fmt: skip
    return Grid(
        scale="neighbors-again",
        note=_NOTE_AGAIN,
        base=small_flow(10, limit=10_000),
        runs=tuple(runs.runs.values()),
        tables=runs.filled(blank),
        claims=tuple(_claims(mark, title, ("random", "gd"))),
    )


def _headlines(mark: str) -> tuple[str, ...]:
    return f"{mark}-near", f"{mark}-mild"


def _methods(n_classes: int) -> dict[str, tuple[Config, dict[str, Config]]]:
    """Return the config of every method, and what its tuning runs try, if any."""
    lams = [float(c * n_classes**2) for c in (30, 100, 300)]
    return {
        "exact": (
            fixed_point(lams[1], TIED),
            {short(lam): {"gaussians": {"lam": lam}} for lam in lams},
        ),
        "random": (
            {"gaussians": {"scheme": "random_means"}},
            {short(scale): {"gaussians": {"scale": scale}} for scale in (1.0, 1.5, 2.0)},
        ),
        "gd": (
            gradient("linear", lams[1]),
            {
                f"{short(lam)}-{short(lr)}": {"gaussians": {"lam": lam, "lr": lr}}
                for lam, lr in ((lams[1], 1e-2), (lams[1], 1e-1), (lams[2], 1e-2))
            },
        ),
        "learned": ({"gaussians": {"scheme": "learned_means", "lr": 1e-3}}, {}),
        "data": ({"gaussians": DATA_TIED}, {}),
    }  # fmt: skip


def _add_method(
    runs: Collector, name: str, dataset: str, mark: str, *, n_classes: int, first_seed: int
) -> None:
    """Add the runs of a method, with those that tune it."""
    config, choices = _methods(n_classes)[name]
    setting = f"{mark}-{name}"
    if choices:
        runs.tune(setting, mark, config, choices, dataset=dataset)
    runs.add(
        mark, _LABELS[name], setting, config, metric="flow", kind="neighbors", dataset=dataset,
        tuned_by=runs.tuned.get(setting, ()), options={"pixels": True} if name == "data" else {},
    )  # fmt: skip
    first = f"{setting}-s{first_seed}"  # the picture shows these
    run = runs.runs[first]
    runs.runs[first] = replace(run, options={**run.options, "matrices": True})


def _claims(
    mark: str, title: str, rivals: Sequence[str] = ("random", "gd", "learned", "data")
) -> Iterable[Claim]:
    def pair(measure: str, rival: str) -> tuple[Side, Side]:
        return Side(f"{mark}-exact", f"{measure}_flow"), Side(f"{mark}-{rival}", f"{measure}_flow")

    yield Claim(
        f"{mark}-near",
        "The fixed point keeps resembling classes nearer (closeness) than random means and "
        "gradient descent do.",
        "greater",
        tuple(pair("closeness", rival) for rival in ("random", "gd")),
    )
    yield Claim(
        f"{mark}-mild",
        "It makes fewer grave mistakes than they do.",
        "greater",
        tuple(pair("grave", rival) for rival in ("random", "gd")),
        lower_is_better=True,
    )
    for measure, (words, lower) in _MEASURES.items():
        for rival in rivals:
            yield Claim(
                f"{mark}-{measure}-{rival}",
                f"{title}: {words} with the fixed point than with: {_LABELS[rival]}.",
                "greater",
                (pair(measure, rival),),
                lower_is_better=lower,
            )
