"""Gaussians that carry the gradient of the fit that made them."""

from dataclasses import dataclass

from torch import Tensor

from fpigauss import ClassGaussians, FixedPointResult, RunningStatistics, Status

__all__ = ["DifferentiableFit"]


@dataclass(frozen=True, eq=False)
class DifferentiableFit:
    """The outcome of a fit as a layer.

    Attributes
    ----------
    gaussians : ClassGaussians
        The fitted Gaussians, with differentiable means, covariances, ``class_log_prob`` and
        ``log_prob``.
    result : FixedPointResult
        The fit itself, without gradients: its status, residual, history.
    memory : RunningStatistics or None
        If a memory was passed, the one with this batch in it, to pass with the next.

    See Also
    --------
    fixed_point_layer : gives one.
    """

    gaussians: ClassGaussians
    result: FixedPointResult
    memory: RunningStatistics | None = None

    @property
    def means(self) -> Tensor:
        """The fitted means (K, d), differentiable."""
        means: Tensor = self.gaussians.means
        return means

    @property
    def covariances(self) -> Tensor:
        """The fitted covariances in the shape of their family, differentiable."""
        covariances: Tensor = self.gaussians.covariances
        return covariances

    @property
    def status(self) -> Status:
        """How the fit ended."""
        return self.result.status

    @property
    def converged(self) -> bool:
        """Whether the fit converged."""
        return self.result.converged

    @property
    def residual(self) -> float:
        """How far one full update would still move."""
        return self.result.residual

    def __repr__(self) -> str:
        """Show the figures, without the tensors."""
        return f"DifferentiableFit({self.result!r})"
