r"""Compare two methods of a grid, from its records.

    python examples/nfpi/compare.py even fashion-exact fashion-random
    python examples/nfpi/compare.py classes k62-d784-exact-50 k62-d784-gd-50
    python examples/nfpi/compare.py even fashion-exact-1000,fashion-exact-10000 \
        fashion-random-0.7,fashion-random-1,fashion-random-1.4

Of two settings, prints every metric of the first minus the second, with the 95 % interval over
their common seeds; of one setting, its means. Of settings that are joined by commas, which are the
points of a curve, it compares what is reached at no more than the same NLL.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fpigauss import InvalidInputError

from nfpi.grid import Grid, read_grid
from nfpi.grid.build import GRIDS as SCALES
from nfpi.grid.claims import Side
from nfpi.grid.curves import differences_by_seed
from nfpi.grid.results import Records, values_by_seed
from nfpi.intervals import Interval, paired_interval, t_interval
from nfpi.runner import finished_records
from nfpi.script import exit_status

HERE = Path(__file__).parent
COST = "nll"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the differences, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scale", choices=tuple(SCALES))
    parser.add_argument("first", help="a setting, or several joined by commas")
    parser.add_argument("second", nargs="?", help="what is taken off; none for means of the first")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of records")
    options = parser.parse_args(arguments)
    return exit_status("compare.py", lambda: _compare(options), refused=2)


def _compare(options: argparse.Namespace) -> int:
    grid = read_grid(HERE / "grids" / f"{options.scale}.json")
    records = finished_records(grid, options.results / options.scale)
    sides = [_settings(grid, side) for side in (options.first, options.second) if side is not None]
    of_curves = len(sides[0]) > 1
    if any((len(side) > 1) != of_curves for side in sides) or (of_curves and len(sides) == 1):
        raise InvalidInputError(
            "a curve is compared with a curve; join settings of both sides by commas, or of none"
        )
    found = {}
    for metric in _metrics(grid, records, [setting for side in sides for setting in side]):
        if not of_curves:
            found[metric] = _of_settings(grid, records, [side[0] for side in sides], metric)
        elif metric != COST:
            found[metric] = _of_curves(grid, records, sides, metric)
    known = {metric: one for metric, one in found.items() if one is not None}
    if not known:
        raise InvalidInputError(
            "no seed has what is compared: runs failed, have no record, or their curves share no "
            "NLL; tables/runs.md lists them"
        )
    for metric, one in known.items():
        ends = f"[{one.low:+.4f}, {one.high:+.4f}]"
        print(f"{metric:32}{one.mean:+12.4f}  {ends:24}{one.n} seeds")
    return 0


def _settings(grid: Grid, names: str) -> list[str]:
    """Split the names of settings; raise for one that is not in the grid."""
    known = {run.setting for run in grid.runs}
    settings = names.split(",")
    for name in settings:
        if name not in known:
            raise InvalidInputError(
                f"{name!r} is not a setting of the grid {grid.scale}; its tables/runs.md lists them"
            )
    return settings


def _metrics(grid: Grid, records: Records, settings: Sequence[str]) -> list[str]:
    """Return the names of the numbers that runs of all ``settings`` have, in their order."""
    found: list[dict[str, None]] = []
    for setting in settings:
        names: dict[str, None] = {}
        for run in grid.runs_of(setting):
            for name, value in records.get(run.name, {}).get("metrics", {}).items():
                if isinstance(value, float | int):
                    names[name] = None
        found.append(names)
    return [name for name in found[0] if all(name in names for names in found)]


def _of_settings(
    grid: Grid, records: Records, settings: Sequence[str], metric: str
) -> Interval | None:
    """Return the mean of a setting, or the difference of two."""
    values = [values_by_seed(grid, records, Side(setting, metric)) for setting in settings]
    if len(values) > 1:
        return paired_interval(values[0], values[1])
    return t_interval(list(values[0].values())) if values[0] else None


def _of_curves(
    grid: Grid, records: Records, sides: Sequence[Sequence[str]], metric: str
) -> Interval | None:
    """Return the difference of two curves at no more than the same NLL."""
    curves = [
        [
            (
                values_by_seed(grid, records, Side(setting, COST)),
                values_by_seed(grid, records, Side(setting, metric)),
            )
            for setting in settings
        ]
        for settings in sides
    ]
    differences = differences_by_seed(*curves).values()
    found = [value for value in differences if value is not None]
    return t_interval(found) if found else None


if __name__ == "__main__":
    raise SystemExit(main())
