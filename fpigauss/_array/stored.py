"""What the arrays in a file must be, before any of them is read."""

from typing import NamedTuple

__all__ = ["FLAG", "FLOATS", "HEADER", "LABELS", "NAME", "ForeignError", "Stored", "check_header"]


class Stored(NamedTuple):
    """What an array in a file must be: numpy's types, such as "f8" ("U" of any width), and axes."""

    types: tuple[str, ...]
    ndims: tuple[int, ...]


FLOATS = Stored(("f2", "f4", "f8", "f12", "f16"), (0, 1, 2, 3))
LABELS = Stored(("i8", "b1", "U"), (1,))
NAME = Stored(("U",), (0,))
FLAG = Stored(("b1",), (0,))

#: What every file of ours says of itself.
HEADER = {"format": NAME, "kind": NAME, "version": Stored(("i4", "i8"), (0,))}


class ForeignError(Exception):
    """A file is not of the expected kind; the message says why."""


def check_header(found: list[object], expected: list[object]) -> None:
    """Raise if a file is not of the format, kind and version that are expected."""
    if found != expected and [found[0], found[2]] == [expected[0], expected[2]]:
        raise ForeignError(f"it contains {found[1]}")
    if found != expected:
        raise ForeignError("its header says {} {}, version {}".format(*found))
