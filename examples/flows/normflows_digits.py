"""A flow of normflows that classifies digits, samples them by class, and augments them.

    pip install ".[normflows,examples]"
    python examples/flows/normflows_digits.py [--epochs 40] [--out normflows_digits.png]

Ten to twenty seconds on one core.
"""

import normflows
import torch
from _digits import Digits, arguments

from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentAugmentation, LatentGaussians


def real_nvp(n_layers=6):
    """Make affine couplings of 64 pixels; the Gaussians take the place of the required base."""
    layers = []
    for _ in range(n_layers):
        net = normflows.nets.MLP([32, 128, 128, 64], init_zeros=True)
        layers.append(normflows.flows.AffineCouplingBlock(net, scale_map="sigmoid"))
        layers.append(normflows.flows.Permute(64, mode="shuffle"))
    return normflows.NormalizingFlow(normflows.distributions.DiagGaussian(64), layers)


def main():
    """Train a flow, and show what it learned."""
    options = arguments(__doc__, "normflows_digits", epochs=40)
    digits = Digits()

    # three lines: a flow, one Gaussian per class (here of a common shape), and the model of both
    flow = real_nvp()
    gaussians = LatentGaussians(n_classes=10, dim=64)
    model = ClassFlow(flow, gaussians)
    digits.report(model, "untrained")

    # before epochs 0 and 1 the Gaussians are fitted to the latents, and pushed apart by lam;
    # then they stay fixed, and the flow learns to move each class to its Gaussian
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
