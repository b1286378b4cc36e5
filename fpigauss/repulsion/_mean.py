"""Eq. 10: the mean divergence of all pairs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array
from fpigauss.repulsion._base import KnownRepulsion

__all__ = ["MeanRepulsion"]


@dataclass(frozen=True)
class MeanRepulsion(KnownRepulsion):
    """Eq. 10, ``pi="mean"``: pi = mean(D) over all ordered pairs, at the current Gaussians."""

    @property
    def is_mean_kld(self) -> bool:
        return type(self).measure is MeanRepulsion.measure

    def measure(self, blocks: Iterable[Array], n_classes: int) -> Any:
        # a scalar on its device: an evaluation brings it to the host with other numbers
        total = sum(namespace(block).sum(block) for block in blocks)
        return total / (n_classes * (n_classes - 1))
