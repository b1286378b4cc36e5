"""Build the grid "mixing": Table 5 and Fig. 2 with mixing in the span of principal axes."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from nfpi.grid.claims import Claim, Side
from nfpi.grid.collect import Collector
from nfpi.grid.model import Column, Grid, Table, merged
from nfpi.grid.settings import COUPLINGS, TIED, Config, fixed_point

__all__ = ["mixing_grid"]

_SEEDS, _TUNING_SEED = (0, 1, 2, 3, 4), 100

_SETTING = "augment-small_cnn"

_STANDARD = ("cutmix", "mixup")

_NOTE = (
    "Fashion-MNIST at 14x14: the flow, its Gaussians and the small CNN see the same 1,000 training "
    "images; 200 epochs of fully connected couplings, Gaussians fitted at epoch 20, and 60 epochs "
    "per classifier, on a single thread of a CPU. Budget: 15 minutes of one core."
)

_NOTE_OF_TABLE = (
    "Half of the images of every batch are moved in the latent space, with partners from the "
    "batch, at strength 0.5, which was not tuned. Axes and noise are those of one dense "
    "covariance per class, of the final latents of the same 1,000 images, shrunk as OAS says; "
    "the shrinkage leaves principal axes as they are. Plain mixing moves straight toward the "
    "partner. The standard augmentation, for each batch cutmix or mixup, was chosen by trials "
    "without a flow, judged by 6,000 training images, some 100 of which they had seen: of ten "
    "at seeds 50 and 51, it alone was above no augmentation at both by .005 or more, and at "
    "seed 52 by .019."
)

_BASE: Config = merged(
    COUPLINGS,
    {
        "data": {"size": 14, "limit": 1_000},
        "gaussians": {"epochs": [20]},
        "training": {"epochs": 200},
        "evaluation": {"cnn": False},
    },
)

_LAM = 3e4  # that of Table 5 in the grid cpu

#: Ways of moving latents: their labels and the settings of ``FlowAugmentation``.
_WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "mix": ("plain mixing", {}),
    "mix-8": ("mixing along 8 axes", {"n_axes": 8}),
    "mix-32": ("mixing along 32 axes", {"n_axes": 32}),
    "noise": ("noise", {"method": "noise"}),
}


def mixing_grid() -> Grid:
    """Build the grid, to be committed before its first run."""
    table = Table(
        "Table 5 as worded: mixing in the span of principal axes",
        (Column("accuracy", "accuracy"),),
        note=_NOTE_OF_TABLE,
    )
    runs = Collector(("mixing",), "fashion_mnist", _SEEDS, _TUNING_SEED)
    arms = _arms()
    for arm, label in _labels().items():
        runs.add(
            "mixing", label, _SETTING, fixed_point(_LAM, TIED), metric=f"accuracy_{arm}",
            kind="augmentation",
            options={
                "classifier": "small_cnn",
                "epochs": 60,
                "standard": list(_STANDARD),
                "arms": arms,
                "pictures": True,
            },
        )  # fmt: skip
    # one flow is shown
    others = {name: dict(run.options) for name, run in runs.runs.items()}
    for name, options in others.items():
        if name != f"{_SETTING}-s{_SEEDS[0]}":
            del options["pictures"]
            runs.runs[name] = replace(runs.runs[name], options=options)
    return Grid(
        scale="mixing",
        note=_NOTE,
        base=_BASE,
        runs=tuple(runs.runs.values()),
        tables=runs.filled({"mixing": table}),
        claims=tuple(_claims()),
    )


def _arms() -> dict[str, dict[str, Any]]:
    """Describe every arm as ``nfpi.arms`` reads it."""
    moves = {way: {"flow": {"strength": 0.5, **move}} for way, (_, move) in _WAYS.items()}
    return {
        "none": {},
        **moves,
        "standard": {"standard": True},
        **{f"standard-{way}": {"standard": True, **move} for way, move in moves.items()},
    }


def _labels() -> dict[str, str]:
    standard = f"standard augmentation ({', '.join(_STANDARD)})"
    return {
        "none": "no augmentation",
        **{way: label for way, (label, _) in _WAYS.items()},
        "standard": standard,
        **{f"standard-{way}": f"{standard}, {label}" for way, (label, _) in _WAYS.items()},
    }


def _side(arm: str) -> Side:
    return Side(_SETTING, f"accuracy_{arm}")


def _claims() -> Iterable[Claim]:
    yield Claim(
        "standard-helps",
        "The standard augmentation helps.",
        "greater",
        ((_side("standard"), _side("none")),),
    )
    for mark, beside, at in (
        ("", "none", "alone"),
        ("standard-", "standard", "beside standard augmentation"),
    ):
        for way, (label, _) in _WAYS.items():
            yield Claim(
                f"{mark}{way}-helps",
                f"Flow augmentation by {label} helps, {at}.",
                "greater",
                ((_side(f"{mark}{way}"), _side(beside)),),
            )
        for n_axes in (8, 32):
            yield Claim(
                f"{mark}mix-{n_axes}-above-mix",
                f"Mixing along {n_axes} axes teaches more than plain mixing, {at}.",
                "greater",
                ((_side(f"{mark}mix-{n_axes}"), _side(f"{mark}mix")),),
            )
