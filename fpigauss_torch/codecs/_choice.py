"""Which codec a flow gets: that of its type, or what the user gives for one."""

import inspect
from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from fpigauss import InvalidInputError
from fpigauss_torch._support import under_compile
from fpigauss_torch.codecs._codec import REGISTERED, Codec, FunctionCodec
from fpigauss_torch.codecs._tarflow import is_like_tarflow

__all__ = ["MethodsCodec", "codec_for", "codec_of"]

_NEEDED = (
    "pass a Codec, an object with methods encode and decode, or two functions x -> (z, logdet) and "
    "z -> x"
)


class MethodsCodec(FunctionCodec):
    """An object with methods ``encode`` and ``decode`` as a codec, trained if it is a module.

    Parameters
    ----------
    flow : object
        The flow, or None if it is all in the other object.
    methods : object
        What has the two methods, as those of ``FunctionCodec``.
    """

    def __init__(self, flow: Any, methods: Any) -> None:
        """Register both, or the outer one if the other is a part of it."""
        super().__init__(flow, methods.encode, methods.decode)
        if not isinstance(methods, nn.Module):
            return
        if isinstance(flow, nn.Module):
            if any(part is methods for part in flow.modules()):
                return
            if any(part is flow for part in methods.modules()):
                del self.module
        self.methods = methods


def codec_of(flow: Any, codec: Any) -> Codec:
    """Make the codec of a flow from what the user gave for one."""
    if codec is None:
        return codec_for(flow)
    codec = under_compile(codec)
    if isinstance(codec, Codec):
        return codec
    if isinstance(codec, tuple | list):
        if len(codec) == 2 and all(map(callable, codec)):
            return FunctionCodec(flow, *codec)
        raise InvalidInputError(f"codec is {codec!r}; {_NEEDED}")
    if inspect.isclass(codec):
        if issubclass(codec, Codec):
            return codec(flow)
        raise InvalidInputError(
            f"codec is the class {codec.__name__}, which is not a Codec; pass an object of it"
        )
    missing = [name for name in ("encode", "decode") if not callable(getattr(codec, name, None))]
    if missing:
        raise InvalidInputError(
            f"codec is a {type(codec).__name__} without {' and '.join(missing)}; {_NEEDED}"
        )
    return MethodsCodec(flow, codec)


def codec_for(flow: Any) -> Codec:
    """Make the codec of a flow, chosen by its type.

    Parameters
    ----------
    flow : object
        A flow of a known library, or of a class that a codec was registered for. Of a flow under
        ``torch.compile`` its layers are used, uncompiled: compile the ``ClassFlow`` instead.

    Returns
    -------
    Codec

    Raises
    ------
    InvalidInputError
        If there is no codec for this type.

    See Also
    --------
    register_codec : make more types known.
    """
    flow = under_compile(flow)
    for ancestor in type(flow).__mro__:
        name = f"{ancestor.__module__}.{ancestor.__qualname__}"
        for codec in REGISTERED:
            if name in codec.flow_types:
                return codec(flow)
    if isinstance(flow, AveragedModel | DataParallel | DistributedDataParallel):
        raise InvalidInputError(
            f"flow is a {type(flow).__name__}; make the ClassFlow of the flow in it, flow.module, "
            "and wrap the ClassFlow"
        )
    if is_like_tarflow(flow):
        raise InvalidInputError(
            f"no codec is known for a {_name(flow)}, which has the methods of TarFlow; if forward "
            "returns (z, outputs, logdets), pass codec=TarFlowCodec"
        )
    known = sorted({name.partition(".")[0] for codec in REGISTERED for name in codec.flow_types})
    raise InvalidInputError(
        f"no codec is known for a {_name(flow)} (known: flows "
        f"of {', '.join(known)}); pass codec=(encode, decode), "
        "an object with these methods, or a Codec of your own"
    )


def _name(flow: Any) -> str:
    return f"{type(flow).__module__}.{type(flow).__qualname__}"
