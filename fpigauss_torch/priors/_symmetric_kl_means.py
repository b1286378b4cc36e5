"""The prior of KLJ: learned means that are driven apart by the symmetrized KL divergence itself."""

from typing import Any

from torch import Tensor

from fpigauss import InvalidInputError
from fpigauss.interface import check_nonnegative
from fpigauss_torch.priors._base import TrainedPrior

__all__ = ["SymmetricKLMeans"]


class SymmetricKLMeans(TrainedPrior):
    r"""N(mu_y, I) with trained means, and minus their symmetrized KL divergence as the penalty.

    This is Eq. 4 with phi(D) = -D, in the same units as the other repulsions (divided by K):

        penalty = -lam / (K^2 (K-1)) sum_{y < y'} J_yy',    J = KLD(N_y||N_y') + KLD(N_y'||N_y)

    where J_yy' is the squared distance of the two means. It is the standard separation that
    Section 4 compares Eq. 3 with, and what "KLJ" in Table 4 is taken to mean here. That row
    includes IB-INN: combine this prior with ``information_bottleneck_loss``. The paper does not
    define KLJ. It may mean the regularization of the flow's Jacobian by Song et al. (AAAI 2024)
    instead, which is among its references; that is not a prior, and is not available here.

    The penalty has no lower bound and does not fade as classes separate; the exponential of Eq. 3
    corrects that. On fixed latents the likelihood holds the means as long as lam < (K-1)/2, at
    m + (m_y - m) / (1 - 2 lam / (K-1)), with m the mean of the class means m_y. But a flow can move
    the classes along with their means, without end for every lam > 0: keep training short, or clip
    the means.

    Parameters
    ----------
    n_classes, dim : int
        K >= 2 and d.
    lam : float
        The weight of the repulsion, >= 0; the attribute may be changed.
    scale, seed
        The scale and seed of the initial means, as in ``LearnedMeans``.

    Attributes
    ----------
    means : (K, d) tensor
        The means, a parameter.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch.priors import SymmetricKLMeans
    >>> prior = SymmetricKLMeans(2, 1, lam=3.0).init_(torch.tensor([[0.0], [2.0]]), [0, 1])
    >>> prior.penalty().item()
    -3.0
    """

    def __init__(
        self, n_classes: int, dim: int, lam: float, *, scale: float = 1.0, seed: Any = None
    ) -> None:
        """Draw the means."""
        super().__init__(n_classes, dim, scale, seed)
        if n_classes < 2:
            raise InvalidInputError("n_classes is 1; at least two classes are needed to repel")
        self.lam = check_nonnegative(lam, "lam")

    def penalty(self) -> Tensor:
        """Compute -lam/(K^2(K-1)) times the symmetrized divergences of all pairs (0-d)."""
        # sum_{y < y'} |mu_y - mu_y'|^2 = K sum_y |mu_y - mean|^2
        spread = (self.means - self.means.mean(0)).square().sum()
        return -self.lam / (self.n_classes * (self.n_classes - 1)) * spread

    def extra_repr(self) -> str:
        """Show the sizes and the weight."""
        return f"{super().extra_repr()}, lam={self.lam:g}"
