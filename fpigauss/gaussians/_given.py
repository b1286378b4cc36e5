"""The check of an argument that should be class Gaussians."""

from fpigauss.errors import InvalidInputError
from fpigauss.gaussians._class_gaussians import ClassGaussians

__all__ = ["check_gaussians"]


def check_gaussians(gaussians: object) -> None:
    """Raise an error unless these are ClassGaussians; it says where something else has them."""
    if isinstance(gaussians, ClassGaussians):
        return
    kind = type(gaussians)
    remedy = "pass ClassGaussians, such as the gaussians of a result"
    # of the class, and not of the object: an estimator may fit them at their first use
    for name in ("gaussians", "gaussians_"):
        if hasattr(kind, name) or name in getattr(gaussians, "__dict__", {}):
            remedy = f"pass its {name}"
    raise InvalidInputError(f"gaussians is a {kind.__name__}; {remedy}")
