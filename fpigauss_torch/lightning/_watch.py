"""Whether ``training_step`` gives the flow what the loader yields, which is what refits encode."""

from typing import Any

import torch
from torch import Tensor, nn

from fpigauss.interface import warn_user

__all__ = ["InputWatch"]


class InputWatch:
    """Compares one batch with what a training step makes of it, and warns where they differ.

    Samples that keep their mean and their spread, as augmented ones do, move by at most two
    standard deviations (root mean square; the triangle inequality). What moves farther has been
    scaled or shifted, and the latents of the original batch are not those that the flow is trained
    on.
    """

    def __init__(self) -> None:
        """Start without a flow."""
        self._handle: Any = None

    def start(self, flow: nn.Module, batch: Any) -> None:
        """Watch the next call of ``flow``, which is about to be trained with ``batch``."""
        self.stop()
        if not (isinstance(batch, tuple | list) and batch and isinstance(batch[0], Tensor)):
            return
        given = batch[0]

        def compare(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.stop()
            seen = args[0] if args else kwargs.get("x")
            if isinstance(seen, Tensor) and not torch.compiler.is_compiling():
                _compare(given, seen)

        self._handle = flow.register_forward_pre_hook(compare, with_kwargs=True)

    def stop(self) -> None:
        """Leave the flow alone."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None


@torch.no_grad()
def _compare(given: Tensor, seen: Tensor) -> None:
    if given.numel() != seen.numel() or given.device != seen.device:
        return  # nothing can be told
    before, after = (x.detach().float().flatten() for x in (given, seen))
    moved = (after - before).square().mean().sqrt()
    if moved > 2.0 * after.std(correction=0):
        was, gets = (f"mean {x.mean():.3g}, deviation {x.std():.3g}" for x in (before, after))
        warn_user(
            f"training_step gives the flow other samples ({gets}) than the loader yields ({was}), "
            "and the Gaussians were fitted to the latents of the latter: give the "
            "LightningModule a method prepare_refit_batch(batch) that returns the (x, y) that the "
            "flow gets, or pass FixedPointCallback(prepare=...)",
            UserWarning,
        )
