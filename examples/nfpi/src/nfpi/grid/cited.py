"""Build the grid "cited": kinds of models that Table 4 of the paper cites, at equal time."""

from typing import Any

from nfpi.grid.build_tables import NF_ACC, NLL
from nfpi.grid.collect import Collector
from nfpi.grid.model import Column, Grid, Table, merged
from nfpi.grid.settings import COUPLINGS, JUDGED, TIED, Config, fixed_point

__all__ = ["cited_grid"]

_SEEDS, _TUNING_SEED = (0,), 100

_LAM = 1e4  # that of the demonstration in the grid cpu

_NOTE = (
    "Fashion-MNIST at 16x16, 10,000 training images, on a single thread of a CPU. Every row "
    "trains for as many epochs as fit in 60 s of a processor, by the time of a step in trials on "
    "1,280 images of seed 50. Budget: 14 minutes of one core. One seed: no claim is "
    "registered. The grid is cut from its end."
)

_NOTE_OF_TABLE = (
    "Gaussians: the exact fixed point with one variance, lam = 10,000, fitted at epoch 1; with "
    "cross-entropy at epoch 0, since Gaussians that coincide have no gradient. No row is tuned "
    "beyond a trial of its learning. The residual flow has 2 layers per level and 32 channels, "
    "and no averaged weights, for which its Lipschitz bounds would not hold; its "
    "log-determinants are random estimates. With cross-entropy nothing trains its likelihood. The "
    "NLL of the variational autoencoder is an upper bound, from one draw of its 32 latents; its "
    "images are the middles of what its decoder says. The energy model (JEM) has no NLL, since "
    "the integral of its density is not known; its images come from SGLD, whose temperature is "
    "not 1, and it has no Gaussians to re-estimate."
)

_COLUMNS = (
    NF_ACC,
    NLL,
    Column("reestimated_nll", "NLL, re-estimated", 1),
    Column("cnn_acc_1", "CNN-Acc, T = 1"),
    Column("reestimated_cnn_acc_1", "CNN-Acc, re-estimated, T = 1"),
    Column("processor_seconds", "training (s of a processor)", 0, median=True),
)

_BASE: Config = merged(
    COUPLINGS,
    JUDGED,
    {
        "data": {"size": 16, "limit": 10_000},
        "gaussians": {"epochs": [1]},
        "training": {"epochs": 27},
    },
)

_ADAM: Config = {"optimiser": "adam", "lr": 1e-3, "clip": 1.0}
#: Of the residual flow, which takes few steps.
_SLOW: Config = {**_ADAM, "lr": 2e-3, "warmup_steps": 100, "ema_decay": None}
_RESIDUAL: Config = {"steps": 2, "channels": 32, "judged_terms": 6}

#: Rows by setting, in the order in which they are run: label, and what differs from the base.
_ROWS: dict[str, tuple[str, Config]] = {
    "coupling": ("fully connected couplings", {}),
    "residual-cross-entropy": (
        "residual flow, cross-entropy",
        {
            "flow": {"name": "residual", "options": {**_RESIDUAL, "trains_logdet": False}},
            "gaussians": {"loss": "cross_entropy", "epochs": [0]},
            "training": {**_SLOW, "epochs": 9},
        },
    ),
    "residual-likelihood": (
        "residual flow, likelihood",
        {
            "flow": {"name": "residual", "options": _RESIDUAL},
            "training": {**_SLOW, "epochs": 5},
        },
    ),
    "vae": (
        "variational autoencoder with class Gaussians",
        {"flow": {"name": "vae"}, "training": {**_ADAM, "lr": 3e-3, "epochs": 28}},
    ),
    "energy": ("energy model (JEM)", {}),
    "mef": (
        "matrix-exponential Glow",
        {"flow": {"name": "mef16"}, "training": {"warmup_steps": 100, "epochs": 6}},
    ),
    "tarflow": (
        "TarFlow",
        {"flow": {"name": "tarflow16"}, "training": {**_ADAM, "warmup_steps": 50, "epochs": 3}},
    ),
}

#: Of the energy model; everything else as in ``EnergyOptions``.
_ENERGY = {"epochs": 6, "channels": 16, "steps": 10, "lr": 1e-3}


def cited_grid() -> Grid:
    """Build the grid, to be committed before its first run."""
    table = Table(
        "Kinds of models that Table 4 cites, at equal time", _COLUMNS, note=_NOTE_OF_TABLE
    )
    runs = Collector(("cited",), "fashion_mnist", _SEEDS, _TUNING_SEED)
    for setting, (label, changes) in _ROWS.items():
        options: dict[str, Any] = {}
        if setting == "energy":
            options = {"kind": "energy", "options": _ENERGY}
        runs.add("cited", label, setting, merged(fixed_point(_LAM, TIED), changes), **options)
    return Grid(
        scale="cited",
        note=_NOTE,
        base=_BASE,
        runs=tuple(runs.runs.values()),
        tables=runs.filled({"cited": table}),
        claims=(),
    )
