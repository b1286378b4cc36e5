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


def gaussians_to_pass(given: Any) -> str:
    """Say what to pass in place of ``given``: the Gaussians in it, if there are any.

    Those of a search are in its best estimator, and those of a pipeline in its last step, which
    gets other rows than the pipeline.
    """
    best = getattr(given, "best_estimator_", None)
    way, estimator = ("", given) if best is None else (".best_estimator_", best)
    rows = ""
    if hasattr(estimator, "named_steps"):
        rows = f" of rows that its {way}[:-1].transform makes"
        way, estimator = f"{way}[-1]", estimator[-1]
    found = gaussians_within(estimator)
    later = [f".{name}" for name in _ATTRIBUTES if hasattr(type(estimator), name)]  # before a fit
    if found is None and not later:
        return "a ClassGaussians"
    return f"its {way}{later[0] if found is None else found[1]}, a ClassGaussians{rows}"


def check_gaussians(gaussians: object) -> None:
    """Raise an error that says what to pass if ``gaussians`` is not a ClassGaussians."""
    if not isinstance(gaussians, ClassGaussians):
        raise InvalidInputError(
            f"gaussians is a {type(gaussians).__name__}; pass {gaussians_to_pass(gaussians)}"
        )
