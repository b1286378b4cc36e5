"""Whether a fit costs the likelihood that Gaussians which a flow was trained toward have."""

from collections.abc import Sequence
from typing import NamedTuple

from fpigauss import ClassGaussians, ClassStatistics
from fpigauss.interface import balanced_nll, warn_user
from fpigauss_torch._support import RepeatedRepulsionWarning

__all__ = ["Replacement", "warn_of_repeated_repulsion"]

#: How many nats per dimension a refit may cost. On digits, the second one costs .15 to .48 where it
#: follows after an epoch of training. Later ones cost .64 to .75 each at the same lam, .06 or more
#: wherever held-out likelihood lost half a nat per dimension, and nothing at a lam near zero.
_SECOND = 1.0
_LATER = 0.05


class Replacement(NamedTuple):
    """Gaussians, those that replace them, and the statistics of the latents under both."""

    before: ClassGaussians
    after: ClassGaussians
    statistics: ClassStatistics

    def likelihoods(self) -> tuple[float, float]:
        """Compute the balanced negative log-likelihood of the latents before and after."""
        like = self.statistics.means
        before, after = (
            balanced_nll(gaussians.to(like), self.statistics) for gaussians in self[:2]
        )
        return before, after


def warn_of_repeated_repulsion(
    replacements: Sequence[Replacement], n_fits: int, what: str, remedy: str
) -> None:
    """Warn once if some Gaussians, which ``n_fits`` fits have made, are replaced by far worse ones.

    Parameters
    ----------
    replacements : sequence of Replacement
        Those of a model and of its copies.
    n_fits : int
        How often the Gaussians were fitted before.
    what, remedy : str
        The beginning and the end of the message.
    """
    if not replacements:
        return
    dim = replacements[0].before.dim
    before, after = max(
        (replacement.likelihoods() for replacement in replacements),
        key=lambda pair: pair[1] - pair[0],
    )
    rise = (after - before) / dim
    if rise > (_SECOND if n_fits < 2 else _LATER):
        warn_user(
            f"{what} raises the balanced negative log-likelihood of the latents from {before:.5g} "
            f"to {after:.5g} nats, by {rise:.2g} per dimension: classes that are apart are "
            f"repelled once more; {remedy}",
            RepeatedRepulsionWarning,
        )
