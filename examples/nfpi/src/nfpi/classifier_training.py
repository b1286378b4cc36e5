"""Train a classifier on real images, or on generated ones: CNN-Acc."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, LatentPrior
from torch import Tensor, nn
from tqdm.auto import tqdm

from nfpi.batches import Batches
from nfpi.checkpoints import fingerprint, write_atomically
from nfpi.classifier_checkpoints import restore_progress, save_progress
from nfpi.classifiers import make_classifier, n_parameters
from nfpi.data import ImageSet
from nfpi.flow_augmentation import FlowAugmentation
from nfpi.generation import evaluating, generate_images
from nfpi.mixing import make_pipeline
from nfpi.optimization import largest_gradient
from nfpi.recipes import RECIPES, RELEASED_ONE_CYCLE, Recipe
from nfpi.seeding import seeded

__all__ = [
    "ClassifierRun",
    "accuracy_of_generated",
    "check_classifier",
    "cnn_accuracy",
    "judge",
    "train_classifier",
]

#: Images with longer sides are augmented like ImageNet's, all others like CIFAR's.
_SMALL = 64


@dataclass(frozen=True)
class ClassifierRun:
    """The result of training a classifier.

    Attributes
    ----------
    accuracy : float
        The share of test images classified correctly, after the last epoch.
    top5 : float
        The share whose class is among the five likeliest.
    history : list of dict
        epoch, loss (mean over the epoch's batches) and seconds.
    """

    accuracy: float
    top5: float
    history: list[dict[str, Any]]

    @property
    def seconds(self) -> float:
        """Return the seconds of training."""
        return math.fsum(entry["seconds"] for entry in self.history)


def train_classifier(
    model: nn.Module,
    training: ImageSet,
    test: ImageSet,
    recipe: Recipe,
    *,
    augment: Sequence[str] = (),
    flow: FlowAugmentation | None = None,
    seed: int = 0,
    amp: bool = False,
    checkpoint: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> ClassifierRun:
    """Train a classifier in place, on its device, and test it once, after the last epoch.

    Parameters
    ----------
    model : nn.Module
        Maps images in [0, 1] to logits; see ``make_classifier``.
    training, test : ImageSet
        Images of the same shape and classes.
    recipe : Recipe
        How to train.
    augment : sequence of str
        Names known to ``make_augment`` and ``nfpi.mixing``: "flip", "crop", "rotate", "jitter",
        "auto", "rand", "erase", "cutmix", "mixup".
    flow : FlowAugmentation, optional
        Augments in the latent space of a flow, before anything else.
    seed : int
        With the epoch's number, it seeds order, augmentation and dropout.
    amp : bool
        Run the model in bfloat16 autocast.
    checkpoint : Path, optional
        A file written after every epoch; if it exists, training resumes from it, with the result of
        an unbroken run.
    identity : mapping, optional
        What distinguishes the training images, for ``checkpoint``; by default the images
        themselves.
    progress : bool
        Show a progress bar over epochs.

    Returns
    -------
    ClassifierRun

    Raises
    ------
    InvalidInputError
        If training and test images do not match, batches have one image, or the checkpoint belongs
        to other settings.
    FloatingPointError
        If the loss or a gradient is not finite; the batch is saved next to the checkpoint.
    """
    _check_alike(training, test)
    if recipe.batch_size == 1:
        raise InvalidInputError("batch_size is 1; pass at least 2, as batch normalization needs")
    device = next(model.parameters()).device
    batches = Batches(training, recipe.batch_size, seed=seed)
    small = max(training.image_shape[1:]) <= _SMALL
    pipeline = make_pipeline(augment, training.n_classes, flow=flow, small=small)
    optimizer = _optimizer(model, recipe)
    stepper = _Stepper(
        model,
        optimizer,
        recipe,
        n_steps=recipe.epochs * len(batches),
        amp=amp,
        checkpoint=checkpoint,
    )
    settings: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    if checkpoint is not None:
        settings = {
            "recipe": asdict(recipe),
            "augment": list(augment),
            "flow": None if flow is None else flow.identity(),
            "seed": seed,
            "amp": amp,
            "images": dict(identity)
            if identity is not None
            else fingerprint(training.images, training.labels),
            "classifier": n_parameters(model),
        }
        if checkpoint.exists():
            history = restore_progress(checkpoint, settings, model, optimizer)
    for epoch in tqdm(range(len(history), recipe.epochs), "epochs", disable=not progress):
        start = time.perf_counter()
        losses = []
        with seeded(device, seed, epoch):
            model.train()
            for step, (x, y) in enumerate(batches.epoch(epoch), epoch * len(batches)):
                if len(x) == 1 < len(training):
                    continue  # batch normalization needs two
                x, y = pipeline(x.to(device, non_blocking=True), y.to(device, non_blocking=True))
                losses.append(stepper.step(x, y, step=step, epoch=epoch))
        seconds = time.perf_counter() - start
        history.append({"epoch": epoch, "loss": sum(losses) / len(losses), "seconds": seconds})
        if checkpoint is not None:
            save_progress(checkpoint, settings, model, optimizer, history)
    # a batch that fits in memory with gradients fits without them
    accuracy, top5 = judge(model, test, recipe.batch_size)
    return ClassifierRun(accuracy, top5, history)


def check_classifier(name: str, images: ImageSet, augment: Sequence[str] = ()) -> None:
    """Refuse a classifier that cannot be trained here, before a flow is trained for it.

    Parameters
    ----------
    name : str
        A key of ``CLASSIFIERS``.
    images : ImageSet
        Images like those it will be trained on.
    augment : sequence of str
        As in ``train_classifier``.

    Raises
    ------
    InvalidInputError
        If there is no such classifier or augmentation, or the images do not suit it.
    ImportError
        If a library is missing; the message names the extra.
    """
    make_classifier(name, images.n_classes, images.image_shape)
    make_pipeline(augment, images.n_classes)


@torch.no_grad()
def judge(model: nn.Module, test: ImageSet, at_once: int = 500) -> tuple[float, float]:
    """Measure top-1 and top-5 accuracy.

    Parameters
    ----------
    model : nn.Module
        Maps images in [0, 1] to logits.
    test : ImageSet
        Images; each gray level is read as the middle of its interval.
    at_once : int
        Images per batch.

    Returns
    -------
    tuple of float
    """
    device = next(model.parameters()).device
    right, among = 0, 0
    with evaluating(model):
        for images, labels in zip(
            test.images.split(at_once), test.labels.split(at_once), strict=True
        ):
            logits = model((images.to(device).float() + 0.5) / 256.0)
            best = logits.topk(min(5, test.n_classes)).indices == labels.to(device)[:, None]
            right += int(best[:, 0].sum())
            among += int(best.any(1).sum())
    return right / len(test), among / len(test)


def cnn_accuracy(
    model: ClassFlow,
    n_generated: int,
    temperature: float,
    test: ImageSet,
    *,
    seed: int,
    epochs: int | None = None,
    sample: LatentPrior | None = None,
    classifier: str = "small_cnn",
    batch_size: int | None = None,
    augment: Sequence[str] = (),
    one_cycle: str = "printed",
    progress: bool = False,
) -> float:
    """Measure CNN-Acc: the accuracy on real images of a classifier trained on generated ones.

    Parameters
    ----------
    model : ClassFlow
        A flow over images (C, H, W) in [0, 1).
    n_generated : int
        How many images to train on, in equal shares per class.
    temperature : float
        Multiplies the latents' standard deviations.
    test : ImageSet
        Real images.
    seed : int
        Seeds the latents, the classifier's weights and its training.
    epochs, batch_size : int, optional
        Override the classifier's recipe.
    sample : LatentPrior, optional
        Source of the latents instead of the model's own Gaussians, such as Gaussians re-estimated
        after training.
    classifier : str
        A key of ``CLASSIFIERS``.
    augment : sequence of str
        As in ``train_classifier``.
    one_cycle : {"printed", "released"}
        Learning rates and momentum of a recipe with "one-cycle", see ``RELEASED_ONE_CYCLE``.
    progress : bool
        Show a progress bar over epochs.

    Returns
    -------
    float
        In [0, 1].
    """
    generated = generate_images(model, n_generated, temperature, seed=seed, sample=sample)
    return accuracy_of_generated(
        generated,
        test,
        seed=seed,
        device=model.gaussians.density().means.device,
        epochs=epochs,
        classifier=classifier,
        batch_size=batch_size,
        augment=augment,
        one_cycle=one_cycle,
        progress=progress,
    )


def accuracy_of_generated(
    generated: ImageSet,
    test: ImageSet,
    *,
    seed: int,
    device: torch.device,
    epochs: int | None = None,
    classifier: str = "small_cnn",
    batch_size: int | None = None,
    augment: Sequence[str] = (),
    one_cycle: str = "printed",
    progress: bool = False,
) -> float:
    """Measure the accuracy on real images of a classifier trained on given ones.

    Parameters
    ----------
    generated, test : ImageSet
        Images to train on, and real ones.
    device : torch.device
        Where to train.
    seed, epochs, classifier, batch_size, augment, one_cycle, progress
        As in ``cnn_accuracy``.

    Returns
    -------
    float
        In [0, 1].
    """
    judged = make_classifier(classifier, test.n_classes, test.image_shape, seed=seed).to(device)
    recipe = RECIPES[classifier]
    recipe = replace(
        recipe,
        epochs=recipe.epochs if epochs is None else epochs,
        batch_size=recipe.batch_size if batch_size is None else batch_size,
        **(RELEASED_ONE_CYCLE if one_cycle == "released" else {}),
    )
    run = train_classifier(
        judged, generated, test, recipe, augment=augment, seed=seed, progress=progress
    )
    return run.accuracy


# -- inside --------------------------------------------------------------------------------


def _check_alike(training: ImageSet, test: ImageSet) -> None:
    ours, theirs = (
        (*images.image_shape, images.n_classes, images.name) for images in (training, test)
    )
    if ours[:-1] != theirs[:-1]:
        raise InvalidInputError(
            f"{ours[-1]}: {ours[3]} classes of images {ours[:3]}, but {theirs[-1]}: {theirs[3]} "
            f"of {theirs[:3]}; give both the same size and the same classes"
        )


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        model.parameters(),
        recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )


@dataclass(frozen=True)
class _Stepper:
    """All that the steps of a training have in common."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    n_steps: int
    amp: bool
    checkpoint: Path | None

    def step(self, x: Tensor, y: Tensor, *, step: int, epoch: int) -> float:
        """Make one step of the optimizer, and return the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(step, self.n_steps)
            if "momentum" in group:
                group["momentum"] = self.recipe.momentum_at(step, self.n_steps)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.amp):
            loss = F.cross_entropy(self.model(x), y)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._nonfinite(f"the loss is {value}", x, y, step=step, epoch=epoch)
        self.optimizer.zero_grad()
        loss.backward()
        if self.recipe.clip is None:
            size = largest_gradient(self.model.parameters())
        else:
            size = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip))
        if not math.isfinite(size):
            raise self._nonfinite(f"the gradient's size is {size}", x, y, step=step, epoch=epoch)
        self.optimizer.step()
        return value

    def _nonfinite(
        self, what: str, x: Tensor, y: Tensor, *, step: int, epoch: int
    ) -> FloatingPointError:
        """Save the batch, and return the error to raise."""
        place = "give a checkpoint to have its batch saved"
        if self.checkpoint is not None:
            path = self.checkpoint.with_name("nonfinite_batch.pt")
            batch = {"x": x.cpu(), "y": y.cpu(), "step": step}
            write_atomically(path, lambda at: torch.save(batch, at))
            place = f"its batch is saved as {str(path)!r}"
        return FloatingPointError(
            f"{what} at step {step} (epoch {epoch}); {place}. Lower the learning rate, or set clip"
        )
