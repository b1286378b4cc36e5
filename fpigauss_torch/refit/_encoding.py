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
from fpigauss_torch._support import as_tensor, evaluating, hard_labels
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.refit._checks import Prepare, fitted_of

__all__ = ["own_statistics", "unlike_training", "unpacked"]

#: How many numbers of latents, and how many rows per class, are collected before they are added to
#: the statistics: enough to repay the fixed cost of an addition, and its pass over all classes.
_HELD = 2**22
_HELD_PER_CLASS = 4


class _Encoded(NamedTuple):
    """The labeled rows of one batch of the loader."""

    batch: int
    rows: Tensor  # their positions in the batch; on the host, like the labels
    labels: Tensor
    z: Tensor


def own_statistics(
    flow: ClassFlow,
    loader: Iterable[Any],
    device: torch.device,
    progress: bool,
    prepare: Prepare | None = None,
) -> ClassStatistics:
    """Gather the statistics of this process's samples; zeros if it has none.

    An exception that ends the pass early carries the statistics of the batches before it in its
    attribute ``statistics``, as in ``ClassStatistics.from_batches``.
    """
    total, held, n_held = _empty(flow), list[_Encoded](), 0
    enough = max(_HELD // total.dim, _HELD_PER_CLASS * total.n_classes)
    with (
        unlike_training(),
        evaluating(flow),
        progress_bar(loader, progress, "statistics") as batches,
    ):
        try:
            for place, batch in enumerate(batches):
                try:
                    held.append(_encoded(flow, place, batch, device, prepare))
                except InvalidInputError as error:
                    raise InvalidInputError(f"batch {place}: {error}") from error
                n_held += len(held[-1].rows)
                if n_held >= enough:
                    # one assignment, so that an interrupt finds all of it done or nothing
                    total, held, n_held = _added(total, held), [], 0
            return _added(total, held)
        except BaseException as error:
            before = list(takewhile(lambda part: bool(part.z.isfinite().all()), held))
            with suppress(InvalidInputError):  # if the sums overflow, leave out what was collected
                total = _added(total, before)
            _carry(error, total)
            raise


def _encoded(
    flow: ClassFlow, place: int, batch: Any, device: torch.device, prepare: Prepare | None
) -> _Encoded:
    """Encode a batch to latents on the Gaussians' device."""
    gaussians = fitted_of(flow)
    x, y = unpacked(batch, prepare)
    y, _ = hard_labels(
        y, gaussians.n_classes, device=torch.device("cpu"), rows=len(x), unlabeled=True, name="y"
    )
    rows = (y >= 0).nonzero()[:, 0]
    if len(rows) == 0:
        return _Encoded(place, rows, y[rows], gaussians.means[:0])
    if len(rows) < len(x):
        x = x[rows.to(x.device)]
    z, _ = flow.encode(x.to(device, non_blocking=True))
    return _Encoded(place, rows, y[rows], z.detach().to(gaussians.means.device))


def unpacked(batch: Any, prepare: Prepare | None = None) -> tuple[Tensor, Any]:
    """Take a batch apart into samples and labels, by ``prepare`` if there is one."""
    if prepare is not None:
        batch = prepare(batch)
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        kind = type(batch).__name__
        size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
        if prepare is not None:
            raise InvalidInputError(f"prepare returns a {kind}{size} here; return (x, y)")
        raise InvalidInputError(
            f"loader yields a {kind} here{size}; pass prepare=, a function that takes such a batch "
            "to (x, y), or a loader that yields (x, y)"
        )
    x, y = batch
    dtype = torch.get_default_dtype() if isinstance(x, list | tuple) else None
    samples = as_tensor(x, "x", "collate the samples into one tensor or array (N, ...)", dtype)
    if samples.ndim == 0:
        raise InvalidInputError(
            f"x is a {type(x).__name__}; collate the samples into one tensor or array (N, ...)"
        )
    return samples, y


# -- statistics ----------------------------------------------------------------------------


def _empty(flow: ClassFlow) -> ClassStatistics:
    gaussians = fitted_of(flow)
    means = torch.zeros_like(gaussians.means)
    covariances = means
    if gaussians.statistics_kind == "dense":
        covariances = means.new_zeros(*means.shape, gaussians.dim)
    classes = np.arange(gaussians.n_classes)
    return ClassStatistics(means[:, 0], means, covariances, classes=classes, closed=True)


def _added(total: ClassStatistics, parts: Sequence[_Encoded]) -> ClassStatistics:
    """Add the statistics of more batches."""
    parts = [part for part in parts if len(part.rows) > 0]
    if not parts:
        return total
    try:
        return total.update(
            _joined([part.z for part in parts]), _joined([part.labels for part in parts])
        )
    except InvalidInputError:
        _check_finite(parts)
        raise


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors, without a copy if there is only one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _check_finite(parts: Sequence[_Encoded]) -> None:
    """Raise an error that names batch, row and class of the first latent that is not finite."""
    for part in parts:
        faulty = (~part.z.isfinite()).any(1)
        if bool(faulty.any()):
            first = int(faulty.nonzero()[0, 0])
            raise InvalidInputError(
                f"batch {part.batch}: the latents contain NaN or infinity in row "
                f"{int(part.rows[first])}, of class {int(part.labels[first])}; drop that sample, "
                "return to weights that encode it, or pass prepare=, a function that scales a "
                "batch as in training"
            )


def _carry(error: BaseException, statistics: ClassStatistics) -> None:
    """Attach the statistics to an exception, with a note that its traceback shows."""
    if bool(statistics.counts.any()):
        with suppress(AttributeError, TypeError):  # some exceptions refuse new attributes
            error.statistics = statistics  # type: ignore[attr-defined]
            error.add_note(
                "The attribute `statistics` of this exception has the statistics of the batches "
                "before it."
            )


# -- modes of torch ------------------------------------------------------------------------


@contextmanager
def unlike_training() -> Iterator[None]:
    """Turn gradients off without inference mode, whose tensors training could not go on with.

    Autocast stays as it is, except that it does not cache the weights it casts: older versions of
    torch would train with those, which have no gradients, in the same autocast region.
    """
    with torch.inference_mode(False), torch.no_grad():
        cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            yield
        finally:
            torch.set_autocast_cache_enabled(cached)
