"""Do the missing runs of a grid in a few processes, and resume after a kill."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock, Timeout
from fpigauss import InvalidInputError
from pydantic import BaseModel, FiniteFloat, JsonValue, Strict, ValidationError

from nfpi.config import RunConfig, from_dict
from nfpi.grid import Grid, PlannedRun, merged
from nfpi.grid.results import chosen
from nfpi.measure import Task, check_images, check_run, record_config
from nfpi.records import read_records, write_record
from nfpi.refusals import told
from nfpi.workers import in_others, in_this_process

__all__ = ["Outcome", "check_runs", "finished_records", "run_grid"]

Records = dict[str, dict[str, Any]]
Number = Annotated[FiniteFloat, Strict()]


class _Finished(BaseModel):
    """What tables and pictures take from the record of a run."""

    config: dict[str, JsonValue]
    options: dict[str, JsonValue]
    failure: str | None
    metrics: dict[str, Number | str | None]
    warnings: list[str]
    seconds: Number
    environment: dict[str, JsonValue]


@dataclass
class Outcome:
    """The result of ``run_grid``.

    Attributes
    ----------
    done : list of str
        Runs that gained a record.
    lost : dict of str
        Runs that ended without a record, and why.
    waiting : dict of str
        Runs that could not start, and why.
    """

    done: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)


def finished_records(grid: Grid, folder: Path) -> Records:
    """Read the records of a grid's runs.

    Parameters
    ----------
    grid : Grid
    folder : Path
        The folder of the scale's results.

    Returns
    -------
    dict
        Records by name of the run.

    Raises
    ------
    InvalidInputError
        If a record is damaged, belongs to no run of the grid, or has another config.
    """
    records = {record["key"]: record for record in read_records(folder / "records")}
    runs = {run.name: run for run in grid.runs}
    for name, record in records.items():
        path = folder / "records" / f"{name}.json"
        if name not in runs:
            raise InvalidInputError(
                f"{path} belongs to no run of the grid; move it elsewhere, or pass another folder"
            )
        config = _config_of(record, path)
        settled = _settled(runs[name], grid, records, runs[name].dataset)
        if settled is None:
            raise InvalidInputError(
                f"{path} exists, but the tuning runs that decide it do not; restore these"
            )
        options = _as_json(runs[name].options)
        if config != settled[0] or record["options"] != options:
            raise InvalidInputError(
                f"{path} has another config than the grid's; move it elsewhere and run "
                "again, or pass another folder"
            )
    return records


def _config_of(record: Mapping[str, Any], path: Path) -> RunConfig:
    """Return the config of a record; raise for one that is damaged."""
    remedy = "remove it to repeat the run"
    try:
        _Finished.model_validate(record)
        return from_dict(record["config"])
    except ValidationError as error:
        raise InvalidInputError(f"{path} is damaged: {told(error, record)}; {remedy}") from None
    except InvalidInputError as error:
        raise InvalidInputError(f"{path} is damaged: {error}; {remedy}") from None


def check_runs(grid: Grid, sources: Mapping[str, str]) -> None:
    """Refuse options and images that runs would stop at, before any of them is done.

    Runs that others tune are left out.

    Parameters
    ----------
    grid : Grid
    sources : mapping
        Paths of data sets by name.
    """
    for run in grid.runs:
        if not run.tuned_by:
            of, foreign = (*(_path(name, sources) for name in run.datasets), None)[:2]
            settled = _settled(run, grid, {}, of or run.dataset)
            assert settled is not None  # nothing decides it but itself
            check_run(run, settled[0], foreign)


def run_grid(
    grid: Grid,
    runs: Sequence[PlannedRun],
    folder: Path,
    sources: Mapping[str, str],
    *,
    workers: int = 1,
    report: Callable[[str], None] = print,
) -> Outcome:
    """Do the runs that have no record yet, in the grid's order.

    Every run writes a record when it ends, and checkpoints on the way: a kill loses at most one
    epoch of each run in progress.

    Parameters
    ----------
    grid : Grid
    runs : sequence of PlannedRun
        Runs of the grid.
    folder : Path
        The folder of the scale's results.
    sources : mapping
        Paths of data sets by name; "digits" needs none.
    workers : int
        Processes with one thread each; a single worker is this process.
    report : callable
        Called with a line of text when a run ends.

    Returns
    -------
    Outcome

    Raises
    ------
    InvalidInputError
        If a record is not one of the grid, or was made from other images than the given ones.
    """
    if workers < 1:
        raise InvalidInputError(f"workers is {workers}; pass at least 1")
    lock = folder / "work" / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        # tables share runs: a second call would train the same ones in the same folders
        with FileLock(lock, timeout=0):
            return _run_missing(grid, runs, folder, sources, workers=workers, report=report)
    except Timeout:
        raise InvalidInputError(
            f"{folder}: another call is writing to it; wait for it, or pass another folder"
        ) from None


def _run_missing(
    grid: Grid,
    runs: Sequence[PlannedRun],
    folder: Path,
    sources: Mapping[str, str],
    *,
    workers: int,
    report: Callable[[str], None],
) -> Outcome:
    """Do the missing runs, holding the lock."""
    records = finished_records(grid, folder)
    _check_sources(grid, records, sources)
    outcome = Outcome()
    queue = [run for run in runs if run.name not in records]
    total = len(queue)

    def next_task() -> Task | None:
        """Return the first run that can start, copying records of identical runs on the way."""
        for run in list(queue):
            paths = [_path(name, sources) for name in run.datasets]
            source = None if None in paths else paths[0]
            settled = _settled(run, grid, records, source or run.dataset)
            if settled is None:
                continue
            config, chosen_by = settled
            copied = _copied(run, record_config(config, run.dataset), chosen_by, records)
            if copied is None and source is None:
                continue
            queue.remove(run)
            if copied is None:
                data, foreign = _data_of(run, config, records), (None, *paths[1:])[-1]
                return Task(run, config, folder, chosen_by, data, foreign)
            write_record(folder / "records", copied)
            finish(run.name, None)
            return next_task()
        return None

    def finish(name: str, trouble: str | None) -> None:
        if trouble is not None:
            outcome.lost[name] = trouble
            report(f"{name}: {trouble}")
            return
        text = (folder / "records" / f"{name}.json").read_text(encoding="utf-8")
        records[name] = json.loads(text)
        outcome.done.append(name)
        record = records[name]
        found = record["failure"] or _first_figure(record["metrics"])
        report(f"[{len(outcome.done)}/{total}] {name}: {found} ({record['seconds']:.0f} s)")

    if workers == 1:
        in_this_process(next_task, finish)
    else:
        in_others(next_task, finish, workers)
    outcome.waiting = {run.name: _why_waiting(run, records, sources) for run in queue}
    return outcome


def _check_sources(grid: Grid, records: Records, sources: Mapping[str, str]) -> None:
    """Refuse images that are not those of the records, which would pass for theirs."""
    runs = {run.name: run for run in grid.runs}
    seen: dict[tuple[str, str, int | None], dict[str, Any]] = {}
    for name, record in records.items():
        kept = (record.get("data"), {"test": record["foreign"]} if "foreign" in record else None)
        for dataset, data in zip(runs[name].datasets, kept, strict=False):
            path = _path(dataset, sources)
            if data is not None and path is not None:
                seen.setdefault((dataset, path, record["config"]["data"]["size"]), {}).update(data)
    for (dataset, path, size), data in sorted(seen.items(), key=str):
        check_images(dataset, path, size, data)


def _first_figure(metrics: Mapping[str, float]) -> str:
    """Return NF-Acc, or the first figure of a run that trains no flow alone, with its name."""
    name = "nf_acc" if "nf_acc" in metrics else next(iter(metrics))
    return f"{'NF-Acc' if name == 'nf_acc' else name} {metrics[name]:.4f}"


def _path(name: str, sources: Mapping[str, str]) -> str | None:
    """Return where images are; None if that is unknown."""
    return "digits" if name == "digits" else sources.get(name)


def _why_waiting(run: PlannedRun, records: Records, sources: Mapping[str, str]) -> str:
    if any(_path(name, sources) is None for name in run.datasets):
        return "the path of its images was not given"
    missing = [name for name in run.tuned_by if name not in records]
    if missing:
        return f"tuning runs that decide it have no record: {', '.join(missing)}"
    return "all of its tuning runs failed, so there is no setting"


def _settled(
    run: PlannedRun, grid: Grid, records: Records, source: str
) -> tuple[RunConfig, str | None] | None:
    """Return a run's config and the tuning run that decided it; None if that is undecided."""
    choice, chosen_by = run.choice, None
    if run.tuned_by:
        winner = chosen(run, grid, records)
        if winner is None:
            return None
        choice, chosen_by = winner.choice, winner.name
    values = merged(
        grid.base,
        run.config,
        choice,
        {"data": {"source": source}, "training": {"seed": run.seed}},
    )
    return from_dict(values), chosen_by


def _copied(
    run: PlannedRun, config: dict[str, Any], chosen_by: str | None, records: Records
) -> dict[str, Any] | None:
    """Copy the record of a run with the same config to this run's name; None if there is none."""
    for record in records.values():
        # records made before a setting existed lack it: it had the value that is now its default
        same = from_dict(record["config"]) == from_dict(config) and (
            _as_json(record["options"]) == _as_json(run.options)
        )
        if same and not run.is_tuning and not record["key"].startswith("tune-"):
            return record | {
                "key": run.name,
                "setting": run.setting,
                "chosen_by": chosen_by,
                "same_as": record["key"],
            }
    return None


def _data_of(run: PlannedRun, config: RunConfig, records: Records) -> dict[str, Any] | None:
    """Return the identity of a run's data set in the records; None if it is not there."""
    for record in records.values():
        data = record["config"]["data"]
        if "data" in record and (data["source"], data["size"]) == (run.dataset, config.data.size):
            found: dict[str, Any] = record["data"]
            return found
    return None


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
