"""Measure whether classes that resemble each other have Gaussians near each other.

A convolutional network, trained on the same images, is the referee: two classes resemble each other
as far as it gives images of one a posterior of the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fpigauss import pairwise_kld
from fpigauss_torch import ClassFlow
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from torch import Tensor, nn

from nfpi.batches import Batches
from nfpi.checkpoints import identity, write_atomically
from nfpi.classifier_training import train_classifier
from nfpi.classifiers import make_classifier
from nfpi.data import ImageSet
from nfpi.evaluation import class_scores
from nfpi.gaussians import class_gaussians_of
from nfpi.generation import evaluating
from nfpi.recipes import RECIPES
from nfpi.rejection import classifier_outputs

__all__ = [
    "Referee",
    "class_distances",
    "closeness",
    "midpoints",
    "neighbor_figures",
    "severity",
    "train_referee",
]

#: Mistakes beyond this share of the other classes, in order of resemblance, are grave.
_GRAVE = 0.25
#: Images of a class that are mixed with those of its neighbor; images judged at once.
_MIXED, _AT_ONCE = 50, 500


@dataclass(frozen=True)
class Referee:
    """A trained classifier and what it confuses.

    Attributes
    ----------
    model : nn.Module
        Maps images in [0, 1] to logits.
    resemblance : (K, K) array
        The mean posterior of class b for test images of class a, and of a for those of b, averaged.
    posterior : (N, K) array
        Of the test images.
    accuracy : float
        On the test images.
    """

    model: nn.Module
    resemblance: np.ndarray
    posterior: np.ndarray
    accuracy: float


_trained: dict[str, Referee] = {}


def train_referee(training: ImageSet, test: ImageSet, *, seed: int) -> Referee:
    """Train a small convolutional network, once in a process for runs that share its images."""
    key = f"{identity(training)} {identity(test)} {seed}"
    if key not in _trained:
        model = make_classifier("small_cnn", training.n_classes, training.image_shape, seed=seed)
        run = train_classifier(model, training, test, RECIPES["small_cnn"], seed=seed)
        _, logits = classifier_outputs(model, test)
        posterior = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
        own = np.eye(test.n_classes)[test.labels.numpy()]  # (N, K)
        confusion = own.T @ posterior / own.sum(0)[:, None]
        _trained[key] = Referee(model, (confusion + confusion.T) / 2.0, posterior, run.accuracy)
    return _trained[key]


def closeness(distances: np.ndarray, resemblance: np.ndarray) -> float:
    """Return the rank correlation over pairs of classes of resemblance with minus distance.

    Parameters
    ----------
    distances, resemblance : (K, K) array
        Symmetric.

    Returns
    -------
    float
        1 where classes are the nearer the more they resemble each other; 0 for distances that say
        nothing about that, or are all equal.
    """
    pairs = np.triu_indices(len(distances), 1)
    values = distances[pairs]
    if np.ptp(values) == 0.0:
        return 0.0
    return float(spearmanr(-values, resemblance[pairs]).statistic)


def class_distances(model: ClassFlow) -> tuple[np.ndarray, np.ndarray]:
    """Return symmetrized KLDs of the Gaussians (K, K), and distances of their means (K, K)."""
    gaussians = class_gaussians_of(model.gaussians)
    kld = pairwise_kld(gaussians).detach().cpu().numpy()
    means = gaussians.means.detach().cpu().double().numpy()
    return (kld + kld.T) / 2.0, cdist(means, means)


def severity(
    predicted: np.ndarray, labels: np.ndarray, resemblance: np.ndarray
) -> dict[str, float]:
    """Measure how far mistakes are, by the resemblance of the two classes.

    The other classes of every class are ranked by resemblance: a mistake for the most similar one
    counts 0, one for the least similar one 1, and mistakes at random 1/2 in the mean.

    Parameters
    ----------
    predicted, labels : (N,) integer arrays
    resemblance : (K, K) array

    Returns
    -------
    dict
        severity: the mean over mistakes (NaN without any); grave: the share of all rows with a
        mistake of more than 1/4; accuracy.
    """
    n_classes = len(resemblance)
    order = np.where(np.eye(n_classes, dtype=bool), np.inf, resemblance)
    ranks = (-order).argsort(1, kind="stable").argsort(1)  # 0 is the class itself
    far = (ranks[labels, predicted] - 1) / max(n_classes - 2, 1)
    wrong = predicted != labels
    return {
        "severity": float(far[wrong].mean()) if wrong.any() else float("nan"),
        "grave": float((wrong & (far > _GRAVE)).mean()),
        "accuracy": float(1.0 - wrong.mean()),
    }


@torch.no_grad()
def midpoints(model: ClassFlow | None, first: Tensor, second: Tensor) -> Tensor:
    """Mix images pairwise, half and half: in the latent space of a flow, or as pixels.

    Parameters
    ----------
    model : ClassFlow or None
    first, second : (N, C, H, W) tensor
        Images in [0, 1).

    Returns
    -------
    (N, C, H, W) tensor
        In [0, 1]; pixels that are not numbers are gray.
    """
    if model is None:
        return (first + second) / 2.0
    device = next(model.parameters()).device
    with evaluating(model):
        z = (model.encode(first.to(device))[0] + model.encode(second.to(device))[0]) / 2.0
        mixed = model.decode(z).cpu()
    return mixed.nan_to_num(0.5, 1.0, 0.0).clamp(0.0, 1.0)


def neighbor_figures(
    model: ClassFlow,
    training: ImageSet,
    test: ImageSet,
    *,
    seed: int,
    pixels: bool = False,
    matrices: Path | None = None,
) -> Iterator[tuple[str, float]]:
    """Measure a flow against the referee of its images.

    Figures are yielded by name: closeness_flow (by KLD) and closeness_means, severity_flow,
    grave_flow, accuracy_flow, and mixed_flow: the referee's posterior of the two classes together,
    for images half way between a test image and one of the class that its own resembles most.

    Parameters
    ----------
    model : ClassFlow
        A flow trained on the images.
    training, test : ImageSet
    seed : int
        Seeds dequantization, partners and the referee.
    pixels : bool
        Also measure what needs no flow: closeness and mixing of pixels (..._pixels), and the
        referee's own mistakes (..._cnn).
    matrices : Path, optional
        Gets the distances and resemblances, as an npz file.
    """
    device = next(model.parameters()).device
    referee = train_referee(training, test, seed=seed)
    kld, means = class_distances(model)
    yield "closeness_flow", closeness(kld, referee.resemblance)
    yield "closeness_means", closeness(means, referee.resemblance)
    scores, labels = class_scores(model, Batches(test, _AT_ONCE, seed=seed, shuffle=False), device)
    found = {"flow": severity(scores.argmax(1).numpy(), labels.numpy(), referee.resemblance)}
    if pixels:
        flat = training.images.flatten(1).double().numpy()
        own = np.eye(training.n_classes)[training.labels.numpy()]
        centers = own.T @ flat / own.sum(0)[:, None]
        yield "closeness_pixels", closeness(cdist(centers, centers), referee.resemblance)
        found["cnn"] = severity(
            referee.posterior.argmax(1), test.labels.numpy(), referee.resemblance
        )
        yield "mixed_pixels", _mixed(None, test, referee, seed)
    for name, figures in found.items():
        for figure, value in figures.items():
            yield f"{figure}_{name}", value
    yield "mixed_flow", _mixed(model, test, referee, seed)
    if matrices is not None:
        matrices.parent.mkdir(parents=True, exist_ok=True)
        kept = {"kld": kld, "means": means, "resemblance": referee.resemblance}
        singles: dict[str, Any] = {name: each.astype(np.float32) for name, each in kept.items()}
        write_atomically(matrices, lambda at: np.savez_compressed(at, **singles))


@torch.no_grad()
def _mixed(model: ClassFlow | None, test: ImageSet, referee: Referee, seed: int) -> float:
    """Return the referee's posterior of both classes, for midpoints between neighbors."""
    rng = np.random.default_rng(seed)
    labels = test.labels.numpy()
    others = np.where(np.eye(test.n_classes, dtype=bool), -np.inf, referee.resemblance)
    neighbors = others.argmax(1)
    rows = np.concatenate([np.flatnonzero(labels == k)[:_MIXED] for k in range(test.n_classes)])
    partners = np.array([rng.choice(np.flatnonzero(labels == neighbors[labels[i]])) for i in rows])
    x = (test.images.float() + 0.5) / 256.0
    mixed = midpoints(model, x[rows], x[partners])
    with evaluating(referee.model):
        posterior = torch.softmax(referee.model(mixed).double(), 1).numpy()
    at = np.arange(len(rows))
    both = posterior[at, labels[rows]] + posterior[at, labels[partners]]
    return float(both.mean())
