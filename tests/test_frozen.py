"""Classes held fixed (`frozen=`): kept exactly while the others are fitted and repelled by all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, asarray_in, blobs, dtype_name, to_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import PIS, Oracle, draw, loss_in_torch
from problems import point, quiet

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    FixedPoint,
    FixedPointResult,
    InvalidInputError,
    NotPositiveDefiniteError,
    critical_lam,
    fit_fixed_point,
    pairwise_kld,
    solve_fixed_point,
)

#: Forces cancel to this part of their sizes where a fit with the default tol has converged.
BALANCED = 1e-3


@dataclass(frozen=True)
class Held:
    """A random problem with frozen classes, the start of its fit, and the options."""

    seed: int
    oracle: Oracle
    start: tuple[np.ndarray, Any]
    options: dict[str, Any]

    @property
    def frozen(self) -> np.ndarray:
        return self.oracle.frozen

    def fit(self, **more: Any) -> FixedPointResult:
        oracle = self.oracle
        with quiet():
            return fit_fixed_point(oracle.z, oracle.y, oracle.lam, **{**self.options, **more})

    @property
    def name(self) -> str:
        o = self.options
        return (
            f"{self.seed}: {o['covariance']} tied={o['tied']} update={o['update']} pi={o['pi']} "
            f"lam={self.oracle.lam:.3g} frozen={o['frozen']} init={list(o['init'].classes)}"
        )


def drawn(seed: int, *, largest_lam: float = 1e3, **fixed: Any) -> Held:
    """Freeze some classes of a random problem where other Gaussians are than the data say.

    Some of the frozen classes have no rows, and `init` has some of the others.
    """
    base = draw(seed, largest_lam=largest_lam)
    oracle, options = base.oracle, {**base.options, **fixed}
    rng = np.random.default_rng([seed, 55])
    n_classes, dim = oracle.shape
    frozen = rng.random(n_classes) < 0.5
    frozen[rng.integers(n_classes)] = False
    if not frozen.any():
        frozen[(int(np.argmax(~frozen)) + 1) % n_classes] = True
    z, y = oracle.z, oracle.y
    kept = ~np.isin(y, np.flatnonzero(frozen & (rng.random(n_classes) < 0.5)))
    known = frozen | (rng.random(n_classes) < 0.3)
    plain = {name: options[name] for name in ("covariance", "tied", "alpha", "update")}
    pi = "forward" if options["pi"] == "initial" else options["pi"]
    means, covariances = Oracle(z, y, oracle.lam, pi=pi, **plain).start()
    shifted = means + rng.standard_normal(means.shape)
    scale = np.exp(rng.uniform(-1, 1, size=() if options["tied"] else (n_classes,)))
    scaled = covariances * scale.reshape(scale.shape + (1,) * (covariances.ndim - scale.ndim))
    rows = known.reshape((-1,) + (1,) * (scaled.ndim - 1))
    start = (
        np.where(known[:, None], shifted, means),
        scaled if options["tied"] else np.where(rows, scaled, covariances),
    )
    init = ClassGaussians(
        shifted[known],
        scaled if options["tied"] else scaled[known],
        covariance=options["covariance"],
        tied=options["tied"],
        classes=np.flatnonzero(known),
    )
    options |= {"init": init, "frozen": tuple(np.flatnonzero(frozen).tolist())}
    held = Oracle(z[kept], y[kept], oracle.lam, pi=pi, frozen=frozen, **plain)
    return Held(seed, held, start, options)


def pi_at(held: Held, result: FixedPointResult) -> Any:
    """The pi that judges a result: that of the start where it is measured once."""
    if held.options["pi"] == "initial":
        return result.pi
    return held.oracle.measured(*point(result))
