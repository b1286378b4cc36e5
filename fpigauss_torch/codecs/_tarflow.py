"""The codec for autoregressive transformer flows with the interface of TarFlow."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fpigauss import InvalidInputError
from fpigauss_torch._support import checked_encoding
from fpigauss_torch.codecs._codec import Codec

__all__ = ["TarFlowCodec", "is_like_tarflow"]


class TarFlowCodec(Codec):
    """For flows like TarFlow: ``forward(x) -> (z, outputs, logdets)`` and ``reverse(z) -> x``.

    The latents z are patches (N, T, C), and logdets (N,) is the log-determinant *divided by* their
    number of dimensions, T C: the codec multiplies by it. ``reverse`` may write into its input: the
    codec passes a copy. No labels are passed: they go to the Gaussians.

    No type tells models with this interface from others, so the codec is never chosen by itself:
    pass ``codec=TarFlowCodec`` to ``ClassFlow``.

    Parameters
    ----------
    flow : torch.nn.Module
        A flow without classes.
    logdet : {"mean", "sum"}
        Whether ``forward`` returns the mean over dimensions, as models of this kind do, or the
        log-determinant itself.

    Raises
    ------
    InvalidInputError
        If the flow has no such methods, was built with classes, or scales its latents by a variance
        ``var`` that is not 1.

    See Also
    --------
    ClassFlow : takes it as ``codec=``.

    References
    ----------
    Zhai et al. (2024), "Normalizing Flows are Capable Generative Models",
    https://arxiv.org/abs/2412.06329.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassFlow, LatentGaussians, TarFlowCodec
    >>> class Halving(torch.nn.Module):  # two patches, of which the second is divided by 2
    ...     def forward(self, x, y=None):
    ...         z = torch.stack([x[:, :2], x[:, 2:] / 2.0], 1)
    ...         return z, [z], -torch.tensor(2.0).log().expand(len(x)) / 2.0  # half the dimensions
    ...     def reverse(self, z, y=None):
    ...         z[:, 1] *= 2.0
    ...         return z.flatten(1)
    >>> model = ClassFlow(Halving(), LatentGaussians(3, 4), codec=TarFlowCodec)
    >>> model.encode(torch.ones(1, 4))[1]  # log(1 / 2) twice
    tensor([-1.3863])
    >>> model.decode(model.encode(torch.ones(1, 4))[0])
    tensor([[1., 1., 1., 1.]])
    """

    def __init__(self, flow: Any, logdet: Literal["mean", "sum"] = "mean") -> None:
        """Register the flow, which has no base."""
        super().__init__(flow)
        if logdet not in ("mean", "sum"):
            raise InvalidInputError(f'logdet is {logdet!r}; pass "mean" or "sum"')
        if not isinstance(flow, nn.Module) or not _has(flow, "reverse"):
            what = "without reverse" if isinstance(flow, nn.Module) else "and not a module"
            raise InvalidInputError(
                f"flow is a {type(flow).__name__} {what}; pass a module with "
                "forward(x) -> (z, outputs, logdets) and reverse(z) -> x"
            )
        _check_unconditional(flow)
        _check_variance(flow)
        self.model: Any = flow
        self.averaged = logdet == "mean"

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode by the forward pass."""
        output = self.model(x)
        if not isinstance(output, tuple | list) or len(output) != 3:
            raise InvalidInputError(
                f"flow returned {_shown(output)}; forward needs to return (z, outputs, logdets)"
            )
        latents, _, logdet = output
        if isinstance(logdet, Tensor) and logdet.ndim == 0:  # the same of all samples
            logdet = logdet.expand(x.shape[0])
        z, logdet = checked_encoding((latents, logdet), x.shape[0])
        z = self.flattened(z)
        return z, logdet * z.shape[1] if self.averaged else logdet

    def decode(self, z: Tensor) -> Tensor:
        """Decode by the reverse pass, which gets a copy to write into."""
        _check_variance(self.model)
        x: Tensor = self.model.reverse(self.unflattened(z)[0].clone())
        return x


def is_like_tarflow(flow: Any) -> bool:
    """Return whether an object has the methods of TarFlow: other flows may have them too."""
    return isinstance(flow, nn.Module) and _has(flow, "reverse", "patchify", "unpatchify")


def _has(flow: nn.Module, *names: str) -> bool:
    return all(callable(getattr(flow, name, None)) for name in names)


def _check_unconditional(flow: nn.Module) -> None:
    for path, module in flow.named_modules():
        if getattr(module, "class_embed", None) is not None:
            raise InvalidInputError(
                f"flow was built with classes ({path or type(module).__name__} has a class_embed), "
                "and no labels are passed; they belong to the Gaussians, so build it without them"
            )


def _check_variance(flow: nn.Module) -> None:
    # of the base: reverse scales by its square root, and forward does not
    variance = getattr(flow, "var", None)
    if not isinstance(variance, Tensor) or variance.is_meta or torch.compiler.is_compiling():
        return
    if not bool((variance == 1.0).all()):
        raise InvalidInputError(
            "flow has a variance of its base, var, that is not 1, and the Gaussians take the place "
            "of its base; set it to 1: flow.var.fill_(1.0)"
        )


def _shown(output: Any) -> str:
    if isinstance(output, tuple | list):
        return f"{len(output)} parts"
    return f"a {type(output).__name__}"
