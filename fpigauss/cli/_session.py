"""What a command says, and where: to people on a terminal, in a pipe, or to machines."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["Session", "plain"]

#: Seconds between two lines of progress.
_SECONDS = 10.0


@dataclass(frozen=True)
class Session:
    """How the output of a command is wanted.

    Parameters
    ----------
    json : bool
        Write for machines: one JSON object on stdout, or one per row.
    quiet : bool
        Show neither progress nor notes.
    given : tuple of str
        What was passed to the command, names of files say, which stay as they are in messages.
    """

    json: bool = False
    quiet: bool = False
    given: tuple[str, ...] = field(default=(), repr=False)
    #: Bars that are shown: whoever ends a command closes them first, also after an error.
    bars: ExitStack = field(default_factory=ExitStack, repr=False)
    #: Set by an interrupt, which code of others may swallow where it is raised.
    interrupted: Event = field(default_factory=Event, repr=False)

    @property
    def progress(self) -> bool:
        """Whether progress bars are shown: on a terminal only."""
        return not self.quiet and _is_terminal(sys.stderr)

    def note(self, text: str) -> None:
        """Write a line on stderr."""
        if not self.quiet:
            _line(sys.stderr, text)

    def warn(self, text: str) -> None:
        """Write a warning on stderr, whether notes are wanted or not."""
        _line(sys.stderr, f"warning: {text}")

    @property
    def for_people(self) -> bool:
        """Whether stdout is a terminal, and not JSON."""
        return not self.json and sys.stdout.isatty()

    def report(
        self, figures: Mapping[str, Any], *, remarks: Mapping[str, str] | None = None
    ) -> None:
        """Write the outcome on stdout: a name and a value per line, or JSON.

        For people, ``remarks`` follow the values of that name: units, say.
        """
        if self.json:
            _line(sys.stdout, json.dumps(plain(dict(figures))))
            return
        console = Console(soft_wrap=True, highlight=False, emoji=False)
        width = max(map(len, figures), default=0) + 2
        with console.capture() as captured:  # rich would exit with 1 on a closed pipe
            for name, value in figures.items():
                console.print(f"{name:<{width}}", style="bold", end="", markup=False)
                console.print(_shown(value) + (remarks or {}).get(name, ""), markup=False)
        _write(sys.stdout, captured.get())

    def table(self, columns: Mapping[str, Any], *, but: Sequence[str]) -> None:
        """Write columns for people, a few digits of each, without those that are left out."""
        shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        kept = {name: values for name, values in columns.items() if name not in but}
        for name in kept:
            shown.add_column(name.replace("_", " "), justify="right", overflow="fold")
        for row in zip(*(values.tolist() for values in kept.values()), strict=True):
            shown.add_row(*(f"{x:.4g}" if isinstance(x, float) else str(x) for x in row))
        console = Console(highlight=False, emoji=False, markup=False)
        with console.capture() as captured:  # as above
            console.print(shown)
        _write(sys.stdout, captured.get())
        self.note(f"left out: {', '.join(but)}; --out TABLE keeps all of it")

    def read(self, batches: Iterable[Any], n_rows: int | None, what: str) -> Iterator[Any]:
        """Yield batches (z, y), with a bar of rows on a terminal, and lines in a pipe."""
        with self._bar(Path(what).name or what, n_rows) as advance:
            for batch in batches:
                yield batch
                if self.interrupted.is_set():
                    raise KeyboardInterrupt
                advance(len(batch[0]))

    @contextmanager
    def _bar(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        if not self.progress:
            of = "" if total is None else f" of {total}"
            self.note(f"reading {what}" + ("" if total is None else f", {total} rows"))
            yield _Lines(self, what, of).advance
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True)
        progress = Progress(*columns, TimeRemainingColumn(), console=console)
        self.bars.enter_context(progress)
        task = progress.add_task(f"reading {what}", total=total)
        yield lambda n_rows: progress.advance(task, n_rows)
        progress.stop()


class _Lines:
    """Progress as lines, no more than one every few seconds."""

    def __init__(self, session: Session, what: str, of: str) -> None:
        self._session, self._what, self._of = session, what, of
        self._n_rows, self._shown = 0, time.monotonic()

    def advance(self, n_rows: int) -> None:
        self._n_rows += n_rows
        if time.monotonic() - self._shown > _SECONDS:
            self._shown = time.monotonic()
            self._session.note(f"read {self._n_rows}{self._of} rows of {self._what}")


def _is_terminal(stream: Any) -> bool:
    """Whether there is a terminal on which lines can be redrawn."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _line(stream: Any, text: str) -> None:
    _write(stream, f"{text}\n")


def _write(stream: Any, text: str) -> None:
    stream.write(text)
    stream.flush()


def _shown(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return str(value)


def plain(value: Any) -> Any:
    """Convert to what JSON has: NaN to null, infinities to "inf" and "-inf"."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
