"""What a fit returns: Gaussians, how it ended, and how it got there."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from fpigauss.gaussians import ClassGaussians

__all__ = ["FixedPointResult", "History", "Status"]

#: Arrays by name, one entry per point: the start, then every accepted step.
History = dict[str, np.ndarray[Any, np.dtype[np.float64]]]


class Status(StrEnum):
    """How a fit ended; each member equals its string, and has a ``message`` in words.

    - ``"converged"``: the residual is at most ``tol`` and the forces on every covariance balance;
      the Gaussians are stationary.
    - ``"max_iter"``: ``max_iter`` evaluations were made first.
    - ``"stalled"``: no step improves any more, and the fit has not converged.
    - ``"unbounded"``: the objective runs away.
    - ``"diverged"``: a plain Picard iteration left the finite numbers; its last good iterate is
      returned.
    - ``"stopped"``: the callback raised StopIteration.
    - ``"running"``: in a callback, the fit is running.

    Examples
    --------
    >>> from fpigauss import Status
    >>> Status("stopped") == "stopped"
    True
    >>> Status.STOPPED.message
    'the callback raised StopIteration'
    """

    message: str

    def __new__(cls, value: str, message: str) -> "Status":
        """Make a string with a message."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.message = message
        return member

    CONVERGED = (
        "converged",
        "the residual fell to tol and the forces balance: the Gaussians are stationary",
    )
    MAX_ITER = (
        "max_iter",
        "max_iter evaluations were made before the residual fell to tol and the forces balanced",
    )
    STALLED = (
        "stalled",
        (
            "no step lowers the objective or the natural-gradient norm further, and the residual "
            "is above tol or the forces do not balance"
        ),
    )
    UNBOUNDED = "unbounded", "the objective runs away: a covariance inflates or collapses forever"
    DIVERGED = (
        "diverged",
        "an update was not finite or not positive definite; the last good iterate is returned",
    )
    STOPPED = "stopped", "the callback raised StopIteration"
    RUNNING = "running", "the fit is running"


@dataclass(frozen=True, eq=False)
class FixedPointResult:
    """The outcome of a fit.

    Attributes
    ----------
    gaussians : ClassGaussians
        One Gaussian per class, in the namespace, device and dtype of the input.
    status : Status
        "converged", "max_iter", "stalled", "unbounded", "diverged" or "stopped" ("running" in
        a callback); equal to these strings, with a ``message``.
    n_iter : int
        The number of evaluations, not counting the one at the start. Under ``solver="picard"``,
        the number of updates that were applied.
    objective : float
        L of Eq. 4 with its constants: at lam = 0 the balanced negative log-likelihood, summed
        over classes, in nats. Where pi depends on the Gaussians ("mean", a callable), it is that
        of the returned ones. Terms in which only ``frozen`` classes occur are left out, unless
        they depend on a shared covariance that is updated.
    residual : float
        How far one full update would still move: the larger of the largest Mahalanobis norm of
        the step of a mean, and the largest absolute log-eigenvalue of Sigma_y^-1 Sigma_y,new. It
        is not the distance to the solution: at 1e-6, distances of 5e-6 to 5e-4 were seen. Where
        classes nearly coincide it can be small far from a stationary point, so with the
        stationary equations "converged" also asks that the forces on every covariance, the pull
        of the data and the push of the other classes, cancel to ``100 tol`` of their sizes. For
        ``equations="released"``, the largest L2 change of a class in the last iteration
        (infinite before the first).
    pi : None, float or (K, K) array
        pi_KLD in force at the end; None for "forward", where each pair has its own. Pass it to a
        warm-started fit to continue with the same objective.
    history : dict of str to (n_steps + 1,) numpy array
        "objective", "residual", "step" (the part of the direction that was taken, 1 if all of
        it) and "smallest_kld" (not of two ``frozen`` classes), at the start and after every
        accepted step.
    lam : float or None
        The weight of the repulsion; None in results that were pickled before it was kept.
    """

    gaussians: ClassGaussians
    status: Status
    n_iter: int
    objective: float
    residual: float
    pi: Any
    history: History
    lam: float | None = None

    @property
    def converged(self) -> bool:
        """Whether the status is "converged"."""
        return self.status is Status.CONVERGED

    def __repr__(self) -> str:
        """Show the figures, without the arrays."""
        lam = "" if self.lam is None else f"lam={self.lam:.6g}, "
        return (
            f"FixedPointResult({lam}status={self.status.value!r}, n_iter={self.n_iter}, "
            f"objective={self.objective:.6g}, residual={self.residual:.2g})"
        )
