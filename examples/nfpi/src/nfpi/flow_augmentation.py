"""Augment a classifier's batches by moving images in the latent space of a flow."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, LatentAugmentation, LatentGaussians
from torch import Tensor

from nfpi.batches import dequantized
from nfpi.checkpoints import fingerprint
from nfpi.data import ImageSet
from nfpi.gaussians import class_gaussians_of

__all__ = ["FlowAugmentation", "check_flow_augmentation"]


@dataclass(eq=False)
class FlowAugmentation:
    """Replaces a share of every batch by variants made in the latent space of a flow.

    Parameters
    ----------
    model : ClassFlow
        A trained flow over images in [0, 1). With ``n_axes``, estimate its Gaussians from its
        latents.
    method, strength, n_axes
        As in ``LatentAugmentation``.
    share : float
        The share of images to replace, in [0, 1]. Those that decode to what is not finite are kept,
        with a warning.
    partners : ImageSet, optional
        "mix" draws a partner from these for each image it moves; it may draw the image itself.
        Without them, partners come from the batch, and images without another of their class are
        not changed: with many classes, that is most of them.
    """

    model: ClassFlow
    method: Literal["mix", "noise"] = "mix"
    strength: float = 0.5
    n_axes: int | None = None
    share: float = 0.5
    partners: ImageSet | None = field(default=None, repr=False)
    _augment: LatentAugmentation = field(init=False, repr=False)
    _partners: "_Partners | None" = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        """Check the arguments."""
        n_classes = self.model.gaussians.n_classes
        if self.partners is not None:
            if self.partners.n_classes != n_classes:
                raise InvalidInputError(
                    f"partners has {self.partners.n_classes} classes, the flow {n_classes}; pass "
                    "images of the flow's classes"
                )
            self._partners = _Partners(self.partners)
        if not 0.0 <= self.share <= 1.0:
            raise InvalidInputError(f"share is {self.share!r}; pass a number from 0 to 1")
        self._augment = LatentAugmentation(
            self.model, method=self.method, strength=self.strength, n_axes=self.n_axes
        )

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Parameters
        ----------
        x : (B, C, H, W) tensor
            Images in [0, 1).
        y : (B,) int64 tensor

        Returns
        -------
        x, y
            Of the same shapes; ``y`` is unchanged.
        """
        chosen = (torch.rand(len(x)) < self.share).nonzero()[:, 0].to(x.device)
        if not len(chosen):
            return x, y
        own = x[chosen], y[chosen]
        if self._partners is not None and self.method == "mix":
            moved, _ = self._augment(*own, self._partners(own[1]).to(x))
        else:
            moved, _ = self._augment(*own)
        usable = (moved != own[0]).flatten(1).any(1)  # others would not be finite
        changed = x.clone()
        changed[chosen[usable]] = moved[usable].clamp(0.0, 1.0)
        return changed, y

    def settings(self) -> dict[str, Any]:
        """Return the arguments as plain values: partners as their number, and no flow."""
        names = ("method", "strength", "n_axes", "share")
        n_partners = None if self.partners is None else len(self.partners)
        return {name: getattr(self, name) for name in names} | {"partners": n_partners}

    def identity(self) -> dict[str, Any]:
        """Return the settings, and what identifies the flow.

        The flow is identified by its trained weights alone: Gaussians estimated afterwards follow
        from them, but not to the last bit on every device.
        """
        gaussians = self.model.gaussians
        return {
            **self.settings(),
            "gaussians": type(gaussians).__name__,
            "covariances": list(class_gaussians_of(gaussians).covariances.shape),
            "weights": fingerprint(*self.model.codec.parameters()),
        }


def check_flow_augmentation(dim: int, **settings: Any) -> None:
    """Refuse settings of ``FlowAugmentation`` before a flow is trained for them.

    Parameters
    ----------
    dim : int
        Dimension of the flow's Gaussians.
    **settings
        ``method``, ``strength``, ``n_axes`` and ``share``.

    Raises
    ------
    InvalidInputError
        If a setting cannot be used.
    """
    as_is = (lambda x: (x, x.new_zeros(len(x))), lambda z: z)
    FlowAugmentation(
        ClassFlow(None, LatentGaussians(2, dim, "isotropic", True), codec=as_is), **settings
    )


class _Partners:
    """Draws, for every image of a batch, one of the same class from a set."""

    def __init__(self, images: ImageSet) -> None:
        self._images = images.checked_classes()
        self._rows = images.labels.argsort(stable=True)  # class by class
        self._counts = images.labels.bincount()
        self._starts = self._counts.cumsum(0) - self._counts

    def __call__(self, y: Tensor) -> Tensor:
        """Return images (B, C, H, W) in [0, 1), on the host, for classes (B,)."""
        labels = y.cpu()
        within = torch.randint(1 << 62, labels.shape) % self._counts[labels]
        rows = self._rows[self._starts[labels] + within]
        return dequantized(self._images.images[rows], torch.default_generator)
