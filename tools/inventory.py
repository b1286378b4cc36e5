"""Make inventories for Sphinx of the names of other packages that the documentation links to.

``docs/links.txt`` lists them by hand, so that building needs no network.
"""

import zlib
from pathlib import Path

__all__ = ["names", "write"]

_HEAD = """\
# Sphinx inventory version 2
# Project: {project}
# Version: stable
# The remainder of this file is compressed using zlib.
"""


def _projects(listed: Path) -> dict[str, tuple[str, list[str]]]:
    """Return address and lines of each package: a package and its address, then its names."""
    found = dict[str, tuple[str, list[str]]]()
    for line in listed.read_text(encoding="utf-8").splitlines():
        words = [] if line.startswith("#") else line.split()
        if len(words) == 2:
            project, address = words
            found[project] = address, []
        elif len(words) == 3:
            found[project][1].append(line)
    return found


def names(listed: Path) -> list[str]:
    """Return all names of the list."""
    return [line.split()[1] for _, lines in _projects(listed).values() for line in lines]


def write(listed: Path, folder: Path) -> dict[str, tuple[str, str]]:
    """Write an inventory for each package; return what Sphinx takes as ``intersphinx_mapping``."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for project, (address, lines) in _projects(listed).items():
        entries = [
            f"{name} {role} 1 {uri} -\n" for role, name, uri in (line.split() for line in lines)
        ]
        path = folder / f"{project}.inv"
        head = _HEAD.format(project=project).encode()
        path.write_bytes(head + zlib.compress("".join(entries).encode()))
        mapping[project] = address, str(path)
    return mapping
