"""Run the paper's tables and figures again, at a chosen scale.

    python examples/nfpi/reproduce.py all --scale tiny
    python examples/nfpi/reproduce.py all --scale cpu --data fashion_mnist.npz --mnist mnist.npz \
        --embedding tsne_cifar10.npz --workers 2
    python examples/nfpi/reproduce.py table1 --scale paper --data CIFAR10_FOLDER --workers 1
    python examples/nfpi/reproduce.py k62 --scale classes --data glyphs.npz --workers 2
    python examples/nfpi/reproduce.py all --scale even --data fashion_mnist.npz --mnist mnist.npz
    python examples/nfpi/reproduce.py all --scale layer --data fashion_mnist.npz
    python examples/nfpi/reproduce.py all --scale reject --data fashion_mnist.npz --mnist mnist.npz
    python examples/nfpi/reproduce.py all --scale neighbors --data fashion_mnist.npz \
        --glyphs glyphs.npz
    python examples/nfpi/reproduce.py all --scale neighbors-again --glyphs glyphs.npz
    python examples/nfpi/reproduce.py all --scale mixing --data fashion_mnist.npz
    python examples/nfpi/reproduce.py all --scale cited --data fashion_mnist.npz
    python examples/nfpi/reproduce.py all --scale later --data glyphs.npz --pairs mnist_pairs.npz
    python examples/nfpi/reproduce.py all --scale few --data fashion_mnist.npz --mnist mnist.npz \
        --glyphs glyphs.npz

grids/SCALE.json lists the runs of a scale. A run with a record in results/SCALE/records is not
repeated, so a call resumes where an earlier one ended or was killed, on this machine or another.
Tables and figures are made from the records that exist.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fpigauss import InvalidInputError

from nfpi.figures import (
    figure1,
    figure2,
    load_embedding,
    plot_curves,
    plot_levels,
    plot_trade_off,
)
from nfpi.grid import Grid, PlannedRun, read_grid, write_grid
from nfpi.grid.build import GRIDS as SCALES
from nfpi.grid.build import make_grid
from nfpi.grid.tables import claims_table, paper_table, runs_table, tuning_table
from nfpi.job_plots import plot_neighbors, plot_rows
from nfpi.later_figures import plot_arrivals, plot_few
from nfpi.layer_figures import plot_methods
from nfpi.mixing_figures import figure2_of_moves
from nfpi.paper_figures import PAPER
from nfpi.records import read_records
from nfpi.runner import Outcome, finished_records, run_grid
from nfpi.script import exit_status
from nfpi.separation_figures import plot_separations
from nfpi.sources import add_sources, given_sources

FIGURES = ("fig1", "fig2")
PROJECT = Path(__file__).resolve().parent
GRIDS, RESULTS = PROJECT / "grids", PROJECT / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, then write tables and figures; return 0 if all is there, 2 if input cannot be used."""
    options = _parser().parse_args(arguments)
    return exit_status("reproduce.py", lambda: _reproduce(options), refused=2)


def _reproduce(options: argparse.Namespace) -> int:
    if options.what not in ("all", *FIGURES, *make_grid(options.scale).tables):
        raise InvalidInputError(
            f"there is no {options.what} at scale {options.scale}; pass all, or one of "
            f"{', '.join((*make_grid(options.scale).tables, *FIGURES))}"
        )
    grid_path = options.grid or GRIDS / f"{options.scale}.json"
    folder = options.results / options.scale
    if options.write_grid:
        return _write_grid(grid_path, options.scale, folder)
    grid = read_grid(grid_path)
    if grid.scale != options.scale:
        raise InvalidInputError(
            f"{grid_path} is the grid of scale {grid.scale!r}; pass --scale {grid.scale}"
        )
    for name in _empty(options.what, grid):
        print(f"{name}: nothing is run for it at scale {grid.scale}; see docs/paper_commands.rst")
    wanted = _wanted(options.what, grid)
    outcome = Outcome() if options.no_runs else _run(grid, wanted, folder, options)
    records = finished_records(grid, folder)
    _write_tables(options.what, grid, records, folder / "tables")
    _draw(options.what, grid, records, folder, options.embedding)
    missed = {f"not run: {name}": why for name, why in outcome.waiting.items()}
    missed |= {f"lost: {name}": why for name, why in outcome.lost.items()}
    if options.strict:
        ran = [run.name for run in wanted if run.name in records]
        failures = {name: records[name]["failure"] for name in ran}
        missed |= {f"failed: {name}": why for name, why in failures.items() if why}
    for what, why in missed.items():
        print(f"{what}: {why}", file=sys.stderr)
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", nargs="?", default="all", help="a table of the scale, fig1, fig2, or all"
    )
    parser.add_argument("--scale", choices=tuple(SCALES), required=True)
    add_sources(parser)
    parser.add_argument(
        "--embedding", type=Path, help="an npz file with z (N, 2) and y (N,), for fig1"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--grid", type=Path, help="a grid other than the committed one")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes, one per core or GPU (default: 1)"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit with 1 if a run has failed; for the tables that is a result like any other",
    )
    parser.add_argument(
        "--no-runs", action="store_true", help="write tables and figures without running anything"
    )
    parser.add_argument(
        "--write-grid", action="store_true", help="write the grid; only before its first run"
    )
    return parser


def _write_grid(path: Path, scale: str, folder: Path) -> int:
    grid = make_grid(scale)
    if path.exists() and read_grid(path) != grid and read_records(folder / "records"):
        raise InvalidInputError(
            f"{path} would change, but has runs in {folder} already; a grid is fixed before "
            "its runs"
        )
    write_grid(path, grid)
    print(f"{path}: {len(grid.runs)} runs")
    return 0


def _empty(what: str, grid: Grid) -> list[str]:
    """List the requested tables that have no run in the grid."""
    return [name for name in grid.tables if what in ("all", name) and not grid.tables[name].rows]


def _wanted(what: str, grid: Grid) -> list[PlannedRun]:
    """List the runs that a table or figure needs; all of them for "all"."""
    if what == "fig1":
        return []
    if what == "fig2":
        drawn = [run for run in grid.runs if run.options.get("pictures")]
        names = {name for run in drawn for name in (run.name, *run.tuned_by)}
        return [run for run in grid.runs if run.name in names]
    return list(grid.of_table(what))


def _run(
    grid: Grid, runs: Sequence[PlannedRun], folder: Path, options: argparse.Namespace
) -> Outcome:
    """Do the runs that have no record yet."""
    sources = given_sources(grid, options)
    return run_grid(grid, runs, folder, sources, workers=options.workers, report=_say)


def _say(line: str) -> None:
    print(line, flush=True)


def _write_tables(
    what: str, grid: Grid, records: Mapping[str, Mapping[str, Any]], folder: Path
) -> None:
    texts = {
        name: paper_table(name, grid, records)
        for name in grid.tables
        if what in ("all", name) and (name in PAPER or grid.tables[name].rows)
    }
    if what == "all":
        texts |= {
            "claims": claims_table(grid, records),
            "tuning": tuning_table(grid, records),
            "runs": runs_table(grid, records),
        }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        path = folder / f"{name}.md"
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")


def _draw(
    what: str,
    grid: Grid,
    records: Mapping[str, Mapping[str, Any]],
    folder: Path,
    embedding: Path | None,
) -> None:
    figures = folder / "figures"
    if what == "fig1" or (what == "all" and "table1" in grid.tables):
        _draw_embedding(figures / "fig1.png", grid, embedding, required=what == "fig1")
    if what in ("all", "fig2"):
        _draw_pictures(figures / "fig2.png", grid, records, folder / "images")
    for name, plot in _plots(grid, folder).items():
        path = figures / f"{name}.png"
        if what not in ("all", name) or name not in grid.tables:
            continue
        if plot(path, grid, records):
            print(f"wrote {path}")
        elif path.exists():
            path.unlink()
            print(f"removed {path}, which showed other records: too few of its runs are left")


def _plots(grid: Grid, folder: Path) -> dict[str, Callable[..., bool]]:
    """Return what draws the tables of a grid, by their names."""
    neighbors = partial(plot_neighbors, matrices=folder / "matrices")
    plots: dict[str, Callable[..., bool]] = {
        "classes": plot_curves,
        "even": plot_curves,
        "levels": plot_curves,
        "layer": plot_methods,
        "reject": plot_rows,
        "neighbors": neighbors,
        "neighbors-again": neighbors,
        "later": plot_arrivals,
        "few": plot_few,
    }
    of_the_paper: dict[str, Callable[..., bool]] = {
        "table2": plot_levels,
        "families": plot_trade_off,
    }
    if grid.scale not in plots:
        return of_the_paper
    drawn = dict.fromkeys(grid.tables, plots[grid.scale])
    if grid.scale == "classes":
        drawn["dims"] = plot_separations
    return {name: partial(plot, table=name) for name, plot in drawn.items()}


def _draw_embedding(path: Path, grid: Grid, embedding: Path | None, *, required: bool) -> None:
    """Draw Fig. 1; say why not, or raise if it is ``required``."""
    if embedding is not None or grid.scale == "tiny":
        figure1(path, *load_embedding(embedding))
        print(f"wrote {path}")
    elif required:
        raise InvalidInputError("fig1 needs --embedding, an npz file with z (N, 2) and y (N,)")
    else:
        print("fig1 is not drawn: it needs --embedding")


def _draw_pictures(
    path: Path, grid: Grid, records: Mapping[str, Mapping[str, Any]], images: Path
) -> None:
    """Draw Fig. 2 from the pictures that a run has left, or say why not."""
    for run in grid.runs:
        if not run.options.get("pictures"):
            continue
        pictures = images / f"{run.name}.npz"
        if pictures.exists():
            draw = figure2_of_moves if "arms" in run.options else figure2
            draw(path, pictures)
            print(f"wrote {path}")
        elif run.name not in records:
            print(f"fig2 is not drawn: {run.name} has no record yet")
        elif failure := records[run.name]["failure"]:
            print(f"fig2 is not drawn: {run.name} failed: {failure}")
        else:
            print(
                f"fig2 is not drawn: {pictures} is missing; it belongs to the record, which "
                "has to be removed for the run to be repeated"
            )


if __name__ == "__main__":
    sys.exit(main())
