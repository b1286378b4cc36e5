"""Write what each environment of the Makefile installs, with the hashes of every file of a release.

``make locks`` runs it, after a change of a dependency or of ``requirements/constraints.txt``. A
lock holds for every machine and Python that the project allows: markers say which packages are for
which. torch is in no lock. A user's index has it built for a processor or for a CUDA version, each
with hashes of its own, so pip takes it from there in the version that the constraints name.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["ENVIRONMENTS", "LOCKS", "entries"]

LOCKS = Path("requirements/locks")

_EXPERIMENTS = "examples/nfpi/pyproject.toml"
#: What to lock, by name: editable folders, and dependency groups.
ENVIRONMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "build": ((), ("build",)),
    "core": ((".",), ()),
    "examples": ((".[examples]",), ()),
    **{name: ((".",), (name,)) for name in ("test", "docs", "lint", "bench", "dist", "locks")},
    "nfpi": ((".", "examples/nfpi"), (f"{_EXPERIMENTS}:test", f"{_EXPERIMENTS}:lint")),
}
#: Own packages, and torch with what only its CUDA builds need.
_LEFT_OUT = re.compile(r"(fpigauss|nfpi-experiments|torch|triton|(nvidia|cuda)-.*)==")
_HEAD = """\
# Written by "make locks" from pyproject.toml and requirements/constraints.txt: change them there.
"""
_TORCH = '# torch is installed apart, in the version of the constraints ("make" does)\n'


def entries(lock: str) -> Iterator[str]:
    """Yield the requirements of a lock, each with its markers and hashes."""
    yield from re.findall(r"^[a-z0-9][^\n]*(?:\n +--hash[^\n]*)*", lock, re.MULTILINE)


def _resolved(folders: tuple[str, ...], groups: tuple[str, ...], *constraints: Path) -> str:
    """Resolve what folders and groups need, on every machine."""
    with TemporaryDirectory() as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text("".join(f"-e ./{name}\n" for name in folders), "utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", str(wanted), "--quiet"]
        command += ["--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--no-config", "--upgrade"]
        command += [part for path in constraints for part in ("--constraint", str(path))]
        command += [part for group in groups for part in ("--group", group)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Write all locks."""
    LOCKS.mkdir(exist_ok=True)
    constraints = [Path("requirements/constraints.txt")]
    for name, (folders, groups) in ENVIRONMENTS.items():
        found = list(entries(_resolved(folders, groups, *constraints)))
        kept = [entry for entry in found if not _LEFT_OUT.match(entry)]
        torch = any(entry.startswith("torch==") for entry in found)
        path = LOCKS / f"{name}.txt"
        path.write_text(_HEAD + _TORCH * torch + "\n".join(kept) + "\n", "utf-8")
        if name == "build":  # which lies in all environments
            constraints.append(path)


if __name__ == "__main__":
    main()
