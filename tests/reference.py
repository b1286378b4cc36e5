"""The objective, its gradient and a slow optimizer, written independently of the package.

Everything here is torch float64 on a dense `(K, d, d)` expansion of the covariances, straight from
Eqs. 4, 9 and 10, with the likelihood taken from the raw samples; nothing is imported from the
package under test.

Scale-free measures. A mean's gradient g is measured as sqrt(g' Sigma g); a covariance's in log
coordinates: F' (dL/dSigma) F with Sigma = F F' for the dense families, v dL/dv for the others.
Stationarity reads Sigma A Sigma = B, and dL/dSigma = (A - Sigma^-1 B Sigma^-1) / 2, so with
a = F' A F and an update X = F^-1 Sigma_new F^-T that solves X a X = F^-1 B F^-T,

    F' (dL/dSigma) F = (a - X a X) / 2,

and where no log eigenvalue of X exceeds r in size the right side is at most
|a| (exp(2 r) - 1) / 2 = |a| r (1 + O(r)) in the spectral norm. For the means the update is
-Sigma dL/dmu, so their two measures agree. `gradient_limits` returns these bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch


def _tensor(array: Any) -> torch.Tensor:
    return torch.as_tensor(np.array(array), dtype=torch.float64)


def to_dense(
    covariances: torch.Tensor, covariance: str, n_classes: int, dim: int, *, tied: bool
) -> torch.Tensor:
    """Covariances in the family's shape, written out as `(K, d, d)`."""
    eye = torch.eye(dim, dtype=torch.float64)
    if covariance == "diagonal":
        full = torch.diag_embed(covariances)
    elif covariance == "isotropic":
        full = covariances[..., None, None] * eye
    else:
        full = covariances
    return full.expand(n_classes, dim, dim) if tied else full


def to_family(full: np.ndarray, covariance: str, *, tied: bool) -> np.ndarray:
    """`(K, d, d)` class covariances, pooled and reduced to the family's shape."""
    full = np.asarray(full, dtype=np.float64)
    if tied:
        full = full.mean(axis=0)
    if covariance == "dense":
        return full
    variances = np.diagonal(full, axis1=-2, axis2=-1)
    return variances.copy() if covariance == "diagonal" else variances.mean(axis=-1)


def class_moments(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sample means `(K, d)` and covariances `(K, d, d)`, divided by the class sizes."""
    means, covariances = [], []
    for label in np.unique(y):
        rows = np.asarray(z, dtype=np.float64)[y == label]
        means.append(rows.mean(axis=0))
        centered = rows - means[-1]
        covariances.append(centered.T @ centered / len(rows))
    return np.stack(means), np.stack(covariances)


def kld(means: torch.Tensor, full: torch.Tensor) -> torch.Tensor:
    """KLD(N_y || N_y') as `(K, K)`; the diagonal is zero."""
    n_classes, dim = means.shape
    factors = torch.linalg.cholesky(full)
    ratio = torch.linalg.solve_triangular(
        factors[None, :], factors[:, None], upper=False
    )  # (K, K, d, d)
    difference = (means[:, None] - means[None, :])[..., None]
    distance = torch.linalg.solve_triangular(factors[None, :], difference, upper=False)
    log_det = 2 * torch.log(torch.diagonal(factors, dim1=-2, dim2=-1)).sum(-1)
    value = 0.5 * (
        ratio.square().sum((-2, -1))
        + distance.square().sum((-2, -1))
        - dim
        + log_det[None, :]
        - log_det[:, None]
    )
    return value * (1 - torch.eye(n_classes, dtype=torch.float64))


def _off_diagonal(matrix: torch.Tensor) -> torch.Tensor:
    return matrix[~torch.eye(matrix.shape[0], dtype=torch.bool)]


@dataclass
class Problem:
    """Samples, lam, a family; `pi` is "forward", or the number or `(K, K)` array held in Eq. 4."""

    z: np.ndarray
    y: np.ndarray
    lam: float
    covariance: str = "diagonal"
    tied: bool = False
    pi: Any = "forward"
    alpha: float = 1.0
    update: str = "both"
    groups: list[torch.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = [_tensor(np.asarray(self.z)[self.y == label]) for label in np.unique(self.y)]

    @property
    def n_classes(self) -> int:
        return len(self.groups)

    @property
    def dim(self) -> int:
        return self.groups[0].shape[1]

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """What `init="data"` means: class means, and class covariances in the family."""
        means, full = class_moments(self.z, self.y)
        return means, to_family(full, self.covariance, tied=self.tied)

    def full(self, covariances: Any) -> torch.Tensor:
        if not isinstance(covariances, torch.Tensor):
            covariances = _tensor(covariances)
        return to_dense(covariances, self.covariance, self.n_classes, self.dim, tied=self.tied)

    def kld(self, means: Any, covariances: Any) -> np.ndarray:
        return kld(_tensor(means), self.full(covariances)).numpy()

    def mean_kld(self, means: Any, covariances: Any) -> float:
        return float(_off_diagonal(_tensor(self.kld(means, covariances))).mean())

    def smallest_kld(self, means: Any, covariances: Any) -> float:
        return float(_off_diagonal(_tensor(self.kld(means, covariances))).min())

    def negative_log_likelihood(self, means: torch.Tensor, full: torch.Tensor) -> torch.Tensor:
        """Each class's mean -log density over its own samples, summed over classes."""
        total = torch.zeros((), dtype=torch.float64)
        for mean, matrix, rows in zip(means, full, self.groups, strict=True):
            normal = torch.distributions.MultivariateNormal(
                mean, scale_tril=torch.linalg.cholesky(matrix)
            )
            total = total - normal.log_prob(rows).mean()
        return total

    def _scale(self) -> torch.Tensor | float:
        """tau off the diagonal."""
        pi = _tensor(self.pi)
        return self.alpha * (_off_diagonal(pi) if pi.ndim == 2 else pi)

    def loss(self, means: torch.Tensor, covariances: torch.Tensor) -> torch.Tensor:
        """Eq. 4 as a torch scalar."""
        full = self.full(covariances)
        value = self.negative_log_likelihood(means, full)
        if self.lam == 0:
            return value
        divergence = _off_diagonal(kld(means, full))
        if isinstance(self.pi, str):
            assert self.pi == "forward"
            potential = -math.exp(-1 / self.alpha) / self.alpha * torch.log(divergence)
        else:
            potential = torch.exp(-divergence / self._scale())
        return value + self.lam * potential.mean()

    def objective(self, means: Any, covariances: Any) -> float:
        return float(self.loss(_tensor(means), _tensor(covariances)))

    def weights(self, means: Any, covariances: Any) -> torch.Tensor:
        """c W, the kernel with its factor lam / (K (K - 1)); zero on the diagonal."""
        n_classes = self.n_classes
        if self.lam == 0:
            return torch.zeros((n_classes, n_classes), dtype=torch.float64)
        divergence = _off_diagonal(kld(_tensor(means), self.full(covariances)))
        if isinstance(self.pi, str):
            slope = math.exp(-1 / self.alpha) / (self.alpha * divergence)
        else:
            slope = torch.exp(-divergence / self._scale()) / self._scale()
        result = torch.zeros((n_classes, n_classes), dtype=torch.float64)
        result[~torch.eye(n_classes, dtype=torch.bool)] = slope
        return result * self.lam / (n_classes * (n_classes - 1))

    def gradient(self, means: Any, covariances: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """dL/dmeans and dL/dcovariances, in the family's shape, by autograd."""
        means = _tensor(means).clone().requires_grad_(True)
        covariances = _tensor(covariances).clone().requires_grad_(True)
        of_means, of_covariances = torch.autograd.grad(
            self.loss(means, covariances), (means, covariances)
        )
        return of_means, of_covariances

    def natural_gradient(self, means: Any, covariances: Any) -> tuple[np.ndarray, np.ndarray]:
        """Lengths sqrt(g' Sigma g) `(K,)`, and the covariance gradient in log coordinates."""
        of_means, of_covariances = self.gradient(means, covariances)
        lengths = (
            torch.einsum("ki,kij,kj->k", of_means, self.full(covariances), of_means)
            .clamp(min=0)
            .sqrt()
        )
        covariances = _tensor(covariances)
        if self.covariance == "dense":
            factors = torch.linalg.cholesky(covariances)
            in_logs = factors.mT @ (0.5 * (of_covariances + of_covariances.mT)) @ factors
        else:
            in_logs = covariances * of_covariances
        return lengths.numpy(), in_logs.numpy()

    def stiffness(self, means: Any, covariances: Any) -> np.ndarray:
        """F' A+ F of the covariance update (A where tied): matrices, diagonals or traces."""
        full = self.full(covariances)
        weights = self.weights(means, covariances)
        factors = torch.linalg.cholesky(full)
        difference = _tensor(means)[:, None] - _tensor(means)[None, :]
        in_frame = torch.linalg.solve_triangular(
            factors[:, None], difference[..., None], upper=False
        )[..., 0]
        eye = torch.eye(self.dim, dtype=torch.float64)
        spread = torch.einsum("ba,abi,abj->aij", weights, in_frame, in_frame)
        if self.tied:
            matrices = self.n_classes * eye + spread.sum(0)
        else:
            ratio = torch.linalg.solve_triangular(factors[:, None], factors[None, :], upper=False)
            others = torch.einsum("ba,abij,abkj->aik", weights, ratio, ratio)
            matrices = (1 + weights.sum(1))[:, None, None] * eye + spread + others
        if self.covariance == "dense":
            return matrices.numpy()
        diagonal = torch.diagonal(matrices, dim1=-2, dim2=-1)
        return (diagonal if self.covariance == "diagonal" else diagonal.sum(-1)).numpy()

    def residual(self, means: Any, covariances: Any) -> float:
        """How far one undamped update would move what `update` moves, from the gradient and A+."""
        lengths, in_logs = self.natural_gradient(means, covariances)
        stiffness = self.stiffness(means, covariances)
        target = stiffness - 2 * in_logs  # F^-1 B+ F^-T
        if self.covariance == "dense":
            values, vectors = np.linalg.eigh(stiffness)
            root = (vectors * np.sqrt(values)[..., None, :]) @ np.swapaxes(vectors, -2, -1)
            inverse_root = (vectors / np.sqrt(values)[..., None, :]) @ np.swapaxes(vectors, -2, -1)
            middle = root @ target @ root
            values, vectors = np.linalg.eigh(0.5 * (middle + np.swapaxes(middle, -2, -1)))
            step = (vectors * np.sqrt(np.maximum(values, 1e-300))[..., None, :]) @ np.swapaxes(
                vectors, -2, -1
            )
            logs = np.log(np.linalg.eigvalsh(inverse_root @ step @ inverse_root))
        else:
            logs = 0.5 * np.log(target / stiffness)
        of_means, of_covariances = float(lengths.max()), float(np.abs(logs).max())
        if self.update == "means":
            return of_means
        return of_covariances if self.update == "covariances" else max(of_means, of_covariances)

    def gradient_limits(
        self, means: Any, covariances: Any, tol: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the natural gradients may measure where the residual is at most `tol` (see above).

        Autograd's own rounding is added: its terms are as large as the pull of the data, which
        balances them (means), and the stiffness (covariances); 1e-11 of either covers a few
        thousand eps.
        """
        stiffness = self.stiffness(means, covariances)
        size = np.linalg.eigvalsh(stiffness)[..., -1] if self.covariance == "dense" else stiffness
        pull, _ = class_moments(self.z, self.y)
        offset = _tensor(pull) - _tensor(means)
        factors = torch.linalg.cholesky(self.full(covariances))
        balance = (
            torch.linalg.solve_triangular(factors, offset[..., None], upper=False)
            .square()
            .sum((-2, -1))
            .sqrt()
            .numpy()
        )
        return tol * (1 + 1e-6) + 1e-11 * (1 + balance), size * (np.expm1(2 * tol) / 2 + 1e-11)

    def gradient_excess(self, means: Any, covariances: Any, tol: float) -> float:
        """The largest natural gradient over its limit: at most 1 where converged to `tol`."""
        lengths, in_logs = self.natural_gradient(means, covariances)
        limit_means, limit_covariances = self.gradient_limits(means, covariances, tol)
        if self.covariance == "dense":
            in_logs = np.linalg.norm(in_logs, ord=2, axis=(-2, -1))
        of_means = float((lengths / limit_means).max())
        of_covariances = float((np.abs(in_logs) / limit_covariances).max())
        if self.update == "means":
            return of_means
        return of_covariances if self.update == "covariances" else max(of_means, of_covariances)


def distance(problem: Problem, one: tuple[Any, Any], other: tuple[Any, Any]) -> float:
    """How far apart two points are: standard deviations of the first, and log eigenvalues."""
    (means, covariances), (other_means, other_covariances) = one, other
    factors = torch.linalg.cholesky(problem.full(covariances))
    step = torch.linalg.solve_triangular(
        factors, (_tensor(other_means) - _tensor(means))[..., None], upper=False
    )
    ratio = torch.linalg.solve_triangular(factors, problem.full(other_covariances), upper=False)
    ratio = torch.linalg.solve_triangular(factors, ratio.mT, upper=False)
    logs = torch.log(torch.linalg.eigvalsh(0.5 * (ratio + ratio.mT)))
    return max(float(step.square().sum((-2, -1)).sqrt().max()), float(logs.abs().max()))


@dataclass
class Minimum:
    """Where the reference optimizer stopped."""

    means: np.ndarray
    covariances: np.ndarray
    objective: float
    residual: float
    evaluations: int


def _congruence(turn: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    return np.swapaxes(turn, -2, -1) @ matrices @ turn


class _Frame:
    """Local coordinates at a point: means mu + F u, covariances F exp(S) F' with Sigma = F F'.

    The slope in u is F' dL/dmu, in S the natural gradient of the covariance. The inverse Hessian
    that L-BFGS starts from is what the fixed point suggests: the identity for the means, and for
    the covariances the linearized update, a S + S a = 2 q with a the stiffness. F is the Cholesky
    factor times `turn` (dense families), so that it can be carried along a step.
    """

    def __init__(
        self,
        problem: Problem,
        means: np.ndarray,
        covariances: np.ndarray,
        turn: np.ndarray | None = None,
    ) -> None:
        self.problem, self.means, self.covariances = problem, means, np.asarray(covariances)
        self.dense = problem.covariance == "dense"
        self.turn = np.eye(problem.dim) if turn is None else turn
        self.value = problem.objective(means, covariances)
        _, in_logs = problem.natural_gradient(means, covariances)
        self.factors = np.linalg.cholesky(problem.full(covariances).numpy()) @ self.turn
        of_means = problem.gradient(means, covariances)[0].numpy()
        in_frame = np.einsum("kji,kj->ki", self.factors, of_means)
        self.slope = self._join(
            in_frame, _congruence(self.turn, in_logs) if self.dense else in_logs
        )

    @classmethod
    def at(cls, *where: Any) -> _Frame | None:
        """The frame there, or None outside the finite or the positive definite."""
        try:
            frame = cls(*where)
        except (np.linalg.LinAlgError, torch.linalg.LinAlgError, ValueError):
            return None
        return frame if np.isfinite(frame.value) and np.isfinite(frame.slope).all() else None

    def _join(self, of_means: np.ndarray, of_covariances: np.ndarray) -> np.ndarray:
        """One vector, with zeros for what `update` holds fixed."""
        means = of_means.ravel() * (self.problem.update != "covariances")
        return np.concatenate([means, of_covariances.ravel() * (self.problem.update != "means")])

    def _split(self, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        means, covariances = np.split(vector, [self.means.size])
        return means.reshape(self.means.shape), covariances.reshape(self.covariances.shape)

    def precondition(self, vector: np.ndarray) -> np.ndarray:
        of_means, of_covariances = self._split(vector)
        stiffness = self.problem.stiffness(self.means, self.covariances)
        if not self.dense:
            return self._join(of_means, of_covariances / stiffness)
        values, vectors = np.linalg.eigh(_congruence(self.turn, stiffness))
        turned = 2 * _congruence(vectors, of_covariances)
        turned = turned / (values[..., :, None] + values[..., None, :])
        return self._join(of_means, _congruence(np.swapaxes(vectors, -2, -1), turned))

    def move(self, direction: np.ndarray, step: float) -> tuple[_Frame | None, float]:
        """The frame at `step` along `direction`, and the slope of the objective along the way."""
        in_frame, in_logs = self._split(direction)
        velocity = np.einsum("kij,kj->ki", self.factors, in_frame)
        means, turn = self.means + step * velocity, None
        if self.dense:
            values, vectors = np.linalg.eigh(step * in_logs)
            scaled = vectors * np.exp(values / 2)[..., None, :]
            factor = np.linalg.cholesky(self.covariances) @ self.turn
            factor = factor @ scaled @ np.swapaxes(vectors, -2, -1)
            covariances = factor @ np.swapaxes(factor, -2, -1)
            try:
                turn = np.linalg.solve(np.linalg.cholesky(covariances), factor)
            except np.linalg.LinAlgError:
                return None, math.nan
        else:
            covariances = self.covariances * np.exp(step * in_logs)
        other = _Frame.at(self.problem, means, covariances, turn)
        if other is None:
            return None, math.nan
        here = np.linalg.solve(other.factors, velocity[..., None])[..., 0]
        return other, float(other._join(here, in_logs) @ other.slope)


def minimize(
    problem: Problem,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    tol: float = 1e-8,
    max_evaluations: int = 3000,
    n_pairs: int = 10,
    largest_step: float = 3.0,
) -> Minimum:
    """L-BFGS in a moving frame, to a residual of `tol`; counts the evaluations after the start's.

    Near the minimum differences of the objective drown in rounding, so a step is also accepted by
    the slopes alone (the approximate Wolfe conditions of Hager and Zhang) where the objective rises
    by less than 1e-13 of its size.
    """
    frame = _Frame(problem, *(problem.start() if start is None else start))
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    evaluations, residual = 0, problem.residual(frame.means, frame.covariances)
    while residual > tol and evaluations < max_evaluations:
        direction = -_two_loop(frame, pairs)
        if frame.slope @ direction >= 0:
            pairs.clear()
            direction = -frame.precondition(frame.slope)
        direction *= min(1.0, largest_step / float(np.abs(direction).max()))
        step, new, used = _line_search(frame, direction)
        evaluations += used
        if new is None:
            if not pairs:
                break
            pairs.clear()
            continue
        change, slope_change = step * direction, new.slope - frame.slope
        scale = float(np.linalg.norm(change) * np.linalg.norm(slope_change))
        if change @ slope_change > 1e-14 * scale:
            pairs.append((change, slope_change))
            del pairs[:-n_pairs]
        frame = new
        residual = problem.residual(frame.means, frame.covariances)
    return Minimum(frame.means, frame.covariances, frame.value, residual, evaluations)


def _two_loop(frame: _Frame, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    result, kept = frame.slope.copy(), []
    for change, slope_change in reversed(pairs):
        kept.append((change @ result) / (change @ slope_change))
        result = result - kept[-1] * slope_change
    result = frame.precondition(result)
    for (change, slope_change), factor in zip(pairs, reversed(kept), strict=True):
        result = result + (factor - (slope_change @ result) / (change @ slope_change)) * change
    return result


def _line_search(
    frame: _Frame,
    direction: np.ndarray,
    *,
    decrease: float = 1e-4,
    curvature: float = 0.9,
    most: int = 30,
) -> tuple[float, _Frame | None, int]:
    value, slope = frame.value, float(frame.slope @ direction)
    noise = 1e-13 * max(1.0, abs(value))
    low, high, step = 0.0, math.inf, 1.0
    for used in range(1, most + 1):
        new, new_slope = frame.move(direction, step)
        if new is None:
            high = step
        else:
            enough = new.value <= value + decrease * step * slope
            by_slopes = new.value <= value + noise and new_slope <= (2 * decrease - 1) * slope
            if (enough or by_slopes) and new_slope >= curvature * slope:
                return step, new, used
            if new_slope < 0 and new.value <= value + noise:
                low = step
            else:
                high = step
        step = 2 * step if math.isinf(high) else 0.5 * (low + high)
    return 0.0, None, most
