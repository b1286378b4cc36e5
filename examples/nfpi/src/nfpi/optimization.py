"""The optimizer with its learning rates, and a running average of the weights."""

import copy
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import torch
from fpigauss_torch import ClassFlow
from fpigauss_torch.priors import learning_rate_policy
from torch import Tensor, nn

from nfpi.config import RunConfig

__all__ = ["WeightAverage", "largest_gradient", "make_optimizer"]

_OPTIMIZERS = {"adamax": torch.optim.Adamax, "adam": torch.optim.Adam}


ModelT = TypeVar("ModelT", bound=nn.Module)


def make_optimizer(
    config: RunConfig, model: ClassFlow, steps_per_epoch: int
) -> tuple[torch.optim.Optimizer, list[Callable[[int], float]]]:
    """Build the optimizer of a run, and the learning rate of each group at every step.

    The flow's rate rises linearly over ``training.warmup_steps``, then stays. A prior with
    parameters has its own group, whose rate is ``gaussians.lr`` times ``gaussians.policy``.

    Parameters
    ----------
    config : RunConfig
        The run.
    model : ClassFlow
        The model to train.
    steps_per_epoch : int
        With the config's epochs, it sets the end of a policy.

    Returns
    -------
    optimizer : torch.optim.Optimizer
    rates : list of callable
        Maps from step (0, 1, ...) to learning rate, one per entry of ``optimizer.param_groups``.
    """
    training, gaussians = config.training, config.gaussians

    def warmed(step: int) -> float:
        return training.lr * min(1.0, (step + 1) / max(1, training.warmup_steps))

    groups = [{"params": list(model.codec.parameters())}]
    rates: list[Callable[[int], float]] = [warmed]
    own = list(model.gaussians.parameters())
    if own:
        factor = learning_rate_policy(gaussians.policy, training.epochs * steps_per_epoch)
        groups.append({"params": own})
        rates.append(lambda step: gaussians.lr * factor(step))
    return _OPTIMIZERS[training.optimiser](groups, lr=training.lr), rates


def largest_gradient(parameters: Iterable[nn.Parameter]) -> float:
    """Return the largest absolute value in the gradients, not finite if any value is not.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        After a backward pass.

    Returns
    -------
    float
    """
    gradients = [weight.grad for weight in parameters if weight.grad is not None]
    # the squares of a 2-norm may overflow; torch's maximum norm takes 15 times as long on a CPU
    extremes = [torch.stack(gradient.aminmax()) for gradient in gradients]
    return float(torch.cat(extremes).abs().max())


class WeightAverage(Generic[ModelT]):
    """A copy of a model whose weights follow the original, more slowly at later steps.

    At step t (0, 1, ...) a weight keeps a share min(decay, 1 - (1 + t)^-power) of its old value.
    Torch's ``AveragedModel`` visits all modules at every step, which takes a tenth of the time of a
    small flow.

    Parameters
    ----------
    model : nn.Module
        The original.
    decay, power : float
        How slowly the copy follows.

    Attributes
    ----------
    model : nn.Module
        The copy.
    """

    def __init__(self, model: ModelT, decay: float, power: float) -> None:
        """Copy the model."""
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._original, self._decay, self._power = model, decay, power
        self._weights: list[Tensor] = list(self.model.parameters())
        self._followed = [weight.detach() for weight in model.parameters()]

    def follow(self, step: int) -> None:
        """Move the copy toward the weights after a step."""
        decay = min(self._decay, 1.0 - (1.0 + step) ** -self._power)
        torch._foreach_lerp_(self._weights, self._followed, 1.0 - decay)

    def take_buffers(self) -> None:
        """Copy the buffers: the averaged flows were trained toward these Gaussians."""
        for ours, theirs in zip(self.model.buffers(), self._original.buffers(), strict=True):
            ours.copy_(theirs)
