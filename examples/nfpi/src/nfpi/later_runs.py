"""Measure one run of the grid "later": a flow of the first classes, and what learns the others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from fpigauss_torch import ClassFlow, LatentGaussians
from torch import Tensor, nn

from nfpi.classifier_training import train_classifier
from nfpi.classifiers import Classifier, make_classifier
from nfpi.config import RunConfig
from nfpi.data import ImageSet
from nfpi.later import (
    Added,
    Arrivals,
    Learner,
    NearestMean,
    Refitted,
    StreamingLDA,
    accuracies,
    encoded,
    judged,
    pixels,
)
from nfpi.recipes import RECIPES
from nfpi.replay import Replay, judged_flow
from nfpi.training import train

__all__ = ["measure_later"]


def measure_later(
    options: Mapping[str, Any],
    config: RunConfig,
    training: ImageSet,
    test: ImageSet,
    device: str | None = None,
) -> Iterator[tuple[str, float]]:
    """Train a flow on the first classes, and add the others by every arm of a run.

    Parameters
    ----------
    options : mapping
        first, per_step: see `Arrivals.of`; arms: keys of ``nfpi.grid.later.ARMS``; separation, in
        nats; replay: options of `Replay`.
    config : RunConfig
        Of the flow; its seed also draws the order of the classes.
    training, test : ImageSet
        Of all classes.
    device : str, optional

    Yields
    ------
    tuple of (str, float)
        nf_acc, nll and smallest_kld of the flow on the first classes; ARM_acc, ARM_first,
        ARM_later, and ARM_acc_K after K classes.
    """
    seed = config.training.seed
    arrivals = Arrivals.of(training, test, options["first"], options["per_step"], seed)
    trained = train(config, data=arrivals.first, device=device)
    for name in ("nf_acc", "nll", "smallest_kld"):
        yield name, trained.metrics[name]
    for arm in options["arms"]:
        if arm == "joint":
            whole = train(config, data=(arrivals.training, arrivals.test), device=device)
            figures = judged_flow(whole.judged, arrivals, arrivals.ends[-1], seed)
        else:
            figures = _arm(arm, options, arrivals, trained.judged, seed)
        for name, value in figures:
            yield f"{arm}_{name}", value


def _arm(
    arm: str, options: Mapping[str, Any], arrivals: Arrivals, model: ClassFlow, seed: int
) -> Iterator[tuple[str, float]]:
    """Measure one arm that starts from the first classes, or from pixels."""
    if arm.startswith("cnn"):
        yield from _of_cnn(arm, arrivals, seed)
    elif arm.startswith("pixels"):
        rows = (pixels(arrivals.training), pixels(arrivals.test))
        yield from accuracies(_PLAIN[arm.removeprefix("pixels_")](), arrivals, *rows)
    elif arm in ("tuned", "replay", "replay_0"):
        yield from _replay(arm, options, arrivals).accuracies(model, arrivals, seed)
    else:
        latents = (encoded(model, arrivals.training, seed), encoded(model, arrivals.test, seed))
        learner = _learner(arm, model.gaussians, options["separation"])
        yield from accuracies(learner, arrivals, *latents)


_PLAIN: Mapping[str, Callable[[], Learner]] = {"ncm": NearestMean, "slda": StreamingLDA}


def _learner(arm: str, gaussians: Any, separation: float) -> Learner:
    """Return what learns from latents."""
    if arm in _PLAIN:
        return _PLAIN[arm]()
    if arm == "refit":
        return Refitted(separation)
    assert isinstance(gaussians, LatentGaussians)
    return Added(gaussians, separation if arm == "add" else 0.0)


def _replay(arm: str, options: Mapping[str, Any], arrivals: Arrivals) -> Replay:
    """Return how the flow is trained further; old classes get as many samples as new ones."""
    per_class = len(arrivals.training) // arrivals.training.n_classes
    return Replay(
        separation=0.0 if arm == "replay_0" else options["separation"],
        per_class=0 if arm == "tuned" else per_class,
        **options.get("replay", {}),
    )


def _of_cnn(arm: str, arrivals: Arrivals, seed: int) -> Iterator[tuple[str, float]]:
    """Train a CNN on the first classes, and learn from its features; or train it on all."""
    images = (arrivals.training, arrivals.test) if arm == "cnn_joint" else arrivals.first
    network = make_classifier("small_cnn", images[0].n_classes, images[0].image_shape, seed=seed)
    train_classifier(network, *images, RECIPES["small_cnn"], seed=seed)
    *layers, last = network.body.children()
    features = [_features(network, layers, part) for part in (arrivals.training, arrivals.test)]
    if arm == "cnn_joint":
        yield from judged(last(features[1]).argmax(1), arrivals.test.labels, arrivals)
    else:
        yield from accuracies(_PLAIN[arm.removeprefix("cnn_")](), arrivals, *features)


@torch.no_grad()
def _features(network: Classifier, layers: Sequence[nn.Module], images: ImageSet) -> Tensor:
    """Return what the last layer of a network gets."""
    network.eval()
    rows = []
    for part in images.images.split(500):
        x = ((part.float() + 0.5) / 256.0 - network.mean) / network.std
        rows.append(nn.Sequential(*layers)(x))
    return torch.cat(rows)
