"""Covariance families: a shape (diagonal, dense, isotropic), one per class or tied."""

from typing import Literal, TypeAlias

from fpigauss._array.checks import check_flag, check_strategy
from fpigauss.covariance._base import CovarianceFamily, Factor
from fpigauss.covariance._dense import Dense
from fpigauss.covariance._diagonal import Diagonal
from fpigauss.covariance._isotropic import Isotropic
from fpigauss.covariance._shrinkage import ShrinkageName, check_shrinkage, shrunk, shrunk_vjp
from fpigauss.errors import InvalidInputError

__all__ = [
    "FAMILIES",
    "CovarianceFamily",
    "Dense",
    "Diagonal",
    "Factor",
    "FamilyName",
    "Isotropic",
    "ShrinkageName",
    "check_shrinkage",
    "distinct_name",
    "own_name",
    "resolve_family",
    "shrunk",
    "shrunk_vjp",
]

FamilyName: TypeAlias = Literal["diagonal", "dense", "isotropic"]

#: The shapes by their public names.
FAMILIES: dict[str, type[CovarianceFamily]] = {
    family.name: family for family in (Diagonal, Dense, Isotropic)
}


def own_name(family: CovarianceFamily) -> str:
    """Return the name that a file has for a family; refuse one that stands for another family."""
    other = _namesake(family)
    if other is not None:
        raise InvalidInputError(
            f'{type(family).__name__} has the name "{family.name}", which in a file stands for '
            f'{other.__name__}; give it a class variable name = "..." of its own'
        )
    return family.name


def distinct_name(family: CovarianceFamily) -> str:
    """Return the name of a family; with its class, where the name stands for another family."""
    if _namesake(family) is None:
        return family.name
    return f"{family.name} ({type(family).__qualname__})"


def _namesake(family: CovarianceFamily) -> type[CovarianceFamily] | None:
    """Return the other family that the name of this one stands for, if there is one."""
    kind = type(family)
    others = [base for base in kind.__mro__[1:] if issubclass(base, CovarianceFamily)]
    for other in (*others, FAMILIES.get(family.name, kind)):
        if other is not kind and getattr(other, "name", None) == family.name:
            return other
    return None


def resolve_family(covariance: object, tied: object) -> CovarianceFamily:
    """Resolve a public ``covariance=`` (a name or an object) and ``tied=``."""
    shared = check_flag(tied, "tied")
    family = check_strategy(covariance, "covariance", FAMILIES, CovarianceFamily)
    return family.with_tied(family.tied or shared)
