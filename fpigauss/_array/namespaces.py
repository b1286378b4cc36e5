"""Arrays of any namespace: conversion, dtypes and devices."""

import reprlib
from decimal import Decimal
from numbers import Real
from typing import Any

import array_api_compat
import numpy as np

from fpigauss._array.traced import check_concrete, check_valued, is_traced
from fpigauss._array.typing import Array
from fpigauss.errors import InvalidInputError

__all__ = [
    "as_floating",
    "as_floating_like",
    "cast_like",
    "check_dense",
    "check_unmasked",
    "detached",
    "device_of",
    "first_true",
    "is_array",
    "is_differentiated",
    "is_on_host",
    "lie_together",
    "namespace",
    "on_host",
    "on_numpy",
    "portable",
    "precise",
    "to_numpy",
    "working_dtype",
]


#: What an array of objects may contain: databases hand out exact decimals, and numpy's flags are
#: not real numbers to Python.
_NUMBERS = (Real, Decimal, np.bool_)

#: Namespaces by type of array: looking one up took an eighth of a small evaluation.
_NAMESPACES: dict[type, Any] = {}


def namespace(first: Array, *others: Array) -> Any:
    """Return the array-API namespace that all the arrays share."""
    known = _NAMESPACES.get(type(first))
    if known is not None:
        for x in others:
            if _NAMESPACES.get(type(x)) is not known:
                break
        else:
            return known
    found = array_api_compat.array_namespace(first, *others)
    if not others:
        _NAMESPACES[type(first)] = found
    return found


def device_of(x: Array) -> Any:
    """Return the device of ``x``; None inside transformations of jax, which place it later."""
    return array_api_compat.device(x)


def lie_together(x: Array, y: Array) -> bool:
    """Say whether two arrays are of one namespace and, as far as is known, on one device."""
    if namespace(x) is not namespace(y):
        return False
    return is_traced(x, y) or bool(device_of(x) == device_of(y))


def is_array(x: object) -> bool:
    """Say whether ``x`` already is an array of some namespace (a list or a DataFrame is not)."""
    # numpy's scalar types have the methods of their objects
    return not isinstance(x, type) and bool(array_api_compat.is_array_api_obj(x))


def detached(x: Array) -> Array:
    """Return ``x`` without its gradient history, where its namespace keeps one."""
    return x.detach() if hasattr(x, "detach") else x


def is_differentiated(x: Array) -> bool:
    """Say whether the namespace of ``x`` keeps a history of it, to differentiate."""
    return bool(getattr(x, "requires_grad", False))


#: The host's memory, as DLPack numbers devices.
_HOST = 1


def is_on_host(x: Array) -> bool:
    """Say whether ``x`` lies in the host's memory; False where its namespace does not say."""
    if isinstance(x, np.ndarray):
        return True
    if hasattr(x, "is_cpu"):  # torch, whose compiler cannot trace the call below
        return bool(x.is_cpu)
    try:
        return bool(x.__dlpack_device__()[0] == _HOST)
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
        return False  # it may be in several places


def to_numpy(x: Array) -> np.ndarray[Any, np.dtype[Any]]:
    """Convert ``x`` to a numpy array on the host, without gradients; bfloat16 becomes float32."""
    check_concrete(x, "an argument")
    x = detached(x)
    if hasattr(x, "cpu"):  # torch and cupy refuse to leave a device silently
        x = x.cpu()
    elif array_api_compat.is_cupy_array(x):
        x = x.get()
    if str(x.dtype).endswith("bfloat16"):  # numpy has no such type
        x = namespace(x).astype(x, namespace(x).float32)
    try:
        return np.asarray(x)
    except RuntimeError:
        if hasattr(x, "numpy"):  # torch, of a sign or of zeros that it has not written out yet
            return np.asarray(x.numpy(force=True))
        return np.from_dlpack(x)  # array-api-strict, of an array on another device


def on_host(*scalars: Any) -> tuple[float, ...]:
    """Bring numbers and arrays () to the host, as floats: all in one transfer.

    On an accelerator, every transfer waits until what was asked for before has been computed.
    """
    away = [not isinstance(x, int | float | np.generic | np.ndarray) for x in scalars]
    if not any(away):
        return tuple(map(float, scalars))
    arrays = [x for x, is_away in zip(scalars, away, strict=True) if is_away]
    xp, dtype = namespace(arrays[0]), working_dtype(arrays[0])
    stacked = xp.stack([xp.astype(xp.reshape(x, ()), dtype, copy=False) for x in arrays])
    brought = iter(to_numpy(stacked).tolist())
    return tuple(
        next(brought) if is_away else float(x) for x, is_away in zip(scalars, away, strict=True)
    )


def portable(x: Array) -> np.ndarray[Any, np.dtype[Any]]:
    """Convert ``x`` to a numpy array that other namespaces can read: native, of 64 bits at most."""
    values = to_numpy(x)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        return values.astype(np.float64)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


#: float64 of the types of arrays, on the devices, that were found to compute in it: to ask anew
#: costs as much as some densities. Those of jax, whose answer is an option that may change, are not
#: among them, nor are failures, which may be of the moment.
_FLOAT64: dict[tuple[type, Any], Any] = {}


def working_dtype(x: Array) -> Any:
    """Return float64 where the device of ``x`` supports it, else float32."""
    place = _place(x)
    if place in _FLOAT64:
        return _FLOAT64[place]
    xp = namespace(x)
    if not _has_float64(x):
        return xp.float32
    try:
        xp.zeros((1,), dtype=xp.float64, device=device_of(x))
    except (TypeError, RuntimeError, ValueError):
        return xp.float32
    if not array_api_compat.is_jax_namespace(xp):
        _FLOAT64[place] = xp.float64
    return xp.float64


def precise(x: Array) -> Array:
    """Return ``x``; on the host, as numpy's, where its namespace has no float64 to compute in.

    That is jax without its option ``jax_enable_x64``: it would hand back float32 for float64.
    """
    return x if is_traced(x) or _has_float64(x) else to_numpy(x)


def on_numpy(x: Array) -> Array:
    """Return ``x``; as numpy's if it is jax's, which takes ten times as long for small steps."""
    return to_numpy(x) if array_api_compat.is_jax_array(x) else x


def _has_float64(x: Array) -> bool:
    if _place(x) in _FLOAT64 or str(x.dtype).endswith("float64"):  # which is sooner told
        return True
    return "float64" in namespace(x).__array_namespace_info__().dtypes(kind="real floating")


def _place(x: Array) -> tuple[type, Any]:
    device = getattr(x, "device", None)  # arrays of numpy 1 have none
    return type(x), getattr(device, "id", device)  # devices of cupy have no hash


def check_dense(x: object, name: str) -> None:
    """Refuse sparse arrays (scipy's, cupy's, torch's): their zeros would have to be filled in."""
    if hasattr(x, "toarray") and hasattr(x, "nnz"):
        remedy = "toarray()"
    elif str(getattr(x, "layout", "torch.strided")).startswith("torch.sparse"):
        remedy = "to_dense()"
    else:
        return
    raise InvalidInputError(
        f"{name} is a sparse {type(x).__name__}, a dense array is needed; pass {name}.{remedy}"
    )


def check_unmasked(**arrays: object) -> None:
    """Refuse masked arrays, by name: without the mask, what it hides would be taken for data."""
    for name, x in arrays.items():
        if isinstance(x, np.ma.MaskedArray):
            raise InvalidInputError(f"{name} is a masked array; fill it, or drop the masked rows")


def as_floating(x: object, name: str) -> Array:
    """Convert ``x`` to real floating point: arrays keep their namespace, others become numpy.

    Integers and booleans become floating point; complex and object input is refused.
    """
    check_dense(x, name)
    check_unmasked(**{name: x})
    check_valued(x, name)
    columns = getattr(x, "columns", None)
    if not is_array(x):
        try:
            x = np.asarray(x)
        except ValueError as error:
            raise InvalidInputError(
                f"{name} is not a rectangular array of numbers ({error}); "
                "make all rows the same length"
            ) from None
        except RuntimeError as error:  # a list of tensors with gradients, or on a device
            raise InvalidInputError(
                f"{name} is a {type(x).__name__} that numpy cannot read ({error}); of tensors, "
                f"pass torch.stack({name})"
            ) from None
        if x.dtype.kind == "O":  # a frame whose columns differ in type, or may have gaps
            x = _numbers(x, name, columns)
    elif isinstance(x, np.generic):
        x = np.asarray(x)
    xp = namespace(x)
    dtype: Any = x.dtype  # type: ignore[attr-defined]
    if isinstance(x, np.ndarray) and x.dtype.kind not in "buif":
        remedies = {"c": "take its real part", "O": f"if they are, pass {name}.astype(float)"}
        remedy = remedies.get(x.dtype.kind, "pass an array of numbers")
        raise InvalidInputError(f"{name} has dtype {dtype}, real numbers are needed; {remedy}")
    if xp.isdtype(dtype, "complex floating"):
        raise InvalidInputError(
            f"{name} has dtype {dtype}, real numbers are needed; take its real part"
        )
    if not xp.isdtype(dtype, "real floating"):
        return xp.astype(x, working_dtype(x))
    return x


def as_floating_like(x: object, name: str, like: Array, *, than: str, remedy: str) -> Array:
    """Convert ``x`` as ``as_floating`` does, lists and frames to arrays like ``like``.

    Refuse arrays of another namespace or on another device: ``than`` says what ``like`` is.
    """
    converted = as_floating(x, name)
    if not is_array(x):
        return cast_like(converted, like)
    if not lie_together(converted, like):
        raise InvalidInputError(
            f"{name} is of another library or on another device than {than}; {remedy}"
        )
    return converted


def _numbers(x: np.ndarray[Any, Any], name: str, columns: Any) -> np.ndarray[Any, Any]:
    """Convert objects that are real numbers to float64; name the place of any other object."""
    faulty = [not isinstance(value, _NUMBERS) for value in x.ravel()]
    if x.ndim == 0 and any(faulty):
        raise InvalidInputError(f"{name} is {reprlib.repr(x.item())}; pass an array of numbers")
    if any(faulty):
        place = [int(i) for i in np.unravel_index(faulty.index(True), x.shape)]
        where = f"in row {place[0]}"
        if len(place) > 1:
            where += f", column {place[1] if columns is None else columns[place[1]]!r}"
        raise InvalidInputError(
            f"{name} is {x[tuple(place)]!r} {where}, not a number; "
            "drop or encode the column, or drop or fill the row"
        )
    try:
        return x.astype(np.float64)
    except OverflowError:
        raise InvalidInputError(f"{name} contains a number too large for a float") from None


def cast_like(x: Array, like: Array) -> Array:
    """Convert ``x`` to the namespace, device and dtype of ``like``.

    Within a namespace, this is differentiable.
    """
    xp = namespace(like)
    if lie_together(x, like):
        return xp.astype(x, like.dtype, copy=False)
    # torch would share memory that is read-only, with a warning
    values = np.require(portable(x), requirements="W")
    return xp.astype(xp.asarray(values, device=device_of(like)), like.dtype, copy=False)


def first_true(condition: Array) -> int | None:
    """Return the index of the first True of ``condition`` (n,), or None; None if it is traced."""
    xp = namespace(condition)
    if is_traced(condition) or not bool(xp.any(condition)):
        return None
    return int(xp.argmax(xp.astype(condition, xp.int32)))
