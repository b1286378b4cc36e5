"""Warnings that point to the line of the caller, however deep in the packages they arise."""

import sys
import warnings

__all__ = ["warn_user"]

#: Packages whose lines are not the caller's: importlib looks names up for an import statement, and
#: abc makes a class for a class statement. The others call estimators and callbacks: pipelines,
#: searches, resamplers, trainers.
_PASSED = (
    "fpigauss",
    "fpigauss_torch",
    "abc",
    "importlib",
    "imblearn",
    "joblib",
    "lightning",
    "pytorch_lightning",
    "sklearn",
)
#: Modules whose lines are not the caller's either: decorators, such as ``torch.no_grad()``
#: and ``torch.compiler.disable``.
_DECORATORS = ("torch.utils._contextlib", "torch._dynamo.eval_frame")


def warn_user(message: str | Warning, category: type[Warning]) -> None:
    """Warn at the first line outside of these packages, and of those that only pass calls on.

    Parameters
    ----------
    message : str or Warning
        The text, or a warning that was caught.
    category : type of Warning
        The category; of a warning that was caught, its own.
    """
    frame = sys._getframe(1)
    # code that is executed with globals of its own may have no name
    while frame.f_back is not None and _is_passed(str(frame.f_globals.get("__name__", ""))):
        frame = frame.f_back
    # not by stacklevel, which counts no frames of importlib
    warnings.warn_explicit(
        message,
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__") or "<unknown module>",
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _is_passed(module: str) -> bool:
    return module in _DECORATORS or module.partition(".")[0] in _PASSED
