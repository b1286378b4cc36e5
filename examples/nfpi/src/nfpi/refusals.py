"""Put pydantic's errors in the words of this project: field, value and remedy."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

__all__ = ["shown", "told"]


def told(
    error: ValidationError,
    values: Any,
    *,
    table: str = "",
    known: Collection[str] = (),
    optional: Collection[str] = (),
) -> str:
    """Describe what is wrong with the first refused value.

    Parameters
    ----------
    error : ValidationError
        As pydantic raised it.
    values : mapping or sequence
        The validated input, which tells names in a location from pydantic's own marks.
    table : str
        The name of ``values``, if there is one.
    known : collection of str
        The names that ``values`` may have.
    optional : collection of str
        The names among them that may be none.

    Returns
    -------
    str
    """
    found = error.errors(include_url=False)
    first = found[0]
    if isinstance(cause := first.get("ctx", {}).get("error"), ValueError):
        return str(cause)  # from a check of our own, which already says all of this
    path = _path(first["loc"], values)
    key = ".".join(part for part in (table, *path) if part)
    if first["type"] == "extra_forbidden":
        there = f"there {'are' if len(known) > 1 else 'is'} {', '.join(sorted(known))}"
        return f"unknown key {key}; {there}"
    if first["type"] == "missing":
        return f"{'.'.join(part for part in (key, str(first['loc'][-1])) if part)} is missing"
    # one error per member of a union
    messages = [one["msg"] for one in found if _path(one["loc"], values) == path]
    allowed = [message.removeprefix("Input should be ") for message in messages]
    if path and path[-1] in optional:
        allowed.append("none")
    return f"{key} is {shown(first['input'])}; it should be {' or '.join(map(_plain, allowed))}"


def shown(value: Any) -> str:
    """Format a value for a message, in at most sixty characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _path(location: tuple[int | str, ...], values: Any) -> list[str]:
    """Return the names and numbers that lead to a value, without the marks of unions."""
    path: list[str] = []
    for part in location:
        keyed = isinstance(values, Mapping) and part in values
        if keyed or (isinstance(values, (list, tuple)) and isinstance(part, int)):
            values = values[part]
            path.append(str(part))
    return path


def _plain(allowed: str) -> str:
    """Put Python's types in words of TOML."""
    allowed = allowed.replace("a valid dictionary", "a table")
    words = {
        "a valid tuple": "a list",
        "a valid integer": "a whole number",
        "a valid boolean": "true or false",
        "a valid string": "a string",
        "a valid number": "a number",
    }
    return words.get(allowed, allowed)
