"""Train a flow and its class Gaussians, from a config to figures."""

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

#: Test images in a batch.
_JUDGED = 500


@dataclass(frozen=True)
class TrainedFlow:
    """A finished run.

    Attributes
    ----------
    model : ClassFlow
        As the last step left it.
    ema : ClassFlow or None
        With averaged weights, if the config asks for them.
    reestimated : ClassFlow
        The flow that ``metrics`` are of, over Gaussians estimated from its training latents after
        training.
    metrics : dict
        Of ``judged``: the figures of `evaluate`, `calibration` and `latent_shift`; accuracy and
        likelihood over re-estimated Gaussians (``reestimated_nf_acc``, ...) and, where ``judged``
        is the averaged copy, of the model itself (``live_nf_acc``, ...); the smallest divergence
        between two classes; how the last fit ended; seconds of training.
    history : list of dict
        One an epoch, see `TrainingRun.epoch`.
    """

    model: ClassFlow
    ema: ClassFlow | None
    reestimated: ClassFlow
    metrics: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def judged(self) -> ClassFlow:
        """The flow that ``metrics`` are of: ``ema``, or else ``model``."""
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
    """Train a flow, from the start or from where a killed run of the same config left off.

    In several processes (an initialized ``torch.distributed``) each trains on its part of every
    batch; the first one writes.

    Parameters
    ----------
    config : RunConfig
        The run. All that is random follows from its seed.
    folder : Path, optional
        For checkpoint.pt and log.csv, both written after every epoch; nothing is written without.
    resume : bool
        Go on from the folder's checkpoint, if there is one.
    progress : bool
        Show a bar of epochs, and one of images where they are read one by one.
    data : (ImageSet, ImageSet), optional
        What ``load_data(config)`` gives, where it is loaded already.
    device : torch.device or str, optional
        By default a GPU if there is one.
    evaluate_every : int, optional
        Evaluate after every so many epochs too, for the history.
    callback : callable, optional
        Given each epoch's entry of the history, after the checkpoint is written.

    Returns
    -------
    TrainedFlow

    Raises
    ------
    InvalidInputError
        If a setting cannot be used, before any training; or the checkpoint is of another config or
        of other images.
    NonFiniteLossError
        Names the step; its batch is saved in ``folder`` as nonfinite_batch.pt, or with several
        processes each one's part of it as nonfinite_batch_RANK.pt.
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
    """The training and test images of a run, as its config limits them.

    Parameters
    ----------
    config : RunConfig
    progress : bool
        Show a bar where images are read one by one.

    Returns
    -------
    tuple of ImageSet
    """
    images, test = load_images(config.data.source, size=config.data.size, progress=progress)
    if config.data.limit is not None:
        images = images.limited(config.data.limit, config.training.seed)
    return images, test


def _on_test(run: TrainingRun, model: ClassFlow, test: Batches) -> dict[str, float]:
    """Accuracy and likelihood of test images."""
    with seeded(run.device, run.config.training.seed):
        scores, labels = class_scores(model, test, run.device)
    return evaluate(scores, labels, model.gaussians.dim)


def _finished(run: TrainingRun, test: Batches, history: list[dict[str, Any]]) -> TrainedFlow:
    """A run with its figures."""
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
    metrics: dict[str, Any] = evaluate(scores, labels, judged.gaussians.dim)
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
    metrics["seconds"] = sum(entry["seconds"] for entry in history)
    ema = None if run.average is None else run.average.model
    return TrainedFlow(run.model, ema, again, metrics, history)


def _write_log(path: Path, history: list[dict[str, Any]]) -> None:
    """The history as a table, a row an epoch."""
    columns = dict.fromkeys(name for entry in history for name in entry)

    def write(at: Path) -> None:
        with open(at, "w", newline="") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(history)

    write_atomically(path, write)
