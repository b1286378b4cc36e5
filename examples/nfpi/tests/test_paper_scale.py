"""The paper's flows at full size: they construct, and train. Takes minutes and some gigabytes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nfpi.config import load_config
from nfpi.data import ImageSet
from nfpi.run import TrainingRun

CONFIGS = Path(__file__).parents[1] / "configs"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "side", "n_classes", "per_class"),
    [
        ("cifar10_paper", 32, 10, 12),
        ("cifar100_paper", 32, 100, 2),  # the means alone are fitted
        ("imagenet64_paper", 64, 4, 12),
    ],
)
def test_a_config_of_the_paper_trains(name, side, n_classes, per_class):
    """Two steps before the fixed point and one after, of few images in small batches."""
    config = load_config(
        CONFIGS / f"{name}.toml",
        ["training.batch_size=4", "training.init_images=16", "training.epochs=2"],
    )
    rng = np.random.default_rng(0)
    y = torch.arange(per_class * n_classes) % n_classes
    images = torch.from_numpy(rng.integers(0, 256, (len(y), 3, side, side), dtype=np.uint8))
    run = TrainingRun(config, ImageSet(images, y, n_classes, "noise"), torch.device("cpu"), None)
    if name.startswith("cifar"):
        size = sum(parameter.numel() for parameter in run.model.codec.parameters())
        assert size == 42_815_440
    for epoch, n_steps in ((0, 2), (1, 1)):
        assert run._refitted(epoch)["fit_status"] in ("converged", "max_iter")
        assert bool(run.model.gaussians.means.isfinite().all())
        first = epoch * len(run.batches)
        for step, (x, labels) in zip(range(n_steps), run.batches.epoch(epoch), strict=False):
            loss = run._step(first + step, x, labels)  # raises if it is not finite
            assert math.isfinite(loss)
        gradients = [p.grad for p in run.model.parameters() if p.grad is not None]
        assert gradients and all(bool(gradient.isfinite().all()) for gradient in gradients)
