"""Classifiers that judge generated images or are trained on augmented ones.

All map images (N, C, H, W) in [0, 1] to logits (N, K). ResNet18 and Swin come from transformers,
which is imported on first use because that takes seconds; EVA02 comes from timm, in the extra
``imagenet``.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fpigauss import InvalidInputError
from torch import Tensor, nn

__all__ = [
    "CLASSIFIERS",
    "Classifier",
    "ImageShape",
    "eva02",
    "make_classifier",
    "n_parameters",
    "resnet18",
    "small_cnn",
    "swin",
    "swin_small",
]

#: Channels, height, width.
ImageShape = tuple[int, int, int]

#: Images up to this size are too small for ResNet's 7x7 stem, which divides sizes by four.
_SMALL = 64


class Classifier(nn.Module):
    """A network that standardizes its inputs.

    Parameters
    ----------
    body : nn.Module
        Maps standardized images to logits, or to an object with ``logits``.
    mean, std : sequence of float
        Statistics of the pixels in [0, 1], one number per channel or one for all.
    size : int, optional
        The height and width that ``body`` requires; other images are resized.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.25,),
        size: int | None = None,
    ) -> None:
        """Keep the constants as buffers."""
        super().__init__()
        self.body = body
        self.size = size
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        # halves the time of a small network on a CPU, mostly in max pooling
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits.

        Parameters
        ----------
        x : (N, C, H, W) tensor
            Images in [0, 1].

        Returns
        -------
        (N, K) tensor
        """
        if self.size is not None and x.shape[-2:] != (self.size, self.size):
            size = (self.size, self.size)
            x = F.interpolate(x, size, mode="bicubic", antialias=True).clamp(0.0, 1.0)
        out = self.body((x - self.mean) / self.std)
        return out if isinstance(out, Tensor) else out.logits


def small_cnn(
    n_classes: int, image_shape: ImageShape, *, width: int = 24, hidden: int = 128
) -> Classifier:
    """Build two convolutional blocks and a hidden layer: CNN-Acc in seconds on one thread.

    Parameters
    ----------
    n_classes : int
        K.
    image_shape : (C, H, W)
        Any size from 4x4; the number of parameters does not depend on it.
    width, hidden : int
        Channels of the first block (the second has twice as many), and units of the hidden layer.

    Returns
    -------
    Classifier
        It has 67,442 parameters for ten classes of gray images.
    """
    if min(image_shape[1:]) < 4:
        pixels = "x".join(map(str, image_shape[1:]))
        raise InvalidInputError(
            f"small_cnn needs images of at least 4x4 pixels, not {pixels}; enlarge them"
        )
    body = nn.Sequential(
        *_block(image_shape[0], width),
        *_block(width, 2 * width),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(9 * 2 * width, hidden),
        nn.ReLU(),
        nn.Linear(hidden, n_classes),
    )
    return Classifier(body)


def _block(n_in: int, n_out: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)


def resnet18(
    n_classes: int,
    image_shape: ImageShape,
    *,
    hidden_sizes: Sequence[int] = (64, 128, 256, 512),
    depths: Sequence[int] = (2, 2, 2, 2),
) -> Classifier:
    """Build ResNet18, 11.2 million parameters, the classifier of the paper's CNN-Acc.

    Images up to 64 pixels get the usual stem for small images, a 3x3 convolution without pooling:
    the 7x7 stem would leave one pixel of a 32x32 image in the last stage.

    Parameters
    ----------
    n_classes, image_shape
        As in ``small_cnn``.
    hidden_sizes, depths : sequence of int
        Channels and blocks per stage.

    Returns
    -------
    Classifier
    """
    import transformers

    config = transformers.ResNetConfig(
        num_channels=image_shape[0],
        embedding_size=hidden_sizes[0],
        hidden_sizes=list(hidden_sizes),
        depths=list(depths),
        layer_type="basic",
    )
    config.num_labels = n_classes
    body = transformers.ResNetForImageClassification(config)
    if max(image_shape[1:]) <= _SMALL:
        stem = body.resnet.embedder
        stem.embedder.convolution = nn.Conv2d(
            image_shape[0], hidden_sizes[0], 3, padding=1, bias=False
        )
        nn.init.kaiming_normal_(stem.embedder.convolution.weight, mode="fan_out")
        stem.register_module("pooler", nn.Identity())
    return Classifier(body)


def swin(
    n_classes: int,
    image_shape: ImageShape,
    *,
    embed_dim: int = 96,
    depths: Sequence[int] = (2, 6, 4),
    num_heads: Sequence[int] = (3, 6, 12),
    patch_size: int | None = None,
    window_size: int = 4,
    mlp_ratio: float = 2.0,
    drop_path: float = 0.1,
) -> Classifier:
    """Build a Swin transformer for small images: 7.05 million parameters, the size in Table 5.

    Parameters
    ----------
    n_classes, image_shape
        As in ``small_cnn``; images must be square.
    embed_dim : int
        Channels of the first stage; every later stage doubles them.
    depths, num_heads : sequence of int
        Blocks and attention heads per stage.
    patch_size : int, optional
        By default a sixteenth of the image, at least 2.
    window_size : int
        Side of the attention window in patches, capped at the last stage's size.
    mlp_ratio, drop_path : float
        Relative width of hidden layers, and the rate of stochastic depth.

    Returns
    -------
    Classifier
    """
    import transformers

    channels, height, width = image_shape
    if height != width:
        raise InvalidInputError(f"swin takes square images, not {height}x{width}; pad or crop them")
    if patch_size is None:
        patch_size = max(2, height // 16)
    n_last = math.ceil(math.ceil(height / patch_size) / 2 ** (len(depths) - 1))
    config = transformers.SwinConfig(
        image_size=height,
        num_channels=channels,
        patch_size=patch_size,
        embed_dim=embed_dim,
        depths=list(depths),
        num_heads=list(num_heads),
        window_size=min(window_size, n_last),
        mlp_ratio=mlp_ratio,
        drop_path_rate=drop_path,
    )
    config.num_labels = n_classes
    return Classifier(transformers.SwinForImageClassification(config))


def swin_small(n_classes: int, image_shape: ImageShape, **options: Any) -> Classifier:
    """Build a Swin of 0.19 million parameters, to ask Table 5's question on a CPU.

    Parameters
    ----------
    n_classes, image_shape, **options
        As in ``swin``.

    Returns
    -------
    Classifier
    """
    small: dict[str, Any] = {
        "embed_dim": 48,
        "depths": (1, 2),
        "num_heads": (2, 4),
        "drop_path": 0.0,
    }
    return swin(n_classes, image_shape, **(small | options))


def eva02(
    n_classes: int,
    image_shape: ImageShape,
    *,
    name: str = "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k",
    pretrained: bool = True,
) -> Classifier:
    """Build timm's pretrained EVA02: 87 million parameters, as in Table 6.

    Images are resized and standardized as in its pretraining.

    Parameters
    ----------
    n_classes, image_shape
        As in ``small_cnn``; images must have three channels.
    name : str
        Name of timm's model; the default has the paper's size and pretraining.
    pretrained : bool
        Whether timm downloads the weights.

    Returns
    -------
    Classifier
    """
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f'eva02 needs timm: pip install -e "examples/nfpi[imagenet]" ({error})'
        ) from error
    if image_shape[0] != 3:
        raise InvalidInputError(
            f"eva02 takes color images, not {image_shape[0]} channel(s); repeat the channel"
        )
    body = timm.create_model(name, pretrained=pretrained, num_classes=n_classes)
    given = body.pretrained_cfg
    return Classifier(body, given["mean"], given["std"], given["input_size"][-1])


#: Classifiers by name.
CLASSIFIERS: dict[str, Callable[..., Classifier]] = {
    "small_cnn": small_cnn,
    "resnet18": resnet18,
    "swin": swin,
    "swin_small": swin_small,
    "eva02": eva02,
}


def make_classifier(
    name: str, n_classes: int, image_shape: ImageShape, *, seed: int = 0, **options: Any
) -> Classifier:
    """Build a classifier by name, with initial weights set by ``seed`` alone.

    Parameters
    ----------
    name : str
        A key of ``CLASSIFIERS``.
    n_classes, image_shape
        As in ``small_cnn``.
    seed : int
        Seeds the weights; torch's own random state is left unchanged.
    **options
        Options of the classifier.

    Returns
    -------
    Classifier

    Raises
    ------
    InvalidInputError
        If there is no such classifier, or it cannot take such images.
    ImportError
        If its library is not installed; the message names the extra.
    """
    if name not in CLASSIFIERS:
        raise InvalidInputError(
            f"there is no classifier {name!r}; pass one of {', '.join(CLASSIFIERS)}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return CLASSIFIERS[name](n_classes, image_shape, **options)


def n_parameters(model: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
