"""Train one flow: turn a config into a checkpoint, a record, and a picture of samples.

    python examples/nfpi/train_flow.py examples/nfpi/configs/digits_tiny.toml --folder run
    torchrun --nproc-per-node 4 examples/nfpi/train_flow.py CONFIG --folder run

The folder gets checkpoint.pt and log.csv after every epoch; then the record KEY.json, and
samples.png with one row per class. To resume a killed run, repeat the command.
"""

import argparse
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fpigauss import InvalidInputError
from PIL import Image

from nfpi.checkpoints import identity, write_atomically
from nfpi.config import RunConfig, canonical, config_key, load_config
from nfpi.data import ImageSet
from nfpi.evaluation import sample_grid
from nfpi.measure import FAILURES, check_evaluation, generated_accuracies
from nfpi.records import environment, write_record
from nfpi.run import chosen_device
from nfpi.script import exit_status
from nfpi.training import TrainedFlow, load_data, train


def main(arguments: list[str] | None = None) -> int:
    """Train, evaluate and write the results."""
    options = _parser().parse_args(arguments)
    return exit_status("train_flow.py", lambda: _run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="a TOML file, see examples/nfpi/configs")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the results")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="such as gaussians.lam=1e4"
    )
    parser.add_argument(
        "--restart", action="store_true", help="ignore the folder's checkpoint and start again"
    )
    parser.add_argument("--device", help="such as cuda:1; by default a GPU, if there is one")
    parser.add_argument(
        "--evaluate-every", type=int, metavar="N", help="also evaluate after every N epochs"
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write TensorBoard events to the folder"
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    """Train one flow as the command line says."""
    config = load_config(options.config, options.set)
    with _processes() as first, _tensorboard(options) as callback:
        device = chosen_device(options.device)
        data = load_data(config, progress=first)
        if config.evaluation.cnn:
            check_evaluation(config.evaluation, data[1])
        trained = train(
            config,
            folder=options.folder,
            resume=not options.restart,
            progress=True,
            data=data,
            device=device,
            evaluate_every=options.evaluate_every,
            callback=callback,
        )
        if first:
            _write(config, trained, data, options.folder)
    return 0


def _write(
    config: RunConfig, trained: TrainedFlow, data: tuple[ImageSet, ImageSet], folder: Path
) -> None:
    """Write picture and record, and print the figures."""
    training, test = data
    temperature = config.evaluation.temperatures[0]
    picture = Image.fromarray(sample_grid(trained.judged, temperature=temperature))
    factor = math.ceil(28 / test.image_shape[1])  # small images would hardly be visible
    picture = picture.resize(
        (factor * picture.width, factor * picture.height), Image.Resampling.NEAREST
    )
    write_atomically(folder / "samples.png", picture.save)
    metrics, failure = dict(trained.metrics), None
    if config.evaluation.cnn:
        try:
            metrics.update(generated_accuracies(config, trained, test))
        except FAILURES as error:  # of a classifier: figures up to it are kept
            failure = error
    path = write_record(
        folder,
        {
            "key": config_key(config),
            "config": canonical(config),
            "data": {"training": identity(training), "test": identity(test)},
            "failure": None if failure is None else f"{type(failure).__name__}: {failure}",
            "metrics": metrics,
            "seconds": metrics["seconds"],
            "history": trained.history,
            "environment": environment(),
        },
    )
    for name, value in metrics.items():
        print(f"{name:24} {value:.6g}" if isinstance(value, float) else f"{name:24} {value}")
    print(f"wrote {path}")
    if failure is not None:
        raise failure


@contextmanager
def _processes() -> Iterator[bool]:
    """Join the group that torchrun started, if any; yield whether this is its first process."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


@contextmanager
def _tensorboard(options: argparse.Namespace) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """Yield a function that writes an epoch's numbers for TensorBoard, if requested."""
    if not options.tensorboard or int(os.environ.get("RANK", "0")) > 0:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InvalidInputError(
            "--tensorboard needs TensorBoard; pip install tensorboard, or read log.csv"
        ) from error
    with SummaryWriter(options.folder) as writer:

        def write(entry: dict[str, Any]) -> None:
            for name, value in entry.items():
                if isinstance(value, float):
                    writer.add_scalar(name, value, entry["epoch"])

        yield write


if __name__ == "__main__":
    raise SystemExit(main())
