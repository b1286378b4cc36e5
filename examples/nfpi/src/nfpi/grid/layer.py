"""Build the grids "layer" and "levels": a flow trained through the fixed point.

Their outer losses are not Eq. 4, whose gradient does not see how the Gaussians move.
"""

from collections.abc import Iterable

from nfpi.grid.build_tables import NF_ACC, NLL
from nfpi.grid.claims import Claim, Side
from nfpi.grid.collect import Collector
from nfpi.grid.model import Column, Grid, Table, merged
from nfpi.grid.settings import ALPHA, TIED, Config, fixed_point, short

__all__ = ["layer_grid", "levels_grid"]

_SEEDS, _TUNING_SEED = (0, 1, 2), 100

_NOTE = (
    "Fashion-MNIST at 14x14, 2,500 training images, a small fully connected coupling flow, 12 "
    "epochs of 20 steps, without averaged weights, on a single thread of a CPU. In the first epoch "
    "every scheme but gradient descent trains toward N(0, I). Budget: 25 minutes of one core."
)

_N_EPOCHS = 12

_BASE: Config = {
    "data": {"size": 14, "limit": 2_500},
    "flow": {"name": "coupling", "options": {"n_couplings": 6, "hidden": 128}},
    "gaussians": {"epochs": [1], "alpha": ALPHA, "covariance": "isotropic", "tied": True},
    "training": {
        "epochs": _N_EPOCHS,
        "batch_size": 128,
        "optimiser": "adamax",
        "lr": 1e-2,
        "warmup_steps": 50,
    },
}

#: Epochs of the others in the time of the layer's twelve. In a pilot of ten steps per epoch, on
#: images of another seed, one took 0.10 s of a processor (fitted once), 0.17 (refits), 0.115
#: (gradient descent) and 0.40 (the layer, from the second on).
_AS_LONG = {"once": 44, "refits": 27, "gd": 39}

#: Names of the outer losses: title, and what the config says.
_LOSSES: dict[str, tuple[str, Config]] = {
    "nll": ("likelihood without the repulsion", {"loss": "likelihood"}),
    "ib": (
        "likelihood plus nine times the cross-entropy of the posterior",
        {"loss": "bottleneck", "beta": 10.0},
    ),
}

_LABELS = {
    "once": "fitted once",
    "refits": "refitted before every epoch, to a separation",
    "gd": "gradient descent on the Gaussians, same loss",
    "layer": "layer",
    "held": "layer, gradient held",
}
_RIVALS = ("once", "refits", "gd")

#: The curves: what is fitted once trains as long as the layer.
_LEVELS = {"layer": (1e2, 1e3, 1e4), "once": (1e3, 1e4, 1e5)}
_AT_LEVELS = _LABELS | {"once": f"{_LABELS['once']}, {_AS_LONG['once']} epochs"}

_NOTE_OF_LEVELS = (
    "As the grid layer, whose tuning runs choose by accuracy alone, so that methods end at "
    "different likelihoods: here both methods have a curve over lam. Planned when most runs of "
    "that grid had ended, and before the first of these. What is fitted once trains as long as the "
    "layer. The layer that judges half a batch has a memory here: without one, in the other grid, "
    "half a batch of 128 lacks a class sooner or later, which is an error."
)

_COLUMNS = (
    NF_ACC,
    NLL,
    Column("ece", "ECE"),
    Column("smallest_kld", "smallest KLD", 0),
    Column("processor_seconds", "seconds of a processor", 1, median=True),
)

_LAYER: Config = {"gaussians": {"scheme": "layer", "gradient": "batch", "decay": 0.9}}


def layer_grid() -> Grid:
    """Build the grid, to be committed before its first run."""
    blank = _tables()
    runs = Collector(blank, "fashion_mnist", _SEEDS, _TUNING_SEED)
    for mark in _LOSSES:
        _add_loss(runs, mark)
    _add_further(runs)
    return Grid(
        scale="layer",
        note=_NOTE,
        base=_BASE,
        runs=tuple(runs.runs.values()),
        tables=runs.filled(blank),
        claims=tuple(claim for mark in _LOSSES for claim in _claims_of(mark)),
    )


def levels_grid() -> Grid:
    """Build the grid of curves over lam, to be committed before its first run."""
    blank = {
        mark: Table(f"Over lam, outer loss: {title}", _COLUMNS)
        for mark, (title, _) in _LOSSES.items()
    }
    runs = Collector(blank, "fashion_mnist", _SEEDS, _TUNING_SEED)
    for mark in reversed(_LOSSES):
        for method, lams in _LEVELS.items():
            for lam in lams:
                runs.add(
                    mark, f"{_AT_LEVELS[method]}, lam = {lam:g}",
                    f"{mark}-{method}-{short(lam)}",
                    merged(
                        _config(method, _AS_LONG.get(method, _N_EPOCHS)),
                        {"gaussians": _LOSSES[mark][1] | {"lam": lam}},
                    ),
                )  # fmt: skip
    held_out: Config = {"gaussians": {"lam": 1e3, "loss": "held_out"}}
    runs.add(
        "nll", "layer, fitted to half a batch, likelihood of the other half, lam = 1000",
        "nll-held-out-1000", merged(_LAYER, held_out),
    )  # fmt: skip
    return Grid(
        scale="levels",
        note=_NOTE_OF_LEVELS,
        base=_BASE,
        runs=tuple(runs.runs.values()),
        tables=runs.filled(blank),
        claims=tuple(
            Claim(
                f"{mark}-at-equal-nll",
                f"{title}: at equal NLL and time, the layer has a better NF-Acc than: "
                f"{_AT_LEVELS['once']}.",
                "level",
                tuple(
                    tuple(Side(f"{mark}-{method}-{short(lam)}", "nf_acc") for lam in lams)
                    for method, lams in _LEVELS.items()
                ),
                beside="nll",
            )
            for mark, (title, _) in _LOSSES.items()
        ),
    )


def _config(method: str, n_epochs: int = _N_EPOCHS) -> Config:
    """Return the config of a method, with the middle one of its choices."""
    longer: Config = {"training": {"epochs": n_epochs}} if n_epochs != _N_EPOCHS else {}
    if method == "once":
        return merged(fixed_point(1e4, TIED), longer)
    if method == "refits":
        each = {"gaussians": {"separation": 150.0, "epochs": list(range(1, n_epochs))}}
        return merged(fixed_point(1e4, TIED), each, longer)
    if method == "gd":
        # lam = 0: the loss is the same, without the repulsion of Eq. 4
        return merged({"gaussians": {"scheme": "gradient", "lam": 0.0}}, longer)
    held: Config = {"gaussians": {"gradient": "held"}} if method == "held" else {}
    return merged(_LAYER, {"gaussians": {"lam": 1e3}}, held)


def _choices(method: str) -> dict[str, Config]:
    """List what the three tuning runs of a method try."""
    name, values = {
        "once": ("lam", (1e3, 1e4, 1e5)),
        "refits": ("separation", (50.0, 150.0, 450.0)),
        "gd": ("lr", (1e-3, 1e-2, 1e-1)),
        "layer": ("lam", (1e2, 1e3, 1e4)),
    }[method]
    return {short(value): {"gaussians": {name: value}} for value in values}


def _add_loss(runs: Collector, mark: str) -> None:
    """Add every method at equal epochs, then those that train as long as the layer."""
    loss: Config = {"gaussians": _LOSSES[mark][1]}
    for method, label in _LABELS.items():
        name, config = f"{mark}-{method}", merged(_config(method), loss)
        if method != "held":
            runs.tune(name, mark, config, _choices(method))
        # an ablation changes one thing: held gradients have the lam of the layer
        tuned_by = runs.tuned[f"{mark}-layer" if method == "held" else name]
        runs.add(mark, label, name, config, tuned_by=tuned_by)
    for method, n_epochs in _AS_LONG.items():
        runs.add(
            mark, f"{_LABELS[method]}, {n_epochs} epochs", f"{mark}-{method}-as-long",
            merged(_config(method, n_epochs), loss), tuned_by=runs.tuned[f"{mark}-{method}"],
        )  # fmt: skip


def _add_further(runs: Collector) -> None:
    """Add what no claim is about: half batches, the whole gradient, and Baseline 2."""
    loss: Config = {"gaussians": _LOSSES["nll"][1]}
    held_out = merged(
        _LAYER,
        {"gaussians": {"lam": 1e3, "loss": "held_out", "gradient": "whole", "decay": 0.0}},
    )
    runs.tune("nll-held-out", "nll", held_out, _choices("layer"))
    runs.add(
        "nll", "layer, fitted to half a batch, likelihood of the other half", "nll-held-out",
        held_out, tuned_by=runs.tuned["nll-held-out"],
    )  # fmt: skip
    whole = {"gaussians": {"lam": 1e3, "gradient": "whole", "max_iter": 200}}
    runs.add(
        "nll", "layer, gradient divided by the batch's share", "nll-whole",
        merged(_LAYER, loss, whole), tuned_by=runs.tuned["nll-layer"],
    )  # fmt: skip
    eq4: Config = {"gaussians": {"scheme": "gradient", "lam": 1e4}}
    choices = {short(lam): {"gaussians": {"lam": lam}} for lam in (1e3, 1e4, 1e5)}
    runs.tune("nll-gd-eq4", "nll", eq4, choices)
    runs.add(
        "nll", "gradient descent on the Gaussians, Eq. 4 with its repulsion", "nll-gd-eq4",
        eq4, tuned_by=runs.tuned["nll-gd-eq4"],
    )  # fmt: skip


def _tables() -> dict[str, Table]:
    """Return the tables, still without rows."""
    note = (
        "Every method has three tuning runs, for lam, the separation or the learning rate; the "
        "choice is by accuracy on images held out of the training images. The layer's Gaussians "
        "are at last fitted to all training latents, at its lam."
    )
    return {
        mark: Table(f"Outer loss: {title}", _COLUMNS, note=note)
        for mark, (title, _) in _LOSSES.items()
    }


def _claims_of(mark: str) -> Iterable[Claim]:
    title = _LOSSES[mark][0]
    layer = f"{mark}-layer"
    for metric, lower in (("nf_acc", False), ("nll", True), ("ece", True)):
        yield Claim(
            f"{layer}-above-held-{metric}",
            f"{title}: the gradient through the fit helps ({metric}): the layer is better than the "
            "same fits with their gradient held.",
            "greater",
            ((Side(layer, metric), Side(f"{mark}-held", metric)),),
            lower_is_better=lower,
        )
        for rival in _RIVALS:
            for time, at in (("", "equal epochs"), ("-as-long", "equal time")):
                yield Claim(
                    f"{layer}-above-{rival}{time}-{metric}",
                    f"{title}: at {at}, the layer is better ({metric}) than: {_LABELS[rival]}.",
                    "greater",
                    ((Side(layer, metric), Side(f"{mark}-{rival}{time}", metric)),),
                    lower_is_better=lower,
                )
