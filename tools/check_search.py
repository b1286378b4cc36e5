"""Check that what people search for is found in the built documentation.

``python -m tools.check_search docs/_build/html`` reads ``docs/search_words.txt``, one query per
line with the page where it belongs, and looks the words up in the site's own index, as its search
page does.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.search.en import SearchEnglish

__all__ = ["found", "main"]

WORDS = Path(__file__).parents[1] / "docs" / "search_words.txt"


def found(index: dict[str, Any], query: str) -> set[str]:
    """Return the pages that the site's search lists for a query, as its ``searchtools.js`` does.

    These contain every word that is not a stop word, in their text or titles, or the query in a
    title or an entry of the index; or all of its words are in the name of an object and its page.
    """
    whole = query.lower().strip()
    parts = re.findall(r"\w+", whole)
    stemmer = SearchEnglish({})
    words = {
        stemmer.stem(part)
        for part in parts
        if part not in SearchEnglish.stopwords and not part.isdigit()
    }
    pages = _with_text(index, words)
    pages |= {page for part in parts for page in _with_object(index, part, parts)}
    for kind in ("alltitles", "indexentries"):
        for text, places in index[kind].items():
            if whole in text.lower() and len(whole) >= len(text) / 2:
                pages.update(page for page, *_ in places)
    return {index["docnames"][page] for page in pages}


def _with_text(index: dict[str, Any], words: set[str]) -> set[int]:
    """Return the pages of all words; those of one or two letters may be missing."""
    counts = Counter(page for word in words for page in _of_word(index, word))
    enough = {len(words), sum(len(word) > 2 for word in words)}
    return {page for page, count in counts.items() if count in enough}


def _of_word(index: dict[str, Any], word: str) -> set[int]:
    """Return the pages of one word; of those it is a part of, if it is none itself."""
    pages = set[int]()
    for kind in ("terms", "titleterms"):
        terms = index[kind]
        parted = [term for term in terms if word in term] if len(word) > 2 else []
        for term in [word] if word in terms else parted:
            pages.update([terms[term]] if isinstance(terms[term], int) else terms[term])
    return pages


def _with_object(index: dict[str, Any], part: str, parts: list[str]) -> Iterator[int]:
    """Yield the pages of objects whose name has a part of the query, and the page the others."""
    for prefix, objects in index["objects"].items():
        for page, kind, *_, name in objects:
            sort = index["objnames"][str(kind)][2]
            context = f"{prefix} {name} {sort} {index['titles'][page]}".lower()
            if part in f"{prefix}.{name}".lower() and all(
                other in context for other in parts if other != part
            ):
                yield page


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
