"""What is passed where Gaussians are wanted: them, or something that contains them."""

from typing import Any

from fpigauss.errors import InvalidInputError
from fpigauss.gaussians._class_gaussians import ClassGaussians

__all__ = ["check_gaussians", "gaussians_to_pass", "gaussians_within"]

#: The attributes in which fits, estimators and flows keep their Gaussians.
_ATTRIBUTES = ("gaussians_", "gaussians")


def gaussians_within(given: Any) -> tuple[ClassGaussians, str] | None:
    """Find the Gaussians in ``given``, and how they are written: ".class_gaussians()" or the like.

    Gaussians themselves are written as "". None if there are no Gaussians.
    """
    if isinstance(given, ClassGaussians):
        return given, ""
    if isinstance(given, type):
        return None
    for name in _ATTRIBUTES:
        kept = getattr(given, name, None)
        if isinstance(kept, ClassGaussians):
            return kept, f".{name}"
        if (made := _made_by(kept)) is not None:
            return made, f".{name}.class_gaussians()"
    made = _made_by(given)
    return None if made is None else (made, ".class_gaussians()")


def _made_by(given: Any) -> ClassGaussians | None:
    """Return what the method ``class_gaussians`` of latent Gaussians gives."""
    make = getattr(given, "class_gaussians", None)
    made = make() if callable(make) and not isinstance(given, type) else None
    return made if isinstance(made, ClassGaussians) else None


def gaussians_to_pass(given: object) -> str:
    """Say what to pass in place of ``given``: the Gaussians in it, if there are any."""
    found = gaussians_within(given)
    if found is not None:
        return f"its {found[1]}, a ClassGaussians"
    later = [name for name in _ATTRIBUTES if hasattr(type(given), name)]  # before a fit
    return f"its .{later[0]}, a ClassGaussians" if later else "a ClassGaussians"


def check_gaussians(gaussians: object) -> None:
    """Raise an error that says what to pass if ``gaussians`` is not a ClassGaussians."""
    if not isinstance(gaussians, ClassGaussians):
        raise InvalidInputError(
            f"gaussians is a {type(gaussians).__name__}; pass {gaussians_to_pass(gaussians)}"
        )
