"""Write the page that shows every committed table and figure of the experiments.

``docs/conf.py`` calls ``write`` at the start of a build, so the page is never behind the results.
"""

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["write"]

RESULTS = Path(__file__).parents[1] / "examples" / "nfpi" / "results"

#: What the grids are about; others bear the names of their folders.
_GRIDS = {
    "cpu": "The paper's tables, on small images",
    "layer": "Flows trained through the fit, lam from held-out rows, rows of influence",
    "levels": "The layer beside what is fitted once, over lam",
    "even": "Fixed point and gradient descent at equal budgets",
    "classes": "More classes",
    "mixing": "Augmentation along principal axes",
    "cited": "Models that the paper only cites",
    "reject": "Rows of no class",
    "neighbors": "Classes that resemble each other",
    "neighbors-again": "Classes that resemble each other, five more seeds",
    "later": "Classes that come later",
    "few": "Few rows, and uneven ones",
}
#: What figures show that have no table of their name.
_FIGURES = {
    "fig1": "After Fig. 1 of the paper: the embedding and its class Gaussians, as the authors' "
    "code and as the exact equations with one shared diagonal covariance move them, for three lam.",
    "fig2": "After Fig. 2: held-out images of Fashion-MNIST, two of each class, and variants of "
    "them by the flow.",
}
_LEFT_OUT = frozenset({"runs"})  # one line per run
_HEAD_LINES = 2  # of a table without rows


def _shown(folder: Path) -> Iterator[str]:
    """Yield the paragraphs about one grid."""
    figures = {path.stem: path for path in sorted((folder / "figures").glob("*.png"))}
    tables = {path.stem: path for path in sorted((folder / "tables").glob("*.md"))}
    yield f"## {_GRIDS.get(folder.name, folder.name)}"
    yield f"From `examples/nfpi/results/{folder.name}`."
    for stem in sorted(figures.keys() - tables.keys()):
        yield _figure(figures[stem], _FIGURES.get(stem, stem))
    for stem, path in tables.items():
        if stem in _LEFT_OUT:
            continue
        heading, _, table = path.read_text(encoding="utf-8").partition("\n")
        if stem not in figures and table.count("\n|") <= _HEAD_LINES:
            continue  # nothing was tuned, or claimed
        yield f"##{heading}"
        if stem in figures:
            yield _figure(figures[stem], "")
        yield table.strip()


def _figure(path: Path, caption: str) -> str:
    """Return a picture, with its table's title for an alternative text unless it has a caption."""
    address = f"../{path.relative_to(RESULTS.parents[2]).as_posix()}"
    lines = ["```{figure} " + address, f":alt: {caption or f'The table below, {path.stem}, drawn'}"]
    return "\n".join([*lines, ":class: panorama", "", caption, "```"])


def write(folder: Path) -> None:
    """Write ``results.txt``, of all grids that have tables, the smallest scale of CI left out."""
    folder.mkdir(parents=True, exist_ok=True)
    grids = sorted(path.parent for path in RESULTS.glob("*/tables") if path.parent.name != "tiny")
    parts = [part for grid in grids for part in _shown(grid)]
    text = re.sub(r"<br>", "<br/>", "\n\n".join(parts))
    (folder / "results.txt").write_text(f"{text}\n", encoding="utf-8")
