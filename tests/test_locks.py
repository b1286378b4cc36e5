"""What the environments are installed from: locks that agree with what is declared."""

import re
import tomllib
from pathlib import Path

import pytest

from tools.write_locks import ENVIRONMENTS, entries

ROOT = Path(__file__).parents[1]
LOCKS = {name: ROOT / "requirements/locks" / f"{name}.txt" for name in ENVIRONMENTS}


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(text):
    """Versions by name; a name may have several, for different machines."""
    found = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.+-]+)", text, re.MULTILINE):
        found.setdefault(normalized(name), set()).add(version)
    return found


CONSTRAINTS = pinned((ROOT / "requirements/constraints.txt").read_text("utf-8"))
TABLES = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def names_of(requirements):
    """The names of requirements, with those of extras of our own that they name."""
    for requirement in requirements:
        if isinstance(requirement, dict):
            yield from names_of(TABLES["dependency-groups"][requirement["include-group"]])
            continue
        name, extras = re.match(r"([\w.-]+)(?:\[(.*?)\])?", requirement).groups()
        if name != "fpigauss":
            yield normalized(name)
            continue
        for extra in extras.split(","):
            yield from names_of(TABLES["project"]["optional-dependencies"][extra])


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_has_hashes(name):
    found = list(entries(LOCKS[name].read_text("utf-8")))
    assert found
    assert all(re.search(r"==\S+.*\\\n +--hash=sha256:[0-9a-f]{64}", entry) for entry in found)


@pytest.mark.parametrize("name", LOCKS)
def test_versions_are_those_of_the_constraints(name):
    for package, versions in pinned(LOCKS[name].read_text("utf-8")).items():
        assert versions == CONSTRAINTS.get(package, versions), f"{package}: run make locks"


@pytest.mark.parametrize("name", LOCKS)
def test_what_is_declared_is_locked(name):
    groups = TABLES["dependency-groups"]
    extras = TABLES["project"]["optional-dependencies"]
    declared = set() if name == "build" else set(names_of(TABLES["project"]["dependencies"]))
    declared |= set(names_of(groups.get(name, []))) | set(names_of(extras.get(name, [])))
    locked = set(pinned(LOCKS[name].read_text("utf-8")))
    assert declared - {"torch"} <= locked, "run make locks"
    assert "torch" not in locked  # whose hashes depend on the index


def test_the_makefile_has_no_other_environments():
    made = re.findall(r"\.venvs/(\w+)/\.stamp", (ROOT / "Makefile").read_text("utf-8"))
    assert set(made) - {"bare", "lowest"} <= set(ENVIRONMENTS)
