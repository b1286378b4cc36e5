"""What translates between a flow's samples and its latents as one flat vector."""

import copy
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, ClassVar, Self

import torch
from einops import rearrange, unpack
from torch import Tensor, nn

from fpigauss import InvalidInputError
from fpigauss_torch._support import checked_encoding, state_said, state_tensor

__all__ = ["REGISTERED", "Codec", "FunctionCodec", "register_codec"]

#: Codecs that are chosen by the flow's type, the latest first.
REGISTERED: list[type["Codec"]] = []


class Codec(nn.Module, ABC):
    """Encodes samples to flat latents, and decodes them.

    Subclass it for a flow of your own: define two methods, and ``flow_types`` if ``ClassFlow``
    should choose it by the flow's type (see ``register_codec``). Trained parts must be submodules;
    the flow's own base should not be one, since no gradient reaches its parameters.

    Parameters
    ----------
    flow : object
        The flow. A subclass registers the parts of it that are trained.

    Attributes
    ----------
    flow : object
        The flow as it was given.
    shapes : list of tuple of int, or None
        Shapes of the latents of one sample, in the order in which they are concatenated: known
        after the first encode, saved in the state, needed by ``decode``.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import ClassFlow, Codec, LatentGaussians
    >>> class Scale(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.log_scale = torch.nn.Parameter(torch.zeros(2))
    >>> class ScaleCodec(Codec):
    ...     def __init__(self, flow):
    ...         super().__init__(flow)
    ...         self.scale = flow
    ...     def encode(self, x):
    ...         logdet = self.scale.log_scale.sum().expand(x.shape[0])
    ...         return self.flattened(x * self.scale.log_scale.exp()), logdet
    ...     def decode(self, z):
    ...         return self.unflattened(z)[0] / self.scale.log_scale.exp()
    >>> model = ClassFlow(Scale(), LatentGaussians(3, 2), codec=ScaleCodec)
    >>> model(torch.zeros(4, 2), torch.tensor([0, 1, 2, -1])).shape
    torch.Size([4])
    """

    #: Qualified names of the flow classes that it is for: names, so that nothing needs importing.
    flow_types: ClassVar[tuple[str, ...]] = ()

    shapes: list[tuple[int, ...]] | None

    def __init__(self, flow: Any) -> None:
        """Keep the flow, without registering it."""
        super().__init__()
        self._flow = (flow,)  # in a tuple: a submodule would bring its base's parameters along
        self.shapes = None

    @property
    def flow(self) -> Any:
        """The flow as it was given."""
        return self._flow[0]

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode samples (N, ...) to flat latents (N, D), with log abs(det dz/dx) (N,)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Decode flat latents (N, D) to samples (N, ...)."""

    def flattened(self, latents: Tensor | Sequence[Tensor]) -> Tensor:
        """Flatten one or several latents (N, ...) to one (N, D), and remember their shapes."""
        parts = [latents] if isinstance(latents, Tensor) else list(latents)
        shapes = [tuple(part.shape[1:]) for part in parts]
        if self.shapes != shapes:
            self.shapes = shapes
        return torch.cat([rearrange(part, "n ... -> n (...)") for part in parts], 1)

    def unflattened(self, z: Tensor) -> list[Tensor]:
        """Give flat latents (N, D) their shapes back."""
        if self.shapes is None:
            raise InvalidInputError(
                "the shapes of this flow's latents are not known yet; encode a batch first, or "
                "load a state that was saved after one"
            )
        sizes = [math.prod(shape) for shape in self.shapes]
        if z.ndim != 2 or z.shape[1] != sum(sizes):
            raise InvalidInputError(
                f"z has shape {tuple(z.shape)}, (N, {sum(sizes)}) is needed for latents of "
                f"shapes {self.shapes}"
            )
        parts: list[Tensor] = unpack(z, list(self.shapes), "n *")
        return parts

    def get_extra_state(self) -> Tensor:
        """Return the latents' shapes, so that a loaded flow can sample at once, as a tensor."""
        shapes = None if self.shapes is None else [list(shape) for shape in self.shapes]
        return state_tensor({"codec": type(self).__name__, "shapes": shapes})

    def set_extra_state(self, state: Any) -> None:
        """Take over the shapes of a state."""
        said = state_said(state)
        if said["codec"] != type(self).__name__:
            raise InvalidInputError(
                f"the state is that of a {said['codec']}, this is a {type(self).__name__}; "
                "load it into a ClassFlow over the same kind of flow"
            )
        if said["shapes"] is not None:  # a state from before the first encode has no shapes
            self.shapes = [tuple(shape) for shape in said["shapes"]]


class FunctionCodec(Codec):
    """Two functions as a codec.

    Functions that use the flow through a closure cannot be copied with it: pass methods of the flow
    (``flow.encode``) if it will be deep-copied, to average its weights for example.

    Parameters
    ----------
    flow : object
        The flow, which is trained if it is a module; or None.
    encode : callable
        Maps x (N, ...) to (z (N, ...), logdet (N,)).
    decode : callable
        Maps z, in the shape that ``encode`` returned, to x.

    See Also
    --------
    ClassFlow : takes a pair of functions as ``codec=``.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import FunctionCodec
    >>> codec = FunctionCodec(None, lambda x: (-x, torch.zeros(len(x))), lambda z: -z)
    >>> codec.encode(torch.ones(2, 1, 3))[0].shape
    torch.Size([2, 3])
    >>> codec.decode(torch.ones(5, 3)).shape
    torch.Size([5, 1, 3])
    """

    def __init__(
        self,
        flow: Any,
        encode: Callable[[Tensor], tuple[Tensor, Tensor]],
        decode: Callable[[Tensor], Tensor],
    ) -> None:
        """Keep the functions."""
        super().__init__(flow)
        if isinstance(flow, nn.Module):
            self.module = flow
        self._functions = (encode, decode)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode by the given function."""
        z, logdet = checked_encoding(self._functions[0](x), x.shape[0])
        return self.flattened(z), logdet

    def decode(self, z: Tensor) -> Tensor:
        """Decode by the given function."""
        return self._functions[1](self.unflattened(z)[0])

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if isinstance(self.flow, nn.Module):
            for function in self._functions:
                # methods and modules are copied together with the flow
                if not isinstance(function, MethodType | nn.Module):
                    name = getattr(function, "__qualname__", type(function).__name__)
                    raise InvalidInputError(
                        f"codec cannot be copied: the copy of {name} might still use the "
                        "original flow; pass methods of the flow, or a Codec of your own"
                    )
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__ = copy.deepcopy(self.__dict__, memo)
        return new


def summed(logdet: Any, shape: Sequence[int], like: Tensor) -> Tensor:
    """Sum log-determinants over a batch of shape (N, ...), ``shape``, to one per sample (N,).

    If the number is the same for all samples, libraries return only that, as a 0-d tensor or even
    an int: it is repeated, and gets the dtype and device of ``like`` if it is not a tensor.
    """
    if not isinstance(logdet, Tensor):
        logdet = torch.as_tensor(logdet, dtype=like.dtype, device=like.device)
    expanded: Tensor = logdet.expand(shape)
    return rearrange(expanded, "n ... -> n (...)").sum(1)


def refuse_context(part: nn.Module) -> None:
    """Raise an error if a network in ``part`` takes what normflows and nflows call a context."""
    names = ("context_features", "context_channels", "context_layer")
    for path, module in part.named_modules():
        if any(getattr(module, name, None) is not None for name in names):
            raise InvalidInputError(
                f"flow is conditional: {path or type(module).__name__} takes a context, and none "
                "is passed; the labels belong to the Gaussians, so build it without a context"
            )


def register_codec(codec: type[Codec]) -> type[Codec]:
    """Let ``ClassFlow`` choose a codec by its ``flow_types``; the latest takes precedence.

    Parameters
    ----------
    codec : type
        A subclass of ``Codec`` that takes the flow as its one argument; its ``flow_types`` are
        names such as "package.module.Class".

    Returns
    -------
    type
        The codec itself, so that this can be used as a decorator.

    See Also
    --------
    codec_for : finds the codec of a flow.
    """
    if not inspect.isclass(codec):
        raise InvalidInputError(
            f"codec is an object, a {type(codec).__name__}; pass the class, a subclass of Codec"
        )
    names = codec.flow_types
    if not isinstance(names, tuple) or not all(isinstance(n, str) and "." in n for n in names):
        raise InvalidInputError(
            f"{codec.__name__}.flow_types is {names!r}; pass a tuple of qualified names, "
            '("package.module.Class",)'
        )
    if not names:
        raise InvalidInputError(
            f"{codec.__name__}.flow_types is empty; name the flow classes that it is for"
        )
    REGISTERED.insert(0, codec)
    return codec
