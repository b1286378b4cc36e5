"""Check that what people search for is found in the built documentation.

``python -m tools.check_search docs/_build/html`` reads ``docs/search_words.txt``, one query per
line with the page where it belongs, and looks the words up in the site's own index, as its search
page does.
"""

import json
import sys
from pathlib import Path
from typing import Any

from sphinx.search.en import SearchEnglish

__all__ = ["found", "main"]

WORDS = Path(__file__).parents[1] / "docs" / "search_words.txt"


def found(index: dict[str, Any], query: str) -> set[str]:
    """Return the pages that contain every word of a query, in their text, titles or names."""
    stemmer = SearchEnglish({})
    pages = [_pages(index, word, stemmer.stem(word.lower())) for word in query.split()]
    return {index["docnames"][number] for number in set.intersection(*pages)}


def _pages(index: dict[str, Any], word: str, stem: str) -> set[int]:
    """Return the pages of one word, by its stem; as a part of a word too, like the search page."""
    numbers = set[int]()
    for kind in ("terms", "titleterms"):
        for term, where in index[kind].items():
            if term == stem or (len(stem) > 2 and stem in term):
                numbers.update([where] if isinstance(where, int) else where)
    for prefix, objects in index["objects"].items():
        for page, *_, name in objects:
            if word.lower() in f"{prefix}.{name}".lower():
                numbers.add(page)
    return numbers


def main(site: str) -> None:
    """Look up every query of the list; exit with the ones that do not find their page."""
    text = (Path(site) / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    lines = [line.split("#")[0].strip() for line in WORDS.read_text(encoding="utf-8").splitlines()]
    queries = [tuple(part.strip() for part in line.split(":")) for line in lines if line]
    missed = [
        f"{query!r} does not find {page}"
        for query, page in queries
        if page not in found(index, query)
    ]
    if missed:
        sys.exit("\n".join(missed))
    sys.stdout.write(f"{len(queries)} searches find their pages\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
