"""The options of a fit on the command line, from their one declaration."""

import inspect
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from fpigauss._array.labels import listed
from fpigauss.cli._words import flag_of, in_our_words
from fpigauss.errors import InvalidInputError
from fpigauss.fit._documented import declared_options
from fpigauss.fit._options import Options
from fpigauss.gaussians import ClassGaussians

__all__ = ["APART", "fit_parameters", "given_options", "labels_like"]

_HINTS = get_type_hints(Options)
_DECLARED = {
    option.name: option for option in declared_options() if option.metadata["command"] is not None
}
#: Options whose defaults are not the same in every call.
_DEPENDS = {"tied": "yes with a separation, otherwise no"}

#: What decides how far apart the classes are.
APART = "How far apart: one of these"
_PANELS = {"lam": APART}


def fit_parameters(*, without: Sequence[str] = ()) -> list[inspect.Parameter]:
    """Return the options of a fit as parameters of a command; those not given are None."""
    return [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name)
        )
        for name in _DECLARED
        if name not in without
    ]


def _alternatives(name: str) -> tuple[Any, ...]:
    hint = _HINTS[name]
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _names(name: str) -> tuple[str, ...]:
    """Return the names that an option may have for a value."""
    kinds = [kind for kind in _alternatives(name) if get_origin(kind) is Literal]
    return tuple(value for kind in kinds for value in get_args(kind))


def _annotation(name: str) -> Any:
    """Return the type of an option on the command line, with its documentation."""
    kinds, names = _alternatives(name), _names(name)
    kind: Any = next((scalar for scalar in (bool, int, float) if scalar in kinds), str)
    flag, metavar = flag_of(name), {bool: "", int: "N", float: "NUMBER"}.get(kind, "NAME")
    if any(get_origin(other) is Sequence for other in kinds):
        kind, metavar = list[str], "LABEL"
    elif ClassGaussians in kinds or (names and kind is float):
        kind, metavar = str, "NAME|FILE" if ClassGaussians in kinds else "NAME|NUMBER"
    elif names:
        kind = Literal[names]
    elif kind is bool:
        flag = f"{flag}/--not-{name.replace('_', '-')}"
    return Annotated[
        kind | None,
        typer.Option(
            flag,
            help=_help(name).replace("[", r"\["),
            metavar=metavar,
            show_default=False,
            rich_help_panel=_PANELS.get(name, "Options of the fit"),
        ),
    ]


def _help(name: str) -> str:
    """Return the documentation of an option, with its names and its default."""
    declared, names = _DECLARED[name], _names(name)
    doc = in_our_words(declared.metadata["command"] or declared.metadata["doc"])
    default = _DEPENDS.get(name, declared.default)
    parts = [", ".join(names)] if names else []
    if default not in (None, ()):
        parts.append(f"default: {default}")
    return f"{doc} ({'; '.join(parts)})" if parts else doc


def given_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are given, as keywords of ``FixedPoint``."""
    given = {name: values[name] for name in _DECLARED if values.get(name) not in (None, [])}
    for name, value in given.items():
        if isinstance(value, str) and value not in _names(name):
            given[name] = _value(name, value)
    if "frozen" in given:
        init = given.get("init")
        if not isinstance(init, ClassGaussians):
            raise InvalidInputError(
                "--frozen needs the Gaussians of these classes; pass their file, --init FILE"
            )
        given["frozen"] = _frozen(given["frozen"], init.classes)
    return given


def _frozen(texts: Sequence[str], classes: Any) -> list[Any]:
    """Convert labels to those of ``classes``: all of them, unless a class has the label "all"."""
    every: list[Any] = classes.tolist()
    if list(texts) == ["all"] and "all" not in every:
        return every
    return labels_like(texts, classes, "--frozen")


def _value(name: str, text: str) -> Any:
    """Convert the text of an option that is none of its names."""
    kinds = _alternatives(name)
    if ClassGaussians in kinds:
        return ClassGaussians.load(text)
    if float in kinds:
        try:
            return float(text)
        except ValueError:
            raise InvalidInputError(
                f"{flag_of(name)} is {text}; pass {', '.join(_names(name))} or a number"
            ) from None
    return text


def labels_like(texts: Sequence[str], classes: Any, flag: str) -> list[Any]:
    """Convert labels as they are written to those of ``classes``."""
    known = {str(label): label for label in classes.tolist()}
    for text in texts:
        if text not in known:
            raise InvalidInputError(
                f"{flag} is {text}, which is not among the classes {listed(classes)}; pass one of "
                "these"
            )
    return [known[text] for text in texts]
