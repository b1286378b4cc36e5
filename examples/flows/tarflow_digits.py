"""Train TarFlow, an autoregressive flow of patches, over one Gaussian per class.

    pip install ".[torch,examples]"
    python examples/flows/tarflow_digits.py [--epochs 30] [--out tarflow_digits.png] [--noise 1.0]

About a minute on one core. Sampling goes patch by patch, and takes a fraction of a second.
"""

import time

import torch
from _digits import Digits, arguments
from _tarflow import TarFlow

from fpigauss_torch import (
    ClassFlow,
    FixedPointSchedule,
    LatentAugmentation,
    LatentGaussians,
    TarFlowCodec,
)


def denoised(model, x, y, deviation):
    """Return the expected clean sample given a noisy one, x + deviation^2 grad log p(x | y).

    It is exact (Tweedie's formula) if p is the density of samples with Gaussian noise of this
    standard deviation, per pixel, which is what the flow was trained on.
    """
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(model(x, y).sum(), x)  # of -log p
    return (x - deviation**2 * slope).detach()


def main():
    """Train a flow, and show what it learned."""
    options = arguments(__doc__, "tarflow_digits", epochs=30, noise=1.0)
    digits = Digits(noise=options.noise)

    # the log-determinant of such flows comes divided by the number of dimensions: the codec knows
    model = ClassFlow(TarFlow(), LatentGaussians(n_classes=10, dim=64), codec=TarFlowCodec)
    digits.report(model, "untrained")

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
            torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
            optimizer.step()
            rate.step()
    digits.report(model, "trained")

    start = time.perf_counter()
    model.sample(torch.arange(10).repeat(10), seed=0)
    print(f"100 samples in {time.perf_counter() - start:.2f} s")
    augment = LatentAugmentation(model, strength=0.8, seed=0)
    if not options.noise:
        digits.picture(model, augment, options.out)
        return

    # samples are as noisy as what the flow was trained on, and so are these digits
    deviation = options.noise / digits.scale
    less = denoised(model, digits.x_test, digits.y_test, deviation)
    errors = [(x - digits.clean_test) * digits.scale for x in (digits.x_test, less)]
    before, after = (error.square().mean(1).sqrt() for error in errors)
    print(
        f"denoised: {(after < before).float().mean():.3f} of the held-out digits are nearer to the "
        f"clean ones, {before.median():.2f} gray levels off before and {after.median():.2f} after"
    )
    digits.picture(model, augment, options.out, lambda x, y: denoised(model, x, y, deviation))


if __name__ == "__main__":
    main()
