"""Judge a trained flow: accuracy, likelihood, calibration, position of its latents."""

import math
import warnings
from collections.abc import Iterable

import numpy as np
import torch
from einops import rearrange
from fpigauss import ClassStatistics, ConvergenceWarning, InvalidInputError, pairwise_kld
from fpigauss_torch import ClassFlow, LatentPrior, calibrate_temperature
from torch import Tensor

from nfpi.gaussians import class_gaussians_of
from nfpi.generation import evaluating, generate_images

__all__ = [
    "calibration",
    "class_scores",
    "evaluate",
    "expected_calibration_error",
    "latent_shift",
    "sample_grid",
    "smallest_kld",
]


@torch.no_grad()
def class_scores(
    model: ClassFlow, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Compute log p(x|y) of every class, on the host, next to the labels.

    Parameters
    ----------
    model : ClassFlow
        Run in eval mode; its own mode is restored.
    batches : iterable of (x, y)
        Images and labels.
    device : torch.device, optional
        The model's device; the host by default.

    Returns
    -------
    scores : (N, K) float64 tensor
    labels : (N,) int64 tensor
    """
    with evaluating(model):
        pairs = [(model.class_log_prob(x.to(device)).cpu().double(), y) for x, y in batches]
    if not pairs:
        raise InvalidInputError("there are no batches; pass at least one to evaluate on")
    return torch.cat([scores for scores, _ in pairs]), torch.cat([labels for _, labels in pairs])


def evaluate(scores: Tensor, labels: Tensor, dim: int, levels: int = 256) -> dict[str, float]:
    """Compute accuracy and likelihood from class scores.

    Parameters
    ----------
    scores : (N, K) tensor
        log p(x|y), in nats.
    labels : (N,) int64 tensor
    dim : int
        Dimensions per image.
    levels : int
        Gray levels before the images were scaled down to [0, 1).

    Returns
    -------
    dict
        nf_acc: the share of rows whose own class has the highest density; nll: the mean of
        -log p(x|y) in nats; bits_per_dim: the same for images of ``levels`` levels, in bits per
        dimension.
    """
    nll = -float(scores.gather(1, labels[:, None]).mean())
    return {
        "nf_acc": float((scores.argmax(1) == labels).double().mean()),
        "nll": nll,
        "bits_per_dim": nll / (math.log(2.0) * dim) + math.log2(levels),
    }


def calibration(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Measure calibration, without and with a fitted temperature.

    Even and odd rows get the temperature fitted on the other half.

    Returns
    -------
    dict
        ece: calibration error at temperature 1; ece_calibrated: at the fitted temperatures;
        temperature: their geometric mean.
    """
    halves = [torch.arange(start, len(scores), 2) for start in (0, 1)]
    posterior = torch.empty_like(scores)
    temperatures = []
    for fitted, judged in (halves, halves[::-1]):
        temperatures.append(_temperature(scores[fitted], labels[fitted]))
        posterior[judged] = torch.softmax(scores[judged] / temperatures[-1], 1)
    return {
        "ece": expected_calibration_error(torch.softmax(scores, 1), labels),
        "ece_calibrated": expected_calibration_error(posterior, labels),
        "temperature": math.sqrt(math.prod(temperatures)),
    }


def _temperature(scores: Tensor, labels: Tensor) -> float:
    """Fit a temperature; return 1 if all classes are alike, as in a flow that diverged."""
    if bool((scores == scores[:, :1]).all()):
        return 1.0
    with warnings.catch_warnings():
        # if all rows are right, or chance does better, the limit is a fair answer
        warnings.simplefilter("ignore", ConvergenceWarning)
        return calibrate_temperature(scores, labels)


def expected_calibration_error(posterior: Tensor, labels: Tensor, n_bins: int = 15) -> float:
    """Average the gap between confidence and accuracy, over bins of equal width in confidence.

    Parameters
    ----------
    posterior : (N, K) tensor
        p(y|x).
    labels : (N,) int64 tensor
    n_bins : int

    Returns
    -------
    float
        Sum over bins of (share of rows) abs(accuracy - mean confidence).
    """
    confidence, predicted = posterior.double().max(1)
    surplus = confidence - (predicted == labels).double()
    bins = (confidence * n_bins).long().clamp_max(n_bins - 1)
    gaps = torch.zeros(n_bins, dtype=torch.float64).index_add_(0, bins, surplus)
    return float(gaps.abs().sum() / len(labels))


def latent_shift(prior: LatentPrior, statistics: ClassStatistics) -> dict[str, float]:
    """Measure how far latents lie from the Gaussians they were trained toward.

    Parameters
    ----------
    prior : LatentPrior
        The Gaussians.
    statistics : ClassStatistics
        Statistics of the latents, diagonal or dense.

    Returns
    -------
    dict
        latent_shift: the distance from a class's mean latent to its Gaussian's mean, averaged over
        classes; latent_shift_max: the largest of these; latent_distance: the root mean square
        distance from latents to the mean of their Gaussian, averaged likewise.
    """
    means = torch.as_tensor(statistics.means)
    variances = torch.as_tensor(statistics.covariances)
    if variances.ndim == 3:
        variances = variances.diagonal(dim1=1, dim2=2)
    shift = (means - prior.density().means.detach().to(means)).norm(dim=1)  # (K,)
    distance = (shift.square() + variances.sum(1)).sqrt()
    return {
        "latent_shift": float(shift.mean()),
        "latent_shift_max": float(shift.max()),
        "latent_distance": float(distance.mean()),
    }


def smallest_kld(prior: LatentPrior) -> float:
    """Return the smallest divergence between two classes' Gaussians."""
    divergences = pairwise_kld(class_gaussians_of(prior))
    apart = ~torch.eye(len(divergences), dtype=torch.bool, device=divergences.device)
    return float(divergences[apart].min())


def sample_grid(
    model: ClassFlow, *, columns: int = 10, temperature: float = 1.0, seed: int = 0
) -> np.ndarray:
    """Draw samples as one picture with a row per class.

    Parameters
    ----------
    model : ClassFlow
        A flow over images (C, H, W) in [0, 1] with one channel or three.
    columns : int
        Samples per class.
    temperature : float
        Multiplies the latents' standard deviations.
    seed : int

    Returns
    -------
    (H', W') or (H', W', 3) uint8 array
    """
    n_classes = model.gaussians.n_classes
    images = generate_images(model, columns * n_classes, temperature, seed=seed).images
    tiles = torch.nn.functional.pad(images, (1, 1, 1, 1), value=255)
    picture = rearrange(tiles, "(n k) c h w -> (k h) (n w) c", k=n_classes).numpy()
    return picture.squeeze(2) if picture.shape[2] == 1 else picture
