"""Averaged models (EMA, SWA) whose average does not keep the integers among a flow's buffers."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fpigauss.interface import warn_user

__all__ = ["warn_of_averaged_integers"]


def warn_of_averaged_integers(averaged: AveragedModel, flow: nn.Module) -> None:
    """Warn if averages change integer buffers of ``flow``, which is the one in ``averaged``.

    Single integers are taken for counters; several may be indices, which an average must keep.
    """
    if not getattr(averaged, "use_buffers", False):
        return
    integers = {name: buffer for name, buffer in flow.named_buffers() if _are_integers(buffer)}
    if not integers:
        return
    most = max(int(x.max()) for x in integers.values())
    if _keeps(averaged, torch.arange(most + 1, device="cpu")):
        return
    names = list(integers)
    listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    warn_user(
        f"an AveragedModel with use_buffers=True averages the flow's integers ({listed}), and its "
        "average is rounded down: where they are indices, as in a permutation, the averaged flow "
        "encodes something else. Make it with use_buffers=False, which copies buffers, Gaussians "
        'included (normflows: or take Permute(mode="swap"), which has none)',
        RuntimeWarning,
    )


def _are_integers(buffer: Tensor) -> bool:
    numbers = not (buffer.is_floating_point() or buffer.is_complex() or buffer.dtype == torch.bool)
    return numbers and buffer.ndim > 0 and buffer.numel() > 0


def _keeps(averaged: AveragedModel, values: Tensor) -> bool:
    """Return whether an average of integers with themselves gives them back: some decays do."""
    numbers = nn.Module()
    numbers.register_buffer("values", values)
    average = AveragedModel(
        numbers,
        avg_fn=averaged.avg_fn,
        multi_avg_fn=averaged.multi_avg_fn,
        use_buffers=True,
    )
    try:
        for _ in range(3):
            average.update_parameters(numbers)
    except RuntimeError:  # not defined for integers: torch raises it in training, too
        return True
    return torch.equal(average.module.get_buffer("values"), values)
