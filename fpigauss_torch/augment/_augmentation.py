"""New samples from old ones, by small moves in the latent space of a flow."""

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from fpigauss import InvalidInputError
from fpigauss_torch._support import as_generator, evaluating
from fpigauss_torch.augment._perturbation import (
    check_partners,
    check_strength,
    mix_within_class,
    noise_along_axes,
)
from fpigauss_torch.augment._principal_axes import PrincipalAxes, check_n_axes
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.prior import LatentPrior

__all__ = ["LatentAugmentation"]


class LatentAugmentation:
    """Batches of samples to batches of new samples of the same classes, through a flow.

    Encodes, moves the latents (``mix_within_class`` or ``noise_along_axes``) and decodes, without
    gradients, in evaluation mode and outside autocast. Samples whose latents do not move are
    returned as they came: unlabelled ones, and those alone in their class under "mix", where a
    call brings no partners.

    Parameters
    ----------
    model : ClassFlow
        A trained flow; its Gaussians may be refitted meanwhile.
    method : {"mix", "noise"}
        How latents are moved.
    strength : float
        Of the move: 0..1 for "mix", >= 0 for "noise".
    n_axes : int, optional
        How many principal axes of the class; all by default.
    seed : int, optional
        The same moves for the same batches in the same order; every batch gets others. In a
        worker of a DataLoader they depend on the loader's own ``generator`` too, so that workers
        and epochs differ. Without, randomness comes from torch's own state.

    Examples
    --------
    In the training loop of a classifier, which also serves models on a GPU:

    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> from fpigauss_torch import ClassFlow, LatentGaussians
    >>> from fpigauss_torch import LatentAugmentation
    >>> double = (lambda x: (2 * x, torch.zeros(len(x))), lambda z: z / 2)
    >>> model = ClassFlow(None, LatentGaussians(3, 2), codec=double)
    >>> augment = LatentAugmentation(model, strength=0.8, n_axes=1, seed=0)
    >>> data = TensorDataset(torch.randn(12, 2), torch.arange(12) % 3)
    >>> for x, y in DataLoader(data, batch_size=6):
    ...     x, y = augment(x, y)

    Or in the loader, whose workers then do the work:

    >>> loader = DataLoader(data, batch_size=6, collate_fn=augment.collate)
    >>> [x.shape for x, y in loader]
    [torch.Size([6, 2]), torch.Size([6, 2])]
    """

    def __init__(
        self,
        model: ClassFlow,
        *,
        method: Literal["mix", "noise"] = "mix",
        strength: float = 0.5,
        n_axes: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Check the arguments."""
        if not isinstance(model, ClassFlow):
            raise InvalidInputError(f"model is a {type(model).__name__}; pass a ClassFlow")
        if method not in ("mix", "noise"):
            raise InvalidInputError(f'method is {method!r}; pass "mix" or "noise"')
        check_strength(strength, most=1.0 if method == "mix" else math.inf)
        if n_axes is not None:
            check_n_axes(n_axes, model.gaussians.dim)
        if isinstance(seed, torch.Generator):
            raise InvalidInputError("seed is a torch.Generator; pass an int, which workers can mix")
        self.model = model
        self.method = method
        self.strength = strength
        self.n_axes = n_axes
        self.seed = seed
        self._generator = as_generator(seed)
        self._worker_seed: int | None = None
        self._axes: tuple[Tensor, int, PrincipalAxes] | None = None

    @torch.no_grad()
    def __call__(self, x: Tensor, y: Any, partners: Tensor | None = None) -> tuple[Tensor, Any]:
        """New samples of a batch.

        Parameters
        ----------
        x : (N, ...) tensor
            Samples.
        y : (N,) integers
            Classes 0..K-1, or -1 for samples to be left as they are.
        partners : (N, ...) tensor, optional
            For "mix": a sample of the same class for every one of ``x``, from wherever you have
            them. Where classes are many, few batches hold two samples of one. By default partners
            come from the batch.

        Returns
        -------
        x : (N, ...) tensor
            In the dtype and on the device of those given.
        y : (N,) integers
            The same.
        """
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InvalidInputError(f"x is of {kind}; pass a floating-point tensor (N, ...)")
        if partners is not None:
            check_partners(partners, x, "x")
            if self.method != "mix":
                raise InvalidInputError(
                    f"partners is given, but method is {self.method!r}; leave it out, or mix"
                )
        options: dict[str, Any] = {"strength": self.strength, "seed": self._next_generator()}
        with evaluating(self.model), torch.autocast(x.device.type, enabled=False):
            z, _ = self.model.encode(x)
            if self.method == "noise":
                moved = noise_along_axes(z, y, self._gaussians(), **options)
            else:
                others = None if partners is None else self.model.encode(partners)[0]
                moved = mix_within_class(z, y, self._gaussians(), partners=others, **options)
            decoded = self.model.decode(moved).to(x)
        changed = (moved != z).any(1).to(x.device)
        return torch.where(changed.reshape(-1, *[1] * (x.ndim - 1)), decoded, x), y

    def collate(self, samples: list[Any]) -> tuple[Tensor, Any]:
        """A ``collate_fn`` for a DataLoader: samples (x, y) to an augmented batch.

        Parameters
        ----------
        samples : list of (x, y)

        Returns
        -------
        x, y
            As of a call.
        """
        x, y = default_collate(samples)
        return self(x, y)

    def _gaussians(self) -> LatentPrior | PrincipalAxes:
        """The Gaussians, or their axes: computed again when they have changed."""
        prior = self.model.gaussians
        if self.n_axes is None:
            return prior
        inverse = prior.density().inverse
        if self._axes is None or self._axes[0] is not inverse or self._axes[1] != inverse._version:
            self._axes = inverse, inverse._version, PrincipalAxes.of(prior, self.n_axes)
        return self._axes[2]

    def _next_generator(self) -> torch.Generator | None:
        """The generator; in a worker process, where it would be every worker's, one of its own."""
        worker = get_worker_info()
        if self.seed is not None and worker is not None and worker.seed != self._worker_seed:
            self._worker_seed = worker.seed
            entropy = np.random.SeedSequence([self.seed, worker.seed])
            own_seed = int(entropy.generate_state(1, np.uint64)[0]) >> 1
            self._generator = torch.Generator().manual_seed(own_seed)
        return self._generator

    def __getstate__(self) -> dict[str, Any]:
        """Without the prepared axes, which go by the identity of tensors."""
        return self.__dict__ | {"_axes": None}
