"""Measure one run of the grid "later": a flow of the first classes, and what learns the others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
    source = _Source(arrivals, trained.judged, seed)
    for arm in options["arms"]:
        if arm == "joint":
            whole = train(config, data=(arrivals.training, arrivals.test), device=device)
            figures = judged_flow(whole.judged, arrivals, arrivals.ends[-1], seed)
        else:
            figures = _arm(arm, options, source)
        for name, value in figures:
            yield f"{arm}_{name}", value


@dataclass(frozen=True)
class _Source:
    """What the arms start from, computed once."""

    arrivals: Arrivals
    model: ClassFlow
    seed: int

    @cached_property
    def latents(self) -> tuple[Tensor, Tensor]:
        """Return the latents of training and test images."""
        arrivals = self.arrivals
        return (
            encoded(self.model, arrivals.training, self.seed),
            encoded(self.model, arrivals.test, self.seed),
        )

    @cached_property
    def pixels(self) -> tuple[Tensor, Tensor]:
        """Return the pixels of training and test images."""
        return pixels(self.arrivals.training), pixels(self.arrivals.test)

    @cached_property
    def features(self) -> tuple[Tensor, Tensor]:
        """Return the features of a CNN that is trained on the first classes."""
        return self.trained_cnn(*self.arrivals.first)[:2]

    def trained_cnn(self, training: ImageSet, test: ImageSet) -> tuple[Tensor, Tensor, nn.Module]:
        """Train a CNN; return features of all training and test images, and its last layer."""
        network = make_classifier(
            "small_cnn", training.n_classes, training.image_shape, seed=self.seed
        )
        train_classifier(network, training, test, RECIPES["small_cnn"], seed=self.seed)
        *layers, last = network.body.children()
        everything = (self.arrivals.training, self.arrivals.test)
        found = [_features(network, layers, part) for part in everything]
        return found[0], found[1], last


def _arm(arm: str, options: Mapping[str, Any], source: _Source) -> Iterator[tuple[str, float]]:
    """Measure one arm that starts from the first classes, or from pixels."""
    arrivals, model, seed = source.arrivals, source.model, source.seed
    if arm == "cnn_joint":
        _, features, last = source.trained_cnn(arrivals.training, arrivals.test)
        yield from judged(last(features).argmax(1), arrivals.test.labels, arrivals)
    elif arm.startswith("cnn"):
        learner = _PLAIN[arm.removeprefix("cnn_")]()
        yield from accuracies(learner, arrivals, *source.features)
    elif arm.startswith("pixels"):
        learner = _PLAIN[arm.removeprefix("pixels_")]()
        yield from accuracies(learner, arrivals, *source.pixels)
    elif arm in ("tuned", "replay", "replay_0"):
        yield from _replay(arm, options, arrivals).accuracies(model, arrivals, seed)
    else:
        learner = _learner(arm, model.gaussians, options["separation"])
        yield from accuracies(learner, arrivals, *source.latents)


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


@torch.no_grad()
def _features(network: Classifier, layers: Sequence[nn.Module], images: ImageSet) -> Tensor:
    """Return what the last layer of a network gets."""
    network.eval()
    rows = []
    for part in images.images.split(500):
        x = ((part.float() + 0.5) / 256.0 - network.mean) / network.std
        rows.append(nn.Sequential(*layers)(x))
    return torch.cat(rows)
