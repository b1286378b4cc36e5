"""Perform one run of a grid, from its config to the metrics in its record."""

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fpigauss import InvalidInputError, NotDifferentiableError, NotPositiveDefiniteError
from fpigauss_torch import LatentPrior, RefitRejectedError

from nfpi.arms import augmented_accuracies, standard_of, write_pictures
from nfpi.checkpoints import identity
from nfpi.classifier_training import accuracy_of_generated, check_classifier, cnn_accuracy
from nfpi.config import EvaluationConfig, RunConfig, canonical
from nfpi.data import ImageSet, load_images
from nfpi.energy import EnergyOptions, train_energy
from nfpi.few_runs import measure_few, measure_uneven
from nfpi.flows import make_flow
from nfpi.gaussians import make_schedule
from nfpi.generation import check_generation
from nfpi.grid import PlannedRun
from nfpi.later_runs import measure_later
from nfpi.neighbors import neighbor_figures
from nfpi.records import environment, write_record
from nfpi.rejection import left_out_classes, rejection_figures, split_classes
from nfpi.run import chosen_device
from nfpi.training import NonFiniteLossError, TrainedFlow, train

__all__ = [
    "FAILURES",
    "Task",
    "check_evaluation",
    "check_images",
    "check_run",
    "generated_accuracies",
    "perform",
    "record_config",
]

#: Failures of a setting, which are results: the record, or the script's last line, reports them.
#: Other errors are the machine's or the caller's, and leave no record.
FAILURES = (
    NonFiniteLossError,
    NotDifferentiableError,
    RefitRejectedError,
    NotPositiveDefiniteError,
    FloatingPointError,
)


#: What runs of other kinds measure, which train several models or none: functions of the run's
#: options, its config, training and test images and the device.
JOBS: Mapping[str, Callable[..., Iterator[tuple[str, Any]]]] = {
    "later": measure_later,
    "few": measure_few,
    "uneven": measure_uneven,
}


@dataclass(frozen=True)
class Task:
    """A run that can start: its config is settled and the path of its data is known.

    Parameters
    ----------
    run : PlannedRun
    config : RunConfig
    folder : Path
        The folder of the scale's results.
    chosen_by : str or None
        The tuning run that decided the config.
    data : mapping or None
        Identity of the data set in earlier records, which the images must match.
    foreign : str or None
        The path of other images, all to be rejected.
    """

    run: PlannedRun
    config: RunConfig
    folder: Path
    chosen_by: str | None
    data: Mapping[str, Any] | None = None
    foreign: str | None = None


def record_config(config: RunConfig, dataset: str) -> dict[str, Any]:
    """Return the config for a record: the data set's name replaces its path."""
    values = canonical(config)
    values["data"]["source"] = dataset
    return values


def perform(task: Task, device: str | None = None) -> None:
    """Perform a run, or resume one that was killed, and write its record.

    A run that fails keeps what it measured before.

    Parameters
    ----------
    task : Task
    device : str, optional
        By default a GPU, if there is one.

    Raises
    ------
    InvalidInputError
        If the images are not the task's.
    """
    run, config = task.run, task.config
    work = task.folder / "work" / run.name
    started = time.perf_counter()
    metrics: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    failure = None
    size = config.data.size
    data = _identities(config.data.source, size)
    if task.data is not None:
        check_images(run.dataset, config.data.source, size, task.data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        training, test = _images(run, config)
        if run.kind == "augmentation":
            check_classifier(run.options["classifier"], test, standard_of(run.options))
        elif config.evaluation.cnn:
            check_evaluation(config.evaluation, test)
        elif run.kind == "rejection":
            _unknown(run, config, task.foreign, test)
        try:
            if run.kind in JOBS:
                figures = JOBS[run.kind](run.options, config, training, test, device)
            else:
                model = _of_energy if run.kind == "energy" else _of_flow
                figures = model(task, (training, test), device, history)
            metrics.update(figures)  # one at a time: a failure leaves those before it
        except FAILURES as error:
            # records contain no paths of this machine
            failure = f"{type(error).__name__}: {error}".replace(f"{task.folder}{os.sep}", "")
    write_record(
        task.folder / "records",
        {
            "key": run.name,
            "setting": run.setting,
            "seed": run.seed,
            "config": record_config(config, run.dataset),
            "options": run.options,
            "chosen_by": task.chosen_by,
            "failure": failure,
            "data": data,
            "metrics": metrics,
            "warnings": sorted({str(one.message) for one in caught}),
            # this process only: a run that was killed and resumed took longer
            "seconds": time.perf_counter() - started,
            "history": history,
            "environment": environment(),
        }
        | ({} if task.foreign is None else {"foreign": _identities(task.foreign, size)["test"]}),
    )
    if failure is None:
        shutil.rmtree(work, ignore_errors=True)


def check_images(dataset: str, source: str, size: int | None, data: Mapping[str, Any]) -> None:
    """Refuse the images at ``source`` if ``data``, their identities in records, are others."""
    found = _identities(source, size)
    if any(found[part] != kept for part, kept in data.items()):
        ours, theirs = (
            " and ".join(str(images[part]["fingerprint"]) for part in data)
            for images in (found, data)
        )
        raise InvalidInputError(
            f"{dataset}: the images are not those of the existing records (fingerprint {ours}, not "
            f"{theirs}); give the same images, or another folder"
        )


def check_run(run: PlannedRun, config: RunConfig, foreign: str | None = None) -> None:
    """Refuse options and images that a run would stop at, before any run is done.

    Parameters
    ----------
    run : PlannedRun
    config : RunConfig
    foreign : str, optional
        The path of other images, all to be rejected.
    """
    training, test = _images(run, config)
    make_flow(config.flow.name, training.image_shape, **config.flow.options)
    make_schedule(config.gaussians, config.training.epochs)
    if run.kind == "rejection":
        _unknown(run, config, foreign, test)


def check_evaluation(evaluation: EvaluationConfig, test: ImageSet) -> None:
    """Refuse settings that make CNN-Acc impossible, before a flow is trained."""
    check_classifier(evaluation.cnn_model, test, evaluation.cnn_augment)
    for temperature in evaluation.temperatures:
        check_generation(test.n_classes, evaluation.n_generated, temperature)


@lru_cache(maxsize=2)
def _loaded(source: str, size: int | None) -> tuple[ImageSet, ImageSet]:
    """Load the images of all classes."""
    return load_images(source, size=size)


@lru_cache(maxsize=2)
def _identities(source: str, size: int | None) -> dict[str, Any]:
    """Identify the images of a data set, before a run selects some of them."""
    training, test = _loaded(source, size)
    return {"training": identity(training), "test": identity(test)}


def _images(run: PlannedRun, config: RunConfig) -> tuple[ImageSet, ImageSet]:
    """Load training and test images; tuning runs test on images split off the training ones."""
    training, test = (
        part.of_classes(config.data.classes)
        for part in _loaded(config.data.source, config.data.size)
    )
    if "left_out" in run.options:
        left_out = left_out_classes(run.options["left_out"], training.n_classes, run.seed)
        training, test = (split_classes(part, left_out)[0] for part in (training, test))
    if run.is_tuning:
        training, test = training.held_out(len(training) * 5 // 6, run.seed)
    if config.data.limit is not None:
        training = training.limited(config.data.limit, config.training.seed)
    return training, test


def _of_flow(
    task: Task,
    images: tuple[ImageSet, ImageSet],
    device: str | None,
    history: list[dict[str, Any]],
) -> Iterator[tuple[str, Any]]:
    """Train a flow on the images, and measure it; its epochs are added to ``history``."""
    run, work = task.run, task.folder / "work" / task.run.name
    trained = train(task.config, folder=work, data=images, device=device)
    history += trained.history
    yield from trained.metrics.items()
    yield from _further(task, trained, images, work)
    if run.options.get("pictures"):
        write_pictures(
            task.folder / "images" / f"{run.name}.npz", run, task.config, trained, images
        )


def _of_energy(
    task: Task,
    images: tuple[ImageSet, ImageSet],
    device: str | None,
    history: list[dict[str, Any]],
) -> Iterator[tuple[str, Any]]:
    """Train an energy model by the run's options, and measure it; a kill loses what it learned."""
    evaluation, seed = task.config.evaluation, task.config.training.seed
    where = chosen_device(device)
    energy = train_energy(*images, EnergyOptions(**task.run.options), seed=seed, device=where)
    history += energy.history
    yield from energy.metrics.items()
    if evaluation.cnn:  # at one temperature, that of its SGLD
        generated = energy.generate(evaluation.n_generated, seed)
        how = {"seed": seed, "device": where, **_of_classifier(evaluation)}
        yield "cnn_acc_1", accuracy_of_generated(generated, images[1], **how)


def _of_classifier(evaluation: EvaluationConfig) -> dict[str, Any]:
    """Return how the classifier of CNN-Acc is trained, as arguments."""
    return {
        "epochs": evaluation.cnn_epochs,
        "classifier": evaluation.cnn_model,
        "batch_size": evaluation.cnn_batch_size,
        "augment": evaluation.cnn_augment,
        "one_cycle": evaluation.one_cycle,
    }


def _further(
    task: Task, trained: TrainedFlow, data: tuple[ImageSet, ImageSet], work: Path
) -> Iterator[tuple[str, float]]:
    """Measure what a run is for beyond the flow's own figures, one figure at a time."""
    run, config = task.run, task.config
    training, test = data
    if run.kind == "augmentation":
        yield from augmented_accuracies(run, config, trained, data, work)
    elif run.kind == "rejection":
        yield from rejection_figures(
            trained.judged, trained.reestimated, training, test,
            _unknown(run, config, task.foreign, test),
            seed=run.seed, classifier=run.options.get("classifier"),
        )  # fmt: skip
    elif run.kind == "neighbors":
        kept = task.folder / "matrices" / f"{run.name}.npz"
        yield from neighbor_figures(
            trained.judged, training, test, seed=run.seed, pixels=run.options.get("pixels", False),
            matrices=kept if run.options.get("matrices") else None,
        )  # fmt: skip
    elif config.evaluation.cnn:
        yield from generated_accuracies(config, trained, test)


def _unknown(
    run: PlannedRun, config: RunConfig, foreign: str | None, known: ImageSet
) -> dict[str, ImageSet]:
    """Return the test images that are of no known class, by the names of their figures."""
    data = config.data
    found = {}
    if "left_out" in run.options:
        test = _loaded(data.source, data.size)[1].of_classes(data.classes)
        left_out = left_out_classes(run.options["left_out"], test.n_classes, run.seed)
        found["left_out"] = split_classes(test, left_out)[1]
    if foreign is not None:
        found["foreign"] = _loaded(foreign, data.size)[1]
    for images in found.values():
        if images.image_shape != known.image_shape:
            raise InvalidInputError(
                f"{images.name} has images (C, H, W) = {images.image_shape}, {known.name} "
                f"{known.image_shape}; give both the same size and channels"
            )
    return found


def generated_accuracies(
    config: RunConfig, trained: TrainedFlow, test: ImageSet
) -> Iterator[tuple[str, float]]:
    """Measure CNN-Acc at every temperature, and if asked from re-estimated Gaussians too.

    Accuracies are yielded by name one at a time: a failure does not lose those measured before.
    """
    evaluation = config.evaluation
    samplers: dict[str, LatentPrior | None] = {"": None}
    if evaluation.reestimate:
        samplers["reestimated_"] = trained.reestimated.gaussians
    for name, sampler in samplers.items():
        for temperature in evaluation.temperatures:
            accuracy = cnn_accuracy(
                trained.judged,
                evaluation.n_generated,
                temperature,
                test,
                seed=config.training.seed,
                sample=sampler,
                **_of_classifier(evaluation),
            )
            yield f"{name}cnn_acc_{temperature:g}", accuracy
