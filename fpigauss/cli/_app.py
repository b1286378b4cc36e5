"""The commands, put together."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fpigauss import __version__
from fpigauss.cli._command import command, joined_paragraphs
from fpigauss.cli._fit import fit, path
from fpigauss.cli._outcome import BAD_INPUT, INTERRUPTED, UNREAD, nobody_reads, say
from fpigauss.cli._show import convert, info, plot
from fpigauss.cli._statistics import merge, statistics
from fpigauss.cli._use import predict, sample, score
from fpigauss.cli._words import one_line

__all__ = ["app", "run"]

app = typer.Typer(
    name="fpigauss",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command()(command(fit))
app.command()(command(path, without=["lam"]))
for _body in (predict, score, sample, info, plot, convert, statistics, merge):
    app.command()(command(_body))


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"fpigauss {__version__}\n")
        raise typer.Exit


def _about(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_show_version,
            is_eager=True,
            help="Show the version.",
            show_default=False,
        ),
    ] = False,
) -> None:
    """Fit one Gaussian per class to labeled vectors, pushed apart; predict, reject and sample.

    Data are files of latents (N, d) and labels (N,): npy, npz, parquet, safetensors, zarr, pt, csv.
    By default the arrays are named z and y, and the columns embedding and label; --z and --y take
    other names.

    A session, to see what is there and what a separation costs, fit, classify, reject and generate:

        fpigauss info z.npy y.npy

        fpigauss path z.npy y.npy --tied --validation held_out.npz --out path.csv

        fpigauss plot path.csv --out path.png

        fpigauss fit z.npy y.npy --separation 50 --out g.npz

        fpigauss predict g.npz new.npy --out labels.csv

        fpigauss score g.npz new.npy --held-out old.npy --out scores.csv

        fpigauss sample g.npz -n 100 --out samples.parquet

    Repulsion moves the Gaussians, not the rows: to classify rows that stay where they are, fit with
    --lam 0 in place of --separation 50. The separation is for rows that follow, as the latents of a
    flow in training do, and for samples that are told apart.

    Exit codes: 0; 1, a fit did not converge or a separation was not met; 2, bad input, with a line
    that says what to do; 130, interrupted.
    """


app.callback(help=joined_paragraphs(_about.__doc__))(_about)


def run(args: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    given = list(sys.argv[1:] if args is None else args)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before the start
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    try:
        code: Any = typer.main.get_command(app).main(
            given or ["--help"], prog_name="fpigauss", standalone_mode=False
        )
    except typer.Abort:
        say("interrupted")
        return INTERRUPTED
    except SystemExit as error:  # so rich ends when nobody reads the help, and completion always
        if isinstance(error.__context__, BrokenPipeError):
            return UNREAD
        raise
    except OSError as error:
        if nobody_reads(error):
            return UNREAD
        say(one_line(error))
        return BAD_INPUT
    except Exception as error:
        # what is raised for wrong options differs between versions of typer
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        text = _of_usage(str(message()))
        named = next((name for name in given if not name.startswith("-")), "")
        names = {c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands}
        where = f"fpigauss {named}" if named in names else "fpigauss"
        say(f"{text}; see {where} --help")
        return BAD_INPUT
    return int(code or 0)


def _of_usage(message: str) -> str:
    """Return what typer says of wrong arguments, in one line, with a remedy where it has none."""
    text = " ".join(message.replace("Value error, ", "").split()).rstrip(".")
    if "unexpected extra argument" in text:  # what a pattern of a shell becomes
        text += "; for several files of latents pass their folder"
    return text
