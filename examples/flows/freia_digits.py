"""A multi-scale network of FrEIA: several outputs, one Gaussian per class over all of them.

    pip install ".[freia,examples]"
    python examples/flows/freia_digits.py [--epochs 40] [--out freia_digits.png]

Ten to twenty seconds on one core.
"""

import FrEIA.framework as ff
import FrEIA.modules as fm
import numpy as np
import torch
from _digits import Digits, arguments
from torch import nn

from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentAugmentation, LatentGaussians


def conv(n_in, n_out):
    """Make the network of a coupling of images."""
    return nn.Sequential(
        nn.Conv2d(n_in, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, n_out, 3, padding=1)
    )


def dense(n_in, n_out):
    """Make the network of a coupling of vectors."""
    return nn.Sequential(nn.Linear(n_in, 128), nn.ReLU(), nn.Linear(128, n_out))


def multi_scale(n_blocks=4):
    """Split off half of the latents after convolutions at 4x4; the rest continues as a vector."""
    nodes = [ff.InputNode(64)]

    def add(module, n_times=1, **options):
        for _ in range(n_times):
            nodes.append(ff.Node(nodes[-1], module, options))

    add(fm.Reshape, output_dims=(1, 8, 8))
    add(fm.IRevNetDownsampling)  # (4, 4, 4)
    add(fm.AllInOneBlock, n_blocks, subnet_constructor=conv, permute_soft=True)
    add(fm.Split)
    fine = ff.OutputNode(nodes[-1].out1)
    add(fm.Flatten)
    add(fm.AllInOneBlock, n_blocks, subnet_constructor=dense, permute_soft=True)
    return ff.GraphINN([*nodes, ff.OutputNode(nodes[-1]), fine])


def main():
    """Train a flow, and show what it learned."""
    options = arguments(__doc__, "freia_digits", epochs=40)
    np.random.seed(0)  # noqa: NPY002 - FrEIA draws the rotations of its blocks from it
    digits = Digits()

    # FrEIA's networks have no base at all; (32,) and (2, 4, 4) become one vector of 64
    model = ClassFlow(multi_scale(), LatentGaussians(n_classes=10, dim=64))
    digits.report(model, "untrained")

    # two fits of the Gaussians, pushed apart by lam; then the flow moves each class to its own
    schedule = FixedPointSchedule()
    optimizer = torch.optim.Adam(model.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 5e-3, epochs=options.epochs, steps_per_epoch=len(digits.loader)
    )
    for epoch in range(options.epochs):
        schedule.step(model, digits.loader, epoch)
        for x, y in digits.loader:
            optimizer.zero_grad()
            model(x, y).mean().backward()
            optimizer.step()
            rate.step()
    digits.report(model, "trained")

    digits.picture(model, LatentAugmentation(model, strength=0.8, seed=0), options.out)


if __name__ == "__main__":
    main()
