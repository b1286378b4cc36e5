"""Fixtures shared by test modules: the three scripts, which are not in the package, and grids."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from nfpi.grid import Claim, Row, Side, Table, make_grid, merged, read_grid, write_grid
from nfpi.runner import run_grid

PROJECT = Path(__file__).parents[1]


def _loaded(name: str) -> ModuleType:
    """Execute the script NAME.py under its own name."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, PROJECT / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def train_flow() -> ModuleType:
    return _loaded("train_flow")


@pytest.fixture(scope="session")
def train_classifier_script() -> ModuleType:
    return _loaded("train_classifier")


@pytest.fixture(scope="session")
def rehearse() -> ModuleType:
    return _loaded("rehearse")


@pytest.fixture(scope="session")
def fit_gradients() -> ModuleType:
    return _loaded("fit_gradients")


@pytest.fixture(scope="session")
def reject_unknown() -> ModuleType:
    return _loaded("reject_unknown")


@pytest.fixture(scope="session")
def class_neighbors() -> ModuleType:
    return _loaded("class_neighbors")


@pytest.fixture(scope="session")
def make_glyphs() -> ModuleType:
    return _loaded("make_glyphs")


@pytest.fixture(scope="session")
def make_pairs() -> ModuleType:
    return _loaded("make_pairs")


@pytest.fixture(scope="session")
def add_classes() -> ModuleType:
    return _loaded("add_classes")


@pytest.fixture(scope="session")
def few_rows() -> ModuleType:
    return _loaded("few_rows")


@pytest.fixture(scope="session")
def compare() -> ModuleType:
    return _loaded("compare")


@pytest.fixture(scope="session")
def reproduce() -> ModuleType:
    return _loaded("reproduce")


#: The runs of `small_grid`.
KEPT = ("tune-exact-100", "tune-exact-1000", "exact-s0", "data-s0")


@pytest.fixture(scope="session")
def small_grid():
    """Take four runs of the tiny grid, a few seconds in all: two tune a third."""
    grid = make_grid("tiny")
    base = merged(grid.base, {"training": {"epochs": 2}, "evaluation": {"cnn": False}})
    runs = tuple(
        replace(run, tables=("table1",), config={**run.config, "evaluation": {"cnn": False}})
        for run in grid.runs
        if run.name in KEPT
    )
    rows = (Row("data", "data", "data initialization"), Row("exact", "exact", "fixed point"))
    table = Table(grid.tables["table1"].title, grid.tables["table1"].columns, rows)
    claim = Claim(
        "above", "Above.", "greater", ((Side("exact", "nf_acc"), Side("data", "nf_acc")),)
    )
    return replace(grid, base=base, runs=runs, tables={"table1": table}, claims=(claim,))


@pytest.fixture(scope="session")
def unbroken(small_grid, tmp_path_factory):
    """Run the small grid once in this process."""
    folder = tmp_path_factory.mktemp("unbroken")
    grid = small_grid
    lines = []
    outcome = run_grid(grid, grid.runs, folder, {}, report=lines.append)
    assert not outcome.lost and not outcome.waiting and len(lines) == len(KEPT)
    return grid, folder


@pytest.fixture
def grid_as_read(tmp_path):
    """Write a grid and read it again."""

    def as_read(grid):
        write_grid(tmp_path / "grid.json", grid)
        return read_grid(tmp_path / "grid.json")

    return as_read
