"""One pass of a data set through a flow: the statistics of its latents."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fpigauss import ClassStatistics, InvalidInputError
from fpigauss_torch._checks import hard_labels
from fpigauss_torch.flow import ClassFlow

__all__ = ["Latents", "modes_restored", "own_statistics", "unlike_training", "unpacked"]


@contextmanager
def unlike_training() -> Iterator[None]:
    """No gradients, but no inference tensors either: training could not go on with those.

    Autocast stays as it is, except that it keeps no weights it has cast: older versions of torch
    would use them, which have no gradients, for training in the same autocast region.
    """
    with torch.inference_mode(False), torch.no_grad():
        cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            yield
        finally:
            torch.set_autocast_cache_enabled(cached)


class Latents:
    """The labelled rows of a loader's batches, encoded; the last batch is kept for messages."""

    def __init__(self, flow: ClassFlow, loader: Iterable[Any], device: torch.device) -> None:
        self.flow = flow
        self.loader = loader
        self.device = device
        self.ended = False
        self._batch = 0
        self._rows = self._labels = self._z = torch.empty(0)

    def __len__(self) -> int:
        """For progress bars; loaders without a length raise TypeError, as they should."""
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(z, y) of every batch with a labelled row."""
        for place, batch in enumerate(self.loader):
            self._batch = place
            try:
                if self._encode(batch) == 0:
                    continue
            except InvalidInputError as error:
                raise InvalidInputError(f"batch {self._batch}: {error}") from error
            yield self._z, self._labels
        self.ended = True

    def _encode(self, batch: Any) -> int:
        """Take a batch in; how many rows of it are labelled."""
        gaussians = self.flow.gaussians
        x, y = unpacked(batch)
        y, _ = hard_labels(
            y, gaussians.n_classes, device=torch.device("cpu"), rows=len(x), unlabelled=True
        )
        self._rows = (y >= 0).nonzero()[:, 0]
        self._labels = y[self._rows]
        n_rows = len(self._rows)
        if 0 < n_rows < len(x):
            x = x[self._rows.to(x.device)]
        if n_rows > 0:
            z, _ = self.flow.encode(x.to(self.device, non_blocking=True))
            self._z = z.detach().to(gaussians.means)
        return n_rows

    def explained(self, error: InvalidInputError) -> InvalidInputError:
        """The error, with the class if a latent of the last batch is to blame."""
        faulty = (~self._z.isfinite()).any(1) if self._z.ndim == 2 else self._z
        if not bool(faulty.any()):
            return error
        first = int(faulty.nonzero()[0, 0])
        better = InvalidInputError(
            f"batch {self._batch}: the latents hold NaN or infinity in row "
            f"{int(self._rows[first])}, of class {int(self._labels[first])}; drop that sample, or "
            "go back to weights that encode it"
        )
        better.statistics = error.statistics
        for note in getattr(error, "__notes__", ()):
            better.add_note(note)
        return better


def unpacked(batch: Any) -> tuple[Tensor, Any]:
    """Samples and labels of a batch."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise InvalidInputError(
            f"loader yields a {type(batch).__name__} here; wrap it in a generator of (x, y)"
            + (f", not of {len(batch)} things" if isinstance(batch, tuple | list) else "")
        )
    x, y = batch
    if not isinstance(x, Tensor) or x.ndim == 0:
        raise InvalidInputError(
            f"x is a {type(x).__name__}; collate the samples to one tensor (N, ...)"
        )
    return x, y


def own_statistics(flow: ClassFlow, latents: Latents, progress: bool) -> ClassStatistics:
    """The statistics of this process's samples; zeros if it has none."""
    gaussians = flow.gaussians
    with unlike_training(), modes_restored(flow):
        flow.eval()
        try:
            return ClassStatistics.from_batches(
                latents,
                covariance=gaussians.statistics_kind,
                classes=range(gaussians.n_classes),
                progress=progress,
            )
        except InvalidInputError as error:
            if not latents.ended:
                raise latents.explained(error) from error
        means = torch.zeros_like(gaussians.means)
        covariances = means
        if gaussians.statistics_kind == "dense":
            covariances = means.new_zeros(*means.shape, gaussians.dim)
        counts, classes = means[:, 0], np.arange(gaussians.n_classes)
        return ClassStatistics(counts, means, covariances, classes=classes, closed=True)


@contextmanager
def modes_restored(module: nn.Module) -> Iterator[None]:
    """Train or eval mode of each part as it was: frozen parts may differ from the rest."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
