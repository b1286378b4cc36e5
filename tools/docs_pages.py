"""Write the parts of the documentation that follow from other files.

Every message of the packages, who imports whom, and CHANGELOG.md and CONTRIBUTING.md as pages.
``docs/conf.py`` calls ``write`` at the start of a build.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Message", "messages", "modules", "write"]

ROOT = Path(__file__).parents[1]
PACKAGES = ("fpigauss", "fpigauss_torch")

#: Functions that warn with a message.
_WARNS = frozenset({"warn", "warn_user"})
_RAISED = re.compile(r"(?!Attribute)[A-Z]\w*(Error|Warning)")

#: What to do, by a part of a message that leaves it to the reader.
_REMEDIES = {
    "does not exist": "check the path",
    "is needed": "pass an array of the shape that is named",
    "labels for": "pass one label per row",
    "cut short|damaged|header|bytes|metadata|comments|compressed": "save or copy the file again",
    "⟨error⟩|⟨text⟩": "do as the message after the colon says",
    "has shape": "pass an array of the shape that is named",
    "has dtype": "convert it to real numbers",
    "negative": "pass numbers >= 0",
    "too large": "pass a smaller one",
    "which has no Gaussian": "drop such rows",
    "characters that do not exist|it contains": "write the file again",
    "integers": "pass use_buffers=False to AveragedModel, or Permute(mode='swap') of normflows",
    "training_step": "add a method prepare_refit_batch, or pass prepare=",
    "partial_fit": "pass the same classes in every call: all labels that can occur",
}

#: Headings for the rooms of the packages, by the start of a module's name.
_ROOMS = {
    "fpigauss._array": "Arrays, labels, numbers and files",
    "fpigauss.cli": "The command line",
    "fpigauss.covariance": "Covariance families and shrinkage",
    "fpigauss.fit": "Fits, separations and paths",
    "fpigauss.gaussians": "Gaussians: densities, priors and samples",
    "fpigauss.jax": "jax",
    "fpigauss.latents": "Latents in files",
    "fpigauss.open_set": "Open sets",
    "fpigauss.plot": "Pictures",
    "fpigauss.repulsion": "pi and lam*",
    "fpigauss.sklearn": "The estimator",
    "fpigauss.statistics": "Statistics",
    "fpigauss_torch.augment": "Augmentation",
    "fpigauss_torch.bases": "Bases of flow libraries",
    "fpigauss_torch.codecs": "Codecs",
    "fpigauss_torch.lightning": "Lightning",
    "fpigauss_torch.open_set": "Rejection and new classes under a flow",
    "fpigauss_torch.priors": "Priors to compare with",
    "fpigauss_torch.refit": "Refits and schedules",
    "fpigauss_torch.sklearn": "Estimators with a flow",
}
_REST = {"fpigauss": "Everything else", "fpigauss_torch": "Everything else under a flow"}


class Message(NamedTuple):
    """A message of an error or a warning: what is wrong, and what to do about it."""

    room: str
    kind: str
    what: str
    remedy: str


def messages() -> list[Message]:
    """List the messages of both packages, by the room that they come from."""
    found = set()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            room = next((title for start, title in _ROOMS.items() if name.startswith(start)), None)
            for kind, text in _of_module(ast.parse(path.read_text(encoding="utf-8"))):
                found.add(Message(room or _REST[package], kind, *_parted(text)))
    return sorted(found, key=lambda message: (message.room, message.what))


def _parted(text: str) -> tuple[str, str]:
    """Part a message into what is wrong and what to do."""
    what, _, remedy = text.rpartition("; ")
    if not what:
        what, _, remedy = text.partition(": pip install ")
        remedy = f"pip install {remedy}" if remedy else ""
    if not remedy:
        fits = (todo for part, todo in _REMEDIES.items() if re.search(part, text))
        what, remedy = text, next(fits, "")
    if re.fullmatch(r"⟨[^⟩]*⟩", remedy):
        remedy = "the message ends with what fits the case"
    return what, remedy


def _of_module(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each message that is written where it is raised."""
    constants = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        name, value = _said(node)
        text = None if value is None else _text(value, constants)
        if text is None or " " not in text:
            continue
        if name in _WARNS:
            yield "warning", text
        elif _RAISED.fullmatch(name):
            yield "error", text


def _said(node: ast.AST) -> tuple[str, ast.expr | None]:
    """Return what a node calls and with what first argument; ``message = ...`` is of a warning."""
    if isinstance(node, ast.Call) and node.args:
        return getattr(node.func, "id", getattr(node.func, "attr", "")), node.args[0]
    if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "message":
        return "warn", node.value
    return "", None


def _text(node: ast.expr, constants: Mapping[str, Any]) -> str | None:
    """Return a string as it is written, with what is filled in in angle brackets."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_part(value, constants) for value in node.values)
    return None


def _part(node: ast.expr, constants: Mapping[str, Any]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    value = node.value if isinstance(node, ast.FormattedValue) else node
    if isinstance(value, ast.Name):
        return str(constants.get(value.id, f"⟨{value.id}⟩"))
    return "⟨…⟩"


def modules() -> list[tuple[str, str, list[str]]]:
    """List modules, what they hold, and what they import, from the drawing in CONTRIBUTING.md."""
    drawing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (graph,) = re.findall(r"```mermaid\n(.*?)```", drawing, flags=re.DOTALL)
    labels, imports = dict[str, str](), dict[str, list[str]]()
    for line in graph.splitlines()[1:]:
        for node, label in re.findall(r"(\w+)\[\"(.*?)\"\]", line):
            labels[node] = label
        if arrow := re.match(r"\s*(\w+)(?:\[.*?\])? --> (\w+)", line):
            imports.setdefault(arrow[1], []).append(arrow[2])
    rows = []
    for node, label in labels.items():
        name, _, holds = label.partition("<br>")
        rows.append((name, holds.replace("<br>", " "), imports.get(node, [])))
    return rows


def _escaped(text: str) -> str:
    """Return text as reStructuredText shows it, on one line."""
    return re.sub(r"([*`|_\\])", r"\\\1", " ".join(text.split()))


def _table(header: tuple[str, ...], widths: str, rows: Sequence[tuple[str, ...]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [header, *rows]:
        cells = [_escaped(cell) for cell in row]
        lines.append(f"   * - {cells[0]}")
        lines += [f"     - {cell}" for cell in cells[1:]]
    return "\n".join(lines)


def _page(name: str) -> str:
    """Return a Markdown file of the root for its page: no title, no drawing, links that fit."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"\A# .*\n", "", text)
    text = re.sub(r"```mermaid\n.*?```\n", "", text, flags=re.DOTALL)
    text = re.sub(r"\]\(docs/(\w+\.rst)\)", r"](\1)", text)  # pages
    return re.sub(r"\[([^\]]*)\]\((?!https?:|\w+\.rst\))[^)]+\)", r"\1", text)  # files


def write(folder: Path) -> None:
    """Write ``messages.txt``, ``modules.txt`` and two more, to be included by pages."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for room, group in groupby(messages(), key=lambda message: message.room):
        said = [(message.what, message.remedy) for message in group]
        parts += [room, "~" * len(room), "", _table(("message", "what to do"), "60 40", said), ""]
    (folder / "messages.txt").write_text("\n".join(parts), encoding="utf-8")
    for name in ("CHANGELOG", "CONTRIBUTING"):
        (folder / f"{name.lower()}.txt").write_text(_page(f"{name}.md"), encoding="utf-8")
    rows = [(name, holds, ", ".join(imported) or "-") for name, holds, imported in modules()]
    table = _table(("module", "holds", "imports"), "22 50 28", rows)
    (folder / "modules.txt").write_text(f"{table}\n", encoding="utf-8")
