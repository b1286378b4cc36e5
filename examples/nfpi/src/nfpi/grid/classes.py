"""Build the grid "classes": the fixed point and its rivals as classes and dimensions grow.

Glyphs and pairs of MNIST's digits, with 10 to 100 classes, and 64 to 784 dimensions for 62 of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nfpi.grid.build_tables import SIDE_BY_SIDE
from nfpi.grid.claims import Claim, Side
from nfpi.grid.collect import Collector
from nfpi.grid.model import Grid, Table, merged
from nfpi.grid.settings import (
    COUPLINGS,
    DATA,
    DATA_TIED,
    JUDGED,
    RELEASED,
    TIED,
    Config,
    fixed_point,
    gradient,
    short,
)

__all__ = ["classes_grid"]

_SEEDS, _TUNING_SEED = (0, 1, 2), 100

_NOTE = (
    "Glyphs (62 letters and digits; 323 training images per class) and pairs of MNIST's digits "
    "(200 per class), a fully connected coupling flow, some 1,880 steps, on single threads of a "
    "CPU. Budget in minutes of one core, in the order in which the tables are run: k62, k10, k30 "
    "and pairs100 75 each, dims 80, pairs30 and pairs10 25 each. The grid is cut from its end, by "
    "whole tables; what is cut decides nothing."
)

_BASE: Config = merged(COUPLINGS, JUDGED, {"data": {"size": 14}})


@dataclass(frozen=True)
class _Set:
    """A set of classes: as many images per class as the others, and about as many steps."""

    name: str
    dataset: str
    n_classes: int
    limit: int
    epochs: int
    fit: int
    title: str

    @property
    def config(self) -> Config:
        return {
            "data": {"classes": self.n_classes, "limit": self.limit},
            "gaussians": {"epochs": [self.fit]},
            "training": {"epochs": self.epochs},
        }


_GLYPHS = (
    _Set("k62", "glyphs", 62, 20_000, 12, 1, "All 62 classes of glyphs, 14x14"),
    _Set("k10", "glyphs", 10, 3_226, 72, 6, "Ten classes of glyphs, 14x14"),
    _Set("k30", "glyphs", 30, 9_677, 25, 2, "Thirty classes of glyphs, 14x14"),
)
_HUNDRED = _Set(
    "pairs100", "mnist_pairs", 100, 20_000, 12, 1, "Pairs of digits, 100 classes, 14x14"
)
_FEWER = (
    _Set("pairs30", "mnist_pairs", 30, 6_000, 40, 3, "Pairs of digits, thirty classes, 14x14"),
    _Set("pairs10", "mnist_pairs", 10, 2_000, 118, 10, "Pairs of digits, ten classes, 14x14"),
)

#: lam / K^2: about a quarter of the nats between the two closest classes after a fit.
_LEVELS = (15, 50, 150)
#: Spreads of random means: 196 times their square is the typical divergence of two classes.
_SCALES = (1.0, 1.5, 2.0)
_RATE = 1e-2

#: What is tried before: equally much for the four methods with a strength.
_STRENGTHS = (5, 15, 50, 150, 500, 1500)
_SPREADS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
_OF_GRADIENT = tuple((level, rate) for level in (15, 50, 150) for rate in (1e-2, 1e-1))
_RATES = (3e-4, 1e-3, 3e-3, 1e-2)

#: More levels for the fixed point where dimensions differ: the same nats, and the same nats per
#: dimension (about a third and four times those of 196 dimensions), are among them.
_LEVELS_OF_DIMS = (5, 15, 50, 150, 500)
_SIZES = (8, 28)

_METHODS = {
    "exact": "fixed point, exact, tied isotropic",
    "released": "fixed point, released",
    "gd": "gradient descent, linear",
    "random": "random means",
}


def _exact(n_classes: int, level: float) -> Config:
    return fixed_point(level * n_classes**2, TIED)


def _released(n_classes: int, level: float) -> Config:
    return fixed_point(level * n_classes**2, RELEASED)


def _gradient(n_classes: int, level: float, rate: float = _RATE) -> Config:
    return merged(gradient("linear", level * n_classes**2), {"gaussians": {"lr": rate}})


def _random(scale: float) -> Config:
    return {"gaussians": {"scheme": "random_means", "scale": scale}}


def classes_grid() -> Grid:
    """Build the grid, to be committed before its first run."""
    blank = _tables()
    runs = Collector(blank, "glyphs", _SEEDS, _TUNING_SEED)
    for each in _GLYPHS:
        _add_levels(runs, each, _METHODS)
        _add_tuned(runs, each)
    _add_levels(runs, _HUNDRED, _METHODS)
    _add_tuned(runs, _HUNDRED)
    _add_dims(runs, _GLYPHS[0])
    for each in _FEWER:
        _add_levels(runs, each, ("exact", "gd", "random"))
    return Grid(
        scale="classes",
        note=_NOTE,
        base=_BASE,
        runs=tuple(runs.runs.values()),
        tables=runs.filled(blank),
        claims=_claims(),
    )


def _levels_of(method: str, n_classes: int) -> list[tuple[str, str, Config]]:
    """List a method's levels: their names, labels and configs."""
    if method == "random":
        return [(short(scale), f"spread {scale:g}", _random(scale)) for scale in _SCALES]
    make: Callable[[int, float], Config] = {
        "exact": _exact, "released": _released, "gd": _gradient,
    }[method]  # fmt: skip
    rate = f" at rate {_RATE:g}" if method == "gd" else ""
    return [
        (str(level), f"lam = {level * n_classes**2:,}{rate}", make(n_classes, level))
        for level in _LEVELS
    ]


def _add_levels(runs: Collector, each: _Set, methods: Iterable[str]) -> None:
    """Add three separations of every method, and Gaussians without any."""
    rows: dict[str, tuple[str, Config]] = {
        "data-tied": ("data initialization, tied isotropic", {"gaussians": DATA_TIED}),
        "data": ("data initialization", {"gaussians": DATA}),
    }
    for method in methods:
        for name, label, config in _levels_of(method, each.n_classes):
            rows[f"{method}-{name}"] = (f"{_METHODS[method]}, {label}", config)
    for name, (label, config) in rows.items():
        runs.add(
            each.name, label, f"{each.name}-{name}", merged(each.config, config),
            dataset=each.dataset,
        )  # fmt: skip


def _add_tuned(runs: Collector, each: _Set) -> None:
    """Add every method at what its tuning runs choose."""
    n = each.n_classes
    learned: Config = {"gaussians": {"scheme": "learned_means"}}
    methods: dict[str, tuple[str, Config, dict[str, Config]]] = {
        "exact": (
            _METHODS["exact"], _exact(n, 50),
            {short(c): {"gaussians": {"lam": float(c * n**2)}} for c in _STRENGTHS},
        ),
        "gd": (
            _METHODS["gd"], _gradient(n, 50),
            {
                f"{c}-{short(lr)}": {"gaussians": {"lam": float(c * n**2), "lr": lr}}
                for c, lr in _OF_GRADIENT
            },
        ),
        "random": (
            _METHODS["random"], _random(1.0),
            {short(s): {"gaussians": {"scale": s}} for s in _SPREADS},
        ),
        "released": (
            _METHODS["released"], _released(n, 50),
            {short(c): {"gaussians": {"lam": float(c * n**2)}} for c in _STRENGTHS},
        ),
        "learned": (
            "learned means", learned, {short(lr): {"gaussians": {"lr": lr}} for lr in _RATES}
        ),
    }  # fmt: skip
    for name, (label, config, choices) in methods.items():
        whole, setting = merged(each.config, config), f"{each.name}-{name}"
        runs.tune(setting, each.name, whole, choices, dataset=each.dataset)
        runs.add(
            each.name, f"{label}, tuned", setting, whole, dataset=each.dataset,
            tuned_by=runs.tuned[setting],
        )  # fmt: skip


def _add_dims(runs: Collector, each: _Set) -> None:
    """Add 62 classes in fewer and more dimensions, with the fixed point's two closest rivals."""
    n = each.n_classes
    for size in (14, *_SIZES):
        rows = {
            ("exact", str(level)): (f"lam = {level * n**2:,}", _exact(n, level))
            for level in _LEVELS_OF_DIMS
        }
        if size != 14:
            rows |= {("gd", name): (label, config) for name, label, config in _levels_of("gd", n)}
            for scale in _SCALES:  # the same nats
                spread = round(scale * 14 / size, 4)
                rows["random", short(scale)] = (f"spread {spread:g}", _random(spread))
        mark = f"d{size**2}-" if size != 14 else ""
        at: Config = {"data": {"size": size}} if size != 14 else {}
        for (method, name), (label, config) in rows.items():
            runs.add(
                "dims", f"{size}x{size}: {_METHODS[method]}, {label}",
                f"{each.name}-{mark}{method}-{name}", merged(each.config, at, config),
                dataset=each.dataset,
            )  # fmt: skip


def _tables() -> dict[str, Table]:
    """Return the tables, still without rows."""
    tuned = (
        "Rows that are tuned take the setting with the highest accuracy on images held out of the "
        "training images (for glyphs, of whole families of fonts)."
    )
    blank = {each.name: Table(each.title, SIDE_BY_SIDE, note=tuned) for each in _GLYPHS}
    blank[_HUNDRED.name] = Table(_HUNDRED.title, SIDE_BY_SIDE, note=tuned)
    blank["dims"] = Table("62 classes of glyphs, in 64, 196 and 784 dimensions", SIDE_BY_SIDE)
    return blank | {each.name: Table(each.title, SIDE_BY_SIDE) for each in _FEWER}


def _claims() -> tuple[Claim, ...]:
    """List what the runs decide."""
    return (
        *(claim for each in (*_GLYPHS, _HUNDRED) for claim in _claims_of(each)),
        *(_growth(rival) for rival in ("gd", "random")),
        *_of_separation(),
    )


def _claims_of(each: _Set) -> Iterable[Claim]:
    k, about = each.name, f"{each.n_classes} classes ({each.dataset})"
    for rival in ("gd", "random", "learned", "released"):
        label = _METHODS.get(rival, "learned means")
        yield Claim(
            f"{k}-at-least-{rival}",
            f"{about}: the exact fixed point classifies at least as well as {label}, both tuned.",
            "at_least",
            ((Side(f"{k}-exact", "nf_acc"), Side(f"{k}-{rival}", "nf_acc")),),
            margin=0.005,
        )
        yield Claim(
            f"{k}-samples-above-{rival}",
            f"{about}: samples of the exact fixed point teach more than those of {label}, tuned.",
            "greater",
            ((Side(f"{k}-exact", "cnn_acc_1"), Side(f"{k}-{rival}", "cnn_acc_1")),),
        )
    for rival in ("gd", "random", "released"):
        for metric, what in (("nf_acc", "accuracy"), ("cnn_acc_1", "samples")):
            ours, theirs = (
                tuple(
                    Side(f"{k}-{method}-{name}", metric)
                    for name, _, _ in _levels_of(method, each.n_classes)
                )
                for method in ("exact", rival)
            )
            yield Claim(
                f"{k}-{what}-at-equal-nll-{rival}",
                f"{about}: at equal NLL, the exact fixed point has at least the {what} "
                f"({metric}) of {_METHODS[rival]}.",
                "level",
                (ours, theirs),
                margin=0.005,
                beside="nll",
            )
    yield Claim(
        f"{k}-samples-rise",
        f"{about}: CNN-Acc is higher with the repulsion (lam = 50 K^2) than without.",
        "greater",
        ((Side(f"{k}-exact-50", "cnn_acc_1"), Side(f"{k}-data-tied", "cnn_acc_1")),),
    )


def _growth(rival: str) -> Claim:
    """State that the advantage in samples grows from 10 classes of glyphs to 62."""
    many, few = (
        (Side(f"{k}-exact", "cnn_acc_1"), Side(f"{k}-{rival}", "cnn_acc_1")) for k in ("k62", "k10")
    )
    return Claim(
        f"grows-beside-{rival}",
        f"The lead in samples over {_METHODS[rival]} is larger with 62 classes than with ten.",
        "grows",
        (many, few),
    )


def _of_separation() -> Iterable[Claim]:
    """State which levels suit every number of classes, and of dimensions."""

    def at(mark: str, level: int) -> Side:
        return Side(f"{mark}exact-{level}", "nf_acc")

    marks = ("k62-", "k10-", "k30-", "pairs100-")
    yield Claim(
        "one-level-for-every-k",
        "lam = 50 K^2 classifies at least as well as 15 K^2 and 150 K^2, for 10, 30, 62 and 100 "
        "classes.",
        "at_least",
        tuple((at(mark, 50), at(mark, other)) for mark in marks for other in (15, 150)),
        margin=0.005,
    )
    dims = {64: "k62-d64-", 196: "k62-", 784: "k62-d784-"}
    for name, wording, chosen in (
        ("nats", "the same separation in nats (lam = 50 K^2)", dict.fromkeys(dims, 50)),
        (
            "nats-per-dimension",
            "the same separation in nats per dimension (15, 50 and 150 K^2)",
            {64: 15, 196: 50, 784: 150},
        ),
    ):
        yield Claim(
            f"one-level-in-{name}",
            f"In 64, 196 and 784 dimensions {wording} classifies at least as well as any level.",
            "at_least",
            tuple(
                (at(mark, chosen[d]), at(mark, other))
                for d, mark in dims.items()
                for other in _LEVELS_OF_DIMS
                if other != chosen[d]
            ),
            margin=0.005,
        )
