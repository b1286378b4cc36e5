"""Train a flow and its class Gaussians, and evaluate them."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow
from tqdm.auto import tqdm

from nfpi.batches import Batches
from nfpi.checkpoints import identity, load_checkpoint, save_checkpoint, write_atomically
from nfpi.config import RunConfig
from nfpi.data import ImageSet, load_images
from nfpi.evaluation import calibration, class_scores, evaluate, latent_shift, smallest_kld
from nfpi.gaussians import reestimated
from nfpi.run import NonFiniteLossError, TrainingRun, chosen_device, place_among_processes
from nfpi.seeding import seeded

__all__ = ["NonFiniteLossError", "TrainedFlow", "load_data", "train"]

#: Test images per batch.
_JUDGED = 500


@dataclass(frozen=True)
class TrainedFlow:
    """A finished run.

    Attributes
    ----------
    model : ClassFlow
        The model after the last step.
    ema : ClassFlow or None
        The copy with averaged weights, if the config asks for one.
    reestimated : ClassFlow
        The judged flow over Gaussians estimated from its training latents after training.
    metrics : dict
        For ``judged``: the figures of `evaluate`, `calibration` and `latent_shift`; accuracy and
        likelihood over re-estimated Gaussians (``reestimated_nf_acc``, ...) and, if ``judged`` is
        the averaged copy, of the model itself (``live_nf_acc``, ...); the smallest divergence
        between two classes; the status of the last fit; seconds of training.
    history : list of dict
        One entry per epoch, see `TrainingRun.epoch`.
    """

    model: ClassFlow
    ema: ClassFlow | None
    reestimated: ClassFlow
    metrics: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def judged(self) -> ClassFlow:
        """Return the flow that ``metrics`` describe: ``ema`` if there is one, else ``model``."""
        return self.ema or self.model


def train(
    config: RunConfig,
    *,
    folder: Path | None = None,
    resume: bool = True,
    progress: bool = False,
    data: tuple[ImageSet, ImageSet] | None = None,
    device: torch.device | str | None = None,
    evaluate_every: int | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
) -> TrainedFlow:
    """Train a flow, from the start or from the checkpoint of a killed run with the same config.

    With several processes (an initialized ``torch.distributed``), each trains on its part of
    every batch, and the first one writes.

    Parameters
    ----------
    config : RunConfig
        The run's config, whose seed determines all that is random.
    folder : Path, optional
        Gets checkpoint.pt and log.csv after every epoch; nothing is written without it.
    resume : bool
        Resume from the folder's checkpoint, if there is one.
    progress : bool
        Show a progress bar over epochs, and one for images that are read one by one.
    data : (ImageSet, ImageSet), optional
        The result of ``load_data(config)``, if already loaded.
    device : torch.device or str, optional
        By default a GPU, if there is one.
    evaluate_every : int, optional
        Also evaluate after every so many epochs, for the history.
    callback : callable, optional
        Called with each epoch's entry of the history, after the checkpoint is written.

    Returns
    -------
    TrainedFlow

    Raises
    ------
    InvalidInputError
        Before any training, if a setting cannot be used, or the checkpoint belongs to another
        config or other images.
    NonFiniteLossError
        Names the step. Its batch is saved in ``folder`` as nonfinite_batch.pt, or with several
        processes in parts as nonfinite_batch_RANK.pt.
    """
    if evaluate_every is not None and evaluate_every < 1:
        raise InvalidInputError(f"evaluate_every is {evaluate_every}; pass an int >= 1, or None")
    where = chosen_device(device)
    first = place_among_processes()[0] == 0
    images, test_images = data or load_data(config, progress=progress and first)
    about = identity(images)
    checkpoint = None if folder is None else Path(folder) / "checkpoint.pt"
    saved = None
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        if resume and checkpoint.exists():
            saved = load_checkpoint(checkpoint, config, about)
    test = Batches(test_images, _JUDGED, seed=config.training.seed, shuffle=False)
    run = TrainingRun(config, images, where, checkpoint and checkpoint.parent)
    history: list[dict[str, Any]] = []
    if saved is not None:
        history = saved.pop("history")
        run.restore(saved)
    epochs = range(len(history), config.training.epochs)
    with tqdm(epochs, "epochs", disable=not (progress and first)) as bar:
        for epoch in bar:
            entry = run.epoch(epoch)
            if evaluate_every and (epoch + 1) % evaluate_every == 0:
                entry |= _on_test(run, run.judged, test)
            history.append(entry)
            bar.set_postfix(loss=f"{entry['loss']:.2f}")
            if checkpoint is not None and first:
                save_checkpoint(checkpoint, config, run.state() | {"history": history}, about)
                _write_log(checkpoint.with_name("log.csv"), history)
            if callback is not None:
                callback(entry)
    return _finished(run, test, history)


def load_data(config: RunConfig, *, progress: bool = False) -> tuple[ImageSet, ImageSet]:
    """Load the training and test images of a run.

    Parameters
    ----------
    config : RunConfig
    progress : bool
        Show a progress bar when images are read one by one.

    Returns
    -------
    tuple of ImageSet
    """
    images, test = load_images(
        config.data.source,
        size=config.data.size,
        classes=config.data.classes,
        progress=progress,
    )
    if config.data.limit is not None:
        images = images.limited(config.data.limit, config.training.seed)
    return images, test


def _on_test(run: TrainingRun, model: ClassFlow, test: Batches) -> dict[str, float]:
    """Measure accuracy and likelihood on test images."""
    with seeded(run.device, run.config.training.seed):
        scores, labels = class_scores(model, test, run.device)
    return evaluate(scores, labels, run.density_dim)


def _finished(run: TrainingRun, test: Batches, history: list[dict[str, Any]]) -> TrainedFlow:
    """Evaluate a finished run."""
    judged = run.judged
    with seeded(run.device, run.config.training.seed):
        scores, labels = class_scores(judged, test, run.device)
    if not bool(scores.isfinite().all()):
        raise NonFiniteLossError(
            "the likelihood of a test image is not finite after training; lower training.lr, or "
            "set training.clip"
        )
    with seeded(run.device, run.config.training.seed):
        try:
            again, statistics = reestimated(judged, run.batches, run.config.gaussians)
        except InvalidInputError as error:  # latents that are not finite
            raise NonFiniteLossError(
                f"no Gaussians can be estimated from the latents after training ({error}); lower "
                "training.lr, or set training.clip"
            ) from error
    metrics: dict[str, Any] = evaluate(scores, labels, run.density_dim)
    metrics |= calibration(scores, labels)
    others = {"reestimated": again} | ({} if run.average is None else {"live": run.model})
    for name, model in others.items():
        figures = _on_test(run, model, test)
        metrics |= {f"{name}_{key}": figures[key] for key in ("nf_acc", "nll")}
    metrics |= latent_shift(judged.gaussians, statistics)
    metrics["smallest_kld"] = smallest_kld(judged.gaussians)
    fits = [entry for entry in history if "fit_status" in entry]
    if fits:
        metrics |= {name: fits[-1][name] for name in ("fit_status", "fit_n_iter")}
        metrics["fit_seconds"] = sum(entry["fit_seconds"] for entry in fits)
    for name in ("seconds", "processor_seconds"):
        # checkpoints of older versions lack the latter
        metrics[name] = sum(entry.get(name, 0.0) for entry in history)
    ema = None if run.average is None else run.average.model
    return TrainedFlow(run.model, ema, again, metrics, history)


def _write_log(path: Path, history: list[dict[str, Any]]) -> None:
    """Write the history as a table with one row per epoch."""
    columns = dict.fromkeys(name for entry in history for name in entry)

    def write(at: Path) -> None:
        with at.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(history)

    write_atomically(path, write)
