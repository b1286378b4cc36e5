"""What a refit may be asked for."""

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from fpigauss import InvalidInputError, Status, solve_fixed_point
from fpigauss._options import Options
from fpigauss.interface import CovarianceFamily, Diagonal

__all__ = ["ACCEPTED", "check_options"]

#: How a fit may end for its Gaussians to be taken over.
ACCEPTED = ("converged", "max_iter", "stalled")

#: Arguments of ``solve_fixed_point`` that a refit sets.
_SET = {"statistics", "lam", "covariance", "tied"}


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
    signature = inspect.signature(solve_fixed_point)
    allowed = set(signature.parameters) - _SET
    for name in options:
        if name not in allowed:
            raise InvalidInputError(
                f"{name} is not an option of a refit; these are: {', '.join(sorted(allowed))}"
            )
    call = signature.bind(None, lam, covariance=family or Diagonal(tied=False), **options)
    call.apply_defaults()
    del call.arguments["statistics"]
    Options.checked(**call.arguments)
