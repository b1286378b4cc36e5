"""What stands between a flow's samples and its latents as one flat vector."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fpigauss import InvalidInputError

__all__ = ["Codec", "FunctionCodec", "codec_for", "register_codec"]

_REGISTERED: list[type["Codec"]] = []


class Codec(nn.Module, ABC):
    """Encodes samples to flat latents, and decodes them.

    Subclass it for a flow of your own: two methods, and ``flow_types`` if ``ClassFlow`` shall find
    it by the flow's type (see ``register_codec``). What is trained must be a submodule; the flow's
    own base should not be one, since nothing reaches its parameters.

    Parameters
    ----------
    flow : object
        The flow. A subclass registers the parts of it that are trained.

    Attributes
    ----------
    flow : object
        The flow as it was given.
    shapes : list of tuple of int, or None
        Shapes of a sample's latents, in the order in which they are concatenated: known after the
        first encode, saved in the state, needed by ``decode``.

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

    #: Qualified names of the flow classes that it is for: nothing is imported to find it.
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
        """Flat latents (N, D), and log |det dz/dx| (N,), of samples (N, ...)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Samples (N, ...) of flat latents (N, D)."""

    def flattened(self, latents: Tensor | Sequence[Tensor]) -> Tensor:
        """Latents (N, ...), or several of them, as one (N, D); their shapes are remembered."""
        parts = [latents] if isinstance(latents, Tensor) else list(latents)
        shapes = [tuple(part.shape[1:]) for part in parts]
        if self.shapes != shapes:
            self.shapes = shapes
        return torch.cat([part.flatten(1) for part in parts], 1)

    def unflattened(self, z: Tensor) -> list[Tensor]:
        """Flat latents (N, D) in their shapes again."""
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
        parts = z.split(sizes, 1)
        return [
            part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)
        ]

    def get_extra_state(self) -> dict[str, Any]:
        """The latents' shapes, so that a loaded flow can sample at once."""
        shapes = None if self.shapes is None else [list(shape) for shape in self.shapes]
        return {"codec": type(self).__name__, "shapes": shapes}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over the shapes of a state."""
        if state["codec"] != type(self).__name__:
            raise InvalidInputError(
                f"the state is of a {state['codec']}, this is a {type(self).__name__}; "
                "load it into a ClassFlow over the same kind of flow"
            )
        shapes = state["shapes"]
        self.shapes = None if shapes is None else [tuple(shape) for shape in shapes]


class FunctionCodec(Codec):
    """Two functions as a codec.

    Parameters
    ----------
    flow : object
        What is trained, if it is a module (or None).
    encode : callable
        x (N, ...) -> (z (N, ...), logdet (N,)).
    decode : callable
        z, in the shape that ``encode`` gave -> x.
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
        """By the function."""
        z, logdet = self._functions[0](x)
        return self.flattened(z), logdet

    def decode(self, z: Tensor) -> Tensor:
        """By the function."""
        return self._functions[1](self.unflattened(z)[0])


def register_codec(codec: type[Codec]) -> type[Codec]:
    """Let ``ClassFlow`` find a codec by its ``flow_types``; the latest comes first.

    Parameters
    ----------
    codec : type
        A subclass of ``Codec`` that takes the flow as its one argument.

    Returns
    -------
    type
        The same, so that it can be used as a decorator.
    """
    if not codec.flow_types:
        raise InvalidInputError(
            f"{codec.__name__}.flow_types is empty; name the flow classes that it is for"
        )
    _REGISTERED.insert(0, codec)
    return codec


def codec_for(flow: Any) -> Codec:
    """The codec of a flow, by its type.

    Parameters
    ----------
    flow : object
        A flow of a library that is known, or of a class that ``register_codec`` was told of.

    Returns
    -------
    Codec

    Raises
    ------
    InvalidInputError
        If there is none for this type.
    """
    for ancestor in type(flow).__mro__:
        name = f"{ancestor.__module__}.{ancestor.__qualname__}"
        for codec in _REGISTERED:
            if name in codec.flow_types:
                return codec(flow)
    known = sorted({name.partition(".")[0] for codec in _REGISTERED for name in codec.flow_types})
    raise InvalidInputError(
        f"no codec is known for a {type(flow).__module__}.{type(flow).__qualname__} (known: flows "
        f"of {', '.join(known)}); pass codec=(encode, decode), or a Codec of your own"
    )
