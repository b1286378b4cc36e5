"""Which rows move the fitted Gaussians: the gradient in their weights, against deletion."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fpigauss import ClassGaussians, fit_fixed_point, pairwise_kld
from scipy.stats import spearmanr

from nfpi.latent_problems import Latents

__all__ = ["QUANTITIES", "Influence", "closest_pair", "influence"]

#: Fits have to be exact to far more digits than a row changes them.
_TOL = 1e-12

Quantity = Callable[[ClassGaussians], torch.Tensor]

#: What rows move, by name.
QUANTITIES = {
    "smallest_kld": "the smallest KLD",
    "mean": "the mean of a class of that pair, toward the other",
    "log_loss": "the log-loss of held-out rows",
}


@dataclass(frozen=True)
class Influence:
    """What the deletion of a row changes: predicted for all rows, and found for some.

    Attributes
    ----------
    predicted : (N,) array
        Minus the derivative in the row's weight.
    rows : (n,) int array
        The rows that were deleted, one at a time.
    found : (n,) array
        What a fit without the row changed.
    seconds, seconds_of_refits : float
        Of the processor: for all predictions, and for the refits.
    """

    predicted: np.ndarray
    rows: np.ndarray
    found: np.ndarray
    seconds: float
    seconds_of_refits: float

    @property
    def rank_correlation(self) -> float:
        """Return Spearman's correlation of prediction and finding."""
        return float(spearmanr(self.predicted[self.rows], self.found).statistic)

    @property
    def slope(self) -> float:
        """Return the slope of the findings over the predictions, through zero."""
        x = self.predicted[self.rows]
        return float(x @ self.found / (x @ x))


def closest_pair(gaussians: ClassGaussians) -> tuple[int, int]:
    """Return the ordered pair of classes with the smallest divergence."""
    kld = np.array(pairwise_kld(gaussians))
    np.fill_diagonal(kld, np.inf)
    first, second = np.unravel_index(kld.argmin(), kld.shape)
    return int(first), int(second)


def influence(
    latents: Latents, n_deleted: int, seed: int = 0, **options: Any
) -> dict[str, Influence]:
    """Predict what every row's deletion changes, and delete some, drawn at random.

    Parameters
    ----------
    latents : Latents
    n_deleted : int
        How many rows to delete, one at a time.
    seed : int
        Draws them.
    **options
        Of ``fit_fixed_point``, with lam.

    Returns
    -------
    dict of Influence
        By the names of ``QUANTITIES``.
    """
    z, y = latents.z, latents.y
    rows = np.sort(np.random.default_rng(seed).choice(len(z), n_deleted, replace=False))
    start = time.process_time()
    result = fit_fixed_point(z, y, tol=_TOL, **options)
    quantities = _quantities(latents, result.gaussians)
    shared = (time.process_time() - start) / len(quantities)
    predicted, seconds = {}, {}
    for name, quantity in quantities.items():
        start = time.process_time()
        _, means, covariances = _value(quantity, result.gaussians)
        gradient = result.vjp(means=means, covariances=covariances)
        predicted[name] = -np.asarray(gradient.of_samples(z, y)[1])
        seconds[name] = shared + time.process_time() - start
    start = time.process_time()
    before = {name: _value(each, result.gaussians)[0] for name, each in quantities.items()}
    found: dict[str, list[float]] = {name: [] for name in quantities}
    for row in rows:
        rest = np.delete(np.arange(len(z)), row)
        again = fit_fixed_point(z[rest], y[rest], tol=_TOL, **options).gaussians
        for name, quantity in quantities.items():
            found[name].append(_value(quantity, again)[0] - before[name])
    of_refits = time.process_time() - start
    return {
        name: Influence(predicted[name], rows, np.array(found[name]), seconds[name], of_refits)
        for name in quantities
    }


def _quantities(latents: Latents, gaussians: ClassGaussians) -> dict[str, Quantity]:
    """Return differentiable functions of Gaussians of tensors, by name."""
    first, second = closest_pair(gaussians)
    step = torch.as_tensor(gaussians.means[second] - gaussians.means[first])
    toward = step / step.norm()
    z = torch.as_tensor(latents.z_held)
    codes = torch.as_tensor(np.searchsorted(gaussians.classes, latents.y_held))

    def smallest(of: ClassGaussians) -> torch.Tensor:
        kld: torch.Tensor = pairwise_kld(of)
        return kld[~torch.eye(len(kld), dtype=torch.bool)].min()

    return {
        "smallest_kld": smallest,
        "mean": lambda of: of.means[first] @ toward,
        "log_loss": lambda of: torch.nn.functional.cross_entropy(of.class_log_prob(z), codes),
    }


def _value(quantity: Quantity, gaussians: ClassGaussians) -> tuple[float, np.ndarray, np.ndarray]:
    """Return a quantity, and its gradient in means and covariances."""
    means, covariances = (
        torch.tensor(np.asarray(x), requires_grad=True)
        for x in (gaussians.means, gaussians.covariances)
    )
    value = quantity(
        ClassGaussians(means, covariances, covariance=gaussians.family, tied=gaussians.tied)
    )
    value.backward()
    return float(value.detach()), *(
        np.zeros(x.shape) if x.grad is None else x.grad.numpy() for x in (means, covariances)
    )  # type: ignore[return-value]
