"""The schedule that says when the Gaussians are refitted during training, and how."""

import inspect
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import torch
from torch import nn

from fpigauss import (
    FixedPoint,
    FixedPointResult,
    InvalidInputError,
    UnreachableSeparationError,
)
from fpigauss.interface import RefitOptions, check_flag, check_whole
from fpigauss_torch._support import (
    ACCEPTED,
    Refit,
    check_accepted,
    check_fit,
    check_lam_once,
    check_outside_backward,
    modes_restored,
    starts_from_data,
)
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.refit._checks import (
    check_keywords,
    check_loader,
    check_prepare,
    fitted_of,
    flow_of,
    place_for,
)
from fpigauss_torch.refit._distributed import raised_together, take_over_first
from fpigauss_torch.refit._encoding import unlike_training, unpacked
from fpigauss_torch.refit._former import SINGLE, FormerSchedule, set_twice
from fpigauss_torch.refit._refit import refit_as_asked

__all__ = ["SEPARATION", "FixedPointSchedule"]

#: The separation where neither it nor a lam is given, in nats. On 10 to 100 classes of small
#: images, flows of up to 196 dimensions classify no better far beyond it.
SEPARATION = 150.0
#: The same in nats per dimension, which is more from 200 dimensions on: with 784 of them accuracy
#: rises from 184 to 538 nats, and no further.
SEPARATION_PER_DIM = 0.75
#: The paper refits before the first two epochs, when the flow is still far from separated
#: Gaussians; later refits are checked for what they cost.
_EARLY = 2
#: Options in the messages of fits.
_OPTION = re.compile(r"\b(alpha|max_iter|pi|shrinkage|tol|update)=")


@dataclass(frozen=True)
class FixedPointSchedule(FormerSchedule):
    """Refits before chosen epochs: by default the first two, after which the Gaussians are frozen.

    After early refits the flow trains toward targets that no longer move.

    Parameters
    ----------
    lam : float or callable, optional
        The weight of the repulsion, >= 0, in place of a separation; or a function of the epoch that
        gives it.
    separation : float or callable, optional
        How far apart classes are to be: the smallest KLD over ordered pairs, in nats, whatever
        their number; or a function of the epoch that gives it. Each refit finds its lam
        (``fpigauss.solve_separated``), which is 0 once the flow keeps the classes that far apart.
        The default is 150 nats, or .75 nats per dimension if that is more, unless ``fit`` has a
        lam. Gaussians that share their covariance, as ``LatentGaussians`` do by default, reach
        every separation, but with a number as ``pi``, or ``pi="initial"``, only about 700 alpha pi
        nats; others may not.
    epochs : collection of int or callable
        The epochs (from 0) before which to refit; or a function of the epoch that says
        whether to refit. With a ``separation``, later refits repel only what is still too close.
        With a ``lam`` every refit repels again, also classes that the flow already keeps apart: let
        it fall to 0, ``lam=lambda epoch: 2.5e3 if epoch < 2 else 0.0`` for ten classes.
    single_iteration : bool
        Take one step of the fixed point from the present Gaussians (the first time from the data),
        since a flow in training moves the optimum anyway; otherwise every refit starts from the
        data and runs until it converges. Each step repels, too, so this is for a small ``lam``,
        which has to be given.
    warm_up : int
        How many batches are encoded in train mode, without gradients, before the first refit:
        layers that are initialized by data (ActNorm) must have seen some. Other effects of train
        mode, such as the running statistics of batch normalization, take place here too.
    options : mapping
        The former place of ``fit``, ``accept`` and ``init``; deprecated.
    fit : FixedPoint, optional
        The options of every refit.
    accept : collection of str
        Statuses of a fit whose Gaussians replace the old ones: by default "converged",
        "max_iter" and "stalled".
    init : "current", optional
        Start from the present Gaussians, as in ``refit_``, and not as ``fit`` says.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used.

    See Also
    --------
    refit_ : one refit, at once.
    fpigauss_torch.lightning.FixedPointCallback : the same in a trainer.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentGaussians
    >>> same = (lambda x: (x, torch.zeros(len(x))), lambda z: z)
    >>> model = ClassFlow(None, LatentGaussians(3, 2), codec=same)
    >>> y = torch.arange(60) % 3
    >>> x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)) + 3 * y[:, None]
    >>> schedule = FixedPointSchedule(separation=50.0, epochs=(0, 2))
    >>> for epoch in range(3):
    ...     result = schedule.step(model, [(x, y)], epoch)
    ...     print(epoch, "frozen" if result is None else result.status)
    ...     # then train for one epoch
    0 converged
    1 frozen
    2 converged
    """

    lam: float | Callable[[int], float] | None = None
    epochs: Collection[int] | Callable[[int], bool] = (0, 1)
    single_iteration: bool = False
    warm_up: int = 0
    options: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    fit: FixedPoint | None = None
    accept: Collection[str] = ACCEPTED
    init: Literal["current"] | None = None
    separation: float | Callable[[int], float] | None = field(default=None, kw_only=True)

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Refuse unknown keywords: options of the fit by a message that says where they go."""
        check_keywords(options, inspect.signature(cls.__init__))
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check what can be checked without a model."""
        if not callable(self.epochs):
            object.__setattr__(self, "epochs", _as_epochs(self.epochs))
        check_flag(self.single_iteration, "single_iteration")
        object.__setattr__(self, "warm_up", check_whole(self.warm_up, "warm_up"))
        self._check_options()
        if not (self.init is None or (isinstance(self.init, str) and self.init == "current")):
            raise InvalidInputError(
                f'init is {self.init!r}; pass "current", or fit=FixedPoint(init=...)'
            )
        object.__setattr__(self, "accept", check_accepted(self.accept))
        fit = check_fit(self.fit)
        check_lam_once(self.lam, fit, self.separation)
        lam, separation = (None if callable(x) else x for x in (self.lam, self.separation))
        Refit.checked(lam, fit, {}, separation=separation)
        if self.single_iteration:
            if self.lam is None and fit.lam is None:
                raise InvalidInputError(
                    "single_iteration takes a step at a lam, and none is given; pass lam=, and no "
                    "separation"
                )
            for name in SINGLE:
                if getattr(fit, name) != getattr(FixedPoint(), name):
                    raise set_twice(name)
            if not starts_from_data(fit):
                raise set_twice("init")
        object.__setattr__(self, "fit", fit)

    def due(self, epoch: int) -> bool:
        """Return whether to refit before ``epoch``.

        Parameters
        ----------
        epoch : int
            From 0.

        Returns
        -------
        bool
        """
        epoch = check_whole(epoch, "epoch")
        return bool(self.epochs(epoch)) if callable(self.epochs) else epoch in self.epochs

    def step(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        epoch: int,
        *,
        copies: Sequence[nn.Module] = (),
        device: torch.device | str | None = None,
        prepare: Callable[[Any], Any] | None = None,
        max_batches: int | None = None,
        progress: bool = False,
    ) -> FixedPointResult | None:
        """Refit if ``epoch`` is due; call this at the start of every epoch.

        Parameters
        ----------
        model, loader, copies, device, prepare, max_batches, progress
            As in ``refit_``.
        epoch : int
            From 0.

        Returns
        -------
        FixedPointResult or None
            None if no refit was due.

        Raises
        ------
        InvalidInputError, RefitRejectedError
            As in ``refit_``.
        """
        if not self.due(epoch):
            return None
        # what overrides force may be older than these options
        given: dict[str, Any] = {"prepare": prepare, "max_batches": max_batches}
        options = {name: value for name, value in given.items() if value is not None}
        return self.force(
            model, loader, epoch, copies=copies, device=device, progress=progress, **options
        )

    def force(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        epoch: int,
        *,
        copies: Sequence[nn.Module] = (),
        device: torch.device | str | None = None,
        prepare: Callable[[Any], Any] | None = None,
        max_batches: int | None = None,
        progress: bool = False,
    ) -> FixedPointResult:
        """Refit as the schedule says for ``epoch``, whether it is due or not.

        Parameters
        ----------
        model, loader, copies, epoch, device, prepare, max_batches, progress
            As in ``step``.

        Returns
        -------
        FixedPointResult

        Raises
        ------
        InvalidInputError, RefitRejectedError
            As in ``refit_``.
        """
        single: RefitOptions = SINGLE if self.single_iteration else {}
        with raised_together():
            check_outside_backward("a refit")
            flow = flow_of(model)
            gaussians = fitted_of(flow)
            lam, separation = self._asked(epoch, gaussians.dim)
            fit = replace(self.fit or FixedPoint(), **single)
            init = "current" if self.single_iteration else self.init
            refit = Refit.checked(lam, fit, {}, init, separation)
            refit.of(gaussians.family)
            warms_up = self.warm_up > 0 and gaussians.coincide
            if warms_up:
                _warm_up(flow, loader, self.warm_up, device, prepare)
        if warms_up:
            take_over_first(flow)  # each process has initialized its layers with its own batches
        try:
            return refit_as_asked(
                model,
                loader,
                refit,
                accept=self.accept,
                copies=copies,
                device=device,
                prepare=prepare,
                max_batches=max_batches,
                progress=progress,
                early=epoch < _EARLY,
            )
        except (InvalidInputError, UnreachableSeparationError) as error:
            if _OPTION.search(str(error)):  # the message is that of a fit
                error.add_note("In a schedule, options go into fit=FixedPoint(...).")
            if isinstance(error, UnreachableSeparationError) and self._is_default:
                error.add_note(
                    f"{separation:g} nats are the default in {gaussians.dim} dimensions; "
                    "separation= asks for less."
                )
            raise

    def _asked(self, epoch: int, dim: int) -> tuple[float | None, float | None]:
        """Return the lam and the separation before ``epoch``; neither where the fit has a lam."""
        if self._is_default:
            return None, max(SEPARATION, SEPARATION_PER_DIM * dim)
        return _at(epoch, self.lam, "lam"), _at(epoch, self.separation, "separation")

    @property
    def _is_default(self) -> bool:
        """Whether how far apart classes are to be is not given."""
        return (
            self.lam is None and self.separation is None and (self.fit or FixedPoint()).lam is None
        )


# not that of __new__
FixedPointSchedule.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    list(inspect.signature(FixedPointSchedule.__init__).parameters.values())[1:]
)


def _at(epoch: int, given: float | Callable[[int], float] | None, name: str) -> float | None:
    """Return what is ``given`` for an epoch, by number or by function."""
    if not callable(given):
        return given
    value = given(epoch)
    if value is None:
        raise InvalidInputError(
            f"{name} is a function that returns None for epoch {epoch}; return a number for every "
            "epoch that is due"
        )
    return value


def _as_epochs(epochs: Any) -> tuple[int, ...]:
    if not isinstance(epochs, Collection) or isinstance(epochs, str):
        raise InvalidInputError(
            f"epochs is {epochs!r}; pass a collection of ints >= 0, or a function epoch -> bool"
        )
    numbers = tuple(sorted({check_whole(epoch, "epochs") for epoch in epochs}))
    if not numbers:
        raise InvalidInputError(
            "epochs is empty; name at least one epoch, or the Gaussians stay N(0, I)"
        )
    return numbers


def _warm_up(
    flow: ClassFlow,
    loader: Iterable[Any],
    n_batches: int,
    device: torch.device | str | None,
    prepare: Callable[[Any], Any] | None,
) -> None:
    """Encode batches in train mode; parts that are in eval mode within a training model stay so."""
    check_loader(loader, n_passes=2)
    check_prepare(prepare)
    place = place_for(flow, device)
    with unlike_training(), modes_restored(flow):
        if not flow.training:
            flow.train()
        for batch in itertools.islice(loader, n_batches):
            x, _ = unpacked(batch, prepare)
            flow.encode(x.to(place))
