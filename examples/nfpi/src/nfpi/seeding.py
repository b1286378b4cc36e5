"""Seed the global random generators for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["seeded"]


@contextmanager
def seeded(device: torch.device, *key: int) -> Iterator[None]:
    """Seed the global generators by ``key``, and restore their state afterwards."""
    state = np.random.SeedSequence(key).generate_state(2)
    before = np.random.get_state()  # noqa: NPY002  (the residual flow draws from it)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(state[0]))
        np.random.seed(state[1])  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002
