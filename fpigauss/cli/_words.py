"""Messages and documentation of the library in the words of the command line."""

import errno
import re
from collections.abc import Iterable
from functools import cache

from fpigauss.fit._documented import declared_options

__all__ = ["flag_of", "in_our_words", "one_line"]

#: Errors of a disk on which a file does not fit.
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
#: Options that have another name here.
_RENAMED = {"min_kld": "separation"}
#: Arguments of calls that are options here, beside those of a fit.
_OTHERS = (
    "max_overlap",
    "per_dim",
    "lams",
    "rate",
    "method",
    "temperature",
    "priors",
    "background",
    "z",
    "y",
)

#: What commands call what the library has.
_PHRASES = {
    "load one that ClassGaussians.save wrote": "pass a file that fpigauss fit has written",
    "load one that ClassStatistics.save wrote": "pass what fpigauss statistics has written",
    "the ClassStatistics of all known samples, or ClassGaussians of one class": "--background FILE",
    "background is None, but": "--background is not given, but",
    "init=result.gaussians": "init=FILE",
    "frozen=init.classes": "--frozen all",
    " (see FixedPointResult)": "",
    "critical_lam": "a critical lam",
    "ClassGaussians": "Gaussians",
    "ClassStatistics": "statistics",
}


def flag_of(name: str) -> str:
    """Return the option of the command line for a keyword: ``--max-iter`` for ``max_iter``."""
    return "--" + _RENAMED.get(name, name).replace("_", "-")


@cache
def _names() -> str:
    names = [option.name for option in declared_options()]
    return "|".join([*names, *_RENAMED, *_OTHERS])


#: What a message quotes, such as the name of a file; the apostrophe of a word begins no quote.
_QUOTED = r"(?<![\w'=])'[^']*'(?!\w)"


def in_our_words(text: str, names: Iterable[str] = ()) -> str:
    """Write ``max_iter=5`` as ``--max-iter 5``, and leave out the quotes of code.

    Also where a message begins with the name of an argument, or tells to pass one. What is in
    single quotes stays as it is, and so do ``names``, of files say, wherever they stand.
    """
    stay = [re.escape(name) for name in names if _translated(name) != name]
    pieces = re.split(f"({'|'.join([*stay, _QUOTED])})", text)
    return "".join(piece if i % 2 else _translated(piece) for i, piece in enumerate(pieces))


def _translated(text: str) -> str:
    for theirs, ours in _PHRASES.items():
        text = text.replace(theirs, ours)
    text = re.sub(rf'\b({_names()})=("[^"]*"|[^\s,;()`]+)?', _as_option, text.replace("``", ""))
    text = re.sub(rf"^({_names()})(?= (?:is|has|are)\b)", lambda m: flag_of(m[1]), text)
    text = re.sub(rf"(?<=\braise )({_names()})\b", lambda m: flag_of(m[1]), text)
    return re.sub(r'"(\w+)"', r"\1", text)


def _as_option(found: re.Match[str]) -> str:
    name, value = found[1], (found[2] or "").strip('"')
    if value == "True":
        return flag_of(name)
    if value == "False":
        return f"--not-{name.replace('_', '-')}"
    return f"{flag_of(name)} {value}".rstrip()


def one_line(error: BaseException, names: Iterable[str] = ()) -> str:
    """Return what an exception says, in one line; ``names`` that users gave stay as they are."""
    if isinstance(error, OSError) and error.strerror is not None:
        where = f"{error.filename}: " if error.filename is not None else ""
        text = f"{where}{error.strerror}"
        if error.errno in FULL and where:
            text += "; nothing was written: free some space, or write elsewhere"
    else:
        text = str(error) or type(error).__name__
    return " ".join(in_our_words(text, names).split())
