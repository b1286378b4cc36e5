"""The lam at which the repulsion balances the data, for classes some KLD apart."""

import math
from typing import Any

import numpy as np

from fpigauss.fit._options import Options

__all__ = ["log_balance"]


def log_balance(options: Options, pi: Any, n_classes: int, kld: float) -> float:
    """Compute log lam = log (K - 1) / (2 W) for all pairs ``kld`` nats apart, where they settle.

    That is for tied families and data that are negligible beside the repulsion. ``pi`` is that of
    a fit's result. Where pi moves with the Gaussians, W falls as 1 / D, as that of "forward" does.
    """
    repulsion = options.strategies.repulsion.at_start(pi)
    few = math.log(0.5 * (n_classes - 1))
    if repulsion.has_potential and (pi is None or isinstance(pi, float)):
        with np.errstate(all="ignore"):  # W may vanish
            kernel = repulsion.kernel(np.asarray(kld), pi, options.alpha)
            return few - float(np.log(kernel))
    strength = 1.0 / options.alpha + math.log(options.alpha)
    return few + strength + (math.log(kld) if kld > 0.0 else -math.inf)
