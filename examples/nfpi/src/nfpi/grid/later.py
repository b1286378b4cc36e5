"""Build the grid "later": classes that a trained flow learns without images of the first ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nfpi.grid.claims import Claim, Side
from nfpi.grid.collect import Collector
from nfpi.grid.model import Column, Grid, Table
from nfpi.grid.settings import DATA_TIED, TIED, Config, small_flow

__all__ = ["ArrivalsOf", "later_grid"]

_TUNING_SEED = 100

#: Nats between the two closest classes, of the flow's Gaussians and of those that are added.
_SEPARATION = 200.0
#: The spread of random means, the best of three by NF-Acc in a pilot of larger flows, 62 classes.
_SPREAD = 2.0

#: What learns the later classes: labels by name.
ARMS = {
    "add": "frozen flow: add_class, 200 nats apart",
    "add_0": "frozen flow: add_class at lam = 0",
    "refit": "frozen flow: all Gaussians fitted anew, 200 nats apart",
    "ncm": "frozen flow: nearest class mean of latents",
    "slda": "frozen flow: streaming LDA of latents",
    "tuned": "flow trained further: new images alone, add_class 200 nats apart",
    "replay": "flow trained further: with samples of its own, add_class 200 nats apart",
    "replay_0": "flow trained further: with samples of its own, add_class at lam = 0",
    "joint": "all images at once: flow, 200 nats apart",
    "pixels_ncm": "pixels: nearest class mean",
    "pixels_slda": "pixels: streaming LDA",
    "cnn_ncm": "frozen CNN: nearest class mean of features",
    "cnn_slda": "frozen CNN: streaming LDA of features",
    "cnn_joint": "all images at once: CNN",
}
_OTHERS = {
    "data": "frozen flow with Gaussians of the data",
    "random": "frozen flow with random means",
}
_PLAIN = {"ncm": "nearest class mean of latents", "slda": "streaming LDA of latents"}

_NOTE = (
    "14x14, 200 training images per class, a small fully connected coupling flow trained on 50 "
    "classes for 12 epochs; the other classes come in steps, four glyphs or five pairs of digits "
    "at a time, in an order drawn by the seed, with as many images per class and without any of "
    "the classes before. Budget: 8 minutes of one core."
)

_TABLE_NOTE = (
    "Accuracy on test images of all classes after the last step, on those of the first training "
    "alone, and on those that came later (all classes compete). Frozen: only Gaussians, or means "
    "and covariances, are added. Trained further: at every step on the new images and as many "
    "samples of each old class, drawn from the flow before the step; learning rate and epochs were "
    "chosen among four settings in trials with another seed and 30 classes of glyphs, in which "
    "every arm was seen once. The CNN is trained on the first classes; the references that have "
    "all images at once are trained on all of them from the start, for as many epochs."
)


@dataclass(frozen=True)
class ArrivalsOf:
    """Images whose classes come in steps.

    Parameters
    ----------
    dataset, title : str
        The name of the images, and of the table.
    first, per_step : int
        Classes of the first training, and of every step.
    limit : int, optional
        Training images of all classes together.
    seeds : tuple of int
    epochs : int
        Of the further training after every step.
    """

    dataset: str
    title: str
    first: int
    per_step: int
    limit: int | None
    seeds: tuple[int, ...]
    epochs: int


_SETS = {
    "glyphs": ArrivalsOf(
        "glyphs", "Classes that come later: glyphs, 50 and then 12", 50, 4, 12_400, (0, 1, 2), 3
    ),
    "pairs": ArrivalsOf(
        "mnist_pairs", "Classes that come later: pairs of digits, 50 and then 50", 50, 5, 20_000,
        (0, 1, 2), 1,
    ),
}  # fmt: skip


def later_grid(
    sets: dict[str, ArrivalsOf] | None = None,
    *,
    base: Config | None = None,
    note: str = _NOTE,
    command: str = "",
) -> Grid:
    """Build the grid, to be committed before its first run.

    Parameters
    ----------
    sets : dict of ArrivalsOf, optional
        By the name of the table.
    base : mapping, optional
        The config shared by all runs; by default that of ``small_flow``.
    note, command : str
        A description, and what made them, for the tables.
    """
    sets = sets or _SETS
    columns = (
        Column("{}_acc", "all classes"),
        Column("{}_first", "first classes"),
        Column("{}_later", "later classes"),
    )
    blank = {
        mark: Table(
            each.title, columns, note=_TABLE_NOTE,
            headlines=tuple(f"{mark}-{name}" for name in _HEADLINES),
        )
        for mark, each in sets.items()
    }  # fmt: skip
    runs = Collector(blank, "", (), _TUNING_SEED)
    for mark, each in sets.items():
        _add_set(runs, mark, each)
    return Grid(
        scale="later",
        note=note,
        base=base or small_flow(),
        runs=tuple(runs.runs.values()),
        tables=runs.filled(blank),
        claims=tuple(claim for mark in sets for claim in _claims(mark)),
        command=command,
    )


def _add_set(runs: Collector, mark: str, each: ArrivalsOf) -> None:
    """Add a flow per way of making Gaussians, and all that learns from it."""
    apart: Config = {
        "scheme": "fixed_point", "separation": _SEPARATION, **TIED,
    }  # fmt: skip
    gaussians: dict[str, Config] = {
        "apart": apart,
        "data": DATA_TIED,
        "random": {"scheme": "random_means", "scale": _SPREAD},
    }
    rows: dict[str, Sequence[str]] = {
        "apart": tuple(ARMS), "data": tuple(_PLAIN), "random": tuple(_PLAIN)
    }  # fmt: skip
    for name, arms in rows.items():
        for arm in arms:
            label = ARMS[arm] if name == "apart" else f"{_OTHERS[name]}: {_PLAIN[arm]}"
            runs.add(
                mark, label, f"{mark}-{name}",
                {"data": {"limit": each.limit}, "gaussians": gaussians[name]},
                seeds=each.seeds, metric=arm, kind="later", dataset=each.dataset,
                options={
                    "first": each.first,
                    "per_step": each.per_step,
                    "arms": list(arms),
                    "separation": _SEPARATION,
                    "replay": {"epochs": each.epochs, "lr": 1e-3},
                },
            )  # fmt: skip


#: Claims in the first lines of a table.
_HEADLINES = ("add-above-slda", "add-above-add_0", "slda-above-cnn", "replay-above-frozen")


def _claims(mark: str) -> Iterable[Claim]:
    def side(arm: str, of: str = "apart") -> Side:
        return Side(f"{mark}-{of}", f"{arm}_acc")

    def claim(
        name: str, text: str, *pairs: tuple[Side, Side], rule: str = "greater", margin: float = 0.0
    ) -> Claim:
        return Claim(f"{mark}-{name}", text, rule, pairs, margin=margin)

    add, slda = side("add"), side("slda")
    yield claim(
        "add-above-slda",
        "add_class classifies all classes better than streaming LDA of the same latents",
        (add, slda),
    )
    yield claim(
        "add-above-ncm",
        "add_class classifies all classes better than the nearest mean of the same latents",
        (add, side("ncm")),
    )
    yield claim(
        "add-above-add_0",
        "add_class is better with repulsion, 200 nats apart, than at lam = 0",
        (add, side("add_0")),
    )
    yield claim(
        "add-at-least-refit",
        "add_class, which moves no old Gaussian, is at least as good as fitting all anew",
        (add, side("refit")),
        rule="at_least",
        margin=0.005,
    )
    yield claim(
        "slda-above-cnn",
        "streaming LDA is better on latents of the flow than on features of a CNN",
        (slda, side("cnn_slda")),
    )
    yield claim(
        "slda-above-pixels",
        "streaming LDA is better on latents of the flow than on pixels",
        (slda, side("pixels_slda")),
    )
    for of, rival in (("data", "Gaussians of the data"), ("random", "random means")):
        yield claim(
            f"slda-above-{of}",
            f"streaming LDA is better on latents trained toward separated Gaussians than on those "
            f"trained toward {rival}",
            (slda, side("slda", of)),
        )
    yield claim(
        "replay-above-frozen",
        "training further with samples of the flow is better than add_class on a frozen flow",
        (side("replay"), add),
    )
    yield claim(
        "replay-above-replay_0",
        "training further is better with repulsion of the new classes than at lam = 0",
        (side("replay"), side("replay_0")),
    )
    yield claim(
        "replay-at-least-joint",
        "training further is at least as good as a flow trained on all images at once",
        (side("replay"), side("joint")),
        rule="at_least",
        margin=0.01,
    )
    yield claim(
        "best-above-cnn",
        "add_class on a frozen flow, and training it further, are better than streaming LDA of "
        "features of a CNN",
        (add, side("cnn_slda")),
        (side("replay"), side("cnn_slda")),
    )
