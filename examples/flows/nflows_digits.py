"""A flow of nflows, with layers that its first batch initializes.

    pip install ".[nflows,examples]"
    python examples/flows/nflows_digits.py [--epochs 20] [--out nflows_digits.png]

Ten to twenty seconds on one core.
"""

import torch
from _digits import Digits, arguments
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    ActNorm,
    CompositeTransform,
    PiecewiseRationalQuadraticCouplingTransform,
    RandomPermutation,
)

from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentAugmentation, LatentGaussians


def spline_flow(n_layers=4):
    """Make spline couplings of 64 pixels; the Gaussians take the place of the required base."""

    def net(n_in, n_out):
        return ResidualNet(n_in, n_out, hidden_features=64, num_blocks=1)

    mask = torch.arange(64) % 2
    layers = []
    for _ in range(n_layers):
        coupling = PiecewiseRationalQuadraticCouplingTransform(
            mask, net, num_bins=8, tails="linear", tail_bound=4.0
        )
        layers += [ActNorm(64), coupling, RandomPermutation(64)]
    return Flow(CompositeTransform(layers), StandardNormal([64]))


def main():
    """Train a flow, and show what it learned."""
    options = arguments(__doc__, "nflows_digits", epochs=20)
    digits = Digits()

    model = ClassFlow(spline_flow(), LatentGaussians(n_classes=10, dim=64))
    digits.report(model, "untrained")

    # ActNorm takes its scales from the first batch in train mode, but the Gaussians are fitted in
    # eval mode: with warm_up, it sees a batch before the first fit
    schedule = FixedPointSchedule(warm_up=1)
    optimizer = torch.optim.Adam(model.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, epochs=options.epochs, steps_per_epoch=len(digits.loader)
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
