"""Progress bars; tqdm is imported when one is shown."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

__all__ = ["fit_bar", "progress_bar"]

T = TypeVar("T")


@contextmanager
def progress_bar(items: Iterable[T], shown: bool, description: str) -> Iterator[Iterable[T]]:
    """Yield ``items``, with a bar on the terminal if ``shown``; it is closed whatever happens."""
    if not _can_be_shown(shown):
        yield items
        return
    from tqdm.auto import tqdm

    with tqdm(items, desc=description) as bar:
        yield bar


def fit_bar(total: int | None, shown: bool, description: str = "fixed point") -> Any:
    """Make a bar of evaluations or fits, with the methods of tqdm; silent unless ``shown``."""
    if not _can_be_shown(shown):
        return nullcontext(_Silent())
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=description)


def _can_be_shown(shown: bool) -> bool:
    """Return whether a bar is wanted and has a place: programs without a console have none."""
    return shown and sys.stderr is not None


class _Silent:
    """A bar that shows nothing."""

    def update(self) -> None:
        """Do nothing."""

    def set_postfix(self, **_: object) -> None:
        """Do nothing."""
