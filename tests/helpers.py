"""What several test modules share: arrays in and out of a namespace, data, families."""

from types import ModuleType
from typing import Any

import numpy as np

FAMILIES = [
    ("diagonal", False),
    ("dense", False),
    ("isotropic", False),
    ("diagonal", True),
    ("dense", True),
    ("isotropic", True),
]
FAMILY_IDS = [("tied " if tied else "") + name for name, tied in FAMILIES]


def asarray_in(xp: ModuleType, array: Any, dtype: str | None = None) -> Any:
    """A copy of ``array`` in the namespace ``xp``, in the numpy type ``dtype`` if given."""
    values = np.array(array, dtype=dtype)
    return xp.asarray(values)


def to_numpy(array: Any) -> np.ndarray:
    """``array``, of any namespace, as a numpy array without gradients."""
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    elif hasattr(array, "get"):  # cupy
        array = array.get()
    return np.asarray(array)


def in_namespace(array: Any, xp: ModuleType) -> bool:
    """Whether ``array`` is one of the namespace ``xp``."""
    return type(array) is type(xp.asarray(np.zeros(1)))


def dtype_name(array: Any) -> str:
    """The name of an array's data type, "float32" say, whatever its namespace."""
    return str(array.dtype).rpartition(".")[2]


def blobs(
    n_classes: int = 4,
    dim: int = 3,
    n_samples: int = 40,
    *,
    seed: int = 0,
    spread: float = 3.0,
    offset: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Labeled Gaussian data (N, d), (N,) in mixed order; every class with a covariance of its own.

    The classes' standard deviations are about 1 and their means about ``spread`` from ``offset``.
    """
    rng = np.random.default_rng(seed)
    means = offset + spread * rng.standard_normal((n_classes, dim))
    factors = np.eye(dim) + 0.3 * rng.standard_normal((n_classes, dim, dim))
    y = np.repeat(np.arange(n_classes), n_samples)
    y = rng.permutation(y)
    z = means[y] + np.einsum("nij,nj->ni", factors[y], rng.standard_normal((len(y), dim)))
    return z, y


def random_covariances(
    rng: np.random.Generator, n_classes: int, dim: int, covariance: str, tied: bool
) -> np.ndarray:
    """Covariances of about 1 in the family's shape, eigenvalues between 0.1 and 10 or so."""
    batch = () if tied else (n_classes,)
    if covariance == "isotropic":
        return np.exp(rng.uniform(-1.5, 1.5, size=batch))
    if covariance == "diagonal":
        return np.exp(rng.uniform(-1.5, 1.5, size=(*batch, dim)))
    basis = np.linalg.qr(rng.standard_normal((*batch, dim, dim)))[0]
    values = np.exp(rng.uniform(-1.5, 1.5, size=(*batch, 1, dim)))
    dense = (basis * values) @ np.swapaxes(basis, -1, -2)
    return (dense + np.swapaxes(dense, -1, -2)) / 2


def full_covariances(
    covariances: np.ndarray, n_classes: int, dim: int, covariance: str, tied: bool
) -> np.ndarray:
    """Covariances in the family's shape written out as (K, d, d)."""
    covariances = np.asarray(covariances)
    if covariance == "isotropic":
        full = covariances[..., None, None] * np.eye(dim)
    elif covariance == "diagonal":
        full = covariances[..., :, None] * np.eye(dim)
    else:
        full = covariances
    return np.broadcast_to(full, (n_classes, dim, dim)).copy() if tied else full


def affine_map(rng: np.random.Generator, dim: int, covariance: str) -> np.ndarray:
    """A matrix that keeps the family: any, a scaling of the axes, or a scaled rotation."""
    left, right = (np.linalg.qr(rng.standard_normal((dim, dim)))[0] for _ in range(2))
    scales = np.exp(rng.uniform(-2, 2, size=dim))
    if covariance == "diagonal":
        return np.diag(scales)
    return left * scales[0] if covariance == "isotropic" else left * scales @ right


def mapped(
    matrix: np.ndarray,
    shift: np.ndarray,
    means: np.ndarray,
    covariances: np.ndarray,
    covariance: str,
) -> tuple[np.ndarray, np.ndarray]:
    """The means and covariances of z @ matrix.T + shift."""
    scales = np.diagonal(matrix) ** 2
    if covariance == "dense":
        covariances = matrix @ covariances @ matrix.T
    elif covariance == "diagonal":
        covariances = covariances * scales
    else:
        covariances = covariances * (matrix @ matrix.T)[0, 0]
    return means @ matrix.T + shift, covariances
