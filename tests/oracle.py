"""Eq. 4 minimized by scipy, written independently of the package: what fits are judged by.

Everything here is numpy float64 on dense covariances (K, d, d) and the class moments, straight
from Eqs. 4, 9 and 10, with gradients by hand; `loss_in_torch` is the same objective from samples,
for autograd to check them. Unlike `reference.py`, the optimizer works in plain coordinates (means
and log-Cholesky factors, or log variances), so it shares no idea with the solvers.

Natural gradients. The length of a mean's is sqrt(g' Sigma g). A covariance's is taken in log
coordinates, Sigma = F exp(S) F': the spectral norm of dL/dS = F' (dL/dSigma) F, which is v dL/dv
for variances. Both have no units. At a stationary point the pull of the data and the push of the
other classes cancel, so a gradient is small or not by comparison with those two: `imbalance`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import minimize

Array = np.ndarray[Any, np.dtype[np.float64]]


def moments(z: Array, y: Array) -> tuple[Array, Array]:
    """Class means (K, d) and covariances (K, d, d), divided by the class sizes."""
    groups = [z[y == label] for label in np.unique(y)]
    means = np.stack([rows.mean(axis=0) for rows in groups])
    return means, np.stack([np.cov(rows.T, bias=True).reshape(2 * z.shape[1:]) for rows in groups])


@dataclass(frozen=True)
class Force:
    """A gradient of Eq. 4 with respect to means (K, d) and covariances (K, d, d)."""

    means: Array
    covariances: Array

    def plus(self, other: Force) -> Force:
        return Force(self.means + other.means, self.covariances + other.covariances)


@dataclass(frozen=True)
class Oracle:
    """Eq. 4 for samples; `pi` is "forward", "mean", a number or a function of D (K, K).

    With "mean" and functions there is no one objective: methods take the `pi` that is held.
    """

    z: Array
    y: Array
    lam: float
    covariance: str = "diagonal"
    tied: bool = False
    pi: Any = "forward"
    alpha: float = 1.0
    update: str = "both"
    #: Which of the classes 0..K-1 are held where a minimization starts; they may have no rows.
    frozen: Any = None
    data: tuple[Array, Array] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        data = moments(self.z, self.y)
        if self.frozen is not None:  # classes without rows have numbers that nothing depends on
            n_classes, dim = len(self.frozen), self.z.shape[1]
            means = np.zeros((n_classes, dim))
            covariances = np.broadcast_to(np.eye(dim), (n_classes, dim, dim)).copy()
            means[np.unique(self.y)], covariances[np.unique(self.y)] = data
            data = means, covariances
        object.__setattr__(self, "data", data)

    @property
    def weight(self) -> Array:
        """One for classes with rows, zero for the others: Eq. 4 sums over the data."""
        if self.frozen is None:
            return np.ones(self.shape[0])
        return np.isin(np.arange(self.shape[0]), self.y).astype(np.float64)

    def _of_fitted(self, force: Force) -> Force:
        """Set the gradient to zero in what is held."""
        if self.frozen is None:
            return force
        free = 1.0 - np.asarray(self.frozen)
        moved = np.ones_like(free) if self.tied else free  # a shared covariance is fitted
        return Force(free[:, None] * force.means, moved[:, None, None] * force.covariances)

    @property
    def shape(self) -> tuple[int, int]:
        n_classes, dim = self.data[0].shape
        return n_classes, dim

    # -- covariances in the family's public shape ------------------------------------------

    def start(self, init: str = "data") -> tuple[Array, Array]:
        """Class means, and class covariances in the family, or identity covariances."""
        means, full = self.data
        if init == "identity":
            full = np.broadcast_to(np.eye(means.shape[1]), full.shape)
        full = full.mean(axis=0, keepdims=True) if self.tied else full
        variances = np.diagonal(full, axis1=-2, axis2=-1)
        if self.covariance == "isotropic":
            full = variances.mean(axis=-1)
        elif self.covariance == "diagonal":
            full = variances.copy()
        return means, full[0] if self.tied else full

    def full(self, covariances: Any) -> Array:
        """Write covariances of the family out as (K, d, d)."""
        n_classes, dim = self.shape
        covariances = np.asarray(covariances, dtype=np.float64)
        covariances = covariances[None] if self.tied else covariances
        if self.covariance == "isotropic":
            covariances = covariances[:, None, None] * np.eye(dim)
        elif self.covariance == "diagonal":
            covariances = covariances[:, :, None] * np.eye(dim)
        return np.broadcast_to(covariances, (n_classes, dim, dim))

    # -- the objective and its gradients ---------------------------------------------------

    def kld(self, means: Array, covariances: Array) -> Array:
        """KLD(N_y || N_y') (K, K), from Cholesky factors."""
        full = self.full(covariances)
        n_classes, dim = self.shape
        roots = np.linalg.cholesky(full)
        inverses = np.linalg.inv(roots)
        delta = means[:, None] - means[None, :]
        ratio = np.einsum("jab,ibc->ijac", inverses, roots)
        distance = np.einsum("jab,ijb->ija", inverses, delta)
        logs = 2 * np.log(np.diagonal(roots, axis1=-2, axis2=-1)).sum(-1)
        value = (ratio**2).sum((-2, -1)) + (distance**2).sum(-1) - dim + logs[None] - logs[:, None]
        return 0.5 * value * (1 - np.eye(n_classes))

    def measured(self, means: Array, covariances: Array) -> Any:
        """pi at a point: None for "forward", else a number or (K, K)."""
        if isinstance(self.pi, str) and self.pi == "forward":
            return None
        divergences = self.kld(means, covariances)
        if callable(self.pi):
            return np.asarray(self.pi(divergences), dtype=np.float64)
        n_classes = len(divergences)
        mean = divergences.sum() / (n_classes * (n_classes - 1))
        return mean if isinstance(self.pi, str) else float(self.pi)

    def _potential(self, divergences: Array, pi: Any) -> tuple[Array, Array]:
        """phi and its derivative, zero on the diagonal."""
        others = 1 - np.eye(len(divergences))
        safe = divergences + np.eye(len(divergences))
        if pi is None:
            scale = math.exp(-1 / self.alpha) / self.alpha
            return -scale * np.log(safe) * others, -scale / safe * others
        tau = self.alpha * pi
        phi = np.exp(-divergences / tau)
        return phi * others, -phi / tau * others

    def value(self, means: Array, covariances: Array, pi: Any = None) -> float:
        """L, with pi as given, or as measured there."""
        return self.forces(means, covariances, pi)[0]

    def forces(
        self, means: Array, covariances: Array, pi: Any = None
    ) -> tuple[float, Force, Force]:
        """L, and its gradient in two parts: of the likelihood, and of the repulsion."""
        (m, c), full = self.data, self.full(covariances)
        n_classes, dim = self.shape
        precisions = np.linalg.inv(full)
        offset = means - m
        scatter = c + offset[:, :, None] * offset[:, None, :]
        _, logs = np.linalg.slogdet(full)
        w = self.weight
        value = 0.5 * (
            w.sum() * dim * math.log(2 * math.pi)
            + w @ logs
            + np.einsum("k,kab,kba->", w, precisions, scatter)
        )
        pull = Force(
            w[:, None] * np.einsum("kab,kb->ka", precisions, offset),
            w[:, None, None] * 0.5 * (precisions - precisions @ scatter @ precisions),
        )
        pull = self._of_fitted(pull)
        if self.lam == 0:
            return value, pull, Force(0 * pull.means, 0 * pull.covariances)
        pi = self.measured(means, covariances) if pi is None else pi
        weight = self.lam / (n_classes * (n_classes - 1))
        phi, slope = self._potential(self.kld(means, covariances), pi)
        g = weight * slope
        delta = means[:, None] - means[None, :]
        pushed = g[:, :, None] * np.einsum("jab,ijb->ija", precisions, delta)
        moved = full[:, None] + delta[..., :, None] * delta[..., None, :]
        inward = np.einsum("ij,ijab->jab", g, moved)
        of_covariances = np.einsum("ij,jab->iab", g, precisions)
        of_covariances = of_covariances - g.sum(1)[:, None, None] * precisions
        of_covariances = of_covariances + g.sum(0)[:, None, None] * precisions
        of_covariances = 0.5 * (of_covariances - precisions @ inward @ precisions)
        push = Force(pushed.sum(1) - pushed.sum(0), of_covariances)
        return value + weight * phi.sum(), pull, self._of_fitted(push)

    # -- how far from stationary -----------------------------------------------------------

    def in_logs(self, force: Force, covariances: Array) -> tuple[Array, Array]:
        """Lengths sqrt(g' Sigma g) (K,), and dL/dS in the family, one matrix per covariance."""
        full = self.full(covariances)
        lengths = np.sqrt(np.einsum("ka,kab,kb->k", force.means, full, force.means).clip(0))
        roots = np.linalg.cholesky(full)
        matrices = roots.swapaxes(-2, -1) @ force.covariances @ roots
        if self.tied:  # one factor for all
            matrices = matrices.sum(axis=0, keepdims=True)
        if self.covariance != "dense":
            matrices = matrices * np.eye(self.shape[1])
        if self.covariance == "isotropic":
            matrices = np.trace(matrices, axis1=-2, axis2=-1)[:, None, None]
        return lengths, matrices

    def natural_gradient(
        self, means: Array, covariances: Array, pi: Any = None
    ) -> tuple[float, float]:
        """The longest natural gradient of a mean and of a covariance; 0 if it is not updated."""
        _, pull, push = self.forces(means, covariances, pi)
        lengths, matrices = self.in_logs(pull.plus(push), covariances)
        sizes = np.linalg.norm(matrices, ord=2, axis=(-2, -1))
        of_means = 0.0 if self.update == "covariances" else float(lengths.max())
        return of_means, 0.0 if self.update == "means" else float(sizes.max())

    def imbalance(self, means: Array, covariances: Array, pi: Any = None) -> float:
        """The largest natural gradient, over one plus the sizes of the forces it is made of."""
        _, pull, push = self.forces(means, covariances, pi)
        parts = [self.in_logs(f, covariances) for f in (pull.plus(push), pull, push)]
        sizes = [np.linalg.norm(matrices, ord=2, axis=(-2, -1)) for _, matrices in parts]
        lengths = [of_means for of_means, _ in parts]
        worst = 0.0
        for name, (total, *forces) in (("means", lengths), ("covariances", sizes)):
            if self.update in ("both", name):
                worst = max(worst, float((total / (1 + sum(forces))).max()))
        return worst

    # -- minimizing ------------------------------------------------------------------------

    def minimum(
        self,
        start: tuple[Any, Any] | None = None,
        *,
        pi: Any = None,
        max_evaluations: int = 4000,
    ) -> tuple[float, tuple[Array, Array]]:
        """Minimize by L-BFGS-B from `start`, with pi held as measured there: L and the point."""
        means, covariances = self.start() if start is None else start
        means = np.asarray(means, dtype=np.float64)
        covariances = np.asarray(covariances, dtype=np.float64)
        held = self.measured(means, covariances) if pi is None else pi
        coordinates = _Coordinates(self, means, covariances)

        def fun(x: Array) -> tuple[float, Array]:
            try:
                at = coordinates.point(x)
                with np.errstate(all="ignore"):
                    value, pull, push = self.forces(*at, held)
            except np.linalg.LinAlgError:
                return 1e300, np.zeros_like(x)
            gradient = coordinates.gradient(x, pull.plus(push))
            usable = math.isfinite(value) and bool(np.isfinite(gradient).all())
            return (value, gradient) if usable else (1e300, np.zeros_like(x))

        x, budget = coordinates.packed(means, covariances), max_evaluations
        best = fun(x)[0]
        while budget > 0:  # started again where scipy stops for a line search that failed
            found = minimize(
                fun,
                x,
                jac=True,
                method="L-BFGS-B",
                options={
                    "maxfun": budget,
                    "maxiter": budget,
                    "maxcor": 20,
                    "ftol": 0,
                    "gtol": 1e-9,
                },
            )
            budget -= found.nfev
            gain = best - float(found.fun)
            if gain > 0:
                x, best = found.x, float(found.fun)
            if gain <= 1e-12 * max(1.0, abs(best)):
                break
        return best, coordinates.point(x)


@dataclass(frozen=True)
class _Coordinates:
    """What is updated, as one vector: means, and log variances or log-Cholesky factors.

    Means are counted in standard deviations of the start, so that one scale suits all.
    """

    oracle: Oracle
    means: Array
    covariances: Array

    @property
    def _scale(self) -> Array:
        return np.sqrt(np.diagonal(self.oracle.full(self.covariances), axis1=-2, axis2=-1))

    def packed(self, means: Array, covariances: Array) -> Array:
        parts = []
        if self.oracle.update != "covariances":
            parts.append((means / self._scale).ravel())
        if self.oracle.update != "means":
            if self.oracle.covariance == "dense":
                roots = np.linalg.cholesky(covariances)
                rows, columns = np.tril_indices(roots.shape[-1])
                on = rows == columns
                entries = roots[..., rows, columns]
                entries[..., on] = np.log(entries[..., on])
                parts.append(entries.ravel())
            else:
                parts.append(np.log(covariances).ravel())
        return np.concatenate(parts)

    def _split(self, x: Array) -> tuple[Array | None, Array | None]:
        size = 0 if self.oracle.update == "covariances" else self.means.size
        return (x[:size] if size else None), (x[size:] if len(x) > size else None)

    def point(self, x: Array) -> tuple[Array, Array]:
        of_means, rest = self._split(x)
        means, covariances = self.means, self.covariances
        if of_means is not None:
            means = of_means.reshape(self.means.shape) * self._scale
        if rest is not None:
            if self.oracle.covariance == "dense":
                roots = self._roots(rest)
                covariances = roots @ roots.swapaxes(-2, -1)
            else:
                covariances = np.exp(rest.clip(-700, 700)).reshape(self.covariances.shape)
        return means, covariances

    def _roots(self, rest: Array) -> Array:
        dim = self.covariances.shape[-1]
        rows, columns = np.tril_indices(dim)
        on = rows == columns
        entries = rest.reshape(*self.covariances.shape[:-2], -1).copy()
        entries[..., on] = np.exp(entries[..., on].clip(-350, 350))
        roots = np.zeros(self.covariances.shape)
        roots[..., rows, columns] = entries
        return roots

    def gradient(self, x: Array, force: Force) -> Array:
        of_means, rest = self._split(x)
        parts = []
        if of_means is not None:
            parts.append((force.means * self._scale).ravel())
        if rest is not None:
            matrices = force.covariances.sum(axis=0) if self.oracle.tied else force.covariances
            if self.oracle.covariance == "dense":
                roots = self._roots(rest)
                lower = 2 * matrices @ roots
                rows, columns = np.tril_indices(roots.shape[-1])
                on = rows == columns
                entries = lower[..., rows, columns]
                entries[..., on] = entries[..., on] * roots[..., rows[on], columns[on]]
                parts.append(entries.ravel())
            else:
                diagonal = np.diagonal(matrices, axis1=-2, axis2=-1)
                slopes = diagonal if self.oracle.covariance == "diagonal" else diagonal.sum(-1)
                variances = np.exp(rest.clip(-700, 700)).reshape(self.covariances.shape)
                parts.append((slopes * variances).ravel())
        return np.concatenate(parts)


def loss_in_torch(oracle: Oracle, means: Any, covariances: Any, pi: Any = None) -> Any:
    """Eq. 4 once more, from the samples, by torch.distributions."""
    import torch
    from torch.distributions import MultivariateNormal, kl_divergence

    n_classes, dim = oracle.shape
    eye = torch.eye(dim, dtype=torch.float64)
    full = covariances[None] if oracle.tied else covariances
    if oracle.covariance == "isotropic":
        full = full[:, None, None] * eye
    elif oracle.covariance == "diagonal":
        full = full[:, :, None] * eye
    full = full.expand(n_classes, dim, dim)
    classes = [MultivariateNormal(means[k], full[k]) for k in range(n_classes)]
    labels = np.unique(oracle.y) if oracle.frozen is None else np.arange(n_classes)
    value: Any = torch.zeros((), dtype=torch.float64)
    for label, normal in zip(labels, classes, strict=True):
        rows = torch.as_tensor(oracle.z[oracle.y == label])
        if len(rows):
            value = value - normal.log_prob(rows).mean()
    for i in range(n_classes):
        for j in range(n_classes):
            if i == j:
                continue
            divergence = kl_divergence(classes[i], classes[j])
            if pi is None:
                phi = -math.exp(-1 / oracle.alpha) / oracle.alpha * torch.log(divergence)
            else:
                pair = float(np.broadcast_to(pi, (n_classes, n_classes))[i, j])
                phi = torch.exp(-divergence / (oracle.alpha * pair))
            value = value + oracle.lam / (n_classes * (n_classes - 1)) * phi
    return value


@dataclass(frozen=True)
class Drawn:
    """A random problem, and the options of the fit that solves it."""

    seed: int
    oracle: Oracle
    options: dict[str, Any]


def _largest(divergences: Array) -> float:
    return float(divergences.max())


def _own_mean(divergences: Array) -> Array:
    """One pi per class: the mean divergence from the others."""
    n_classes = len(divergences)
    mean = divergences.sum(axis=1, keepdims=True) / (n_classes - 1)
    return np.broadcast_to(mean, divergences.shape)


PIS: dict[str, Any] = {
    "forward": "forward",
    "initial": "initial",
    "number": 2.0,
    "mean": "mean",
    "largest": _largest,
    "own mean": _own_mean,
}


def draw(seed: int, *, largest_lam: float = 1e6) -> Drawn:
    """A problem with K 2-12, d 1-8, lam .1 to `largest_lam`, of any family, pi and update."""
    rng = np.random.default_rng([seed, 15])
    n_classes, dim = int(rng.integers(2, 13)), int(rng.integers(1, 9))
    n_each = int(rng.integers(dim + 5, 60))
    mixing = np.eye(dim) + 0.3 * rng.standard_normal((n_classes, dim, dim))
    centers = 10 ** rng.uniform(-2.5, 1.0) * rng.standard_normal((n_classes, dim))
    y = np.repeat(np.arange(n_classes), n_each)
    z = centers[y] + np.einsum("nij,nj->ni", mixing[y], rng.standard_normal((len(y), dim)))
    lam = float(10 ** rng.uniform(-1.0, math.log10(largest_lam)))
    covariance = str(rng.choice(["diagonal", "dense", "isotropic"]))
    tied = bool(rng.random() < 0.5)
    pi = PIS[str(rng.choice(list(PIS)))]
    update = str(rng.choice(["both", "both", "means", "covariances"]))
    alpha = float(rng.choice([1.0, 1.0, 10.0]))
    init = str(rng.choice(["data", "data", "identity"]))
    options = {"covariance": covariance, "tied": tied, "update": update, "alpha": alpha}
    return Drawn(seed, Oracle(z, y, lam, pi=pi, **options), {"pi": pi, "init": init, **options})
