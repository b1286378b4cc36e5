"""The Gaussians, the fit and the rows behind what is passed to be drawn."""

from collections.abc import Callable
from typing import Any

from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians, check_gaussians, gaussians_within

__all__ = ["attribute_of", "drawn_gaussians", "fitted_of", "gaussians_of", "latents_of"]


def drawn_gaussians(gaussians: Any) -> ClassGaussians:
    """Return Gaussians, also those of a flow or of what else has ``class_gaussians()``."""
    found = gaussians_within(gaussians)
    if found is None:
        check_gaussians(gaussians)
    assert found is not None
    return found[0]


def gaussians_of(estimator: Any) -> ClassGaussians:
    """Return the Gaussians of an estimator, a result, or what is made of Gaussians itself."""
    fitted = fitted_of(estimator)
    attribute_of(fitted, "gaussians_")
    found = gaussians_within(fitted)
    if found is None:
        raise InvalidInputError(
            f"estimator is a {type(estimator).__name__}, without gaussians_; pass a fitted "
            "FixedPointGaussianClassifier, a pipeline that ends in one, a search with refit=True "
            "over either, or Gaussians to from_gaussians"
        )
    return found[0]


def fitted_of(estimator: Any) -> Any:
    """Return the estimator with the fit: the best of a search, the last step of a pipeline."""
    return _unwrapped(estimator)[0]


def attribute_of(fitted: Any, name: str) -> Any:
    """Return an attribute, or None; where a fit at its first use fails, raise what that raised."""
    try:
        return getattr(fitted, name)
    except AttributeError as error:
        if error.__cause__ is not None:
            raise error.__cause__ from None
        return None


def latents_of(estimator: Any, X: Any) -> Any:
    """Take rows ``X`` to where the Gaussians of an estimator are.

    Through the steps of a pipeline before the last one, and through the flow of a flow classifier.
    """
    if X is None:
        return None
    fitted, steps = _unwrapped(estimator)
    for step in steps:
        X = step(X)
    columns, model = (getattr(fitted, name, None) for name in ("map_columns", "model_"))
    if columns is None or model is None:
        return X
    return model.encode(columns(X))[0].detach()


def _unwrapped(estimator: Any) -> tuple[Any, list[Callable[[Any], Any]]]:
    """Take searches and pipelines off an estimator, and keep what the latter do to rows."""
    steps: list[Callable[[Any], Any]] = []
    while not isinstance(estimator, type):
        if (best := getattr(estimator, "best_estimator_", None)) is not None:
            estimator = best
        elif len(inner := getattr(estimator, "steps", None) or []) and hasattr(
            estimator, "named_steps"
        ):
            if len(inner) > 1:
                steps.append(estimator[:-1].transform)
            estimator = inner[-1][1]
        else:
            break
    return estimator, steps
