"""Tell rows of no known class from the others: scores of a flow, and of a trained classifier."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from fpigauss import ClassGaussians, InvalidInputError, fit_fixed_point, open_set_score
from fpigauss_torch import ClassFlow, gather_statistics, rejection_score, rejection_threshold
from scipy.stats import rankdata
from torch import Tensor, nn

from nfpi.batches import Batches
from nfpi.classifier_training import train_classifier
from nfpi.classifiers import make_classifier
from nfpi.data import ImageSet
from nfpi.generation import evaluating
from nfpi.recipes import RECIPES

__all__ = [
    "CLASSIFIER_SCORES",
    "FLOW_SCORES",
    "classifier_outputs",
    "left_out_classes",
    "rejection_figures",
    "split_classes",
    "told_apart",
]

#: Every ``method`` of ``fpigauss_torch.rejection_score``.
FLOW_SCORES = ("likelihood", "mahalanobis", "relative_mahalanobis", "typicality", "entropy")
#: Scores of a trained classifier: of its logits, and of the units of its last hidden layer.
CLASSIFIER_SCORES = ("softmax", "energy", "mahalanobis", "relative_mahalanobis")

#: The share of known rows that may be rejected by mistake.
_RATE = 0.05
#: Images scored at once.
_AT_ONCE = 500


def left_out_classes(wanted: int | Sequence[int], n_classes: int, seed: int) -> tuple[int, ...]:
    """Return the classes that a seed leaves out, ascending.

    Parameters
    ----------
    wanted : int or sequence of int
        How many, K / ``wanted`` apart, from class ``seed`` modulo K on, so that every class is left
        out by some seed; or the classes themselves, whatever the seed.
    n_classes : int
        K.
    seed : int

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> [left_out_classes(2, 10, seed) for seed in (0, 4)]
    [(0, 5), (4, 9)]
    """
    if isinstance(wanted, int):
        if wanted < 1:
            raise InvalidInputError(f"left_out is {wanted}; pass at least one class to leave out")
        step = max(n_classes // wanted, 1)
        chosen = {(seed + i * step) % n_classes for i in range(wanted)}
    else:
        chosen = set(wanted)
        outside = sorted(k for k in chosen if not 0 <= k < n_classes)
        if outside:
            raise InvalidInputError(
                f"left_out has class {outside[0]}; the images have classes 0..{n_classes - 1}"
            )
    if not chosen or n_classes - len(chosen) < 2:
        raise InvalidInputError(
            f"left_out leaves out {len(chosen)} of {n_classes} classes; leave out at least one, "
            "and at least two to train on"
        )
    return tuple(sorted(chosen))


def split_classes(images: ImageSet, left_out: Sequence[int]) -> tuple[ImageSet, ImageSet]:
    """Split images by class: those of the other classes, numbered anew, and those left out.

    Parameters
    ----------
    images : ImageSet
    left_out : sequence of int
        Classes.

    Returns
    -------
    tuple of ImageSet
        The latter keep their labels.
    """
    out = torch.zeros(images.n_classes, dtype=torch.bool)
    out[list(left_out)] = True
    number = torch.cumsum(~out, 0) - 1
    known = images.subset(~out[images.labels])
    known = replace(known, labels=number[known.labels], n_classes=int((~out).sum()))
    return known, images.subset(out[images.labels])


def told_apart(known: np.ndarray, unknown: np.ndarray) -> dict[str, float]:
    """Measure how well a score tells unknown rows from known ones.

    Parameters
    ----------
    known, unknown : (N,) and (M,) array
        Scores; higher is more unknown, +inf included.

    Returns
    -------
    dict
        auroc: the probability that an unknown row scores higher than a known one, ties counting
        half; fpr95: the share of unknown rows that are accepted where 95 % of the known ones are.

    Examples
    --------
    >>> told_apart(np.arange(100.0), np.array([98.0, 120.0]))
    {'auroc': 0.9925, 'fpr95': 0.0}
    """
    n, m = len(known), len(unknown)
    ranks = rankdata(np.concatenate([known, unknown]))[n:].sum()
    threshold = rejection_threshold(known, _RATE)
    return {
        "auroc": float((ranks - m * (m + 1) / 2) / (n * m)),
        "fpr95": float(np.mean(unknown <= threshold)),
    }


def rejection_figures(
    model: ClassFlow,
    fitted: ClassFlow,
    training: ImageSet,
    known: ImageSet,
    unknown: Mapping[str, ImageSet],
    *,
    seed: int,
    classifier: str | None = None,
) -> Iterator[tuple[str, float]]:
    """Measure every score of a flow and, if asked, of a classifier trained on the same images.

    Figures are yielded by name: auroc_SCORE_SET and fpr95_SCORE_SET for every set of unknown
    images, and accuracy_SCORE, the accuracy on the known ones of the model behind the score. Scores
    of the classifier are named cnn_SCORE.

    Parameters
    ----------
    model : ClassFlow
        A flow trained on the known classes.
    fitted : ClassFlow
        The same flow over Gaussians that ``gather_statistics`` knows, for the one Gaussian of all
        training latents ("relative_mahalanobis").
    training, known : ImageSet
        Training and test images of the known classes.
    unknown : mapping of str to ImageSet
        Test images of no known class, by name.
    seed : int
        Seeds dequantization and the classifier.
    classifier : str, optional
        A key of ``CLASSIFIERS``.
    """
    device = next(model.parameters()).device
    training_batches = Batches(training, _AT_ONCE, seed=seed, shuffle=False)
    background = gather_statistics(fitted, training_batches, device=device)
    sets = {"": known, **unknown}
    batches = {
        name: Batches(images, _AT_ONCE, seed=seed, shuffle=False) for name, images in sets.items()
    }
    right = [model.predict(x.to(device)).cpu() == y for x, y in batches[""]]
    accuracy = float(torch.cat(right).double().mean())
    for method in FLOW_SCORES:
        one = background if method == "relative_mahalanobis" else None
        score = partial(rejection_score, model, method=method, background=one)
        scores = {
            name: torch.cat([score(x.to(device)).cpu().double() for x, _ in of]).numpy()
            for name, of in batches.items()
        }
        yield from _figures(method, scores, accuracy)
    if classifier is not None:
        yield from _of_classifier(classifier, training, sets, seed, device)


def _figures(
    name: str, scores: Mapping[str, np.ndarray], accuracy: float
) -> Iterator[tuple[str, float]]:
    """Yield the figures of one score, from its values of the known ("") and unknown sets."""
    yield f"accuracy_{name}", accuracy
    for of, values in scores.items():
        if of:
            for figure, value in told_apart(scores[""], values).items():
                yield f"{figure}_{name}_{of}", value


def _of_classifier(
    name: str,
    training: ImageSet,
    sets: Mapping[str, ImageSet],
    seed: int,
    device: torch.device,
) -> Iterator[tuple[str, float]]:
    """Train a classifier, and yield the figures of its scores."""
    model = make_classifier(name, training.n_classes, training.image_shape, seed=seed).to(device)
    trained = train_classifier(model, training, sets[""], RECIPES[name], seed=seed)
    features, _ = classifier_outputs(model, training)
    # shrunk, since units that are never active have no variance
    gaussians = fit_fixed_point(
        features, training.labels.numpy(), 0.0, covariance="dense", tied=True, shrinkage="oas"
    ).gaussians
    means = gaussians.means[training.labels.numpy()]
    between = np.cov(means, rowvar=False, bias=True)
    all_rows = ClassGaussians(
        means.mean(0, keepdims=True), gaussians.covariances + between, covariance="dense", tied=True
    )
    found = {of: classifier_outputs(model, images) for of, images in sets.items()}
    scores: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "softmax": lambda _, logits: -(logits.max(1) - np.logaddexp.reduce(logits, axis=1)),
        "energy": lambda _, logits: -np.logaddexp.reduce(logits, axis=1),
        "mahalanobis": lambda z, _: open_set_score(gaussians, z, method="mahalanobis"),
        "relative_mahalanobis": lambda z, _: open_set_score(
            gaussians, z, method="relative_mahalanobis", background=all_rows
        ),
    }
    for score in CLASSIFIER_SCORES:
        values = {of: scores[score](*outputs) for of, outputs in found.items()}
        yield from _figures(f"cnn_{score}", values, trained.accuracy)


@torch.no_grad()
def classifier_outputs(model: nn.Module, images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Return the units before the last layer of a classifier, and its logits, as float64 arrays.

    Parameters
    ----------
    model : nn.Module
        Maps images in [0, 1] to logits by its last ``nn.Linear``.
    images : ImageSet
        Images; each gray level is read as the middle of its interval.

    Returns
    -------
    (N, H) and (N, K) array
    """
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    kept: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, given: kept.append(given[0].cpu().double()))
    device = next(model.parameters()).device
    try:
        with evaluating(model):
            logits = [
                model((part.to(device).float() + 0.5) / 256.0).cpu().double()
                for part in images.images.split(_AT_ONCE)
            ]
    finally:
        hook.remove()
    return torch.cat(kept).numpy(), torch.cat(logits).numpy()
