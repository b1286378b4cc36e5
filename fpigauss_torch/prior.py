"""What every prior over latents offers, however its Gaussians are set."""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from fpigauss import InvalidInputError
from fpigauss.interface import check_nonnegative, check_positive, warn_user
from fpigauss_torch._support import (
    MEMORY_LIMIT,
    ClassDensity,
    as_generator,
    as_integer,
    as_latents,
    by_blocks,
    hard_labels,
    is_wrapped,
    joint,
    label_tensor,
    labels_to_draw,
    log_priors_of,
    posterior,
    prior_mixture,
    soft_labels,
    state_said,
    state_tensor,
    weighted,
)

__all__ = ["LatentPrior"]


class LatentPrior(nn.Module, ABC):
    """K class densities over latents (N, d), with equal priors unless ``priors`` are passed.

    A subclass of your own defines its Gaussians (``density``) and how noise is colored (``color``).

    Parameters
    ----------
    n_classes, dim : int
        K >= 1 and d >= 1.
    """

    n_classes: int
    dim: int
    #: Whether predictions before the first fit are intended, as in a sanity check.
    fit_expected: bool = False

    def __init__(self, n_classes: int, dim: int) -> None:
        """Check the sizes."""
        super().__init__()
        self.n_classes = _checked_size(n_classes, "n_classes")
        self.dim = _checked_size(dim, "dim")

    @abstractmethod
    def density(self) -> ClassDensity:
        """Return the Gaussians as they are now, differentiable where they are learned."""

    @abstractmethod
    def color(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Multiply standard-normal ``noise`` (N, d) by F_y, for labels (N,)."""

    def penalty(self) -> Tensor:
        """Return what training adds to the mean negative log-likelihood (0-d).

        It is the repulsion of Eq. 4 divided by K, for priors that are trained with one, else zero.
        (Eq. 4 sums the likelihood over classes; a loss is its mean.)
        """
        density = self.density()
        return density.log_det.new_zeros((), dtype=torch.float32)

    # -- densities -------------------------------------------------------------------------

    def class_log_prob(self, z: Tensor) -> Tensor:
        r"""Compute log N_y(z) of every row under every class, by matrix products.

        They are computed in the dtype of ``z`` (float32 for half precision, outside autocast),
        about a center that is near the means or near the row. Rows of ``z`` that are not finite
        give results that are not finite: loss scalers look for them.

        Parameters
        ----------
        z : (N, d) tensor
            Latents.

        Returns
        -------
        (N, K) tensor
            In nats; float32, or float64 for latents in float64.

        Raises
        ------
        InvalidInputError
            If ``z`` has another width, dtype or device.
        """
        density = self.density()
        return density.by_class(as_latents(z, self.dim, density.means.device))

    def log_prob(self, z: Tensor, labels: Any = None, *, priors: Any = None) -> Tensor:
        r"""Compute log N_y(z) of the labels, or log sum_y p(y) N_y(z) without labels.

        Parameters
        ----------
        z : (N, d) tensor
            Latents.
        labels : (N,) integers or (N, K) floats, optional
            Classes 0..K-1, or -1 for rows without a label, which get the mixture of all classes;
            or soft labels w, rows that sum to one, which mix likelihoods: log sum_y w_y N_y(z).
        priors : "counts" or (K,), optional
            The weights p(y) of the mixture, as in ``predict``; equal by default. Of no effect on
            rows with a label, and not allowed beside soft labels.

        Returns
        -------
        (N,) tensor
            In nats.

        Raises
        ------
        InvalidInputError
            As in ``predict``; or if a label is out of range or of another dtype, or there is
            not one label per row. A compiled graph does not check ranges, and computes the mixture
            of all rows, since any of them may be without a label.
        """
        logs = self._log_priors(priors)
        density = self.density()
        z = as_latents(z, self.dim, density.means.device)
        if labels is None:
            return self._mixture(z, logs)
        labels = label_tensor(labels, self.n_classes)
        if labels.ndim == 2:
            if priors is not None:
                raise InvalidInputError(
                    "priors are of no effect on soft labels, which weigh the classes themselves; "
                    "leave out one of the two"
                )
            weights = soft_labels(labels, self.n_classes, device=z.device, rows=z.shape[0])
            return weighted(density.by_class(z), weights)
        labels, some_unlabeled = hard_labels(
            labels,
            self.n_classes,
            device=z.device,
            rows=z.shape[0],
            unlabeled=True,
            soft=True,
        )
        if not some_unlabeled:
            return density.of_labels(z, labels)
        labeled = density.of_labels(z, labels.clamp_min(0))
        return torch.where(labels >= 0, labeled, self._mixture(z, logs))

    def _mixture(self, z: Tensor, logs: Tensor | None) -> Tensor:
        """Compute log sum_y p(y) N_y(z); in blocks of rows if no gradients are asked for."""
        if torch.is_grad_enabled():
            return prior_mixture(self.class_log_prob(z), logs)
        return by_blocks(
            lambda rows: prior_mixture(self.class_log_prob(rows), logs), z, self.n_classes
        )

    def predict(self, z: Tensor, *, priors: Any = None, memory_limit: int = MEMORY_LIMIT) -> Tensor:
        """Return the most probable class, argmax_y p(y) N_y(z).

        Priors are equal by default, whatever the counts of the classes: then it is the class with
        the highest density.

        Parameters
        ----------
        z : (N, d) tensor
            Latents.
        priors : "counts" or (K,), optional
            The probability p(y) of each class; or "counts", in proportion to ``counts``. Equal by
            default. A class whose prior is zero is never predicted.
        memory_limit : int
            Bytes that class densities may take at a time; more rows are done in blocks.

        Returns
        -------
        (N,) int64 tensor
            For rows that no class has a density at, the class with the highest prior, the first of
            these if there are several.

        Raises
        ------
        InvalidInputError
            As in ``class_log_prob``, or if ``priors`` are not K probabilities that sum to one, or
            "counts" that are not known. A compiled graph does not check priors.

        Warns
        -----
        RuntimeWarning
            Once per call, if a row is not finite, or so far from all classes that every density
            vanishes; such rows have a rejection score of +inf. Also if Gaussians that a refit fits
            have not been fitted, and are all the same.
        """
        self._warn_unless_fitted()
        with torch.no_grad():  # as a decorator it would hide who called, from the warning
            z = as_latents(z, self.dim, self.density().means.device)
            logs = self._log_priors(priors)

            def best(rows: Tensor) -> Tensor:
                """Return the class (N,), less K where no class has a density."""
                by_class = _without_nan(self.class_log_prob(rows))
                codes = joint(by_class, logs).argmax(1)
                return torch.where((by_class > -math.inf).any(1), codes, codes - self.n_classes)

            codes = by_blocks(best, z, self.n_classes, memory_limit)
            _warn_of_rows_without_density(z, codes)
            return torch.where(codes < 0, codes + self.n_classes, codes)

    def predict_proba(
        self,
        z: Tensor,
        temperature: float = 1.0,
        *,
        priors: Any = None,
        memory_limit: int = MEMORY_LIMIT,
    ) -> Tensor:
        """Compute the posterior p(y|z), in proportion to p(y) N_y(z)^(1/temperature).

        Parameters
        ----------
        z : (N, d) tensor
            Latents.
        temperature : float
            Divides the log-densities: above 1 the posterior is less confident (see
            ``calibrate_temperature``).
        priors : "counts" or (K,), optional
            The probability p(y) of each class, as in ``predict``; equal by default.
        memory_limit : int
            As in ``predict``; the result itself is not counted.

        Returns
        -------
        (N, K) tensor
            Rows that sum to one; the priors themselves (equal shares by default) for rows that no
            class has a density at, which are those that are not finite, or too far from all
            classes.

        Warns
        -----
        RuntimeWarning
            Once per call, if Gaussians that a refit fits have not been fitted.
        """
        temperature = check_positive(temperature, "temperature")
        self._warn_unless_fitted()
        with torch.no_grad():
            z = as_latents(z, self.dim, self.density().means.device)
            logs = self._log_priors(priors)

            def shares(rows: Tensor) -> Tensor:
                return posterior(_without_nan(self.class_log_prob(rows)), logs, temperature)

            return by_blocks(shares, z, self.n_classes, memory_limit)

    def _warn_unless_fitted(self) -> None:
        """Warn if predictions mean nothing yet."""

    @property
    def counts(self) -> Tensor | None:
        """How many samples each class had in the last fit, (K,); None if that is not known."""
        return None

    def _log_priors(self, priors: Any) -> Tensor | None:
        if priors is None:
            return None
        return log_priors_of(priors, self.counts, self.density().means)

    # -- the state -------------------------------------------------------------------------

    def described(self) -> dict[str, Any]:
        """Return what the tensors of a state do not say."""
        return {"prior": type(self).__name__, "n_classes": self.n_classes, "dim": self.dim}

    def get_extra_state(self) -> Tensor:
        """Return ``described()`` as a tensor, since what saves states may save tensors only."""
        return state_tensor(self.described())

    def set_extra_state(self, state: Any) -> None:
        """Do nothing: the state was compared before its first tensor was loaded."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        saved = state_dict.get(f"{prefix}_extra_state")
        ours = state_said(self.get_extra_state())
        if saved is not None and (said := state_said(saved)) != ours:
            raise InvalidInputError(
                f"the state is that of a {_listed(said)}; this is a {_listed(ours)}; "
                "make the prior with the arguments of the state before loading it"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Show the sizes, and what else the state says."""
        state = state_said(self.get_extra_state())
        return ", ".join(f"{n}={v!r}" for n, v in state.items() if n != "prior")

    # -- samples ---------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        labels: Any,
        temperature: float = 1.0,
        seed: Any = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Draw one sample per label, or ``labels`` samples from the mixture of all classes.

        Parameters
        ----------
        labels : (N,) integers, or int
            The classes to draw from, in this order; or how many draws, each of a class drawn
            uniformly.
        temperature : float
            Multiplies the standard deviations; 0 gives the means.
        seed : int or torch.Generator, optional
            Where the randomness comes from. With an int, noise is drawn on the host and is the same
            for every device; without a seed, it comes from torch's own state.
        dtype : torch.dtype, optional
            The dtype of the samples; by default torch's default, in which flows are made.

        Returns
        -------
        (N, d) tensor
        """
        temperature = check_nonnegative(temperature, "temperature")
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise InvalidInputError(f"dtype is {dtype!r}; pass a floating-point torch.dtype")
        generator = as_generator(seed)
        means = self.density().means
        means = as_latents(means, self.dim, means.device)
        labels = labels_to_draw(labels, means, generator)
        where = means.device if generator is None else generator.device
        shape = (labels.shape[0], self.dim)
        noise = torch.randn(shape, generator=generator, device=where, dtype=means.dtype)
        draws = means[labels] + self.color(temperature * noise.to(means.device), labels)
        return draws.to(torch.get_default_dtype() if dtype is None else dtype)


def _checked_size(value: Any, name: str) -> int:
    size = as_integer(value)
    if size is None or size < 1:
        raise InvalidInputError(f"{name} is {value!r}; pass an int >= 1")
    return size


def _listed(state: dict[str, Any]) -> str:
    """Describe a prior in words, from its extra state."""
    fields = (f"{name}={value!r}" for name, value in state.items() if name != "prior")
    return f"{state.get('prior')} with {', '.join(fields)}"


def _without_nan(by_class: Tensor) -> Tensor:
    """Return log-densities, -inf where they are NaN: such latents are infinitely far."""
    return torch.where(by_class.isnan(), -math.inf, by_class)


def _warn_of_rows_without_density(z: Tensor, codes: Tensor) -> None:
    if torch.compiler.is_compiling() or is_wrapped(codes):
        return  # a compiled graph does not look at values
    nowhere = codes < 0
    if bool(nowhere.any()):
        rows = nowhere.nonzero()[:, 0]
        row = int(rows[0])
        why = "too far from all classes" if bool(z[row].isfinite().all()) else "not finite"
        warn_user(
            f"z is {why} in row {row} ({rows.numel()} such rows): no class has a density there, "
            "and the class with the highest prior, or the first, is predicted; reject them "
            "(rejection_score is inf), or look at the flow's input",
            RuntimeWarning,
        )
