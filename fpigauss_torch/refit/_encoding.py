"""One pass of a data set through a flow: the statistics of its latents."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fpigauss import ClassStatistics, InvalidInputError
from fpigauss.interface import progress_bar
from fpigauss_torch._support import evaluating, hard_labels
from fpigauss_torch.flow import ClassFlow

__all__ = ["own_statistics", "unlike_training", "unpacked"]

#: Numbers of latents that are held until they are added up: a class at a time, in few batches most
#: classes have a row or two, and adding them up would cost more than encoding them.
_HELD = 2**22


class _Encoded(NamedTuple):
    """The labelled rows of one batch of the loader."""

    batch: int
    rows: Tensor  # their places in the batch, on the host as the labels are
    labels: Tensor
    z: Tensor


def own_statistics(
    flow: ClassFlow, loader: Iterable[Any], device: torch.device, progress: bool
) -> ClassStatistics:
    """The statistics of this process's samples; zeros if it has none.

    Whatever ends the pass early leaves with the statistics of the batches before it as its
    attribute ``statistics``, as from ``ClassStatistics.from_batches``.
    """
    total, held, n_held = _of_nothing(flow), list[_Encoded](), 0
    with (
        unlike_training(),
        evaluating(flow),
        progress_bar(loader, progress, "statistics") as batches,
    ):
        try:
            for place, batch in enumerate(batches):
                try:
                    held.append(_encoded(flow, place, batch, device))
                except InvalidInputError as error:
                    raise InvalidInputError(f"batch {place}: {error}") from error
                n_held += held[-1].z.numel()
                if n_held >= _HELD:
                    # one assignment: an interrupt finds all of it, or nothing
                    total, held, n_held = _added(total, held), [], 0
            return _added(total, held)
        except BaseException as error:
            before = list(takewhile(lambda part: bool(part.z.isfinite().all()), held))
            with suppress(InvalidInputError):  # sums that overflow: without what is held, then
                total = _added(total, before)
            _carry(error, total)
            raise


def _encoded(flow: ClassFlow, place: int, batch: Any, device: torch.device) -> _Encoded:
    """A batch in latents of the Gaussians' dtype."""
    gaussians = flow.gaussians
    x, y = unpacked(batch)
    y, _ = hard_labels(
        y, gaussians.n_classes, device=torch.device("cpu"), rows=len(x), unlabelled=True, name="y"
    )
    rows = (y >= 0).nonzero()[:, 0]
    if len(rows) == 0:
        return _Encoded(place, rows, y[rows], gaussians.means[:0])
    if len(rows) < len(x):
        x = x[rows.to(x.device)]
    z, _ = flow.encode(x.to(device, non_blocking=True))
    return _Encoded(place, rows, y[rows], z.detach().to(gaussians.means))


def unpacked(batch: Any) -> tuple[Tensor, Any]:
    """Samples and labels of a batch."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise InvalidInputError(
            f"loader yields a {type(batch).__name__} here"
            + (f" of {len(batch)}" if isinstance(batch, tuple | list) else "")
            + "; wrap it in an object whose __iter__ yields (x, y), or pass a list of them"
        )
    x, y = batch
    if not isinstance(x, Tensor) or x.ndim == 0:
        raise InvalidInputError(
            f"x is a {type(x).__name__}; collate the samples to one tensor (N, ...)"
        )
    return x, y


# -- statistics ----------------------------------------------------------------------------


def _of_nothing(flow: ClassFlow) -> ClassStatistics:
    gaussians = flow.gaussians
    means = torch.zeros_like(gaussians.means)
    covariances = means
    if gaussians.statistics_kind == "dense":
        covariances = means.new_zeros(*means.shape, gaussians.dim)
    classes = np.arange(gaussians.n_classes)
    return ClassStatistics(means[:, 0], means, covariances, classes=classes, closed=True)


def _added(total: ClassStatistics, parts: Sequence[_Encoded]) -> ClassStatistics:
    """The statistics with those of more batches."""
    if sum(len(part.rows) for part in parts) == 0:
        return total
    try:
        return total.update(
            torch.cat([part.z for part in parts]), torch.cat([part.labels for part in parts])
        )
    except InvalidInputError:
        _check_finite(parts)
        raise


def _check_finite(parts: Sequence[_Encoded]) -> None:
    """An error that names batch, row and class of the first latent that is not finite."""
    for part in parts:
        faulty = (~part.z.isfinite()).any(1)
        if bool(faulty.any()):
            first = int(faulty.nonzero()[0, 0])
            raise InvalidInputError(
                f"batch {part.batch}: the latents hold NaN or infinity in row "
                f"{int(part.rows[first])}, of class {int(part.labels[first])}; drop that sample, "
                "or go back to weights that encode it"
            )


def _carry(error: BaseException, statistics: ClassStatistics) -> None:
    """Hang the statistics on an exception, and say so where its traceback is shown."""
    if bool(statistics.counts.any()):
        with suppress(AttributeError, TypeError):  # an exception may refuse new attributes
            error.statistics = statistics  # type: ignore[attr-defined]
            error.add_note(
                "The statistics of the batches before are the attribute `statistics` of this "
                "exception."
            )


# -- around it -----------------------------------------------------------------------------


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
