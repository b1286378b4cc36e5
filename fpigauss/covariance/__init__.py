"""Covariance families: a shape (diagonal, dense, isotropic), one a class or tied."""

import numpy as np

from fpigauss._errors import InvalidInputError
from fpigauss.covariance._dense import Dense
from fpigauss.covariance._diagonal import Diagonal
from fpigauss.covariance._family import CovarianceFamily, Factor
from fpigauss.covariance._isotropic import Isotropic
from fpigauss.covariance._shrinkage import shrunk

__all__ = [
    "FAMILIES",
    "CovarianceFamily",
    "Dense",
    "Diagonal",
    "Factor",
    "Isotropic",
    "resolve_family",
    "shrunk",
]

#: The shapes by their public names.
FAMILIES: dict[str, type[CovarianceFamily]] = {
    family.name: family for family in (Diagonal, Dense, Isotropic)
}


def resolve_family(covariance: object, tied: object) -> CovarianceFamily:
    """The family of a public ``covariance=`` (a name or an object) and ``tied=``."""
    if not isinstance(tied, bool | np.bool_):
        raise InvalidInputError(f"tied is {tied!r}; pass True or False")
    if isinstance(covariance, CovarianceFamily):
        return covariance.with_tied(covariance.tied or bool(tied))
    if isinstance(covariance, str) and covariance in FAMILIES:
        return FAMILIES[covariance](tied=bool(tied))
    names = ", ".join(f'"{name}"' for name in FAMILIES)
    raise InvalidInputError(
        f"covariance is {covariance!r}; pass one of {names}, or a CovarianceFamily"
    )
