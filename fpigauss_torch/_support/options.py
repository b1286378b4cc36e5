"""What a refit may be asked for."""

from collections.abc import Collection, Mapping
from typing import Any

from fpigauss import CovarianceFamily, Diagonal, FixedPoint, InvalidInputError, Status

__all__ = ["ACCEPTED", "check_options"]

#: How a fit may end for its Gaussians to be taken over.
ACCEPTED = ("converged", "max_iter", "stalled")


def check_options(
    lam: Any,
    options: Mapping[str, Any],
    accept: Collection[str] = ACCEPTED,
    family: CovarianceFamily | None = None,
) -> None:
    """What a fit is asked for, before the pass over the data that it needs."""
    known = [status.value for status in Status]
    if (
        isinstance(accept, str)
        or not isinstance(accept, Collection)
        or not all(status in known for status in accept)
    ):
        raise InvalidInputError(f"accept is {accept!r}; pass a collection of {known}")
    for name in ("covariance", "tied"):
        if name in options:
            raise InvalidInputError(
                f"{name} is not an option of a refit; make LatentGaussians with {name}="
            )
    init = options.get("init")
    if isinstance(init, str) and init == "current":  # what refits through a flow add
        options = {**options, "init": "data"}
    FixedPoint(lam, covariance=family or Diagonal(), **options)
