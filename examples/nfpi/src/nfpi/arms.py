"""Train a classifier once per arm: with standard augmentation, moves of latents, both or neither.

An arm is described by a mapping: ``standard`` says whether the standard augmentation is used, and
``flow`` has settings of ``FlowAugmentation``, with ``n_axes`` for a span of principal axes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fpigauss_torch import ClassFlow, LatentAugmentation

from nfpi.batches import Batches
from nfpi.checkpoints import write_atomically
from nfpi.classifier_training import train_classifier
from nfpi.classifiers import make_classifier
from nfpi.config import RunConfig
from nfpi.data import ImageSet
from nfpi.flow_augmentation import FlowAugmentation
from nfpi.gaussians import over_dense
from nfpi.grid import PlannedRun
from nfpi.recipes import RECIPES, STANDARD_AUGMENTATION
from nfpi.training import TrainedFlow

__all__ = ["arms_of", "augmented_accuracies", "standard_of", "write_pictures"]

#: Variants of an image in Fig. 2, as in the paper, and images per class.
VARIANTS, SHOWN = 3, 2


def standard_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the standard augmentation of a run: its own, or the paper's for the classifier."""
    return tuple(options.get("standard", STANDARD_AUGMENTATION[options["classifier"]]))


def augmented_accuracies(
    run: PlannedRun,
    config: RunConfig,
    trained: TrainedFlow,
    data: tuple[ImageSet, ImageSet],
    work: Path,
) -> Iterator[tuple[str, float]]:
    """Train a classifier on the flow's training images, once per arm.

    Accuracies are yielded by name, one at a time: a failure does not lose those measured before.
    All arms start from the same weights and see images in the same order.

    Parameters
    ----------
    run : PlannedRun
        Its options name the classifier and its epochs, and describe the arms; without a
        description they are the paper's four.
    config : RunConfig
        The flow's config.
    trained : TrainedFlow
    data : (ImageSet, ImageSet)
        Training and test images.
    work : Path
        Gets a checkpoint per arm.
    """
    name = run.options["classifier"]
    training, test = data
    recipe = replace(RECIPES[name], epochs=run.options["epochs"])
    device = next(trained.model.parameters()).device
    for arm, augment, flow in arms_of(run, config, trained, training):
        classifier = make_classifier(name, test.n_classes, test.image_shape, seed=run.seed)
        result = train_classifier(
            classifier.to(device),
            training,
            test,
            recipe,
            augment=augment,
            flow=flow,
            seed=run.seed,
            checkpoint=work / f"classifier-{arm}.pt",
        )
        yield f"accuracy_{arm}", result.accuracy


def arms_of(
    run: PlannedRun, config: RunConfig, trained: TrainedFlow, images: ImageSet
) -> Iterator[tuple[str, tuple[str, ...], FlowAugmentation | None]]:
    """Yield the arms of a run: a name, the standard augmentation, and the moves of latents.

    Parameters
    ----------
    run, config, trained
        As in ``augmented_accuracies``.
    images : ImageSet
        The training images.
    """
    flows = _Flows(config, trained, images)
    for arm, described in _arms(run.options).items():
        augment = standard_of(run.options) if described.get("standard") else ()
        yield arm, augment, flows.augmentation(described.get("flow"))


def write_pictures(
    path: Path,
    run: PlannedRun,
    config: RunConfig,
    trained: TrainedFlow,
    data: tuple[ImageSet, ImageSet],
) -> None:
    """Write test images and variants of them for Fig. 2, as 8-bit values.

    Runs that describe their arms have variants by every way of moving latents, of one image per
    class; the file names these ways. All of them draw the same partners and the same shares.

    Parameters
    ----------
    path : Path
    run, config, trained, data
        As in ``augmented_accuracies``.
    """
    training, test = data
    rows = torch.cat([(test.labels == k).nonzero()[:, 0] for k in range(test.n_classes)])
    labels = test.labels[rows]
    x = (test.images[rows].float() + 0.5) / 256.0
    flows = _Flows(config, trained, training)
    moves: dict[str, Any] = {"mix": {"strength": 0.5}}
    if "arms" in run.options:
        moves = {
            arm: one["flow"]
            for arm, one in run.options["arms"].items()
            if "flow" in one and not one.get("standard")
        }
    device = next(trained.model.parameters()).device
    shown = [x]
    for move in moves.values():
        # partners come from all test images of the class, few of which are shown
        augment = LatentAugmentation(flows.of(move), seed=0, **move)
        shown += [augment(x.to(device), labels.to(device))[0].cpu() for _ in range(VARIANTS)]
    each = 1 if "arms" in run.options else SHOWN
    first = torch.cat([(labels == k).nonzero()[:each, 0] for k in range(test.n_classes)])
    images = torch.stack(shown, 1)[first].nan_to_num(0.0)  # (K * each, 1 + variants, ...)
    about: dict[str, Any] = {
        "images": (256.0 * images).floor().clamp(0, 255).to(torch.uint8).numpy(),
        "labels": labels[first].numpy(),
    }
    if "arms" in run.options:
        about["moves"] = np.array(list(moves))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda at: np.savez_compressed(at, **about))


# -- inside --------------------------------------------------------------------------------


def _arms(options: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the arms that options describe, or the paper's four."""
    if "arms" in options:
        arms: Mapping[str, Mapping[str, Any]] = options["arms"]
        return arms
    flow = {"strength": options["strength"]}
    return {
        "none": {},
        "flow": {"flow": flow},
        "standard": {"standard": True},
        "both": {"standard": True, "flow": flow},
    }


class _Flows:
    """A trained flow over the Gaussians that a way of moving latents needs."""

    def __init__(self, config: RunConfig, trained: TrainedFlow, images: ImageSet) -> None:
        self._config, self._trained, self._images = config, trained, images

    def of(self, move: Mapping[str, Any]) -> ClassFlow:
        """Return the flow over dense Gaussians for axes and noise; plain mixing needs none."""
        plain = move.get("method", "mix") == "mix" and move.get("n_axes") is None
        return self._trained.reestimated if plain else self._dense

    @cached_property
    def _dense(self) -> ClassFlow:
        training = self._config.training
        batches = Batches(self._images, training.batch_size, seed=training.seed)
        return over_dense(self._trained.judged, batches)

    def augmentation(self, move: Mapping[str, Any] | None) -> FlowAugmentation | None:
        """Return the augmentation by a way of moving latents; None without one."""
        return None if move is None else FlowAugmentation(self.of(move), **move)
