"""The core suite that mutants are tried on, and which of its tests run which lines."""

import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tools.torture._children import in_child
from tools.torture._runner import CACHE

__all__ = ["MEMORY", "Cover", "digest_of", "run_tests", "sources", "suite"]

#: Files of tests of the mathematics, part by part: they come first.
_MIRRORS = (
    "test_covariance",
    "test_equations",
    "test_minres",
    "test_moments",
    "test_repulsion",
    "test_running_statistics",
    "test_solvers",
    "test_statistics",
)
#: And those of whole fits. Both take about two minutes of one processor.
_WHOLE = (
    "test_aliases",
    "test_bad_input",
    "test_class_priors",
    "test_custom_family",
    "test_deprecated",
    "test_divergence",
    "test_equivariance",
    "test_extremes",
    "test_finite_statistics",
    "test_fixed_point",
    "test_flags",
    "test_frozen",
    "test_geometric_mean_gradient",
    "test_golden",
    "test_gradient",
    "test_inflated_class",
    "test_labels",
    "test_likelihood",
    "test_namespaces",
    "test_options_together",
    "test_oracle",
    "test_out_of_core",
    "test_outcome",
    "test_singular_data",
    "test_sparse_input",
    "test_starts",
    "test_transfers",
    "test_trust_solver",
    "test_twenty_problems",
)
#: Of tests for every namespace, those of numpy and torch, which take different paths; and without
#: those that take long to say little.
_DESELECTED = (
    "not array_api_strict and not jax and not slow and not TestACluster "
    "and not larger_than_the_bound and not no_lower_minimum_is_missed and not more_starts"
)
#: Bytes that a process with tests may map.
MEMORY = 8 * 2**30


def suite() -> list[Path]:
    """Return the files of the core suite."""
    return [Path("tests", f"{name}.py") for name in (*_MIRRORS, *_WHOLE)]


def sources() -> list[Path]:
    """Return the files of the package, any of which may change what a test finds."""
    return sorted(Path("fpigauss").rglob("*.py"))


def digest_of(paths: Iterable[Path]) -> str:
    """Return a digest of what files contain."""
    contents = b"".join(path.read_bytes() for path in paths)
    return hashlib.blake2b(contents + _DESELECTED.encode()).hexdigest()[:16]


def run_tests(what: Sequence[str], plugin: object, *more: str) -> int:
    """Run tests with a plugin, until one fails, and return the exit status of pytest."""
    import pytest

    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "-r", "f"]
    # what has been imported before is without introspection of its assertions
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-k", _DESELECTED]
    return int(pytest.main([*options, *more, *what], [plugin]))


@dataclass(frozen=True)
class Cover:
    """The tests of some files without mutants, and which of them run which lines."""

    #: Seconds of processor of each.
    seconds: dict[str, float]
    #: Tests by file and by line, as text.
    lines: dict[str, dict[str, list[str]]]
    #: What tests import that is neither ours nor of the standard library.
    imports: list[str]

    @classmethod
    def measured(cls, refresh: bool = False) -> Self:
        """Measure those of the suite, each file once for the same package."""
        CACHE.mkdir(exist_ok=True)
        paths = {file: _kept(file) for file in suite()}
        missing = [file for file, path in paths.items() if refresh or not path.exists()]
        if missing:
            log = CACHE / "cover.log"
            log.unlink(missing_ok=True)
            ended = in_child(lambda: _measure(missing), seconds=1800.0, memory=MEMORY, log=log)
            if ended.status != 0:
                raise SystemExit(f"the suite fails without mutants ({ended.why}); see {log}")
        total = cls({}, {}, [])
        for path in paths.values():
            part = cls(**json.loads(path.read_text("utf-8")))
            total.seconds.update(part.seconds)
            total.imports.extend(part.imports)
            for file, tests in part.lines.items():
                lines = total.lines.setdefault(file, {})
                for line, names in tests.items():
                    lines.setdefault(line, []).extend(names)
        return total

    def of(self, path: Path, lines: range) -> list[str]:
        """Return the tests that run any of the lines; all where none does.

        Those of parts come first, and of these and of the others the fastest.
        """
        at = self.lines.get(str(path), {})
        found = {name for line in lines for name in at.get(str(line), ())}

        def place(name: str) -> tuple[bool, float]:
            return Path(name.partition("::")[0]).stem not in _MIRRORS, self.seconds[name]

        return sorted(found or self.seconds, key=place)

    def import_others(self) -> None:
        """Import what mutants do not change, once: children have it at once."""
        for name in sorted(set(self.imports)):
            with suppress(Exception):  # modules that are not to be imported by themselves
                importlib.import_module(name)


def _kept(file: Path) -> Path:
    """Return where the cover by a file of tests is kept, for the package as it is."""
    folder = CACHE / "cover"  # the files beside it are summaries
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{digest_of([*sources(), file])}.json"


class _Contexts:
    """A plugin of pytest that tells coverage which test runs, and takes its processor time.

    What runs for all tests of a file, at its import or for a fixture, is told by the file.
    """

    def __init__(self, measured: Any) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = {}

    def pytest_collectstart(self, collector: Any) -> None:
        self.measured.switch_context(collector.nodeid.partition("::")[0])

    def pytest_runtest_setup(self, item: Any) -> None:
        self.measured.switch_context(item.nodeid)
        self.seconds[item.nodeid] = -time.process_time()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.seconds[nodeid] += time.process_time()

    def pytest_fixture_setup(self, request: Any) -> None:
        self.measured.switch_context(request.node.nodeid)  # a test, or a file

    def pytest_runtest_call(self, item: Any) -> None:
        self.measured.switch_context(item.nodeid)


def _measure(files: Sequence[Path]) -> int:
    import coverage

    measured = coverage.Coverage(data_file=None, source=["fpigauss"], config_file=False)
    plugin = _Contexts(measured)
    measured.start()
    importlib.import_module("fpigauss")
    status = run_tests([str(file) for file in files], plugin)
    measured.stop()
    data = measured.get_data()
    by_line = {
        os.path.relpath(file): data.contexts_by_lineno(file) for file in data.measured_files()
    }
    for file in files if status == 0 else ():
        seconds = {n: s for n, s in plugin.seconds.items() if n.partition("::")[0] == str(file)}
        tests = {str(file): list(seconds)} | {name: [name] for name in seconds}
        lines = {
            path: {
                str(line): sorted({name for c in contexts for name in tests.get(c, ())})
                for line, contexts in found.items()
            }
            for path, found in by_line.items()
        }
        cover = Cover(seconds, lines, _others())
        _kept(file).write_text(json.dumps(vars(cover)), "utf-8")
    return status


def _others() -> list[str]:
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    return sorted(name for name, file in files.items() if "site-packages" in (file or ""))
