"""Functions made commands: options that all have, those of a fit, and how they end."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Annotated, Any, TypeAlias

import typer

from fpigauss.cli._options import fit_parameters
from fpigauss.cli._outcome import outcome
from fpigauss.cli._session import Session

__all__ = [
    "ForceFlag",
    "LabelsArgument",
    "LatentsArgument",
    "MemoryLimit",
    "YName",
    "ZName",
    "command",
    "joined_paragraphs",
]

LatentsArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="LATENTS",
        show_default=False,
        help="Latents (N, d): .npy, .npz, .parquet or a folder of such files, .safetensors, "
        ".zarr, .pt, .csv. They are read in batches, never whole.",
    ),
]
LabelsArgument: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="LABELS",
        show_default=False,
        help="Labels (N,), if they are in a file of their own.",
    ),
]
ZName: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--z",
        metavar="NAME",
        show_default=False,
        help="The array or column of latents; repeat it for several columns (default: z; "
        "in tables embedding, or all columns of numbers).",
        rich_help_panel="Names in files",
    ),
]
YName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--y",
        metavar="NAME",
        show_default=False,
        help="The array or column of labels (default: y; in tables label).",
        rich_help_panel="Names in files",
    ),
]


def _bytes(text: str) -> int:
    """Convert a size as it is written: "512MiB", "2GB", or a number of bytes."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+) *([kmgt]?)(i?)b?", str(text).strip().lower())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a size; pass one like 512MiB, 2GB or 1000000")
    number, prefix, binary = found.groups()
    # the factor is exact, and so is a whole number of any size
    factor = (1024 if binary else 1000) ** " kmgt".index(prefix or " ")
    return int(Fraction(number) * factor)


MemoryLimit: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--memory-limit",
        metavar="SIZE",
        parser=_bytes,
        show_default=False,
        help="The most memory for batches of data, and again for the pairwise part and the history "
        "of a fit: 512MiB, 2GB, or a number of bytes (default: 1GiB).",
    ),
]
ForceFlag: TypeAlias = Annotated[
    bool,
    typer.Option("--force", "-f", metavar="", show_default=False, help="Replace files that exist."),
]

_COMMON = {
    "json": ("--json", "Write for machines: one JSON object, or one per row."),
    "quiet": ("--quiet", "Show neither progress nor notes."),
    "debug": ("--debug", "After an error, show where it was raised."),
}


def command(body: Callable[..., int | None], *, without: Sequence[str] = ()) -> Callable[..., int]:
    """Return ``body(session, ...)`` as a function that typer makes a command of.

    ``**options`` among its parameters stands for all options of a fit but those in ``without``.
    """
    signature = inspect.signature(body, eval_str=True)
    own = list(signature.parameters.values())[1:]
    shown = [parameter for parameter in own if parameter.kind is not parameter.VAR_KEYWORD]
    if len(shown) < len(own):
        shown += fit_parameters(without=[*without, *(parameter.name for parameter in shown)])
    for name, (flag, doc) in _COMMON.items():
        declared = typer.Option(flag, help=doc, metavar="", show_default=False)
        shown.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=False,
                annotation=Annotated[bool, declared],
            )
        )

    @functools.wraps(body)
    def run(*, json: bool, quiet: bool, debug: bool, **values: Any) -> int:
        session = Session(json=json, quiet=quiet, given=tuple(_strings(values.values())))
        if "z" in values:
            values["z"] = _one_or_several(values["z"])
        return outcome(lambda: body(session, **values), session, debug=debug)

    del run.__wrapped__  # typer reads what follows instead
    shown.sort(key=lambda parameter: parameter.kind)  # positional ones first
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__doc__ = joined_paragraphs(body.__doc__)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return run


def _strings(values: Iterable[Any]) -> Iterator[str]:
    """Yield what was passed as text, names of files say."""
    for value in values:
        if isinstance(value, str) and value:
            yield value
        elif isinstance(value, list | tuple):
            yield from _strings(value)


def _one_or_several(names: list[str] | None) -> str | list[str] | None:
    """Return the name of an array, or those of columns."""
    if not names:
        return None
    return names[0] if len(names) == 1 else names


def joined_paragraphs(doc: str | None) -> str | None:
    """Put each paragraph of a docstring on one line, for typer to break; examples stay."""
    if doc is None:  # python -OO
        return None
    paragraphs = inspect.cleandoc(doc).split("\n\n")
    joined = (part if part.startswith(" ") else " ".join(part.split()) for part in paragraphs)
    return "\n\n".join(joined)
