"""Five policies for the learning rate of Baseline 2's Gaussians."""

from collections.abc import Callable

from fpigauss import InvalidInputError
from fpigauss.interface import check_choice, check_positive_integer

__all__ = ["LEARNING_RATE_POLICIES", "learning_rate_policy"]

#: The power p of every policy.
LEARNING_RATE_POLICIES = {
    "sublinear_v1": 0.5,
    "sublinear_v2": 0.25,
    "linear": 1.0,
    "superlinear_v1": 2.0,
    "superlinear_v2": 4.0,
}


def learning_rate_policy(name: str, total_steps: int) -> Callable[[int], float]:
    r"""Make a function that gives the factor of a learning rate at every step, as in Table 1.

    The factor falls from 1 to 0 as 1 - (t/T)^p, t the step and T ``total_steps``. The paper names
    five policies and leaves their settings to its supplement. These formulas are our choice: one
    family that ranges from Gaussians that settle early (as the fixed point's do) to Gaussians that
    move until the end of training.

    ================  ==================  ==========================
    name              factor              half of the rate is left at
    ================  ==================  ==========================
    "sublinear_v2"    1 - (t/T)^(1/4)      6 % of the steps
    "sublinear_v1"    1 - (t/T)^(1/2)      25 %
    "linear"          1 - t/T              50 %
    "superlinear_v1"  1 - (t/T)^2          71 %
    "superlinear_v2"  1 - (t/T)^4          84 %
    ================  ==================  ==========================

    Parameters
    ----------
    name : str
        One of the above, the keys of ``LEARNING_RATE_POLICIES``.
    total_steps : int
        T >= 1, counted in the same unit as t: steps or epochs. From T on, the factor is 0.

    Returns
    -------
    callable
        Step (0, 1, ...) -> factor, as ``torch.optim.lr_scheduler.LambdaLR`` takes it.

    Raises
    ------
    InvalidInputError
        If the name is unknown, or ``total_steps`` is not a positive integer.

    See Also
    --------
    GradientGaussians : what they train.

    Examples
    --------
    The flow and its Gaussians in one optimizer, each with its own rate:

    >>> import torch
    >>> from fpigauss_torch.priors import GradientGaussians, learning_rate_policy
    >>> flow, prior = torch.nn.Linear(2, 2), GradientGaussians(3, 2, lam=1.0)
    >>> groups = [{"params": flow.parameters()}, {"params": prior.parameters(), "lr": 0.1}]
    >>> optimizer = torch.optim.Adam(groups, lr=1e-3)
    >>> policies = [lambda step: 1.0, learning_rate_policy("linear", 100)]
    >>> scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, policies)
    >>> for _ in range(50):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.001, 0.05]
    """
    check_choice(name, "name", tuple(LEARNING_RATE_POLICIES))
    total_steps = check_positive_integer(total_steps, "total_steps")
    power = LEARNING_RATE_POLICIES[name]

    def factor(step: int) -> float:
        if step < 0:
            raise InvalidInputError(f"step is {step}; count steps from 0")
        left: float = 1.0 - (step / total_steps) ** power
        return max(0.0, left)

    return factor
