"""Input checks: each raises InvalidInputError before any work, or returns the value."""

import inspect
import math
import operator
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from fpigauss._array.blocks import blocks
from fpigauss._array.namespaces import first_true, namespace
from fpigauss._array.traced import is_traced
from fpigauss._array.typing import Array, Labels
from fpigauss.errors import InvalidInputError

__all__ = [
    "OutOfRangeError",
    "OutOfScaleError",
    "as_integer",
    "as_number",
    "check_choice",
    "check_classes",
    "check_draws",
    "check_finite",
    "check_finite_rows",
    "check_flag",
    "check_matrix",
    "check_nonnegative",
    "check_number",
    "check_positive",
    "check_positive_integer",
    "check_range",
    "check_seed",
    "check_strategy",
    "check_takes_one",
    "check_whole",
    "check_width",
]

T = TypeVar("T")


# -- numbers -------------------------------------------------------------------------------


def as_integer(value: Any) -> int | None:
    """Convert a whole number of any library, numpy's or a 0-d tensor, to an int.

    Anything else, flags and floats too, gives None.
    """
    if getattr(value, "ndim", 0) != 0:  # an array of one number is not one
        return None
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_number(value: object, name: str, wanted: str = "a real number") -> float:
    """Convert a real number, infinity included, to a float; ``wanted`` ends the message if not."""
    if isinstance(value, np.timedelta64):  # which numpy takes for an integer
        raise InvalidInputError(f"{name} is {value!r}, not a number; pass {wanted}")
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | Decimal):
        scalar = getattr(value, "item", None)
        if scalar is None or getattr(value, "ndim", None) != 0:
            raise InvalidInputError(
                f"{name} is of type {type(value).__name__}, not a number; pass {wanted}"
                if getattr(value, "ndim", 0)
                else f"{name} is {value!r}, not a number; pass {wanted}"
            )
        return as_number(scalar(), name, wanted)
    try:
        number = float(value)
    except OverflowError:
        raise InvalidInputError(f"{name} is too large for a float; pass a smaller one") from None
    if math.isnan(number):
        raise InvalidInputError(f"{name} is NaN; pass {wanted}")
    return number


def check_number(value: object, name: str) -> float:
    """Check that ``value`` is a finite number."""
    number = as_number(value, name)
    if math.isinf(number):
        raise InvalidInputError(f"{name} is infinite; pass a finite number")
    return number


def check_nonnegative(value: object, name: str) -> float:
    """Check that ``value`` is a finite number >= 0."""
    number = as_number(value, name)
    if not 0.0 <= number < math.inf:
        raise InvalidInputError(f"{name} is {number:g}; pass a finite number >= 0")
    return number


def check_positive(value: object, name: str) -> float:
    """Check that ``value`` is a finite number > 0."""
    number = as_number(value, name)
    if not 0.0 < number < math.inf:
        raise InvalidInputError(f"{name} is {number:g}; pass a finite number > 0")
    return number


def check_whole(value: object, name: str) -> int:
    """Check that ``value`` is an integer >= 0."""
    return _integer_from(0, value, name)


def check_positive_integer(value: object, name: str) -> int:
    """Check that ``value`` is an integer >= 1."""
    return _integer_from(1, value, name)


def _integer_from(least: int, value: object, name: str) -> int:
    wanted = f"an integer >= {least}"
    number = as_number(value, name, wanted)
    if number < least or not number.is_integer():
        raise InvalidInputError(f"{name} is {number:g}; pass {wanted}")
    return int(number)


def check_draws(count: int, dim: int, name: str) -> None:
    """Check that ``count`` draws of ``dim`` numbers each can be in the memory of any machine."""
    if count * dim * np.dtype(np.float64).itemsize > sys.maxsize:
        raise InvalidInputError(
            f"{name} is {count:g}: that many draws are in no memory; draw fewer at a time"
        )


# -- names, flags, seeds -------------------------------------------------------------------


def check_choice(value: object, name: str, choices: tuple[str, ...], or_else: str = "") -> str:
    """Check that ``value`` is one of the names ``choices``."""
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(f'"{choice}"' for choice in choices)
        raise InvalidInputError(
            f"{name} is {value!r}; pass {'one of ' if len(choices) > 1 else ''}{known}"
            + (f", or {or_else}" if or_else else "")
        )
    return value


def check_strategy(
    value: object,
    name: str,
    known: Mapping[str, Callable[[], T]],
    kind: type[Any],  # a base of T, not type[T]: mypy does not accept an abstract class there
    *,
    or_else: str = "",
    otherwise: Callable[[Any], T] | None = None,
) -> T:
    """Return the strategy that ``value`` is or names, or that ``otherwise`` makes of it."""
    if isinstance(value, kind):
        strategy: T = value
        return strategy
    if isinstance(value, type) and issubclass(value, kind):
        raise InvalidInputError(
            f"{name} is the class {value.__name__}; pass an object, {value.__name__}(...)"
        )
    if otherwise is not None and not isinstance(value, str):
        return otherwise(value)
    return known[check_choice(value, name, tuple(known), or_else or f"a {kind.__name__}")]()


def check_flag(value: object, name: str) -> bool:
    """Check that ``value`` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidInputError(f"{name} is {value!r}; pass True or False")
    return bool(value)


def check_takes_one(function: Callable[..., Any], name: str, remedy: str) -> None:
    """Check that a function can be called with one argument, as far as it says."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some that are written in C do not say
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise InvalidInputError(
            f"{name} cannot be called with one argument ({error}); {remedy}"
        ) from None


def check_seed(seed: object) -> np.random.Generator:
    """Make a generator from a seed; a generator stays as it is."""
    try:
        return np.random.default_rng(seed)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"seed is {seed!r} ({error}); pass an int or a numpy Generator"
        ) from None


# -- arrays and labels ---------------------------------------------------------------------


def check_matrix(x: Array, name: str) -> None:
    """Check that ``x`` is a 2-D array and not empty."""
    if x.ndim != 2:
        if x.ndim == 0:
            remedy = "pass one row per sample"
        elif x.ndim == 1 and x.dtype == object:
            remedy = f"stack its rows, numpy.stack({name})"
        elif x.ndim == 1:
            swapped = "; or are z and y swapped?" if name == "z" else ""
            remedy = f"pass {name}[:, None] for rows of one number{swapped}"
        else:
            remedy = f"flatten each sample, {name}.reshape(len({name}), -1)"
        raise InvalidInputError(f"{name} has shape {tuple(x.shape)}, (N, d) is needed; {remedy}")
    if 0 in x.shape:
        raise InvalidInputError(
            f"{name} is empty, of shape {tuple(x.shape)}; pass at least one sample and dimension"
        )


def check_width(z: Array, dim: int, whose: str = "of the Gaussians", *, name: str = "z") -> None:
    """Check that ``z`` are latents (N, ``dim``)."""
    if z.ndim != 2 or z.shape[1] != dim:
        remedy = f"pass latents from the space {whose}"
        if z.ndim == 1 and dim == 1:
            remedy = f"pass {name}[:, None]"
        elif tuple(z.shape) == (dim,):
            remedy = f"pass {name}[None, :] if it is one row"
        elif z.ndim > 2 and math.prod(z.shape[1:]) == dim:
            remedy = f"flatten each sample, {name}.reshape(len({name}), -1)"
        raise InvalidInputError(
            f"{name} has shape {tuple(z.shape)}, (N, {dim}) is needed; {remedy}"
        )


def check_finite(x: Array, name: str, classes: Labels | None = None) -> None:
    """Check that ``x`` is finite; its first axis is that of ``classes``, if given."""
    xp = namespace(x)
    faulty = ~xp.isfinite(x)
    if is_traced(faulty) or not bool(xp.any(faulty)):
        return
    where = ""
    if classes is not None:
        first = first_true(xp.any(xp.reshape(faulty, (x.shape[0], -1)), axis=1))
        where = f" in class {classes[first].item()!r}"
    raise InvalidInputError(f"{name} contains NaN or infinity{where}; pass finite numbers")


def check_finite_rows(z: Array, first_row: int = 0, *, name: str = "z") -> None:
    """Check that latents (N, d) are finite; ``first_row`` is where a chunk begins."""
    xp = namespace(z)
    for block in blocks(z.shape[0], z.shape[1], 2**22):
        faulty = ~xp.isfinite(z[block, :])
        row = first_true(xp.any(faulty, axis=1))
        if row is not None:
            raise InvalidInputError(
                f"{name} contains NaN or infinity in row {first_row + block.start + row}, "
                f"column {first_true(faulty[row, :])}; drop or repair the row"
            )


class OutOfRangeError(InvalidInputError):
    """Numbers do not fit a dtype."""


class OutOfScaleError(InvalidInputError):
    """Numbers are too far apart in scale to be computed with together."""


def check_range(x: Array, like: Array, name: str, *, positive: bool = True) -> None:
    """Check that numbers fit the dtype of ``like``; ``positive`` ones must not underflow either."""
    xp = namespace(x)
    own, limits = xp.finfo(x.dtype), namespace(like).finfo(like.dtype)
    fits = xp.abs(x) <= min(float(limits.max), float(own.max))  # False for NaN
    if positive:
        fits = fits & (x >= max(float(limits.smallest_normal), float(own.smallest_normal)))
    if not is_traced(fits) and not bool(xp.all(fits)):
        raise OutOfRangeError(
            f"{name} do not fit {like.dtype}: they are too large or too small for it; "
            "rescale z, or pass float64"
        )


def check_classes(classes: Labels) -> None:
    """Check that labels are distinct and ascending."""
    faulty = classes[1:] <= classes[:-1]
    if faulty.any():
        label = classes[1:][np.argmax(faulty)].item()
        raise InvalidInputError(
            f"classes are not distinct and ascending at {label!r}; "
            "sort them together with their rows, and name each class once"
        )
