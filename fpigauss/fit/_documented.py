"""Signatures and docstrings of whatever takes the options of a fit, from their declaration."""

import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from fpigauss.fit._options import Options, check_option_names

__all__ = ["checked_names", "declared_options", "documented", "with_options"]

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)

_PLACE = "{options}"


def declared_options(*, without: Iterable[str] = ()) -> list[Field[Any]]:
    """List the fields of ``Options`` that are options."""
    left_out = set(without)
    return [field for field in fields(Options) if field.name not in left_out]


def checked_names(function: F) -> F:
    """Refuse unknown options before Python misses an argument: a misspelled lam, say."""
    own = inspect.signature(function).parameters
    taken = [name for name, part in own.items() if part.kind is not part.VAR_KEYWORD]
    known = [*taken, *(field.name for field in declared_options(without=taken))]

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_option_names(kwargs, known=known)
        return function(*args, **kwargs)

    return cast(F, checked)


def with_options(
    function: F, *, without: Iterable[str] = (), defaults: Mapping[str, Any] | None = None
) -> F:
    """Show the options in the signature in place of ``**options``, and in the docstring.

    All of them, except those that the function takes by name and those in ``without``. Where the
    function has ``defaults`` of its own, these are shown. Type checkers go by the annotation,
    ``Unpack[FixedPointOptions]``.
    """
    signature = inspect.signature(function)
    taken = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    hints = get_type_hints(Options)
    left_out, own = {*signature.parameters, *without}, dict(defaults or {})
    shown = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=own.get(field.name, field.default),
            annotation=hints[field.name],
        )
        for field in declared_options(without=left_out)
    ]
    function.__signature__ = signature.replace(parameters=[*taken, *shown])  # type: ignore[attr-defined]
    _fill(function, without=left_out, defaults=own)
    return function


def documented(cls: C, *, without: Iterable[str] = ()) -> C:
    """Fill the options, but those in ``without``, into the docstring of a class made of them."""
    _fill(cls, without=without)
    return cls


def _fill(
    target: Any, without: Iterable[str] = (), defaults: Mapping[str, Any] | None = None
) -> None:
    """Write the options in numpydoc's form where the docstring of ``target`` says {options}."""
    if target.__doc__ is None:  # python -OO
        return
    lines = inspect.cleandoc(target.__doc__).splitlines()
    hints, own = get_type_hints(Options), defaults or {}
    written: list[str] = []
    for line in lines:
        if line.strip() != _PLACE:
            written.append(line)
            continue
        for field in declared_options(without=without):
            default = own.get(field.name, field.default)
            written.append(f"{field.name} : {_shown(hints[field.name], default)}")
            written += textwrap.wrap(
                field.metadata["doc"],
                96,
                initial_indent="    ",
                subsequent_indent="    ",
                break_on_hyphens=False,  # "per-class" would become "per- class"
            )
    target.__doc__ = "\n".join(written)


def _shown(hint: Any, default: Any) -> str:
    """Write the type and the default of an option as numpydoc does."""
    alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = list(_kinds(alternatives))
    *most, last = kinds
    listed = f"{', '.join(most)} or {last}" if most else last
    if default is None:
        return f"{listed}, optional"
    written = f'"{default}"' if isinstance(default, str) else default
    return f"{listed}, default {written}"


def _kinds(alternatives: Iterable[Any]) -> Iterator[str]:
    """Write each alternative but None: a set of names, a class, "callable", or a sequence."""
    for kind in alternatives:
        origin = get_origin(kind)
        if origin is Literal:
            yield _set_of(get_args(kind))
        elif origin is Sequence:
            (item,) = get_args(kind)
            yield f"sequence of {' or '.join(_kinds(get_args(item)))}"
        elif origin is Callable:
            yield "callable"
        elif kind is not NoneType:
            yield (origin or kind).__name__


def _set_of(names: Iterable[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return quoted[0] if len(quoted) == 1 else "{" + ", ".join(quoted) + "}"
