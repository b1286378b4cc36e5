"""What a refit needs of a model and of a loader, checked before any work."""

import inspect
import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.utils.data import IterableDataset

from fpigauss import FixedPoint, InvalidInputError, UnknownOptionError
from fpigauss.interface import (
    check_option_names,
    check_positive_integer,
    check_takes_one,
    warn_user,
)
from fpigauss_torch.flow import ClassFlow, class_flow_of
from fpigauss_torch.gaussians import LatentGaussians

__all__ = [
    "Prepare",
    "check_initialized",
    "check_keywords",
    "check_loader",
    "check_prepare",
    "coincide",
    "fitted_of",
    "flow_of",
    "limited",
    "place_for",
]

#: Data sets that were warned about, by their id: not all of them can be hashed.
_WARNED: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

#: What turns a loader's batch into (x, y).
Prepare: TypeAlias = Callable[[Any], Any]


def flow_of(model: Any, name: str = "model") -> ClassFlow:
    """Return the ``ClassFlow`` with ``LatentGaussians`` in a model, whatever wraps it."""
    flow = class_flow_of(model, name)
    if not isinstance(flow.gaussians, LatentGaussians):
        raise InvalidInputError(
            f"{name} has {type(flow.gaussians).__name__}, which cannot be refitted: they are "
            "trained, or stay as they are; leave out the refit, or make the ClassFlow with "
            "LatentGaussians"
        )
    return flow


def fitted_of(flow: ClassFlow) -> LatentGaussians:
    """Return the Gaussians of a flow that ``flow_of`` has checked."""
    assert isinstance(flow.gaussians, LatentGaussians)
    return flow.gaussians


def coincide(gaussians: LatentGaussians) -> bool:
    """Return ``gaussians.coincide``, which was this function."""
    return gaussians.coincide


def check_initialized(flow: nn.Module) -> None:
    """Raise an error if a layer still waits for a batch in train mode to initialize it.

    The latents of such a flow would mean nothing.
    """
    for name, part in flow.named_modules():
        initialized = getattr(part, "initialized", True)
        if isinstance(initialized, bool | torch.Tensor) and not bool(initialized):
            raise InvalidInputError(
                f"model has a layer that is initialized by data and has seen none, {name} "
                f"({type(part).__name__}); encode a batch in train mode first, or pass "
                "FixedPointSchedule(..., warm_up=1)"
            )


def check_keywords(names: Iterable[str], signature: inspect.Signature) -> None:
    """Raise UnknownOptionError for the first keyword that a schedule does not take."""
    parameters = signature.parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return  # a subclass's own affair
    known = [parameter.name for parameter in parameters][1:]  # all but self
    places = {option.name: "fit=FixedPoint({}=...)" for option in fields(FixedPoint)}
    places |= dict.fromkeys(("covariance", "tied"), "LatentGaussians(..., {}=...)")
    places |= dict.fromkeys(("copies", "device", "prepare", "max_batches"), "step(..., {}=...)")
    for name in names:
        if name in places and name not in known:
            raise UnknownOptionError(
                f"{name} is not an option of a schedule; pass {places[name].format(name)}"
            )
    check_option_names(names, known, of="a schedule")


def check_loader(loader: Any, n_passes: int) -> None:
    """Raise an error unless ``loader`` can be iterated over ``n_passes`` times."""
    if not isinstance(loader, Iterable):
        raise InvalidInputError(
            f"loader is a {type(loader).__name__}; pass an iterable of batches (x, y)"
        )
    if n_passes > 1 and isinstance(loader, Iterator):
        raise InvalidInputError(
            f"loader is a {type(loader).__name__}, which can be iterated over only once, and "
            "copies and warm_up need passes of their own; pass a DataLoader or a list"
        )


def check_prepare(prepare: Any) -> None:
    """Raise an error unless ``prepare`` is a function, or None."""
    if not (prepare is None or callable(prepare)):
        raise InvalidInputError(
            f"prepare is a {type(prepare).__name__}; pass a function batch -> (x, y)"
        )
    if prepare is not None:
        check_takes_one(prepare, "prepare", "pass a function batch -> (x, y)")


def place_for(flow: ClassFlow, device: torch.device | str | None) -> torch.device:
    """Return the device to move batches to, by default that of the Gaussians."""
    own: torch.device = fitted_of(flow).means.device
    if device is None:
        return own
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InvalidInputError(
            f"device is {device!r}, which torch cannot use here ({str(error).splitlines()[0]}); "
            f"pass None for that of the Gaussians, {own}"
        ) from None
    if place.type == "meta":
        raise InvalidInputError(
            f"device is {device!r}, where tensors have no values; pass None for that of the "
            f"Gaussians, {own}"
        )
    return place


def limited(loader: Iterable[Any], max_batches: int | None) -> Iterable[Any]:
    """Return the first batches of a loader; without a limit, warn of one that may have no end."""
    if max_batches is not None:
        return _First(loader, check_positive_integer(max_batches, "max_batches"))
    dataset = getattr(loader, "dataset", None)
    unsized = isinstance(dataset, IterableDataset) and _length(loader) is None
    if unsized and _WARNED.get(id(dataset)) is not dataset:
        _WARNED[id(dataset)] = dataset
        warn_user(
            f"loader reads a {type(dataset).__name__} without a length to its end; if it has none, "
            "the refit does not return: pass max_batches=, more than there are to read all of them",
            UserWarning,
        )
    return loader


class _First:
    """The first batches of a loader."""

    def __init__(self, loader: Iterable[Any], n_batches: int) -> None:
        self.loader = loader
        self.n_batches = n_batches

    def __len__(self) -> int:
        length = _length(self.loader)
        return self.n_batches if length is None else min(length, self.n_batches)

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self.loader, self.n_batches)


def _length(loader: Any) -> int | None:
    """Return how many batches there are, or None if the loader does not know."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None
