"""Train one classifier: on real images, with or without augmentation, or on a flow's images.

    python examples/train_classifier.py small_cnn --data digits --folder run
    python examples/train_classifier.py swin --data CIFAR --augment standard --folder run
    python examples/train_classifier.py swin --flow CONFIG --flow-folder FLOW --folder run
    python examples/train_classifier.py resnet18 --flow CONFIG --flow-folder FLOW --generate 50000 \
        --folder run

With a flow, its config says which images; it is trained in its folder (as train_flow.py does)
unless it lies there already. It then augments the classifier's images; or, with --generate, makes
them (CNN-Acc). The folder gets checkpoint.pt after every epoch, and KEY.json, the record. A run
that was killed goes on when the same command is given again.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any

import torch
from nfpi.checkpoints import identity
from nfpi.classifier_training import train_classifier
from nfpi.classifiers import CLASSIFIERS, make_classifier, n_parameters
from nfpi.config import canonical, load_config
from nfpi.data import ImageSet, load_images
from nfpi.generation import generate_images
from nfpi.measure import FAILURES
from nfpi.mixing import BATCHWISE, IMAGEWISE, FlowAugmentation
from nfpi.recipes import RECIPES, STANDARD_AUGMENTATION
from nfpi.records import environment, write_record
from nfpi.run import chosen_device
from nfpi.training import load_data, train

from fpigauss import InvalidInputError


def main(arguments: list[str] | None = None) -> int:
    """Train, test, write."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except (InvalidInputError, ImportError, *FAILURES) as error:
        print("train_classifier.py:", *str(error).split(), file=sys.stderr)  # on one line
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("classifier", choices=CLASSIFIERS)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is written")
    parser.add_argument("--data", help='"digits" or a path; without a flow')
    parser.add_argument("--size", type=int, help="resize images; without a flow")
    parser.add_argument("--limit", type=int, help="train on so many images")
    parser.add_argument(
        "--augment",
        nargs="+",
        default=[],
        choices=["standard", *IMAGEWISE, *BATCHWISE],
        help='"standard": what the paper trains this classifier with',
    )
    parser.add_argument("--epochs", type=int, help="other than the paper's")
    parser.add_argument("--batch-size", type=int, help="other than the paper's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--amp", action="store_true", help="in bfloat16 where that is safe")
    parser.add_argument("--device", help="such as cuda:1; a GPU if there is one")
    flow = parser.add_argument_group("a flow")
    flow.add_argument("--flow", type=Path, help="its config, see examples/configs")
    flow.add_argument("--flow-folder", type=Path, help="where it lies, or will")
    flow.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of its config"
    )
    flow.add_argument("--method", choices=("mix", "noise"), default="mix")
    flow.add_argument("--strength", type=float, default=0.5)
    flow.add_argument("--axes", type=int, help="principal axes to move along; all by default")
    flow.add_argument("--share", type=float, default=0.5, help="of the images, to be augmented")
    flow.add_argument("--generate", type=int, metavar="N", help="train on N images of the flow")
    flow.add_argument("--temperature", type=float, default=0.7, help="of the images generated")
    flow.add_argument(
        "--reestimate", action="store_true", help="generate from Gaussians estimated anew"
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    """One classifier, from the command line to its record."""
    if options.seed < 0:
        raise InvalidInputError(f"--seed is {options.seed}; pass an int >= 0")
    device = chosen_device(options.device)
    recipe = RECIPES[options.classifier]
    if options.epochs is not None:
        recipe = replace(recipe, epochs=options.epochs)
    if options.batch_size is not None:
        recipe = replace(recipe, batch_size=options.batch_size)
    augment = list(options.augment)
    if "standard" in augment:
        augment = list(dict.fromkeys([*STANDARD_AUGMENTATION[options.classifier], *augment]))
        augment.remove("standard")
    training, test, flow, about = _images(options, device)
    if options.limit is not None:
        training = training.limited(options.limit, options.seed)
    model = make_classifier(
        options.classifier, training.n_classes, training.image_shape, seed=options.seed
    )
    run = train_classifier(
        model.to(device),
        training,
        test,
        recipe,
        augment=augment,
        flow=flow,
        seed=options.seed,
        amp=options.amp,
        checkpoint=options.folder / "checkpoint.pt",
        progress=True,
    )
    config = {
        "classifier": options.classifier,
        "recipe": asdict(recipe),
        "augment": augment,
        "images": len(training),
        "seed": options.seed,
        "amp": options.amp,
        **about,
    }
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    metrics = {
        "accuracy": run.accuracy,
        "top5": run.top5,
        "n_parameters": n_parameters(model),
    }
    path = write_record(
        options.folder,
        {
            "key": f"{options.classifier}-{digest[:12]}",
            "config": config,
            "data": {"training": identity(training), "test": identity(test)},
            "metrics": metrics,
            "seconds": run.seconds,
            "history": run.history,
            "environment": environment(),
        },
    )
    print(f"accuracy {run.accuracy:.4f}, top 5 {run.top5:.4f}, {run.seconds:.0f} s; wrote {path}")


def _images(
    options: argparse.Namespace, device: torch.device
) -> tuple[ImageSet, ImageSet, FlowAugmentation | None, dict[str, Any]]:
    """Images to train and to test on, what a flow does to them, and all that in words."""
    if options.flow is None:
        if options.data is None or options.generate is not None:
            raise InvalidInputError("give --data; or --flow, whose config says which images")
        training, test = load_images(options.data, size=options.size, progress=True)
        # as in a flow's config: a record's key is the same on every machine
        source = PurePath(options.data).name
        return training, test, None, {"data": {"source": source, "size": options.size}}
    if options.flow_folder is None or options.data is not None or options.size is not None:
        raise InvalidInputError(
            "--flow needs --flow-folder, and goes without --data and --size; change the config by "
            "--set data.source=... or --set data.size=..."
        )
    config = load_config(options.flow, options.set)
    training, test = load_data(config, progress=True)
    trained = train(
        config, folder=options.flow_folder, progress=True, data=(training, test), device=device
    )
    about: dict[str, Any] = {"flow": canonical(config)}
    if options.generate is None:
        # its axes are those of the latents as they are: a flow may leave classes beside their
        # Gaussians
        flow = FlowAugmentation(
            trained.reestimated, options.method, options.strength, options.axes, options.share
        )
        return training, test, flow, about | {"flow_augmentation": flow.settings()}
    model = trained.reestimated if options.reestimate else trained.judged
    generated = generate_images(model, options.generate, options.temperature, seed=options.seed)
    about["generated"] = {"temperature": options.temperature, "reestimate": options.reestimate}
    return generated, test, None, about


if __name__ == "__main__":
    raise SystemExit(main())
