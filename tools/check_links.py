"""Check that links within the built documentation and within Markdown files lead somewhere.

``python -m tools.check_links docs/_build/html`` follows every link and picture of every page to a
file, and its anchor to an element of the page; addresses elsewhere are for ``make linkcheck``.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from os.path import normpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["broken", "broken_in_markdown", "main"]

ROOT = Path(__file__).parents[1]


class _Page(HTMLParser):
    """The anchors of a page, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors, self.links = {""}, set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take up what a tag defines and what it refers to."""
        for name, value in attrs:
            if value is not None and name == "id":
                self.anchors.add(value)
            elif value is not None and name in ("href", "src"):
                self.links.add(value)


@cache
def _page(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def broken(site: Path) -> Iterator[str]:
    """Yield what is wrong with the links of a site."""
    for path in sorted(site.rglob("*.html")):
        for link in sorted(_page(path).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            # 404.html is shown at any address, so its links are from the root.
            start = site if parts.path.startswith("/") else path.parent
            address = normpath(start / unquote(parts.path).lstrip("/")) if parts.path else str(path)
            anchors = _anchors(address)
            if anchors is None:
                yield f"{path.relative_to(site)}: {link} does not exist"
            elif address.endswith(".html") and unquote(parts.fragment) not in anchors:
                yield f"{path.relative_to(site)}: {link} has no such anchor"


@cache
def _anchors(address: str) -> set[str] | None:
    """Return the anchors of a page, none of another file, and None of what does not exist."""
    path = Path(address)
    if not path.is_file():
        return _anchors(str(path / "index.html")) if path.is_dir() else None
    return _page(path).anchors if path.suffix == ".html" else set()


def broken_in_markdown(path: Path) -> Iterator[str]:
    """Yield links of a Markdown file to files, or to headings of its own, that do not exist."""
    text = path.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    }
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        address, _, anchor = link.partition("#")
        if address and not (path.parent / address).exists():
            yield f"{path.name}: {link} does not exist"
        elif not address and anchor not in headings:
            yield f"{path.name}: {link} is not a heading"


def main(site: str) -> None:
    """Check the site, and the Markdown files of the root and of the examples."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("examples/*/README.md")]
    wrong = [*broken(Path(site)), *(fault for file in files for fault in broken_in_markdown(file))]
    if wrong:
        sys.exit("\n".join(wrong))
    sys.stdout.write("All links within the documentation lead somewhere\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
