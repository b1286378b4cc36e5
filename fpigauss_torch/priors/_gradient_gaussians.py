"""Baseline 2: gradient descent on Eq. 4, over means and bounded variances."""

from typing import Any

import torch
from torch import Tensor, nn

from fpigauss import ClassGaussians, InvalidInputError, pairwise_kld
from fpigauss.interface import (
    check_nonnegative,
    check_positive,
    resolve_repulsion,
)
from fpigauss_torch._support import ClassDensity
from fpigauss_torch.priors._base import TrainedPrior

__all__ = ["GradientGaussians"]

#: Variances start inside their bounds by at least this part of the range, where the sigmoid still
#: has a slope.
_MARGIN = 1e-3


class GradientGaussians(TrainedPrior):
    r"""Baseline 2: diagonal Gaussians that an optimizer trains on Eq. 4, together with the flow.

    The variances are v = low + (high - low) sigmoid(s), where s is trained: they are positive
    whatever the optimizer does. ``penalty`` is the repulsion of Eq. 4, as the core computes it,

        lam / (K (K-1)) sum_{y != y'} phi(KLD(N_y || N_y')),

    divided by K: Eq. 4 as a whole is K times the sum of the mean negative log-likelihood (with
    classes in equal parts) and the penalty. Train on ``model(x, y).mean() + prior.penalty()``, and
    give the Gaussians their own learning rate (see ``learning_rate_policy``).

    Parameters
    ----------
    n_classes, dim : int
        K >= 2 and d.
    lam : float
        The weight of the repulsion, >= 0; the attribute may be changed.
    pi : {"forward", "mean"} or float
        As in ``fpigauss.fit_fixed_point``: each pair's own divergence, so that phi falls with its
        logarithm; the present mean of all, through which no gradient flows; or a positive number,
        such as the ``pi`` of a fit with "initial".
    alpha : float
        The scale of pi, > 0.
    low, high : float
        The bounds of the variances, 0 < low < high; by default those of the authors' released
        configurations.
    scale, seed
        The scale and seed of the initial means, as in ``LearnedMeans``; variances start halfway
        between their bounds. ``init_`` starts both from latents.

    Attributes
    ----------
    means : (K, d) tensor
        The means, a parameter.
    logits : (K, d) tensor
        The logits s, a parameter.
    variances : (K, d) tensor
        The variances v as they are now.

    See Also
    --------
    fpigauss_torch.LatentGaussians : the same objective by the fixed point.
    learning_rate_policy : rates of gradient descent.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch.priors import GradientGaussians
    >>> prior = GradientGaussians(3, 2, lam=1.0, seed=0)
    >>> prior.variances[0].tolist()
    [0.75, 0.75]
    >>> y = torch.arange(60) % 3
    >>> z = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)) + y[:, None]
    >>> prior = prior.init_(z, y)
    >>> optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    >>> losses = []
    >>> for _ in range(20):
    ...     loss = -prior.log_prob(z, y).mean() + prior.penalty()
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     losses.append(loss.item())
    >>> losses[-1] < losses[0]
    True
    """

    def __init__(
        self,
        n_classes: int,
        dim: int,
        lam: float,
        *,
        pi: str | float = "forward",
        alpha: float = 1.0,
        low: float = 0.25,
        high: float = 1.25,
        scale: float = 1.0,
        seed: Any = None,
    ) -> None:
        """Draw the means."""
        super().__init__(n_classes, dim, scale, seed)
        if n_classes < 2:
            raise InvalidInputError("n_classes is 1; at least two classes are needed to repel")
        if (isinstance(pi, str) and pi == "initial") or callable(pi):
            raise InvalidInputError(
                f'pi is {pi!r}; pass "forward", "mean" or a positive number, which may be the pi '
                "of a FixedPointResult"
            )
        resolve_repulsion(pi)
        self.lam = check_nonnegative(lam, "lam")
        self.pi = pi
        self.alpha = check_positive(alpha, "alpha")
        self.low, self.high = check_positive(low, "low"), check_positive(high, "high")
        if not self.low < self.high:
            raise InvalidInputError(f"low is {low:g} and high {high:g}; pass low < high")
        self.logits = nn.Parameter(torch.zeros_like(self.means))

    @property
    def variances(self) -> Tensor:
        """Compute the variances (K, d), differentiable."""
        return self.low + (self.high - self.low) * torch.sigmoid(self.logits)

    def density(self) -> ClassDensity:
        """Return the Gaussians as they are now, differentiable."""
        variances = self.variances
        return ClassDensity(self.means, variances.rsqrt(), variances.log().sum(1))

    def color(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Multiply the noise by the standard deviations."""
        return noise * self.variances.sqrt()[labels]

    def penalty(self) -> Tensor:
        """Compute the repulsion of Eq. 4 divided by K (0-d), differentiable.

        Raises
        ------
        InvalidInputError
            If two classes coincide under pi="forward", so that they have no direction to separate
            in, or a parameter is not finite.
        """
        divergences = pairwise_kld(ClassGaussians(self.means, self.variances))
        repulsion = resolve_repulsion(self.pi, self.lam)
        pi = repulsion.measure([divergences.detach()], self.n_classes)
        pairs = ~torch.eye(self.n_classes, dtype=torch.bool, device=divergences.device)
        potential = repulsion.potential(divergences[pairs], pi, self.alpha)
        lost = ~torch.isfinite(potential.detach())
        if bool(lost.any()):
            first, second = pairs.nonzero()[lost][0].tolist()
            raise InvalidInputError(
                f"means and variances of classes {first} and {second} have the divergence "
                f"{divergences[first, second].item():g}, at which pi={self.pi!r} has no finite "
                "repulsion; start the classes apart, with init_ or scale"
            )
        penalty: Tensor = self.lam * potential.mean() / self.n_classes
        return penalty

    def class_gaussians(self) -> ClassGaussians:
        """Return a copy as Gaussians of the core, for ``fpigauss.pairwise_kld`` for example."""
        return ClassGaussians(self.means.detach().clone(), self.variances.detach())

    def described(self) -> dict[str, Any]:
        """Return what the tensors of a state do not say; logits have a meaning only with bounds."""
        return super().described() | {"low": self.low, "high": self.high}

    def extra_repr(self) -> str:
        """Show the sizes and the objective."""
        return (
            f"{super().extra_repr()}, lam={self.lam:g}, pi={self.pi!r}, alpha={self.alpha:g}, "
            f"low={self.low:g}, high={self.high:g}"
        )

    def _start(self, means: Tensor, variances: Tensor) -> None:
        super()._start(means, variances)
        inside = (variances - self.low) / (self.high - self.low)
        self.logits.copy_(torch.logit(inside.clamp(_MARGIN, 1.0 - _MARGIN)))
