"""Latents of real data for experiments without a flow: principal components, and an embedding."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fpigauss import InvalidInputError
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from nfpi.data import load_images
from nfpi.figures import load_embedding

__all__ = ["Latents", "digits", "embedding", "fashion"]


@dataclass(frozen=True)
class Latents:
    """Training and validation latents; ``images`` are those of the training rows, if there are any.

    Parameters
    ----------
    name : str
        A short name.
    z, y : (N, d) and (N,) arrays
        To fit to.
    z_held, y_held : (M, d) and (M,) arrays
        Held out.
    images : (N, H, W) array, optional
    """

    name: str
    z: np.ndarray
    y: np.ndarray
    z_held: np.ndarray
    y_held: np.ndarray
    images: np.ndarray | None = None


def digits(n_training: int = 900, dim: int = 16) -> Latents:
    """Return principal components of scikit-learn's digits, in units of the first one's spread."""
    x, y = load_digits(return_X_y=True)
    return _components("digits", x, y, (n_training, len(x) - n_training), dim)


def fashion(path: Path, n_training: int = 5_000, n_held: int = 5_000, dim: int = 32) -> Latents:
    """Return principal components of Fashion-MNIST at 14x14."""
    training, _ = load_images(str(path), size=14)
    x = training.images.flatten(1).double().numpy()
    return _components("fashion", x, training.labels.numpy(), (n_training, n_held), dim)


def embedding(path: Path) -> Latents:
    """Return the embedding of Fig. 1, halved."""
    z, y = load_embedding(path)
    if len(z) < 100:
        raise InvalidInputError(f"embedding {path} has {len(z)} rows; at least 100 are needed")
    halves = train_test_split(z, y, test_size=0.5, random_state=0, stratify=y)
    return Latents("embedding", halves[0], halves[2], halves[1], halves[3])


def _components(
    name: str, x: np.ndarray, y: np.ndarray, sizes: tuple[int, int], dim: int
) -> Latents:
    x_fit, x_held, y_fit, y_held = train_test_split(
        x, y, train_size=sizes[0], test_size=sizes[1], random_state=0, stratify=y
    )
    pca = PCA(dim, random_state=0).fit(x_fit)
    scale = np.sqrt(pca.explained_variance_[0])
    z, z_held = pca.transform(x_fit) / scale, pca.transform(x_held) / scale
    side = int(np.sqrt(x.shape[1]))
    return Latents(name, z, y_fit, z_held, y_held, x_fit.reshape(-1, side, side))
