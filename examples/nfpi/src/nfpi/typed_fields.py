"""Frozen dataclasses whose fields are checked against their annotations."""

import math
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from fpigauss import InvalidInputError

__all__ = ["Bounds", "Count", "Nonnegative", "Positive", "Section", "Whole", "shown"]


class Bounds(NamedTuple):
    """A number must lie in [low, high]."""

    low: float = -math.inf
    high: float = math.inf


Count = Annotated[int, Bounds(low=1)]
Whole = Annotated[int, Bounds(low=0)]
Positive = Annotated[float, Bounds(low=math.ulp(0.0))]
Nonnegative = Annotated[float, Bounds(low=0.0)]


class Section:
    """Checks every field of a dataclass against its annotation, and freezes it in plain types."""

    _table: ClassVar[str]

    def __post_init__(self) -> None:
        """Take tuples for lists, and floats for ints where a float is wanted."""
        hints = typing.get_type_hints(type(self), include_extras=True)
        for each in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            key = f"{self._table}.{each.name}"
            checked = _checked(getattr(self, each.name), hints[each.name], key)
            object.__setattr__(self, each.name, checked)


def _checked(value: Any, hint: Any, key: str) -> Any:
    """``value`` as ``hint`` wants it, or an error that names ``key``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        for option in arguments:
            with suppress(InvalidInputError):
                return _checked(value, option, key)
    elif origin is Annotated:
        low, high = arguments[1]
        with suppress(InvalidInputError):  # the error below names the bounds too
            number = _checked(value, arguments[0], key)
            if low <= number <= high:
                return number
    elif origin is Literal:
        if isinstance(value, str) and value in arguments:
            return value
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(_checked(part, arguments[0], key) for part in value)
    elif origin is dict:
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            return {name: _option(part, f"{key}.{name}") for name, part in value.items()}
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise InvalidInputError(f"{key} is {shown(value)}; it is {_described(hint)}")


def _option(value: Any, key: str) -> Any:
    """What a flow's option may be: what JSON and toml can both hold."""
    if isinstance(value, (list, tuple)):
        return tuple(_option(part, key) for part in value)
    if isinstance(value, Mapping):
        return _checked(value, dict[str, Any], key)
    return _checked(value, bool | int | float | str | None, key)


def _described(hint: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_described(option) for option in arguments)
    if origin is Annotated:
        low, high = arguments[1]
        if high < math.inf:
            return f"{_described(arguments[0])} in [{low:g}, {high:g}]"
        beyond = "> 0" if 0 < low < 1 else f">= {low:g}"
        return f"{_described(arguments[0])} {beyond}"
    if origin is Literal:
        return "one of " + ", ".join(f'"{name}"' for name in arguments)
    if origin is tuple:
        return f"a list, each {_described(arguments[0])}"
    if origin is dict:
        return "a table"
    if hint is type(None):
        return "none"
    words = {bool: "true or false", int: "a whole number", float: "a finite number"}
    return words.get(hint, "a string")


def shown(value: Any) -> str:
    """A value for a message, in sixty characters at most."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
