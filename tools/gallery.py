"""Order the pages of the gallery, and check that their answers are what they printed.

``python -m tools.gallery docs`` reads the pages that Sphinx-Gallery wrote there. Each has a
question for a title, a picture, and a section "Answer", every number of which it shows above.
"""

import re
import sys
from pathlib import Path

__all__ = ["InOrder", "faults", "main"]

FOLDERS = ("gallery", "gallery_flows")
#: The pages in the order of the index, by the question that leads from one to the next.
ORDER = (
    "how_far_apart",
    "which_family",
    "lam_zero",
    "ellipses",
    "reject",
    "later_classes",
    "files_of_latents",
    "many_machines",
    "arrays",
    "influence",
    "layer",
    "zuko",
    "normflows",
    "tarflow",
    "flow_classifier",
    "sampling",
)
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d+(?:\.\d+)?|\.\d+)(?:e-?\d+)?(?![\w])")


class InOrder:
    """Sort the scripts of a folder by their place in ``ORDER``."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = str(folder)

    def __repr__(self) -> str:
        """Return the same text in every build, so that nothing is built anew for it."""
        return f"<{type(self).__name__}>"

    def __call__(self, name: str | Path) -> int:
        """Return the place of a script."""
        stem = Path(name).stem.removeprefix("plot_")
        return ORDER.index(stem) if stem in ORDER else len(ORDER)  # neighbors, no pages


def faults(page: str) -> list[str]:
    """Return what is missing on a page, and the numbers of its answer that it does not show."""
    title = next(line for line in page.splitlines() if re.fullmatch(r"\w.*", line))
    before, heading, after = page.partition("\nAnswer\n------\n")
    found = [] if "?" in title else [f"the title {title!r} is not a question"]
    found += [] if heading else ["it has no answer"]
    found += [] if ".. image-sg::" in page else ["it draws nothing"]
    answer = _prose(after.partition(".. rst-class:: sphx-glr-timing")[0])
    shown = [float(number) for number in _NUMBER.findall(before)]
    for number in _NUMBER.findall(answer):
        _, _, decimals = number.partition(".")
        near = 2.001 * 10.0 ** -len(decimals)  # the same flow, trained elsewhere, ends elsewhere
        distances = (min(abs(float(number) - x), abs(float(number) - 100 * x)) for x in shown)
        if not any(distance <= near for distance in distances):
            found.append(f"{number} of its answer is not among what it shows")
    return found


def _prose(answer: str) -> str:
    """Return an answer without sentences about other pages, and without names."""
    sentences = re.split(r"(?<=[.:!?*)])\s+(?=[A-Z*(])", " ".join(answer.split()))
    own = [each for each in sentences if not re.search(":doc:|:ref:|``examples", each)]
    return re.sub(r"``.*?``|`.*?`", "", " ".join(own))


def main(docs: str) -> None:
    """Check every page that was built; exit with what is wrong."""
    pages = [page for folder in FOLDERS for page in sorted(Path(docs, folder).glob("plot_*.rst"))]
    stems = {page.stem.removeprefix("plot_") for page in pages}
    wrong = [f"no page is called {stem}" for stem in ORDER if stem not in stems]
    wrong += [f"{stem} has no place in the order" for stem in sorted(stems - set(ORDER))]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        wrong += [f"{page.stem}: {fault}" for fault in faults(text)]
    if wrong:
        sys.exit("\n".join(wrong))
    sys.stdout.write(f"{len(pages)} pages of the gallery show what they say\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
