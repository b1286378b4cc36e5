"""What a run is: frozen models, read from TOML, checked where they are made.

A file holds one table per class, ``[data]``, ``[flow]``, ``[gaussians]``, ``[training]`` and
``[evaluation]``; what is left out keeps the default given here. ``digits_tiny.toml`` in
``examples/nfpi/configs`` is the shortest.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, get_args

from fpigauss import InvalidInputError
from pydantic import BaseModel, ConfigDict, Field, JsonValue, Strict, ValidationError

from nfpi.refusals import shown, told

__all__ = [
    "DataConfig",
    "EvaluationConfig",
    "FlowConfig",
    "GaussiansConfig",
    "RunConfig",
    "TrainingConfig",
    "canonical",
    "config_key",
    "from_dict",
    "load_config",
    "to_dict",
]

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Nonnegative = Annotated[float, Field(ge=0)]
Temperatures = Annotated[tuple[Positive, ...], Strict(False)]  # TOML and JSON have lists alone
Augmentations = Annotated[
    tuple[Literal["flip", "crop", "rotate", "jitter", "released"], ...], Strict(False)
]


class _Checked(BaseModel):
    """A frozen model whose errors name field, value and remedy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    _table: ClassVar[str] = ""

    def __init__(self, **values: Any) -> None:
        """Check every field against its annotation."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            fields = type(self).model_fields
            optional = [
                name for name, each in fields.items() if NoneType in get_args(each.annotation)
            ]
            raise InvalidInputError(
                told(error, values, table=self._table, known=fields, optional=optional)
            ) from None


class _Section(_Checked):
    """A table of a config."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Which images: ``source``, ``size`` and ``classes`` as in ``load_images``; how many train."""

    _table: ClassVar[str] = "data"
    source: str = "digits"
    size: Count | None = None
    classes: Count | None = None
    limit: Count | None = None


class FlowConfig(_Section):
    """Which flow: a name and options of ``make_flow``."""

    _table: ClassVar[str] = "flow"
    name: str = "coupling"
    options: dict[str, JsonValue] = Field(default_factory=dict)


class GaussiansConfig(_Section):
    """The class Gaussians, and how they are found.

    ``scheme`` names the prior. The fits ("fixed_point", "data") use the fields from ``covariance``
    to ``init`` as ``fpigauss.fit_fixed_point`` and ``FixedPointSchedule`` do; with ``data_first``
    the first fit has no repulsion. ``fit_augmented`` shows augmented images to fits, and to the
    epochwise steps of "gradient_released", where ``lam`` is the first weight. Priors trained by an
    optimizer use ``lr`` with ``policy``; ``scale`` is the spread of randomly drawn means, ``beta``
    the weight of classification in "ib_inn" and "klj", and where ``loss`` is "bottleneck". The
    default of ``FixedPointSchedule`` is a lam of 100 K^2 at alpha 10; a ``separation`` replaces
    ``lam``, and each fit finds its own.

    "layer" fits at every step from the first of ``epochs`` on, to the batch and to those before it
    (``decay``; 0 forgets them), and trains through the fit as ``gradient`` says, see
    ``LayerObjective``. ``loss`` is what is trained on, whatever the scheme: the likelihood,
    IB-INN's loss, the cross-entropy of the class log-densities, or with "layer" the likelihood of
    the half of a batch that is not fitted to. By default, that of the scheme.
    """

    _table: ClassVar[str] = "gaussians"
    scheme: Literal[
        "fixed_point",
        "data",
        "layer",
        "gradient",
        "gradient_released",
        "random_means",
        "learned_means",
        "ib_inn",
        "klj",
    ] = "fixed_point"
    covariance: Literal["diagonal", "isotropic", "dense"] = "isotropic"
    tied: bool = True
    lam: Nonnegative = 3e4
    separation: Positive | None = None
    pi: Literal["forward", "mean", "initial"] | Positive = "forward"
    alpha: Positive = 1.0
    equations: Literal["stationary", "printed", "released"] = "stationary"
    update: Literal["both", "means", "covariances"] = "both"
    init: Literal["data", "identity", "current"] = "data"
    epochs: Annotated[tuple[Whole, ...], Strict(False)] = (0, 1)
    single_iteration: bool = False
    data_first: bool = False
    fit_augmented: bool = False
    max_iter: Count = 1000
    tol: Nonnegative = 1e-6
    lr: Positive = 1e-2
    policy: Literal[
        "sublinear_v1", "sublinear_v2", "linear", "superlinear_v1", "superlinear_v2"
    ] = "linear"
    scale: Nonnegative = 1.0
    beta: Nonnegative = 1.0
    loss: Literal["likelihood", "bottleneck", "held_out", "cross_entropy"] | None = None
    gradient: Literal["whole", "batch", "held"] = "whole"
    decay: Annotated[float, Field(ge=0, le=1)] = 0.9


class TrainingConfig(_Section):
    """How the flow is trained; None switches off ``ema_decay`` and ``clip`` (gradient norm).

    The averaged copy starts to follow at epoch ``ema_start``. Layers that are initialized by data
    see ``init_images`` images, augmented, or one batch without augmentation. ``tf32`` lets a GPU
    round the factors of matrix products.
    """

    _table: ClassVar[str] = "training"
    epochs: Count = 20
    batch_size: Count = 128
    optimiser: Literal["adamax", "adam"] = "adam"
    lr: Positive = 1e-3
    warmup_steps: Whole = 0
    ema_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    ema_power: Positive = 0.75
    ema_start: Whole = 0
    init_images: Count | None = None
    augment: Augmentations = ()
    seed: Whole = 0
    amp: bool = False
    tf32: bool = False
    compile: bool = False
    clip: Positive | None = None


class EvaluationConfig(_Section):
    """What is measured at the end; with ``cnn``, a CNN-Acc for each of ``temperatures``.

    The classifier ``cnn_model`` is trained on ``n_generated`` images for ``cnn_epochs``; with
    ``reestimate`` once more, on images from Gaussians re-estimated after training. ``one_cycle``
    names the learning rates of "resnet18" and "small_cnn": from 0.001 as the paper prints them, or
    those that the authors' code uses, from 0.004 with a momentum that cycles too.
    """

    _table: ClassVar[str] = "evaluation"
    cnn: bool = False
    temperatures: Temperatures = (0.7, 1.0)
    n_generated: Count = 5000
    cnn_model: Literal["small_cnn", "resnet18"] = "small_cnn"
    cnn_epochs: Count = 10
    cnn_batch_size: Count = 100
    cnn_augment: Augmentations = ()
    one_cycle: Literal["printed", "released"] = "printed"
    reestimate: bool = False


class RunConfig(_Checked):
    """One run: its data, flow and Gaussians, its training, and what is measured."""

    data: DataConfig = Field(default_factory=DataConfig)
    flow: FlowConfig = Field(default_factory=FlowConfig)
    gaussians: GaussiansConfig = Field(default_factory=GaussiansConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config, replacing some of its values.

    Parameters
    ----------
    path : path
        A TOML file.
    overrides : sequence of str
        Each is ``"table.name=value"`` with a TOML value; plain words need no quotes, and ``none``
        omits the value: ``"gaussians.lam=1e4"``, ``"flow.name=mef"``, ``"data.limit=none"``,
        ``"flow.options.hidden=256"``.

    Returns
    -------
    RunConfig

    Raises
    ------
    InvalidInputError
        If the file is missing or is not TOML, or a key or value cannot be used.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"config {path}: {error.strerror or error}; pass the path of a TOML file"
        ) from error
    except ValueError as error:  # from tomllib, or from text that is not UTF-8
        raise InvalidInputError(f"config {path} is not TOML: {error}") from error
    for override in overrides:
        _override(values, override)
    try:
        return from_dict(values)
    except InvalidInputError as error:
        raise InvalidInputError(f"config {path}: {error}") from None


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Build a config from nested dicts, as returned by ``to_dict``.

    Parameters
    ----------
    values : mapping
        One mapping per table; omitted tables and names keep their defaults.

    Returns
    -------
    RunConfig

    Raises
    ------
    InvalidInputError
        If a key is unknown or a value cannot be used; the message names it.
    """
    if not isinstance(values, Mapping):
        raise InvalidInputError(f"a config is a table of tables, not {shown(values)}")
    return RunConfig(**values)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return a config as nested dicts of lists, strings, numbers and None, as JSON has them.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    dict
        ``from_dict`` inverts it.
    """
    return config.model_dump(mode="json")


def canonical(config: RunConfig) -> dict[str, Any]:
    """Return a config without machine-dependent parts: only the last parts of paths.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    dict
        As from ``to_dict``; for records, which are read on other machines.
    """
    values = to_dict(config)
    values["data"]["source"] = PurePath(values["data"]["source"]).name
    encoder = values["flow"]["options"].get("autoencoder_options")
    if isinstance(encoder, dict) and isinstance(encoder.get("path"), str):
        encoder["path"] = PurePath(encoder["path"]).name
    return values


def config_key(config: RunConfig) -> str:
    """Return twelve hexadecimal digits that identify a run, the same on every machine.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    str
        The start of the SHA-256 of `canonical`, as JSON.
    """
    text = json.dumps(canonical(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _override(values: dict[str, Any], override: str) -> None:
    """Set one value in nested dicts, in place."""
    key, equals, text = override.partition("=")
    names, text = key.strip().split("."), text.strip()
    if not equals or len(names) < 2 or not all(names) or not text:
        raise InvalidInputError(
            f'override {override!r} cannot be read; write table.name=value, "gaussians.lam=1e4"'
        )
    table = values
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise InvalidInputError(f"override {override!r}: {name} is a value, not a table")
    try:
        table[names[-1]] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[names[-1]] = None if text.lower() == "none" else text
