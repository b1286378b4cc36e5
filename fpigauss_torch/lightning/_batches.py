"""A trainer's batches as a refit reads them, and as the training step gives them to the flow."""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader

__all__ = ["Converted", "Prepared", "apart"]


def apart(loader: Iterable[Any]) -> Iterable[Any]:
    """Return a loader of the same batches whose passes leave those of ``loader`` alone.

    With persistent workers, a DataLoader has one iterator, which the trainer already holds as an
    epoch starts: a refit with the same DataLoader would restart it and use it up, and the epoch
    would have no batch left. A copy keeps samplers, workers and subclasses as they are.
    """
    if not isinstance(loader, DataLoader):
        return loader
    apart = copy.copy(loader)
    # Every pass makes an iterator then. DataLoader refuses to set this once it is made, since its
    # own iterator would not follow; the copy has none of its own.
    vars(apart)["persistent_workers"] = False
    return apart


class Converted:
    """A loader that converts batches to the dtype that the trainer's precision gives the flow."""

    def __init__(self, loader: Iterable[Any], precision: Any) -> None:
        self.loader = loader
        self.precision = precision

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    @property
    def dataset(self) -> Any:
        """The data set of the loader, or None."""
        return getattr(self.loader, "dataset", None)

    def __iter__(self) -> Iterator[Any]:
        return map(self.precision.convert_input, self.loader)


class Prepared:
    """A function that prepares batches on the device and in the dtype of ``training_step``."""

    def __init__(self, prepare: Callable[[Any], Any], module: Any, precision: Any) -> None:
        self.prepare = prepare
        self.module = module
        self.precision = precision

    def __call__(self, batch: Any) -> Any:
        moved = self.module.transfer_batch_to_device(batch, self.module.device, 0)
        # what is drawn meanwhile has torch's default dtype, and promotes the rest
        return self.precision.convert_input(self.prepare(moved))
