"""What a run is: frozen dataclasses, read from toml, checked where they are made.

A file holds a table a class, ``[data]``, ``[flow]``, ``[gaussians]``, ``[training]`` and
``[evaluation]``; what is left out keeps the default given here. ``digits_tiny.toml`` in
``examples/nfpi/configs`` is the shortest.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from fpigauss import InvalidInputError

from nfpi.typed_fields import Bounds, Count, Nonnegative, Positive, Section, Whole, shown

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


Augmentation = Literal["flip", "crop", "rotate", "jitter"]


@dataclass(frozen=True)
class DataConfig(Section):
    """Which images: ``source`` and ``size`` as in ``load_images``, ``limit`` training images."""

    _table = "data"
    source: str = "digits"
    size: Count | None = None
    limit: Count | None = None


@dataclass(frozen=True)
class FlowConfig(Section):
    """Which flow: a name and options of ``make_flow``."""

    _table = "flow"
    name: str = "coupling"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GaussiansConfig(Section):
    """The class Gaussians, and how they come about.

    ``scheme`` says which prior; the fits ("fixed_point", "data") take ``covariance`` to ``init``
    as ``fpigauss.fit_fixed_point`` and ``FixedPointSchedule`` do. Priors that an optimizer trains
    use ``lr`` with ``policy``; ``scale`` is the spread of means that are drawn, ``beta`` the weight
    of classification in "ib_inn" and "klj". A lam of 100 K^2 at alpha 10 is what
    ``FixedPointSchedule`` takes by itself.
    """

    _table = "gaussians"
    scheme: Literal[
        "fixed_point", "data", "gradient", "random_means", "learned_means", "ib_inn", "klj"
    ] = "fixed_point"
    covariance: Literal["diagonal", "isotropic", "dense"] = "isotropic"
    tied: bool = True
    lam: Nonnegative = 3e4
    pi: Literal["forward", "mean", "initial"] | Positive = "forward"
    alpha: Positive = 1.0
    equations: Literal["stationary", "printed", "released"] = "stationary"
    update: Literal["both", "means", "covariances"] = "both"
    init: Literal["data", "identity"] = "data"
    epochs: tuple[Whole, ...] = (0, 1)
    single_iteration: bool = False
    max_iter: Count = 1000
    tol: Nonnegative = 1e-6
    lr: Positive = 1e-2
    policy: Literal[
        "sublinear_v1", "sublinear_v2", "linear", "superlinear_v1", "superlinear_v2"
    ] = "linear"
    scale: Nonnegative = 1.0
    beta: Nonnegative = 1.0


@dataclass(frozen=True)
class TrainingConfig(Section):
    """How the flow is trained: ``ema_decay`` and ``clip`` (of the gradient's norm) may be off."""

    _table = "training"
    epochs: Count = 20
    batch_size: Count = 128
    optimiser: Literal["adamax", "adam"] = "adam"
    lr: Positive = 1e-3
    warmup_steps: Whole = 0
    ema_decay: Annotated[float, Bounds(0.0, 1.0)] | None = None
    ema_power: Positive = 0.75
    augment: tuple[Augmentation, ...] = ()
    seed: Whole = 0
    amp: bool = False
    compile: bool = False
    clip: Positive | None = None


@dataclass(frozen=True)
class EvaluationConfig(Section):
    """What is measured at the end; with ``cnn``, a CNN-Acc for each of ``temperatures``.

    A classifier, ``cnn_model``, is trained on ``n_generated`` images for ``cnn_epochs``; with
    ``reestimate`` once more on images from Gaussians that are estimated anew after training.
    """

    _table = "evaluation"
    cnn: bool = False
    temperatures: tuple[Positive, ...] = (0.7, 1.0)
    n_generated: Count = 5000
    cnn_model: Literal["small_cnn", "resnet18"] = "small_cnn"
    cnn_epochs: Count = 10
    cnn_batch_size: Count = 100
    cnn_augment: tuple[Augmentation, ...] = ()
    reestimate: bool = False


@dataclass(frozen=True)
class RunConfig:
    """One run: which data, flow and Gaussians, how trained, what measured."""

    data: DataConfig = field(default_factory=DataConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    gaussians: GaussiansConfig = field(default_factory=GaussiansConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        """Refuse sections that are none, which check themselves."""
        for each in fields(self):
            section = getattr(self, each.name)
            if not isinstance(section, each.type):  # type: ignore[arg-type]  # no strings here
                raise InvalidInputError(
                    f"{each.name} is {shown(section)}; pass a {each.type.__name__}"  # type: ignore[union-attr]
                )


_SECTIONS: dict[str, type[Any]] = {each.name: each.type for each in fields(RunConfig)}  # type: ignore[misc]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config, some of its values replaced.

    Parameters
    ----------
    path : path
        A toml file.
    overrides : sequence of str
        Each ``"table.name=value"``, the value as in toml; plain words need no quotes, and ``none``
        is a value left out: ``"gaussians.lam=1e4"``, ``"flow.name=mef"``, ``"data.limit=none"``,
        ``"flow.options.hidden=256"``.

    Returns
    -------
    RunConfig

    Raises
    ------
    InvalidInputError
        If the file is missing or no toml, or a key or value cannot be used.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"config {path}: {error.strerror or error}; pass the path of a toml file"
        ) from error
    except ValueError as error:  # of tomllib, and of text that is no UTF-8
        raise InvalidInputError(f"config {path} is no toml: {error}") from error
    for override in overrides:
        _override(values, override)
    try:
        return from_dict(values)
    except InvalidInputError as error:
        raise InvalidInputError(f"config {path}: {error}") from None


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Build a config from nested dicts, as ``to_dict`` gives them.

    Parameters
    ----------
    values : mapping
        A mapping a table; tables and names that are left out keep their defaults.

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
    _refuse_unknown(values, _SECTIONS, "")
    sections = {}
    for name, table in values.items():
        if not isinstance(table, Mapping):
            raise InvalidInputError(f"{name} is {shown(table)}; it is a table, [{name}]")
        _refuse_unknown(table, {each.name for each in fields(_SECTIONS[name])}, f"{name}.")
        sections[name] = _SECTIONS[name](**table)
    return RunConfig(**sections)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """A config as nested dicts of lists, strings, numbers and None: what JSON can hold.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    dict
        ``from_dict`` gives the config back.
    """
    return _plain(asdict(config))  # type: ignore[no-any-return]


def canonical(config: RunConfig) -> dict[str, Any]:
    """The config without what belongs to one machine: of the data's path, only its last part.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    dict
        As ``to_dict`` gives it; for records, which are read on other machines.
    """
    values = to_dict(config)
    values["data"]["source"] = PurePath(values["data"]["source"]).name
    return values


def config_key(config: RunConfig) -> str:
    """Twelve hexadecimal digits that tell runs apart, the same on every machine.

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


def _refuse_unknown(values: Mapping[str, Any], known: Any, prefix: str) -> None:
    for name in values:
        if name not in known:
            raise InvalidInputError(
                f"unknown key {prefix}{name}; there {'are' if len(known) > 1 else 'is'} "
                + ", ".join(sorted(known))
            )


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
