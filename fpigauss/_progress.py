"""Progress bars, imported when one is shown."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["fit_bar", "progress_bar"]

T = TypeVar("T")


@contextmanager
def progress_bar(items: Iterable[T], shown: bool, description: str) -> Iterator[Iterable[T]]:
    """``items``, with a bar on the terminal if ``shown``, closed whatever happens."""
    if not shown:
        yield items
        return
    from tqdm.auto import tqdm

    with tqdm(items, desc=description) as bar:
        yield bar


def fit_bar(total: int, shown: bool) -> Any:
    """A bar of ``total`` evaluations, with the methods of tqdm; silent unless ``shown``."""
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="fixed point", disable=not shown)
