"""Where Eq. 4 with ``pi="forward"`` loses its minimum."""

import math

from fpigauss._array.checks import check_positive, check_positive_integer
from fpigauss.covariance import CovarianceFamily, resolve_family
from fpigauss.errors import InvalidInputError
from fpigauss.repulsion._forward import ForwardRepulsion

__all__ = ["critical_lam"]


def critical_lam(
    n_classes: int,
    alpha: float = 1.0,
    *,
    covariance: str | CovarianceFamily = "diagonal",
    tied: bool = False,
    dim: int | None = None,
) -> float:
    r"""Compute lam*, past which L with ``pi="forward"`` has no lower bound.

    lam* = K alpha exp(1/alpha) / 2, times d for isotropic covariances: past it, one variance can
    inflate forever, which costs 1/2 log t and gains more. Shared (tied) covariances, fixed
    ones (``update="means"``) and every pi that is frozen at a number have no such bound.

    Parameters
    ----------
    n_classes : int
        The number of classes K, at least 2; classes that are held by ``frozen=`` count.
    alpha : float
        The scale of pi.
    covariance : {"diagonal", "dense", "isotropic"} or CovarianceFamily
        The family.
    tied : bool
        One covariance shared by all classes.
    dim : int, optional
        The number of dimensions d; needed for isotropic covariances.

    Returns
    -------
    float
        lam*, or infinity for tied families.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used.

    See Also
    --------
    fit_fixed_point : warns past it.
    fit_separated : takes a distance in place of a ``lam``.

    Examples
    --------
    >>> from fpigauss import critical_lam
    >>> round(critical_lam(6), 2)
    8.15
    >>> critical_lam(6, tied=True)
    inf
    """
    n_classes = check_positive_integer(n_classes, "n_classes")
    if n_classes < 2:
        raise InvalidInputError("n_classes is 1; at least two classes are needed to repel")
    alpha = check_positive(alpha, "alpha")
    family = resolve_family(covariance, tied)
    if family.tied:
        return math.inf
    if dim is not None:
        dim = check_positive_integer(dim, "dim")
    elif family.inflated_dim(2) == family.inflated_dim(1):
        dim = 1
    else:
        raise InvalidInputError(
            f'dim is not given, but lam* of "{family.name}" covariances grows with it; pass dim'
        )
    return ForwardRepulsion().critical_lam(family, n_classes, dim, alpha)
