"""Class Gaussians of one covariance family as buffers of a module, and their state."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from fpigauss import ClassGaussians, CovarianceFamily, InvalidInputError
from fpigauss.interface import distinct_name, resolve_family, warn_user
from fpigauss_torch._support import (
    ON_META,
    ClassDensity,
    is_wrapped,
    matmul,
    state_said,
    state_tensor,
)
from fpigauss_torch.prior import LatentPrior

__all__ = ["GaussianBuffers"]


class GaussianBuffers(LatentPrior):
    """K Gaussians in float64 buffers.

    The factors that densities and draws use are not buffers: they are remade whenever the
    covariances have changed, by a refit, a state, an average or an edit in place, so that they
    cannot disagree. Edits through ``.data`` are not noticed, since torch does not count them; and a
    compiled graph notices an edit in place once ``density()`` was called outside of it.

    The parameters are those of ``LatentGaussians``, which adds fits and conversions.
    """

    means: Tensor
    covariances: Tensor
    class_counts: Tensor
    _factors: "_Factors | None"

    def __init__(
        self,
        n_classes: int,
        dim: int,
        covariance: str | CovarianceFamily = "isotropic",
        tied: bool = True,
    ) -> None:
        """Start from N(0, I) for every class."""
        super().__init__(n_classes, dim)
        self.family = resolve_family(covariance, tied)
        #: How many times the Gaussians were replaced.
        self.n_swaps = 0
        zero = torch.zeros(n_classes, dim, dtype=torch.float64)
        # the shape's own average of the identity: ones, however the family stores them
        unit = self.family.average(self.family.unit(dim, zero), dim)
        values = unit.expand(1 if self.family.tied else n_classes, *unit.shape[1:]).clone()
        self.register_buffer("means", zero)
        self.register_buffer("covariances", self.family.pack(values))
        # zeros, not a missing buffer, while they are unknown: those of averages must correspond
        self.register_buffer("class_counts", zero.new_zeros(n_classes))
        self._start_over()

    def density(self) -> ClassDensity:
        """Return the Gaussians as they are now."""
        return self._present().density

    @property
    def counts(self) -> Tensor | None:
        """How many samples each class had in the last fit, (K,); None if that is not known."""
        if torch.compiler.is_compiling() or bool(self.class_counts.any()):
            return self.class_counts  # a compiled graph does not look at values
        return None

    def _warn_unless_fitted(self) -> None:
        """Warn if the Gaussians are all the same, as they are at first."""
        if torch.compiler.is_compiling() or is_wrapped(self.means) or self.means.is_meta:
            return  # there is no value to look at
        if self.fit_expected:
            return
        if self.n_classes > 1 and self._are_alike():
            warn_user(
                "the Gaussians have not been fitted: all classes have the same one, and no sample "
                "is more probable under one class than another; call schedule.step(model, loader, "
                "epoch) before each epoch of training, or refit_(model, loader, separation=150.0) "
                "once before it",
                RuntimeWarning,
            )

    def _are_alike(self) -> bool:
        """Return whether nothing tells the classes apart."""
        alike = (self.means == self.means[:1]).all()
        if not self.family.tied:
            alike &= (self.covariances == self.covariances[:1]).all()
        return bool(alike)

    def color(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Multiply standard-normal ``noise`` by F_y."""
        own = torch.zeros_like(labels) if self.family.tied else labels
        root = self._present().root
        if root.ndim == 2:
            return noise * root[own]
        colored = noise.clone()
        for code in own.unique().tolist():  # one (d, d) matrix per row would be far larger
            rows = own == code
            colored[rows] = matmul(noise[rows], root[code].T)
        return colored

    def _swap(self, gaussians: ClassGaussians) -> None:
        """Replace all tensors, or none."""
        with torch.inference_mode(False), torch.no_grad():
            made = self._made(gaussians.covariances)
            counts = gaussians.counts
            values = {
                "means": gaussians.means,
                "covariances": gaussians.covariances,
                "class_counts": torch.zeros_like(self.class_counts) if counts is None else counts,
            }
            for name, value in values.items():
                buffer = getattr(self, name)
                if buffer.is_inference():  # made under inference_mode: it cannot be written to
                    self._buffers[name] = value.clone()
                else:  # in place: compiled graphs and DDP hold on to the buffers
                    buffer.copy_(value)
            self._take(made)
        self.n_swaps += 1

    # -- the factors -----------------------------------------------------------------------

    def _present(self) -> "_Factors":
        """Return the factors of the covariances as they are now."""
        kept = self._factors
        if torch.compiler.is_compiling() and kept is not None:
            return kept  # its tensors are inputs of the graph, and are changed in place
        if is_wrapped(self.covariances) or is_wrapped(self.means):
            root, inverse, log_det = self._made(self.covariances)
            return _Factors(root, ClassDensity(self.means, inverse, log_det), self.covariances, -1)
        if kept is None or not kept.are_of(self.means, self.covariances):
            kept = self._refresh()
        return kept

    def _refresh(self) -> "_Factors":
        """Make the factors anew."""
        if self.covariances.device.type == "meta":
            raise InvalidInputError(ON_META)
        with torch.inference_mode(False), torch.no_grad():
            means, covariances = (
                x.clone() if x.is_inference() else x for x in (self.means, self.covariances)
            )
            return self._take(self._made(self._checked(means, covariances).covariances))

    def _checked(
        self, means: Tensor, covariances: Tensor, counts: Tensor | None = None
    ) -> ClassGaussians:
        return ClassGaussians(
            means, covariances, covariance=self.family, tied=self.family.tied, counts=counts
        )

    def _made(self, covariances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the factors F and F^-1, and the log-determinants."""
        factor = self.family.factor(self.family.unpack(covariances))
        root, inverse = self.family.as_matrices(factor, self.dim)
        return root, inverse, self.family.log_det(factor, self.dim)

    def _take(self, made: tuple[Tensor, Tensor, Tensor]) -> "_Factors":
        """Keep factors, in the tensors of the present ones where that is possible."""
        kept = self._factors
        if kept is not None and all(
            old.shape == new.shape and old.device == new.device and not old.is_inference()
            for old, new in zip(kept.tensors, made, strict=True)
        ):
            for old, new in zip(kept.tensors, made, strict=True):
                old.copy_(new)
            made = kept.tensors
        root, inverse, log_det = made
        version = -1 if self.covariances.is_inference() else self.covariances._version
        if kept is None or made is not kept.tensors or kept.density.means is not self.means:
            density = ClassDensity(self.means, inverse, log_det)
        else:
            density = kept.density
        self._factors = _Factors(root, density, self.covariances, version)
        return self._factors

    def _start_over(self) -> None:
        """Make the factors anew, in tensors of their own, unless there are no values yet."""
        self._factors = None
        with contextlib.suppress(InvalidInputError):  # to_empty leaves anything; told at first use
            self._refresh()

    @property
    def _inverse(self) -> Tensor:
        return self._present().density.inverse

    @property
    def _log_det(self) -> Tensor:
        return self._present().density.log_det

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_factors": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in ("_root", "_inverse", "_log_det"):  # buffers, before 0.1.0
            self._buffers.pop(name, None)
            self._non_persistent_buffers_set.discard(name)
        if "class_counts" not in self._buffers:
            self.register_buffer("class_counts", torch.zeros_like(self.means[:, 0]))
        self._start_over()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the buffers, but keep their dtype: .half() would cost the fit its digits."""
        dtypes = {name: buffer.dtype for name, buffer in self.named_buffers(recurse=False)}
        module: Self = super()._apply(lambda x: _moved(fn, x), recurse)
        changed = {n for n, b in self.named_buffers(recurse=False) if b.dtype != dtypes[n]}
        assert not changed or self.means.device.type == "mps", changed
        self._start_over()
        return module

    def described(self) -> dict[str, Any]:
        """Return what the tensors of a state do not say."""
        return super().described() | {
            "covariance": distinct_name(self.family),
            "tied": self.family.tied,
        }

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        dtype = self.means.dtype
        with self._kept_unless_loaded(args[-1] if args else []):
            self._load(dtype, state_dict, prefix, *args, **kwargs)

    @contextlib.contextmanager
    def _kept_unless_loaded(self, messages: list[str]) -> Iterator[None]:
        """Give the buffers their values back if loading a state raises, or adds a message."""
        before = {n: (buffer, buffer.clone()) for n, buffer in self.named_buffers(recurse=False)}
        n_messages, loaded = len(messages), False
        try:
            yield
            loaded = len(messages) == n_messages
        finally:
            if not loaded:
                with torch.inference_mode(False), torch.no_grad():
                    for name, (buffer, values) in before.items():
                        inference = buffer.is_inference()
                        self._buffers[name] = values if inference else buffer.copy_(values)

    def _load(
        self, dtype: torch.dtype, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        if f"{prefix}means" in state_dict:  # a state of before there were counts
            unknown = torch.zeros_like(state_dict[f"{prefix}means"][:, 0])
            state_dict.setdefault(f"{prefix}class_counts", unknown)
        self._say_family(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if self.means.device.type == "meta":
            return
        counts = self.class_counts.to(dtype)
        # a state that was cast to half precision has no room for large ones
        known = bool(counts.isfinite().all() & (counts >= 0.0).all() & counts.any())
        loaded = self._checked(
            self.means.to(dtype), self.covariances.to(dtype), counts if known else None
        )
        for name in ("means", "covariances", "class_counts"):
            self._buffers[name] = getattr(self, name).to(dtype)
        self._swap(loaded)

    def _say_family(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Add the class to the name of the family, in a state from before it was said.

        Such a state may also be that of the family whose name it is: then its covariances have
        numbers where this one has zeros.
        """
        name, distinct = self.family.name, distinct_name(self.family)
        saved = state_dict.get(f"{prefix}_extra_state")
        if distinct == name or saved is None or state_said(saved).get("covariance") != name:
            return
        values = state_dict.get(f"{prefix}covariances")
        if values is not None and self._is_of_family(values):
            said = state_said(saved) | {"covariance": distinct}
            state_dict[f"{prefix}_extra_state"] = state_tensor(said)

    def _is_of_family(self, covariances: Tensor) -> bool:
        """Say whether covariances lie in the family, as far as that can be told from them."""
        shape = self.family.public_shape(self.n_classes, self.dim)
        if tuple(covariances.shape) != shape or covariances.device.type == "meta":
            return False
        values = self.family.unpack(covariances)
        if values.shape[1:] not in {(self.dim,), (self.dim, self.dim)}:
            return False  # groups of axes: any numbers may be theirs
        projected = self.family.average(self.family.projections(values), self.dim)
        return projected.shape == values.shape and bool((projected == values).all())


@dataclass(frozen=True, eq=False)
class _Factors:
    """Factors, and the covariances that they are of."""

    root: Tensor
    density: ClassDensity
    covariances: Tensor
    version: int

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.root, self.density.inverse, self.density.log_det

    def are_of(self, means: Tensor, covariances: Tensor) -> bool:
        return (
            self.density.means is means
            and self.covariances is covariances
            and not covariances.is_inference()
            and self.version == covariances._version
        )


def _moved(fn: Callable[[Tensor], Tensor], buffer: Tensor) -> Tensor:
    """Apply ``fn`` without its change of dtype; float32 where the device has no float64."""
    try:
        moved = fn(buffer)
    except TypeError:  # MPS refuses float64
        return fn(buffer.float())
    return moved if moved.dtype == buffer.dtype else buffer.to(moved.device)
