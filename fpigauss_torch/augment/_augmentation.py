"""New samples made from old ones by small moves in the latent space of a flow."""

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from fpigauss import InvalidInputError
from fpigauss.interface import warn_user
from fpigauss_torch._support import as_generator, as_integer, as_tensor, evaluating, finite_rows
from fpigauss_torch.augment._perturbation import (
    check_partners,
    check_strength,
    mix_within_class,
    noise_along_axes,
)
from fpigauss_torch.augment._principal_axes import PrincipalAxes, check_n_axes
from fpigauss_torch.flow import ClassFlow, class_flow_of
from fpigauss_torch.prior import LatentPrior

__all__ = ["LatentAugmentation"]


class LatentAugmentation:
    """Turns batches of samples into batches of new samples of the same classes, through a flow.

    Encodes, moves the latents (``mix_within_class`` or ``noise_along_axes``) and decodes, without
    gradients, in evaluation mode and outside autocast. Samples whose latents do not move are
    returned unchanged: unlabeled ones and, with "mix" and without partners, those that are alone
    in their class.

    Parameters
    ----------
    model : ClassFlow
        A trained flow; its Gaussians may be refitted between calls.
    method : {"mix", "noise"}
        How latents are moved.
    strength : float
        The strength of the move: 0..1 for "mix", >= 0 for "noise".
    n_axes : int, optional
        How many principal axes of the class to move along; all by default.
    seed : int, optional
        Makes the moves repeatable: the same batches in the same order are moved the same way.
        Moves differ from batch to batch. In a worker of a DataLoader they also depend on the
        loader's own ``generator``, so that workers and epochs differ. Without a seed, randomness
        comes from torch's own state.

    See Also
    --------
    class_preservation : whether augmented samples keep their class.
    ClassFlow.sample : new samples, of Gaussians alone.

    Examples
    --------
    In the training loop of a classifier, which also works for models on a GPU:

    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> from fpigauss_torch import ClassFlow, LatentAugmentation, LatentGaussians
    >>> double = (lambda x: (2 * x, torch.zeros(len(x))), lambda z: z / 2)
    >>> model = ClassFlow(None, LatentGaussians(3, 2), codec=double)
    >>> augment = LatentAugmentation(model, strength=0.8, n_axes=1, seed=0)
    >>> data = TensorDataset(torch.randn(12, 2), torch.arange(12) % 3)
    >>> for x, y in DataLoader(data, batch_size=6):
    ...     x, y = augment(x, y)

    Or in the loader, so that its workers do it:

    >>> loader = DataLoader(data, batch_size=6, collate_fn=augment.collate)
    >>> [x.shape for x, y in loader]
    [torch.Size([6, 2]), torch.Size([6, 2])]
    """

    _warned = False  # of samples that are kept

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
        model = class_flow_of(model)
        if method not in ("mix", "noise"):
            raise InvalidInputError(f'method is {method!r}; pass "mix" or "noise"')
        strength = check_strength(strength, most=1.0 if method == "mix" else math.inf)
        if n_axes is not None:
            n_axes = check_n_axes(n_axes, model.gaussians.dim)
        if isinstance(seed, torch.Generator):
            raise InvalidInputError(
                "seed is a torch.Generator; pass an int, which workers can combine with their own"
            )
        self.model = model
        self.method = method
        self.strength = strength
        self.n_axes = n_axes
        self.seed = as_integer(seed)
        self._generator = as_generator(seed)
        self._worker_seed: int | None = None
        self._axes: tuple[Tensor, int, PrincipalAxes] | None = None

    def __call__(self, x: Any, y: Any, partners: Any = None) -> tuple[Tensor, Any]:
        """Make new samples of a batch.

        Parameters
        ----------
        x : (N, ...) tensor or array-like
            Samples.
        y : (N,) integers
            Classes 0..K-1, or -1 for samples to leave as they are.
        partners : (N, ...) tensor or array-like, optional
            For "mix": a sample of the same class for every sample in ``x``, from any source. With
            many classes, few batches contain two samples of the same class. By default partners
            come from the batch.

        Returns
        -------
        x : (N, ...) tensor
            New samples, in the dtype and on the device of the old ones; those of arrays are tensors
            on the device of the flow. Where the flow decodes to
            numbers that are not finite, the old sample is kept.
        y : (N,) integers
            The labels that were given.

        Warns
        -----
        RuntimeWarning
            The first time that a sample is kept because of that.
        """
        x = self._tensor(x, "x")
        if not x.is_floating_point():
            raise InvalidInputError(f"x is a {x.dtype}; pass a floating-point tensor (N, ...)")
        if partners is not None:
            partners = self._tensor(partners, "partners")
            check_partners(partners, x, "x")
            if self.method != "mix":
                raise InvalidInputError(
                    f"partners are given, but method is {self.method!r}; leave them out, or pass "
                    'method="mix"'
                )
        options: dict[str, Any] = {"strength": self.strength, "seed": self._next_generator()}
        with (
            torch.no_grad(),  # as a decorator it would hide who called, from the warning
            evaluating(self.model),
            torch.autocast(x.device.type, enabled=False),
        ):
            z, _ = self.model.encode(x)
            if self.method == "noise":
                moved = noise_along_axes(z, y, self._gaussians(), **options)
            else:
                others = None if partners is None else self.model.encode(partners)[0]
                moved = mix_within_class(z, y, self._gaussians(), partners=others, **options)
            decoded = self.model.decode(moved).to(x)
        changed = (moved != z).any(1).to(x.device)
        finite = finite_rows(decoded)
        self._warn_of_kept(changed & ~finite)
        changed = (changed & finite).reshape(-1, *[1] * (x.ndim - 1))
        return torch.where(changed, decoded, x), y

    def collate(self, samples: list[Any]) -> tuple[Tensor, Any]:
        """Collate samples (x, y) to an augmented batch: the ``collate_fn`` of a DataLoader.

        Parameters
        ----------
        samples : list of (x, y)

        Returns
        -------
        x, y
            As returned by a call.
        """
        x, y = default_collate(samples)
        return self(x, y)

    def _tensor(self, x: Any, name: str) -> Tensor:
        """Return samples as they are, or an array of them as a tensor on the flow's device."""
        if isinstance(x, Tensor):
            return x
        listed = torch.get_default_dtype() if isinstance(x, list | tuple) else None
        remedy = "pass samples (N, ...) as a tensor or an array of numbers"
        device = self.model.gaussians.density().means.device
        return as_tensor(x, name, remedy, listed).to(device)

    def _warn_of_kept(self, broken: Tensor) -> None:
        if not self._warned and bool(broken.any()):
            self._warned = True
            warn_user(
                f"{int(broken.sum())} of {len(broken)} augmented samples are not finite (row "
                f"{int(broken.nonzero()[0, 0])} first), and are left as they were: the flow "
                f"overflows on latents unlike those that it was trained on; lower strength="
                f"{self.strength:g}. This is said once",
                RuntimeWarning,
            )

    def _gaussians(self) -> LatentPrior | PrincipalAxes:
        """Return the Gaussians, or their axes, which are computed again after a change."""
        prior = self.model.gaussians
        if self.n_axes is None:
            return prior
        inverse = prior.density().inverse
        if self._axes is None or self._axes[0] is not inverse or self._axes[1] != inverse._version:
            self._axes = inverse, inverse._version, PrincipalAxes.of(prior, self.n_axes)
        return self._axes[2]

    def _next_generator(self) -> torch.Generator | None:
        """Return the generator; every worker process, which would have the same, makes its own."""
        worker = get_worker_info()
        if self.seed is not None and worker is not None and worker.seed != self._worker_seed:
            self._worker_seed = worker.seed
            entropy = np.random.SeedSequence([self.seed, worker.seed])
            own_seed = int(entropy.generate_state(1, np.uint64)[0]) >> 1
            self._generator = torch.Generator("cpu").manual_seed(own_seed)
        return self._generator

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the prepared axes, which are tied to the identity of tensors."""
        return self.__dict__ | {"_axes": None}
