"""Refits in Lightning: a callback, for ``lightning`` and for ``pytorch_lightning``."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from fpigauss import FixedPointResult, InvalidInputError, Status
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.refit import FixedPointSchedule

__all__ = ["FixedPointCallback"]


def _bases() -> tuple[type, ...]:
    """``Callback`` of every Lightning there is: a trainer knows those of its own package only."""
    found = []
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            found.append(importlib.import_module(name).Callback)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    if not found:
        raise ImportError(
            "neither lightning nor pytorch_lightning is installed; "
            'pip install "fpigauss[lightning]"'
        )
    return tuple(found)


class FixedPointCallback(*_bases()):  # type: ignore[misc]
    """Refits the class Gaussians of a LightningModule's flow as a schedule says.

    A refit that is due before epoch e happens right before the validation that ends epoch e - 1,
    so that metrics, and the checkpoints that they choose, belong to one flow and one set of
    Gaussians. For epoch 0, and where no validation ends an epoch, it happens as epoch e starts.
    The sanity check comes before any of them: its metrics are those of Gaussians N(0, I).

    What epoch e trains with is logged with its training metrics: ``fixed_point/converged`` (1 or
    0), ``fixed_point/n_iter``, ``fixed_point/objective`` and ``fixed_point/residual``. The flow
    encodes in its own precision, outside of the trainer's autocast.

    Parameters
    ----------
    schedule : FixedPointSchedule
        When, and how.
    loader : iterable of (x, y), optional
        What is encoded; best the training data without augmentation, not shuffled, with no row
        dropped. By default the trainer's own training loader, with whatever that does; transforms
        after the transfer to the device are left out.
    copies : sequence of modules, or callable
        Averaged models that are refitted to their own latents; or a function of (trainer, module)
        that gives them. A LightningModule among them holds its flow as the trained one does.
    attribute : str
        Where the LightningModule holds its ClassFlow, bare or wrapped; if it is not one itself.
    at_end : bool
        Also refit as training ends: list this callback after those that then put averaged weights
        in place (StochasticWeightAveraging, WeightAveraging).
    progress : bool
        Show progress bars.

    Attributes
    ----------
    result : FixedPointResult or None
        Of the latest refit.

    Examples
    --------
    >>> from fpigauss_torch import FixedPointSchedule
    >>> from fpigauss_torch.lightning import FixedPointCallback
    >>> callback = FixedPointCallback(FixedPointSchedule(lam=1.0, epochs=(0, 1)))
    >>> # lightning.Trainer(max_epochs=10, callbacks=[callback]).fit(module, loader)
    """

    def __init__(
        self,
        schedule: FixedPointSchedule,
        loader: Iterable[Any] | None = None,
        *,
        copies: Sequence[nn.Module] | Callable[[Any, Any], Sequence[nn.Module]] = (),
        attribute: str = "model",
        at_end: bool = False,
        progress: bool = False,
    ) -> None:
        """Check the schedule."""
        super().__init__()
        if not isinstance(schedule, FixedPointSchedule):
            raise InvalidInputError(
                f"schedule is a {type(schedule).__name__}; pass a FixedPointSchedule"
            )
        self.schedule = schedule
        self.loader = loader
        self.copies = copies
        self.attribute = attribute
        self.at_end = at_end
        self.progress = progress
        self.result: FixedPointResult | None = None
        self._latest = -1  # the epoch before which the latest refit was

    # -- hooks -----------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Refit, if that has not been done before a validation, and log the refit."""
        self._step(trainer, pl_module, trainer.current_epoch)
        if self.result is not None and self._latest == trainer.current_epoch:
            for name, value in {
                "converged": float(self.result.status is Status.CONVERGED),
                "n_iter": float(self.result.n_iter),
                "objective": self.result.objective,
                "residual": self.result.residual,
            }.items():
                pl_module.log(f"fixed_point/{name}", value)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Refit for the epoch that comes, if an epoch of training has just ended."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and trainer.is_last_batch:
            self._step(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Refit to the weights that training ends with, if asked to."""
        if self.at_end:
            self._refit(trainer, pl_module, max(0, trainer.current_epoch - 1))

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints: a run that goes on does not refit again."""
        return {"latest": self._latest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Of a checkpoint."""
        self._latest = state_dict["latest"]

    # -- inside ----------------------------------------------------------------------------

    def _step(self, trainer: Any, pl_module: Any, epoch: int) -> None:
        if epoch > self._latest and self.schedule.due(epoch):
            self._refit(trainer, pl_module, epoch)
            self._latest = epoch

    def _refit(self, trainer: Any, pl_module: Any, epoch: int) -> None:
        copies = self.copies(trainer, pl_module) if callable(self.copies) else self.copies
        self.result = self.schedule.refit_(
            self._held_by(pl_module),
            _Converted(self._loader_of(trainer), trainer.precision_plugin),
            epoch,
            copies=[self._held_by(copy) for copy in copies],
            device=pl_module.device,
            progress=self.progress,
        )

    def _held_by(self, module: Any) -> Any:
        """The flow in a LightningModule, also an averaged one; other modules as they are."""
        inner = getattr(module, "module", module)
        if isinstance(inner, ClassFlow) or not hasattr(inner, "training_step"):
            return module
        if not hasattr(inner, self.attribute):
            raise InvalidInputError(
                f"attribute is {self.attribute!r}, which a {type(inner).__name__} does not have; "
                "name the one that holds the ClassFlow"
            )
        return getattr(inner, self.attribute)

    def _loader_of(self, trainer: Any) -> Iterable[Any]:
        loader = trainer.train_dataloader if self.loader is None else self.loader
        if isinstance(loader, dict | list | tuple) and self.loader is None:
            raise InvalidInputError(
                "the trainer has several training loaders; pass the one to fit to, loader="
            )
        return loader


class _Converted:
    """A loader whose batches have the dtype that the trainer's precision gives the flow."""

    def __init__(self, loader: Iterable[Any], precision: Any) -> None:
        self.loader = loader
        self.precision = precision

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return map(self.precision.convert_input, self.loader)
