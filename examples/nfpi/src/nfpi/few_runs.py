"""Measure one run of the grid "few": classifiers of a few rows per class, or of uneven ones."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA

from nfpi.classifier_training import train_classifier
from nfpi.classifiers import make_classifier
from nfpi.config import RunConfig, canonical, from_dict
from nfpi.data import ImageSet
from nfpi.few import (
    CLASSIFIERS,
    METHODS,
    Rows,
    drawn_rows,
    recalls,
    sampler,
    uneven_counts,
)
from nfpi.grid.model import merged
from nfpi.later import Arrivals, encoded, pixels
from nfpi.recipes import RECIPES
from nfpi.training import train

__all__ = ["measure_few", "measure_uneven"]

#: Images per batch of flows and networks that see few of them.
_BATCH = 64


def measure_few(
    options: Mapping[str, Any],
    config: RunConfig,
    training: ImageSet,
    test: ImageSet,
    device: str | None = None,
) -> Iterator[tuple[str, float]]:
    """Train every method on a few rows per class, and judge it by all test rows.

    Parameters
    ----------
    options : mapping
        counts: rows per class; methods: keys of ``nfpi.few.METHODS``, or "flow" and "cnn", which
        see images; steps: of these two. With first, rows are latents of the classes that a flow
        has not seen, which the config's flow makes after training on so many first ones.
    config : RunConfig
        Of the flow; its seed draws the rows.
    training, test : ImageSet
    device : str, optional

    Yields
    ------
    tuple of (str, float)
        METHOD_acc_N: the accuracy after N rows per class.
    """
    seed = config.training.seed
    if "first" in options:
        x, y, x_test, y_test = _latents(options["first"], config, training, test, device)
    else:
        x, x_test = pixels(training).numpy(), pixels(test).numpy()
        y, y_test = training.labels.numpy(), test.labels.numpy()
    n_classes = int(y.max()) + 1
    for count in options["counts"]:
        rows = drawn_rows(y, [count] * n_classes, seed)
        for method in options["methods"]:
            if method in METHODS:
                model = METHODS[method](seed).fit(x[rows], y[rows])
                accuracy = float(np.mean(model.predict(x_test) == y_test))
            else:
                images = (training.subset(torch.from_numpy(rows)), test)
                accuracy = _of_images(method, options["steps"], config, images, device)
            yield f"{method}_acc_{count}", accuracy


def _latents(
    first: int, config: RunConfig, training: ImageSet, test: ImageSet, device: str | None
) -> tuple[Rows, Rows, Rows, Rows]:
    """Return latents and labels of classes that the flow has not seen, numbered from 0."""
    arrivals = Arrivals.of(training, test, first, training.n_classes, config.training.seed)
    model = train(config, data=arrivals.first, device=device).judged
    found: list[Rows] = []
    for images in (arrivals.training, arrivals.test):
        later = arrivals.between(images, first, training.n_classes)
        latents = encoded(model, later, config.training.seed)
        found += [latents.double().numpy(), later.labels.numpy() - first]
    return found[0], found[1], found[2], found[3]


def _of_images(
    method: str,
    steps: int,
    config: RunConfig,
    images: tuple[ImageSet, ImageSet],
    device: str | None,
) -> float:
    """Train a flow or a network on few images for as many steps as on many."""
    training, test = images
    epochs = max(2, steps // -(-len(training) // _BATCH))
    if method == "cnn":
        seed = config.training.seed
        shape = training.image_shape
        network = make_classifier("small_cnn", training.n_classes, shape, seed=seed)
        recipe = replace(RECIPES["small_cnn"], epochs=epochs, batch_size=_BATCH)
        return train_classifier(network, training, test, recipe, seed=seed).accuracy
    changes: dict[str, Any] = {
        "training": {"epochs": epochs, "batch_size": _BATCH},
        "gaussians": {"epochs": [epochs // 10]},
    }
    changed = from_dict(merged(canonical(config), changes))
    return float(train(changed, data=images, device=device).metrics["nf_acc"])


def measure_uneven(
    options: Mapping[str, Any],
    config: RunConfig,
    training: ImageSet,
    test: ImageSet,
    device: str | None = None,
) -> Iterator[tuple[str, float]]:
    """Even classes out in every way, train every classifier on the result, and judge it.

    Parameters
    ----------
    options : mapping
        common, rare: rows per class; dim: principal components of the pixels; samplers:
        of ``nfpi.few.SAMPLERS``, or "none" and "weights"; classifiers, methods: keys of those in
        ``nfpi.few``; separation, in nats, of "apart".
    config : RunConfig
        Its seed draws the rows, and which classes are rare.
    training, test : ImageSet
    device : str, optional

    Yields
    ------
    tuple of (str, float)
        SAMPLER_CLASSIFIER_acc, _rare and _common: mean recalls, of all classes, the rare and the
        common ones; METHOD_acc and so on, for methods that take the uneven rows as they are.
    """
    seed = config.training.seed
    y, y_test = training.labels.numpy(), test.labels.numpy()
    counts = uneven_counts(training.n_classes, options["common"], options["rare"], seed)
    rare = [count == options["rare"] for count in counts]
    rows = drawn_rows(y, counts, seed)
    x, x_test = _components(
        pixels(training).numpy()[rows], pixels(test).numpy(), options["dim"], seed
    )
    y = y[rows]
    for method in options["methods"]:
        found = METHODS[method](seed).fit(x, y).predict(x_test)
        for name, value in recalls(found, y_test, rare):
            yield f"{method}_{name}", value
    for name in options["samplers"]:
        if name in ("none", "weights"):
            x_even, y_even = x, y
        else:
            even = sampler(name, seed, options["separation"], options["rare"])
            x_even, y_even = even.fit_resample(x, y)
        weights = {"class_weight": "balanced"} if name == "weights" else {}
        for kind in options["classifiers"]:
            classifier = CLASSIFIERS[kind](seed, **weights).fit(x_even, y_even)
            for metric, value in recalls(classifier.predict(x_test), y_test, rare):
                yield f"{name}_{kind}_{metric}", value


def _components(x: Rows, x_test: Rows, dim: int, seed: int) -> tuple[Rows, Rows]:
    """Return principal components of the training rows, in units of the first one's spread."""
    pca = PCA(dim, random_state=seed).fit(x)
    scale = float(np.sqrt(pca.explained_variance_[0]))
    return pca.transform(x) / scale, pca.transform(x_test) / scale
