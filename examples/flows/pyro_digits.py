"""Transforms of pyro under class Gaussians.

    pip install ".[pyro,examples]"
    python examples/flows/pyro_digits.py [--epochs 40] [--out pyro_digits.png]

Ten to twenty seconds on one core.
"""

import torch
from _digits import Digits, arguments
from pyro.distributions import Normal, TransformedDistribution
from pyro.distributions.transforms import affine_coupling, permute

from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentAugmentation, LatentGaussians


def real_nvp(n_layers=6):
    """Make affine couplings of 64 pixels; the Gaussians take the place of the required base."""
    transforms = []
    for _ in range(n_layers):
        transforms += [affine_coupling(64, hidden_dims=[128, 128]), permute(64)]
    return TransformedDistribution(Normal(torch.zeros(64), 1.0).to_event(1), transforms)


def main():
    """Train a flow, and show what it learned."""
    options = arguments(__doc__, "pyro_digits", epochs=40)
    digits = Digits()

    # the transforms' networks become part of the model: a distribution of pyro is not a module
    model = ClassFlow(real_nvp(), LatentGaussians(n_classes=10, dim=64))
    digits.report(model, "untrained")

    # two fits of the Gaussians, pushed apart by lam; then the flow moves each class to its own
    schedule = FixedPointSchedule()
    optimizer = torch.optim.Adam(model.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, epochs=options.epochs, steps_per_epoch=len(digits.loader)
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
