"""Moves of latents within their classes: mixing, and noise along the principal axes."""

import math
from typing import Any

import torch
from torch import Tensor

from fpigauss import ClassGaussians, InvalidInputError
from fpigauss.interface import check_nonnegative
from fpigauss_torch._support import (
    as_generator,
    as_latents,
    as_tensor,
    hard_labels,
    working_dtype,
)
from fpigauss_torch.augment._principal_axes import PrincipalAxes, check_n_axes, prior_of
from fpigauss_torch.prior import LatentPrior

__all__ = ["check_partners", "check_strength", "mix_within_class", "noise_along_axes"]

_Gaussians = LatentPrior | ClassGaussians | PrincipalAxes


def mix_within_class(
    z: Tensor,
    labels: Any,
    gaussians: _Gaussians,
    *,
    partners: Any = None,
    strength: float = 0.5,
    n_axes: int | None = None,
    seed: Any = None,
) -> Tensor:
    r"""Move every latent toward another latent of its class, along the class's principal axes.

    z' = z + w P_y (z_partner - z), with P_y the projection onto the axes and w uniform in
    [0, strength], drawn once per row; with all axes, z' lies between the two. Partners are drawn
    uniformly from the other rows of the class in the batch, each for one row; a row that is alone
    in its class stays as it is. In expectation class means stay the same; variances along the axes
    shrink by a factor 1 - s + 2 s^2 / 3, s the strength, since mixed rows lie inside the class.

    Parameters
    ----------
    z : (N, d) tensor
        Latents.
    labels : (N,) integers
        Classes 0..K-1; rows of class -1 (unlabeled) stay as they are.
    gaussians : LatentPrior, ClassGaussians or PrincipalAxes
        The class Gaussians, or their prepared axes, which for dense families saves computing them
        in every call.
    partners : (N, d) tensor or array-like, optional
        A latent of the same class for every row, from another source: with many classes, few
        batches contain two rows of the same class. By default partners are rows of ``z``.
    strength : float
        The largest part of the way to the partner, 0..1.
    n_axes : int, optional
        How many axes, those of the largest variances; all by default.
    seed : int or torch.Generator, optional
        Where the randomness comes from.

    Returns
    -------
    (N, d) tensor
        Moved latents, in the dtype of ``z`` and differentiable with respect to it.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used.

    See Also
    --------
    LatentAugmentation : encodes, mixes and decodes.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import LatentGaussians, mix_within_class
    >>> z, y = torch.tensor([[0.0, 0.0], [8.0, 4.0], [1.0, 1.0]]), torch.tensor([0, 0, 1])
    >>> mixed = mix_within_class(z, y, LatentGaussians(2, 2), n_axes=1, seed=0)
    >>> mixed[:, 1], mixed[2]
    (tensor([0., 4., 1.]), tensor([1., 1.]))
    """
    strength = check_strength(strength, most=1.0)
    span = _span(gaussians, n_axes)
    z, labels = _checked(z, labels, span)
    generator = as_generator(seed)
    if partners is None:
        toward = z[_partners(labels, generator)]
    else:
        partners = _as_partners(partners, z)
        check_partners(partners, z, "z")
        toward = torch.where((labels >= 0)[:, None], partners, z)
    where = z.device if generator is None else generator.device
    share = strength * torch.rand((z.shape[0], 1), generator=generator, device=where)
    with torch.autocast(z.device.type, enabled=False):
        x = z.to(working_dtype(z))
        step = share.to(x) * (toward.to(x) - x)
        if isinstance(span, PrincipalAxes):
            step = span.project(step, labels.clamp_min(0))
        return (x + step).to(z.dtype)


def noise_along_axes(
    z: Tensor,
    labels: Any,
    gaussians: _Gaussians,
    *,
    strength: float = 0.5,
    n_axes: int | None = None,
    seed: Any = None,
) -> Tensor:
    r"""Add noise to every latent along its class's principal axes, in proportion to their scales.

    z' = z + strength sum_a sigma_a e_a u_a with standard-normal u; with all axes, z' is a draw from
    N(z, strength^2 Sigma_y). In expectation class means stay the same; variances along the axes
    grow by a factor 1 + strength^2.

    Parameters
    ----------
    z, labels, gaussians
        As in ``mix_within_class``.
    strength : float
        The scale of the noise in standard deviations of the class, >= 0.
    n_axes, seed
        As in ``mix_within_class``.

    Returns
    -------
    (N, d) tensor
        Moved latents, in the dtype of ``z`` and differentiable with respect to it.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used.

    See Also
    --------
    LatentAugmentation : encodes, adds noise and decodes.

    Examples
    --------
    >>> import torch
    >>> from fpigauss_torch import LatentGaussians, noise_along_axes
    >>> z, y = torch.zeros(3, 2), torch.tensor([0, 1, -1])
    >>> noise_along_axes(z, y, LatentGaussians(2, 2), seed=0).ne(0).all(1)
    tensor([ True,  True, False])
    """
    strength = check_strength(strength, most=math.inf)
    span = _span(gaussians, n_axes)
    z, labels = _checked(z, labels, span)
    generator = as_generator(seed)
    where = z.device if generator is None else generator.device
    n_noise = span.n_axes if isinstance(span, PrincipalAxes) else span.dim
    noise = torch.randn((z.shape[0], n_noise), generator=generator, device=where)
    with torch.autocast(z.device.type, enabled=False):
        x = z.to(working_dtype(z))
        scaled = strength * noise.to(x) * (labels >= 0)[:, None]
        with torch.no_grad():  # some priors have trained Gaussians, but this does not train them
            if isinstance(span, LatentPrior):
                scaled = scaled.to(span.density().means.dtype)
            step = span.color(scaled, labels.clamp_min(0)).to(x.dtype)
        return (x + step).to(z.dtype)


# -- inside --------------------------------------------------------------------------------


def _span(gaussians: _Gaussians, n_axes: int | None) -> LatentPrior | PrincipalAxes:
    """Return prepared axes, or the prior itself if all of its axes are asked for."""
    if isinstance(gaussians, PrincipalAxes):
        if n_axes is not None and n_axes != gaussians.n_axes:
            raise InvalidInputError(
                f"n_axes is {n_axes!r}, but {gaussians.n_axes} axes were prepared; leave it out"
            )
        return gaussians
    prior = prior_of(gaussians)
    if n_axes is None:
        return prior
    n_axes = check_n_axes(n_axes, prior.dim)
    return prior if n_axes == prior.dim else PrincipalAxes.of(prior, n_axes)


def _checked(z: Any, labels: Any, span: LatentPrior | PrincipalAxes) -> tuple[Tensor, Tensor]:
    """Check latents and labels, and return them as tensors; the labels as int64."""
    device = span.device if isinstance(span, PrincipalAxes) else span.density().means.device
    z = as_latents(z, span.dim, device)
    codes, _ = hard_labels(labels, span.n_classes, device=device, rows=z.shape[0], unlabeled=True)
    return z, codes


def _as_partners(partners: Any, z: Tensor) -> Tensor:
    """Return partners as they are, or an array of them as a tensor beside ``z``."""
    if isinstance(partners, Tensor):
        return partners
    listed = z.dtype if isinstance(partners, list | tuple) else None
    return as_tensor(partners, "partners", "pass a tensor or an array like z", listed).to(z.device)


def check_partners(partners: Tensor, rows: Tensor, name: str) -> None:
    """Raise an error unless ``partners`` has the shape, dtype and device of ``rows``."""
    ours, theirs = ((tuple(t.shape), t.dtype, t.device) for t in (partners, rows))
    if ours != theirs:
        raise InvalidInputError(
            f"partners is {ours[1]} {ours[0]} on {ours[2]}, {name} is {theirs[1]} {theirs[0]} on "
            f"{theirs[2]}; pass one row of the same class, alike, for every row of {name}"
        )


def check_strength(strength: Any, most: float) -> float:
    """Check that ``strength`` is a finite number, 0..``most``."""
    number = check_nonnegative(strength, "strength")
    if number > most:
        raise InvalidInputError(f"strength is {number:g}; pass a number from 0 to {most:g}")
    return number


def _partners(labels: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw the partner of every row (N,): the next row of its class, in random order."""
    n_rows = labels.shape[0]
    where = labels.device if generator is None else generator.device
    shuffled = torch.randperm(n_rows, generator=generator, device=where).to(labels.device)
    order = shuffled[
        labels[shuffled].argsort(stable=True)
    ]  # class by class, in random order within each
    in_order = labels[order]
    first = torch.searchsorted(in_order, in_order)
    last = torch.searchsorted(in_order, in_order, right=True) - 1
    place = torch.arange(n_rows, device=labels.device)
    following = torch.where(place == last, first, place + 1)
    partner = torch.empty_like(order)
    partner[order] = order[following]
    return torch.where(labels >= 0, partner, place)
