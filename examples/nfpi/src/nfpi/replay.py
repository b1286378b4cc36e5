"""Train a flow further when classes arrive, with samples of its own in place of old images."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from fpigauss_torch import ClassFlow, LatentGaussians, gather_statistics

from nfpi.batches import Batches
from nfpi.data import ImageSet
from nfpi.gaussians import over
from nfpi.generation import generate_images
from nfpi.later import Arrivals, added, encoded, judged
from nfpi.run import NonFiniteLossError
from nfpi.seeding import seeded

__all__ = ["Replay", "judged_flow"]


@dataclass(frozen=True)
class Replay:
    """How a flow is trained further at every step.

    The new classes get Gaussians beside the old ones, which stay; then the flow is trained on the
    new images and on samples of the old classes, drawn before the step.

    Parameters
    ----------
    separation : float
        Of a new class's Gaussian from all others, in nats; 0 takes the mean of its latents.
    per_class : int
        Samples of each old class; 0 trains on the new images alone.
    epochs, batch_size, lr
        Of the training after every step.
    """

    separation: float
    per_class: int
    epochs: int = 4
    batch_size: int = 128
    lr: float = 3e-3

    def accuracies(
        self, model: ClassFlow, arrivals: Arrivals, seed: int
    ) -> Iterator[tuple[str, float]]:
        """Train a copy of the flow step by step, and judge it as `nfpi.later.accuracies` does."""
        model = copy.deepcopy(model)
        yield from judged_flow(model, arrivals, arrivals.ends[0], seed)
        for start, end in arrivals.steps:
            new = arrivals.between(arrivals.training, start, end)
            old = None
            if self.per_class:
                old = generate_images(model, start * self.per_class, seed=seed + start)
            model = self._extended(model, old, new, seed)
            images = new if old is None else _together(old, new)
            self._train(model, images, seed + start)
            yield from judged_flow(model, arrivals, end, seed)

    def _extended(
        self, model: ClassFlow, old: ImageSet | None, new: ImageSet, seed: int
    ) -> ClassFlow:
        """Return the flow over Gaussians of the old and the new classes."""
        gaussians = model.gaussians
        assert isinstance(gaussians, LatentGaussians)
        # the shared variance stays as it is: add_class asks for statistics, but does not use them
        seen = generate_images(model, 2 * gaussians.n_classes, seed=seed) if old is None else old
        statistics = gather_statistics(model, Batches(seen, self.batch_size, seed=seed))
        z = encoded(model, new, seed)
        return over(model, added(gaussians, statistics, z, new.labels, self.separation)[0])

    def _train(self, model: ClassFlow, images: ImageSet, seed: int) -> None:
        """Train the flow toward its Gaussians, which stay."""
        batches = Batches(images, self.batch_size, seed=seed)
        optimizer = torch.optim.Adamax(model.codec.parameters(), lr=self.lr)
        model.train()
        for epoch in range(self.epochs):
            with seeded(torch.device("cpu"), seed, epoch):
                for x, y in batches.epoch(epoch):
                    loss = model(x, y).mean()
                    if not math.isfinite(float(loss.detach())):
                        raise NonFiniteLossError(
                            f"the loss is {float(loss.detach())} in training further; lower lr"
                        )
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()


def _together(old: ImageSet, new: ImageSet) -> ImageSet:
    """Return the images of both; ``new`` knows the number of classes."""
    return replace(
        new,
        images=torch.cat([old.images, new.images]),
        labels=torch.cat([old.labels, new.labels]),
        families=None,
    )


def judged_flow(
    model: ClassFlow, arrivals: Arrivals, end: int, seed: int
) -> Iterator[tuple[str, float]]:
    """Judge a flow by the test images of its classes."""
    test = arrivals.between(arrivals.test, 0, end)
    found = model.gaussians.predict(encoded(model, test, seed))
    yield from judged(found, test.labels, arrivals)
