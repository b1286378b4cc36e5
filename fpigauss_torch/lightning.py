"""A callback that refits in Lightning, for ``lightning`` and for ``pytorch_lightning``."""

import copy
import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from fpigauss import FixedPointResult, InvalidInputError, Status
from fpigauss.interface import check_positive_integer
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.refit import FixedPointSchedule

__all__ = ["FixedPointCallback"]


def _bases() -> tuple[type, ...]:
    """Return ``Callback`` of every installed Lightning: a trainer knows only its own package's."""
    found = []
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            found.append(importlib.import_module(name).Callback)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    if not found:
        raise ImportError(
            "neither lightning nor pytorch_lightning is installed; pip install lightning"
        )
    return tuple(found)


class FixedPointCallback(*_bases()):  # type: ignore[misc]
    """Refits the class Gaussians of a LightningModule's flow as a schedule says.

    A refit that is due before epoch e happens right before the validation that ends epoch e - 1,
    so that metrics, and the checkpoints chosen by them, belong to one flow and one set of
    Gaussians. For epoch 0, and where no validation ends an epoch, it happens as epoch e starts.
    There is no refit for an epoch that the trainer's limits leave out; a callback that stops the
    run because of a validation, such as EarlyStopping, comes after the refit before it.
    The sanity check comes before any refit: its metrics are those of Gaussians N(0, I).

    The refit that epoch e trains with is logged with the epoch's training metrics:
    ``fixed_point/converged`` (1 or 0), ``fixed_point/n_iter``, ``fixed_point/objective`` and
    ``fixed_point/residual``. The flow encodes in its own precision, outside the trainer's autocast.

    Parameters
    ----------
    schedule : FixedPointSchedule
        When to refit, and how.
    loader : iterable of (x, y), optional
        The data to encode: ideally the training data without augmentation, not shuffled, and
        without dropping rows. By default the trainer's own training loader.
    copies : sequence of modules, callable, or "averaged"
        Averaged models, which are refitted to their own latents; or a function of (trainer,
        module) that returns them; or "averaged" for those of the trainer's WeightAveraging. A
        LightningModule among them must have its flow under the same attribute as the trained one.
    attribute : str
        The attribute of the LightningModule that has its ClassFlow, bare or wrapped; not used if
        the module is a ClassFlow itself.
    prepare : callable, optional
        A function that takes a batch of the loader, on the module's device, to the (x, y) that
        ``training_step`` gives the flow. By default the LightningModule's method
        ``prepare_refit_batch(batch)`` if it has one; otherwise batches are fitted as they are, and
        what ``training_step`` or ``on_after_batch_transfer`` does to them is not applied.
    max_batches : int, optional
        How many batches of the loader a refit reads. By default as many as the trainer's
        ``limit_train_batches`` lets an epoch have, if the loader is the trainer's own; all of them
        in a ``fast_dev_run`` if their number is known, since a batch or two lack classes.
    at_end : bool
        Also refit when training ends. List this callback after those that put averaged weights in
        place at that point (StochasticWeightAveraging, WeightAveraging).
    progress : bool
        Show progress bars.

    Attributes
    ----------
    result : FixedPointResult or None
        The latest refit.

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
        copies: Sequence[nn.Module]
        | Callable[[Any, Any], Sequence[nn.Module]]
        | Literal["averaged"] = (),
        attribute: str = "model",
        prepare: Callable[[Any], Any] | None = None,
        max_batches: int | None = None,
        at_end: bool = False,
        progress: bool = False,
    ) -> None:
        """Check the schedule."""
        super().__init__()
        if not isinstance(schedule, FixedPointSchedule):
            raise InvalidInputError(
                f"schedule is a {type(schedule).__name__}; pass a FixedPointSchedule"
            )
        if isinstance(copies, str) and copies != "averaged":
            raise InvalidInputError(
                f'copies is {copies!r}; pass "averaged", modules, or a function that returns them'
            )
        if not (prepare is None or callable(prepare)):
            raise InvalidInputError(
                f"prepare is a {type(prepare).__name__}; pass a function batch -> (x, y)"
            )
        self.schedule = schedule
        self.loader = loader
        self.copies = copies
        self.attribute = attribute
        self.prepare = prepare
        self.max_batches = (
            None if max_batches is None else check_positive_integer(max_batches, "max_batches")
        )
        self.at_end = at_end
        self.progress = progress
        self.result: FixedPointResult | None = None
        self._latest = -1  # the latest epoch before which there was a refit

    # -- hooks -----------------------------------------------------------------------------

    @property
    def state_key(self) -> str:
        """The key of the state in checkpoints, which tells callbacks of several flows apart."""
        epochs: Any = self.schedule.epochs
        if callable(epochs):  # a function's repr has its address, which changes between runs
            epochs = getattr(epochs, "__qualname__", type(epochs).__qualname__)
        settings = {"attribute": self.attribute, "epochs": epochs, "at_end": self.at_end}
        return f"{type(self).__qualname__}{settings}"

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the state from a checkpoint of the time when all callbacks had the same key."""
        states = checkpoint.get("callbacks") or {}
        former = states.get(type(self).__qualname__)
        if former is not None and self.state_key not in states:
            self.load_state_dict(former)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Forget an earlier run if a new one starts; a checkpoint is loaded after this hook."""
        if stage == "fit" and trainer.current_epoch == 0:
            self._latest, self.result = -1, None

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Refit if that has not been done before a validation, and log the refit."""
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
        """Refit for the coming epoch if an epoch of training has just ended, not the last."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not trainer.is_last_batch:
            return
        if _goes_on(trainer):
            self._step(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Refit to the weights that training ends with, if ``at_end`` says so."""
        if self.at_end:
            self._refit(trainer, pl_module, max(0, trainer.current_epoch - 1))

    def state_dict(self) -> dict[str, Any]:
        """Return the state for checkpoints: a run that is resumed does not refit again."""
        return {"latest": self._latest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._latest = state_dict["latest"]

    # -- inside ----------------------------------------------------------------------------

    def _step(self, trainer: Any, pl_module: Any, epoch: int) -> None:
        if epoch > self._latest and self.schedule.due(epoch):
            self._refit(trainer, pl_module, epoch)
            self._latest = epoch

    def _refit(self, trainer: Any, pl_module: Any, epoch: int) -> None:
        copies = self._copies_of(trainer, pl_module)
        options: dict[str, Any] = {}  # only those that are asked for: schedules may override force
        prepare = self.prepare
        if prepare is None:
            prepare = getattr(pl_module, "prepare_refit_batch", None)
        if prepare is not None:
            options["prepare"] = _Prepared(prepare, pl_module, trainer.precision_plugin)
        limit = self._limit_of(trainer)
        if limit is not None:
            options["max_batches"] = limit
        try:
            self.result = self.schedule.force(
                self._flow_in(pl_module),
                _Converted(_apart(self._loader_of(trainer)), trainer.precision_plugin),
                epoch,
                copies=[self._flow_in(other) for other in copies],
                device=pl_module.device,
                progress=self.progress,
                **options,
            )
        except InvalidInputError as error:
            if limit is not None and self.max_batches is None:
                error.add_note(
                    f"limit_train_batches lets this refit read {limit} batches; "
                    "FixedPointCallback(max_batches=...) or (loader=...) lets it read more."
                )
            raise

    def _flow_in(self, module: Any) -> Any:
        """Return the flow in a LightningModule, averaged or not; other modules as they are."""
        inner = getattr(module, "module", module)
        if isinstance(inner, ClassFlow) or not hasattr(inner, "training_step"):
            return module
        if not hasattr(inner, self.attribute):
            raise InvalidInputError(
                f"attribute is {self.attribute!r}, which a {type(inner).__name__} does not have; "
                "pass the name of the attribute that has the ClassFlow"
            )
        return getattr(inner, self.attribute)

    def _loader_of(self, trainer: Any) -> Iterable[Any]:
        loader = trainer.train_dataloader if self.loader is None else self.loader
        if isinstance(loader, dict | list | tuple) and self.loader is None:
            raise InvalidInputError(
                "the trainer has several training loaders; pass the one to fit to as loader="
            )
        return loader

    def _copies_of(self, trainer: Any, pl_module: Any) -> Sequence[nn.Module]:
        if not isinstance(self.copies, str):
            return self.copies(trainer, pl_module) if callable(self.copies) else self.copies
        # found by type, since Lightning has no public name for them
        averaged = [
            value
            for callback in trainer.callbacks
            for value in vars(callback).values()
            if isinstance(value, AveragedModel)
        ]
        if not averaged:
            raise InvalidInputError(
                'copies is "averaged", and no callback of the trainer has an AveragedModel; add a '
                "WeightAveraging, or pass the models"
            )
        return averaged

    def _limit_of(self, trainer: Any) -> int | None:
        """Return how many batches to read, or None for all of them."""
        if self.max_batches is not None or self.loader is not None:
            return self.max_batches
        try:
            length: float = len(trainer.train_dataloader)
        except (TypeError, NotImplementedError):
            length = math.inf
        limit = trainer.num_training_batches
        in_full = limit >= length or (trainer.fast_dev_run and length < math.inf)
        return None if in_full else int(limit)


def _goes_on(trainer: Any) -> bool:
    """Return whether another epoch follows the one that has seen its last batch."""
    n_epochs, n_steps = trainer.current_epoch + 1, trainer.global_step
    if trainer.max_epochs not in (None, -1) and n_epochs >= trainer.max_epochs:
        return False
    if trainer.max_steps != -1 and n_steps >= trainer.max_steps:
        return False
    may_stop = n_epochs >= (trainer.min_epochs or 0) and n_steps >= (trainer.min_steps or 0)
    return not (trainer.should_stop and may_stop)


def _apart(loader: Iterable[Any]) -> Iterable[Any]:
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


class _Converted:
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


class _Prepared:
    """A function that prepares batches on the device and in the dtype of ``training_step``."""

    def __init__(self, prepare: Callable[[Any], Any], module: Any, precision: Any) -> None:
        self.prepare = prepare
        self.module = module
        self.precision = precision

    def __call__(self, batch: Any) -> Any:
        moved = self.module.transfer_batch_to_device(batch, self.module.device, 0)
        # what is drawn meanwhile has torch's default dtype, and promotes the rest
        return self.precision.convert_input(self.prepare(moved))
