"""What moves the weights: the optimizer with its learning rates, and an average of the weights."""

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
    """The optimizer of a run, and the learning rate of each of its groups at every step.

    The flow's rate rises linearly over ``training.warmup_steps``, and stays. A prior with
    parameters has a group of its own: ``gaussians.lr``, falling by ``gaussians.policy``.

    Parameters
    ----------
    config : RunConfig
        The run.
    model : ClassFlow
        What it trains.
    steps_per_epoch : int
        With the config's epochs, where a policy ends.

    Returns
    -------
    optimizer : torch.optim.Optimizer
    rates : list of callable
        Step (0, 1, ...) -> learning rate, one for each of ``optimizer.param_groups``.
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
    """The largest absolute value in the gradients; not finite if any value is not.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        After a backward pass.

    Returns
    -------
    float
    """
    gradients = [weight.grad for weight in parameters if weight.grad is not None]
    # not the 2-norm, whose squares may overflow; a maximum norm takes 15 times as long on a CPU
    extremes = [torch.stack(gradient.aminmax()) for gradient in gradients]
    return float(torch.cat(extremes).abs().max())


class WeightAverage(Generic[ModelT]):
    """A copy of a model whose weights follow it, the more slowly the more steps there were.

    After step t (0, 1, ...) they keep a part min(decay, 1 - (1 + t)^-power) of what they were.
    ``AveragedModel`` of torch goes through all modules at every step, which takes a tenth of the
    time of a small flow.

    Parameters
    ----------
    model : nn.Module
        What is followed.
    decay, power : float
        How slowly.

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
        """Take in the weights after a step."""
        decay = min(self._decay, 1.0 - (1.0 + step) ** -self._power)
        torch._foreach_lerp_(self._weights, self._followed, 1.0 - decay)

    def take_buffers(self) -> None:
        """Take over the buffers: the Gaussians are those that the averaged flows headed for."""
        for ours, theirs in zip(self.model.buffers(), self._original.buffers(), strict=True):
            ours.copy_(theirs)
