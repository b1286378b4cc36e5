"""The three scripts as modules: they lie beside the package, not in it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[1]


def _loaded(name: str) -> ModuleType:
    """The script NAME.py, executed under its own name."""
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
def reproduce() -> ModuleType:
    return _loaded("reproduce")
