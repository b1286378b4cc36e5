"""The callback: when a trainer's refits happen, and with what."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any, Literal

from torch import nn
from torch.optim.swa_utils import AveragedModel

from fpigauss import FixedPoint, FixedPointResult, InvalidInputError, Status
from fpigauss.interface import check_positive_integer
from fpigauss_torch._support import warn_of_averaged_integers
from fpigauss_torch.flow import ClassFlow, class_flow_of
from fpigauss_torch.lightning._bases import bases
from fpigauss_torch.lightning._batches import Converted, Prepared, apart
from fpigauss_torch.lightning._watch import InputWatch
from fpigauss_torch.refit import FixedPointSchedule
from fpigauss_torch.refit._checks import check_prepare

__all__ = ["FixedPointCallback"]


class FixedPointCallback(*bases()):  # type: ignore[misc]
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
        Averaged models to refit too, to their own latents; or a function of (trainer, module) that
        returns them; or "averaged" for those of the trainer's WeightAveraging. By default they keep
        the Gaussians that the flow is trained toward, copied or averaged like other buffers. A
        LightningModule among them must have its flow under the same attribute as the trained one.
    attribute : str
        The attribute of the LightningModule that has its ClassFlow, bare or wrapped; not used if
        the module is a ClassFlow itself.
    prepare : callable, optional
        A function that takes a batch of the loader, on the module's device, to the (x, y) that
        ``training_step`` gives the flow. By default the LightningModule's method
        ``prepare_refit_batch(batch)`` if it has one; otherwise batches are fitted as they are, and
        **what** ``training_step`` **or** ``on_after_batch_transfer`` **does to them is not
        applied**: the Gaussians would belong to latents that the flow is never trained on. If the
        trainer's own loader is used, a warning tells of a ``training_step`` that passes the flow
        samples of another mean or scale.
    max_batches : int, optional
        How many batches of the loader a refit reads. By default as many as the trainer's
        ``limit_train_batches`` lets an epoch have, if the loader is the trainer's own; all of them
        in a ``fast_dev_run`` if their number is known, since a batch or two lack classes.
    at_end : bool
        Also refit when training ends, with the schedule's ``lam`` for the last epoch: let that be 0
        or small, since a flow that was trained toward its Gaussians would be repelled again. List
        this callback after those that put averaged weights in place at that point
        (StochasticWeightAveraging, WeightAveraging).
    progress : bool
        Show progress bars.

    Attributes
    ----------
    result : FixedPointResult or None
        The latest refit.

    See Also
    --------
    fpigauss_torch.FixedPointSchedule : when to refit, and how.

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
        check_prepare(prepare)
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
        self._watch = InputWatch()
        self._watches = False  # whether the next batch of training is to be compared

    # -- hooks -----------------------------------------------------------------------------

    @property
    def state_key(self) -> str:
        """The key of the state in checkpoints, which tells callbacks of several flows apart."""
        settings = self._former_settings | {"lam": _named(self.schedule.lam)}
        fit = self.schedule.fit or FixedPoint()
        own = [option.name for option in fields(fit) if option.init]
        given = {name: getattr(fit, name) for name in own}
        usual = FixedPoint()
        settings |= {k: _named(v) for k, v in given.items() if v != getattr(usual, k)}
        return f"{type(self).__qualname__}{settings}"

    @property
    def _former_settings(self) -> dict[str, Any]:
        """What the key consisted of when callbacks that differ only in lam shared one."""
        epochs = _named(self.schedule.epochs)
        return {"attribute": self.attribute, "epochs": epochs, "at_end": self.at_end}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the state from a checkpoint of the time when callbacks had other keys."""
        states = checkpoint.get("callbacks") or {}
        name = type(self).__qualname__
        for former in (self.state_key, f"{name}{self._former_settings}", name):
            if former in states:
                self.load_state_dict(states[former])
                return

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Forget an earlier run if a new one starts; a checkpoint is loaded after this hook."""
        if stage == "fit" and trainer.current_epoch == 0:
            self._latest, self.result, self._watches = -1, None, False

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Warn of averages that change what the flow needs."""
        for averaged in _averaged_in(trainer):
            if averaged.use_buffers:
                flow = class_flow_of(self._flow_in(averaged), "the averaged flow")
                warn_of_averaged_integers(averaged, flow)

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Let the sanity check predict with Gaussians that are fitted after it."""
        self._expect_fit(pl_module, True)

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """Warn of such predictions from now on."""
        self._expect_fit(pl_module, False)

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

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Compare a batch with what ``training_step`` makes of it, after a refit to raw ones."""
        flow = self._flow_in(pl_module) if self._watches else None
        if isinstance(flow, ClassFlow):  # a compiled one would be compiled again
            self._watch.start(flow, batch)
        self._watches = False

    def on_train_batch_end(self, *args: Any) -> None:
        """End the comparison."""
        self._watch.stop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End the comparison."""
        self._watch.stop()
        if trainer.sanity_checking:
            self._expect_fit(pl_module, False)

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
        self._watches = prepare is None and self.loader is None and self.result is None
        if prepare is not None:
            options["prepare"] = Prepared(prepare, pl_module, trainer.precision_plugin)
        limit = self._limit_of(trainer)
        if limit is not None:
            options["max_batches"] = limit
        try:
            self.result = self.schedule.force(
                self._flow_in(pl_module),
                Converted(apart(self._loader_of(trainer)), trainer.precision_plugin),
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

    def _expect_fit(self, pl_module: Any, expected: bool) -> None:
        class_flow_of(self._flow_in(pl_module)).gaussians.fit_expected = expected

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
        averaged = _averaged_in(trainer)
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


def _averaged_in(trainer: Any) -> list[AveragedModel]:
    """Return the averaged models of callbacks, by type: Lightning has no public name for them."""
    return [
        value
        for callback in trainer.callbacks
        for value in vars(callback).values()
        if isinstance(value, AveragedModel)
    ]


def _named(value: Any) -> Any:
    """Return a value, or its name if its repr contains an address, which changes between runs."""
    if callable(value) or " at 0x" in repr(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    return value


def _goes_on(trainer: Any) -> bool:
    """Return whether another epoch follows the one that has seen its last batch."""
    n_epochs, n_steps = trainer.current_epoch + 1, trainer.global_step
    if trainer.max_epochs not in (None, -1) and n_epochs >= trainer.max_epochs:
        return False
    if trainer.max_steps != -1 and n_steps >= trainer.max_steps:
        return False
    may_stop = n_epochs >= (trainer.min_epochs or 0) and n_steps >= (trainer.min_steps or 0)
    return not (trainer.should_stop and may_stop)
