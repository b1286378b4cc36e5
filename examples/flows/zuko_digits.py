"""Train a spline flow of zuko over one Gaussian per class.

    pip install ".[zuko,examples]"
    python examples/flows/zuko_digits.py [--epochs 20] [--out zuko_digits.png]

Ten to twenty seconds on one core.
"""

import torch
import zuko
from _digits import Digits, arguments

from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentAugmentation, LatentGaussians


def spline_flow():
    """Make spline couplings (passes=2) of 64 pixels in random order, without a context."""
    return zuko.flows.NSF(64, transforms=3, passes=2, randperm=True, hidden_features=(128,))


def main():
    """Train a flow, and show what it learned."""
    options = arguments(__doc__, "zuko_digits", epochs=20)
    digits = Digits()

    model = ClassFlow(spline_flow(), LatentGaussians(n_classes=10, dim=64))
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
