"""What a fit returns: Gaussians, how it ended, and how it got there."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import ClassGaussians

if TYPE_CHECKING:
    from fpigauss.fit import FixedPointGradient

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

    See Also
    --------
    FixedPointResult : has one.

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

    See Also
    --------
    Status : how a fit ended.
    fpigauss.plot.HistoryDisplay : draws its history.
    FixedPointGradient : what ``vjp`` gives.
    """

    gaussians: ClassGaussians
    status: Status
    n_iter: int
    objective: float
    residual: float
    pi: Any
    history: History
    lam: float | None = None

    #: What ``vjp`` needs of the fit: an object that has a ``vjp``. Not a field, nor pickled.
    _adjoint: ClassVar[Any] = None

    def vjp(self, means: Any = None, covariances: Any = None) -> "FixedPointGradient":
        """Compute the gradient of a function of the fitted Gaussians, in what they depend on.

        It is that of the fixed point itself, by the implicit function theorem: one symmetric
        linear system, solved by products with the Hessian of the objective, each about an
        evaluation, whatever the number of iterations that the fit took. ``gradient.of_samples``
        goes on to the samples and their weights.

        The stationary point that the fit found is followed, as it moves with the statistics, with
        ``lam`` and with what is held. ``pi="initial"``, and means or covariances that are not
        updated, are followed back to the initial Gaussians; ``pi="mean"`` moves along. A function
        or a repulsion of your own as ``pi`` is held at the values that it had. Gaussians passed as
        ``init`` act only as what is held, ``frozen`` classes included, and where ``pi`` is
        measured. A ``lam`` that was found for a separation is held.

        Parameters
        ----------
        means : (K, d) array, optional
            The function's gradient in the fitted means; zero by default.
        covariances : array, optional
            The function's gradient in the fitted covariances, in their shape.

        Returns
        -------
        FixedPointGradient

        Raises
        ------
        NotDifferentiableError
            If the fit did not converge, or the linear system is singular or nearly so.
        InvalidInputError
            If an argument cannot be used, the equations are not "stationary", or this result was
            unpickled or is one of a callback.

        Warns
        -----
        SaddlePointWarning
            If the objective curves downward somewhere: the gradient is valid, but that of a
            saddle point.

        Examples
        --------
        How the distance of two means changes with ``lam``:

        >>> from fpigauss import fit_fixed_point
        >>> result = fit_fixed_point([[0.0], [2.0], [3.0], [5.0]], [0, 0, 1, 1], 3.0, tied=True)
        >>> gradient = result.vjp(means=[[-1.0], [1.0]])
        >>> round(gradient.lam, 4)
        0.1016
        """
        if self._adjoint is None:
            raise InvalidInputError(
                "this result does not have the problem that it solved: it was copied or unpickled, "
                "or is one of a callback; to differentiate it, fit again, from result.gaussians "
                "as init"
            )
        gradient: FixedPointGradient = self._adjoint.vjp(means, covariances)
        return gradient

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the problem: what is pickled are figures and Gaussians."""
        return {name: value for name, value in vars(self).items() if name != "_adjoint"}

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
