"""A flow of nflows, with layers that its first batch initialises.

    pip install "fpigauss[nflows,examples]"
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
    """Spline couplings of 64 pixels. A flow is made with a base; the Gaussians stand in for it."""

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
    """Train, then look."""
    options = arguments(__doc__, "nflows_digits", epochs=20)
    digits = Digits()

    model = ClassFlow(
        spline_flow(), LatentGaussians(n_classes=10, dim=64, covariance="isotropic", tied=True)
    )
    digits.report(model, "untrained")

    # ActNorm takes its scales from the first batch in train mode, and the Gaussians are fitted in
    # eval mode: warm_up lets it see a batch before
    schedule = FixedPointSchedule(warm_up=1)
    optimiser = torch.optim.Adam(model.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 3e-3, epochs=options.epochs, steps_per_epoch=len(digits.loader)
    )
    for epoch in range(options.epochs):
        schedule.step(model, digits.loader, epoch)
        for x, y in digits.loader:
            optimiser.zero_grad()
            model(x, y).mean().backward()
            optimiser.step()
            rate.step()
    digits.report(model, "trained")

    digits.picture(model, LatentAugmentation(model, strength=0.8, seed=0), options.out)


if __name__ == "__main__":
    main()
