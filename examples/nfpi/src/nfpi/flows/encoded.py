"""Put a flow on the latents of an encoder and its decoder, which stay as they are.

An autoencoder is any object with ``encode`` and ``decode``: images (N, C, H, W) in [0, 1] to
latents (N, c, h, w), and back. A config names the function that makes one,

    [flow]
    name = "mef32"

    [flow.options]
    autoencoder = "nfpi.flows.encoded:diffusers_vae"
    autoencoder_options = { path = "sd-vae-ft-mse" }
"""

import copy
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import torch
from fpigauss import InvalidInputError
from torch import Tensor, nn

from nfpi.flows.base import ImageFlow, Shape

__all__ = ["Autoencoder", "EncodedFlow", "diffusers_vae", "make_autoencoder"]


class Autoencoder(Protocol):
    """An encoder and its decoder."""

    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, c, h, w)."""

    def decode(self, z: Tensor) -> Tensor:
        """Map latents to images."""


class EncodedFlow(ImageFlow):
    """A flow of an encoder's latents: images are encoded first, and samples decoded last.

    Densities are those of the latents, not of the images. The autoencoder is not trained, is not
    part of the state, and is shared by copies of the flow.

    Parameters
    ----------
    image_shape : tuple of int
        (C, H, W) of the images.
    autoencoder : Autoencoder
    make : callable
        Makes the flow of the latents, given their shape.
    """

    def __init__(
        self,
        image_shape: Shape,
        autoencoder: Autoencoder,
        make: Callable[[Shape], nn.Module],
    ) -> None:
        """Encode a gray image, whose latents say their shape."""
        held = _Held(autoencoder)
        encoded = held.encode(torch.full((1, *image_shape), 0.5))
        if encoded.ndim != 4:
            raise InvalidInputError(
                f"autoencoder encodes an image to shape {tuple(encoded.shape)}; latents "
                "(N, c, h, w) are expected"
            )
        channels, height, width = encoded.shape[1:]
        flow = make((channels, height, width))
        if not isinstance(flow, ImageFlow):
            raise InvalidInputError(
                f"a flow of latents cannot be a {type(flow).__name__}; take coupling, mef or "
                "tarflow"
            )
        super().__init__(image_shape, flow.latent_shapes)
        self.flow = flow
        self._held = held

    def encode(self, x: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Encode to the latents of the flow; the log-determinant is the flow's."""
        return self.flow.encode(self._held.encode(x))

    def decode(self, latents: Sequence[Tensor]) -> Tensor:
        """Decode to images."""
        return self._held.decode(self.flow.decode(latents))


class _Held:
    """An autoencoder without gradients, on the device of what it is given."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        self._autoencoder = autoencoder
        self._device: torch.device | None = None

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # it never changes

    def _move(self, device: torch.device) -> None:
        if isinstance(self._autoencoder, nn.Module) and device != self._device:
            self._autoencoder.to(device).eval()
        self._device = device

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        self._move(x.device)
        return self._autoencoder.encode(x).to(x.dtype)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        self._move(z.device)
        return self._autoencoder.decode(z).to(z.dtype)


class _DiffusersVae(nn.Module):
    """An AutoencoderKL of diffusers, with pixels in [0, 1]."""

    def __init__(self, vae: Any, sample: bool, scale: float) -> None:
        super().__init__()
        self.vae, self.sample, self.scale = vae, sample, scale

    def encode(self, x: Tensor) -> Tensor:
        """Return latents times ``scale``, drawn from their posterior or its mode."""
        posterior = self.vae.encode(2.0 * x - 1.0).latent_dist
        z: Tensor = posterior.sample() if self.sample else posterior.mode()
        return self.scale * z

    def decode(self, z: Tensor) -> Tensor:
        """Return images."""
        x: Tensor = self.vae.decode(z / self.scale).sample
        return (x + 1.0) / 2.0


def diffusers_vae(path: str, *, sample: bool = True, scale: float = 0.18215) -> Autoencoder:
    """Load an AutoencoderKL of diffusers from disk, such as that of Stable Diffusion.

    Parameters
    ----------
    path : str
        A folder with its weights, or a name in the local cache; nothing is downloaded.
    sample : bool
        Draw latents from the encoder's Gaussian; otherwise take its mode.
    scale : float
        Multiplies the latents; the default is that of Stable Diffusion's, and makes their variance
        about 1.

    Returns
    -------
    Autoencoder

    Raises
    ------
    ImportError
        If diffusers is not installed.
    """
    try:
        from diffusers.models import AutoencoderKL
    except ImportError as error:
        raise ImportError("this autoencoder needs diffusers; pip install diffusers") from error
    vae = AutoencoderKL.from_pretrained(path, local_files_only=True)
    return _DiffusersVae(vae.eval().requires_grad_(False), sample, scale)


def make_autoencoder(name: str, options: dict[str, Any] | None = None) -> Autoencoder:
    """Call the function that a config names.

    Parameters
    ----------
    name : str
        "module:function".
    options : dict, optional
        Its keyword arguments.

    Returns
    -------
    Autoencoder

    Raises
    ------
    InvalidInputError
        If there is no such function, or its result cannot encode and decode.
    """
    module, _, function = name.partition(":")
    try:
        maker = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInputError(
            f'autoencoder is {name!r}: {error}; pass "module:function", a function that returns '
            "an object with encode and decode"
        ) from error
    made: Autoencoder = maker(**copy.deepcopy(options or {}))
    if not (callable(getattr(made, "encode", None)) and callable(getattr(made, "decode", None))):
        raise InvalidInputError(
            f"autoencoder {name!r} returns a {type(made).__name__}, without encode and decode"
        )
    return made
