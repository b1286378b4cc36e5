"""Time a few epochs of every kind of flow in a grid, and extrapolate to the whole of it.

    python examples/nfpi/rehearse.py --scale paper --data CIFAR10_FOLDER --cifar100 CIFAR100_FOLDER

A kind is what costs alike: the same images, flow, training and measurements. Of each, one run is
made for three epochs, with a single epoch of each classifier; nothing of it is kept. The table has
the seconds of the last epoch, of a fit, and of the classifiers; hours are of one device, and of the
runs without a record. Runs that train other models than a flow and its classifiers are
counted, not timed.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nfpi.arms import arms_of
from nfpi.classifier_training import train_classifier
from nfpi.classifiers import make_classifier
from nfpi.config import RunConfig, from_dict
from nfpi.data import ImageSet, load_images
from nfpi.flow_augmentation import FlowAugmentation
from nfpi.generation import generate_images
from nfpi.grid import Grid, PlannedRun, merged, read_grid
from nfpi.grid.build import GRIDS
from nfpi.measure import FAILURES
from nfpi.recipes import RECIPES
from nfpi.records import read_records
from nfpi.run import chosen_device
from nfpi.script import exit_status
from nfpi.sources import add_sources, given_sources
from nfpi.training import TrainedFlow, train

PROJECT = Path(__file__).resolve().parent

#: Epochs per rehearsal: the first two include fits, and the first one warms up.
EPOCHS = 3
#: Kinds of runs whose time is that of one flow and of its classifiers.
TIMED = ("flow", "augmentation")


@dataclass(frozen=True)
class Cost:
    """Seconds of one kind of run.

    Attributes
    ----------
    epoch, fit, rest : float
        An epoch of the flow; a fit; and what is done once, such as loading and testing.
    classifiers : float
        All classifiers of a run, with all of their epochs, and the images they are trained on.
    """

    epoch: float
    fit: float
    rest: float
    classifiers: float

    def of(self, config: RunConfig) -> float:
        """Return the seconds of a whole run."""
        n_epochs, fits = config.training.epochs, len(config.gaussians.epochs)
        if config.gaussians.scheme not in ("fixed_point", "data"):
            fits = 0  # epochwise steps are part of every epoch
        return n_epochs * self.epoch + fits * self.fit + self.rest + self.classifiers


def main(arguments: Sequence[str] | None = None) -> int:
    """Rehearse, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", help="tables of the scale; all by default")
    parser.add_argument("--scale", choices=tuple(GRIDS), required=True)
    parser.add_argument("--grid", type=Path, help="a grid other than the committed one")
    parser.add_argument("--results", type=Path, default=PROJECT / "results")
    parser.add_argument("--device", help="such as cuda:1; by default a GPU, if there is one")
    add_sources(parser)
    options = parser.parse_args(arguments)
    return exit_status("rehearse.py", lambda: _rehearse(options), refused=2)


def _rehearse(options: argparse.Namespace) -> int:
    grid = read_grid(options.grid or PROJECT / "grids" / f"{options.scale}.json")
    sources = given_sources(grid, options) | {"digits": "digits"}
    records = {each["key"] for each in read_records(options.results / options.scale / "records")}
    wanted = {run.name: run for table in options.tables or ["all"] for run in grid.of_table(table)}
    kinds: dict[str, list[tuple[PlannedRun, RunConfig]]] = {}
    for run in wanted.values():
        if run.name in records:
            continue
        source = sources.get(run.dataset)
        config = _config(grid, run, source or run.dataset)
        kinds.setdefault(_kind(run, config), []).append((run, config))
    hours, unknown = 0.0, 0
    print("| such as | runs | epoch (s) | fit (s) | classifiers (s) | a run (h) | all (h) |")
    print("|---|---|---|---|---|---|---|")
    for runs in kinds.values():
        first, config = runs[0]
        cost = _cost(first, config, first.dataset in sources, options.device)
        if isinstance(cost, str):
            print(f"| {first.name} | {len(runs)} | {cost} | | | | |")
            unknown += len(runs)
            continue
        each = cost.of(config) / 3600.0
        hours += len(runs) * each
        print(
            f"| {first.name} | {len(runs)} | {cost.epoch:.3g} | {cost.fit:.3g} | "
            f"{cost.classifiers:.3g} | {each:.3g} | {len(runs) * each:.3g} |",
            flush=True,
        )
    print(f"\n{sum(map(len, kinds.values())) - unknown} runs without a record: {hours:.4g} hours")
    if unknown:
        print(f"{unknown} more runs could not be rehearsed")
    return 0


def _cost(run: PlannedRun, config: RunConfig, has_images: bool, device: str | None) -> Cost | str:
    """Rehearse a run, or say why its cost stays unknown."""
    if not has_images:
        return f"no path of {run.dataset}"
    if run.kind not in TIMED:
        return f"kind {run.kind!r} is not timed"
    try:
        return rehearsed(run, config, device)
    except FAILURES as error:
        return type(error).__name__


def _config(grid: Grid, run: PlannedRun, source: str) -> RunConfig:
    choice: Mapping[str, Any] = run.choice
    if run.tuned_by:  # what wins costs about as much as what is listed first
        choice = next(one.choice for one in grid.runs if one.name == run.tuned_by[0])
    return from_dict(merged(grid.base, run.config, choice, {"data": {"source": source}}))


def _kind(run: PlannedRun, config: RunConfig) -> str:
    """Return what runs that cost alike have in common."""
    values = config.model_dump(mode="json")
    gaussians = values["gaussians"]
    gaussians = {name: gaussians[name] for name in ("scheme", "covariance", "equations", "update")}
    if gaussians["scheme"] not in ("fixed_point", "data"):
        gaussians = {"scheme": gaussians["scheme"]}
    values["training"].pop("lr")
    about = (run.dataset, run.kind, run.is_tuning, dict(run.options) | {"pictures": None})
    return json.dumps([about, values | {"gaussians": gaussians}], sort_keys=True, default=str)


def rehearsed(run: PlannedRun, config: RunConfig, device: str | None = None) -> Cost:
    """Measure one run.

    Parameters
    ----------
    run : PlannedRun
    config : RunConfig
        Its settings, with the path of its images.
    device : str, optional
        By default a GPU, if there is one.

    Returns
    -------
    Cost
    """
    values = config.model_dump(mode="json")
    values["training"]["epochs"] = min(EPOCHS, config.training.epochs)
    epochs = [epoch for epoch in config.gaussians.epochs if epoch < EPOCHS] or [0]
    values["gaussians"]["epochs"] = epochs
    short = from_dict(values)
    start = time.perf_counter()
    images, test = load_images(
        config.data.source, size=config.data.size, classes=config.data.classes
    )
    if run.is_tuning:
        images, test = images.held_out(len(images) * 5 // 6, config.training.seed)
    images = images.limited(config.data.limit, config.training.seed)
    trained = train(short, data=(images, test), device=chosen_device(device))
    seconds = time.perf_counter() - start
    last = trained.history[-1]
    fits = [entry["fit_seconds"] for entry in trained.history if "fit_seconds" in entry]
    fit = sum(fits) / len(fits) if fits else 0.0
    epochwise = config.gaussians.scheme not in ("fixed_point", "data")
    epoch = last["seconds"] - (0.0 if epochwise else last.get("fit_seconds", 0.0))
    rest = seconds - sum(entry["seconds"] for entry in trained.history)
    return Cost(epoch, fit, rest, sum(_classifiers(run, config, trained, images, test)))


def _classifiers(
    run: PlannedRun, config: RunConfig, trained: TrainedFlow, images: ImageSet, test: ImageSet
) -> Iterator[float]:
    """Yield the seconds of every classifier that a run trains, by one epoch of each kind."""
    if run.kind == "augmentation":
        name, n_epochs = run.options["classifier"], run.options["epochs"]
        for _, augment, flow in arms_of(run, config, trained, images):
            yield n_epochs * _epoch(name, trained, images, test, augment=augment, flow=flow)
    elif config.evaluation.cnn:
        of = config.evaluation
        start = time.perf_counter()
        generated = generate_images(trained.judged, of.n_generated, 1.0, seed=config.training.seed)
        drawn = time.perf_counter() - start
        epoch = _epoch(
            of.cnn_model, trained, generated, test, augment=of.cnn_augment,
            batch_size=of.cnn_batch_size,
        )  # fmt: skip
        samplers = 2 if of.reestimate else 1
        yield samplers * len(of.temperatures) * (drawn + of.cnn_epochs * epoch)


def _epoch(
    name: str, trained: TrainedFlow, images: ImageSet, test: ImageSet, *,
    augment: Sequence[str], flow: FlowAugmentation | None = None, batch_size: int | None = None,
) -> float:  # fmt: skip
    """Return the seconds of one epoch of a classifier."""
    recipe = replace(RECIPES[name], epochs=1)
    if batch_size is not None:
        recipe = replace(recipe, batch_size=batch_size)
    classifier = make_classifier(name, images.n_classes, images.image_shape, seed=0)
    device = next(trained.model.parameters()).device
    run = train_classifier(classifier.to(device), images, test, recipe, augment=augment, flow=flow)
    return run.seconds


if __name__ == "__main__":
    raise SystemExit(main())
