"""Solve the twenty problems with the reference optimizer, in about three minutes:

    PYTHONPATH=.:tests python tests/data/make_problems.py

From the data's Gaussians, to a residual of 1e-8, counting evaluations; then from perturbed starts
(means moved by 0.3 or one standard deviation, log-variances or log-Cholesky entries by as much),
for the lowest minimum known.
"""

import numpy as np
import torch
from problems import CASES, TOL, Known, write
from reference import Problem, minimize

N_STARTS = 8


def perturbed(
    problem: Problem, rng: np.random.Generator, size: float
) -> tuple[np.ndarray, np.ndarray]:
    means, covariances = problem.start()
    factors = np.linalg.cholesky(problem.full(covariances).numpy())
    means = means + size * np.einsum("kij,kj->ki", factors, rng.standard_normal(means.shape))
    if problem.covariance != "dense":
        return means, covariances * np.exp(size * rng.standard_normal(np.shape(covariances)))
    noise = size * rng.standard_normal(covariances.shape)
    lower = (
        np.tril(noise, -1)
        + np.eye(problem.dim) * np.exp(np.diagonal(noise, axis1=-2, axis2=-1))[..., None, :]
    )
    factor = np.linalg.cholesky(covariances) @ lower
    return means, factor @ np.swapaxes(factor, -2, -1)


def main() -> None:
    torch.set_num_threads(1)  # the matrices are tiny
    rows = []
    for case in CASES:
        problem = case.problem()
        first = minimize(problem, tol=TOL)
        rng = np.random.default_rng([case.seed, 1])
        others = [
            minimize(
                problem,
                perturbed(problem, rng, 0.3 if i % 2 else 1.0),
                tol=1e-6,
                max_evaluations=500,
            )
            for i in range(N_STARTS)
        ]
        lowest = min(first.objective, *(other.objective for other in others))
        rows.append(
            Known(
                case.name,
                float(np.abs(problem.z).sum()),
                lowest,
                first.objective,
                first.evaluations,
            )
        )
        above = (first.objective - lowest) / max(1.0, abs(lowest))
        ends = " ".join(f"{other.objective:.4f}" for other in others)
        print(
            f"{case.name:32} {first.evaluations:5} residual {first.residual:.1e} "
            f"L {first.objective:.8f} above {above:.1e} | {ends}",
            flush=True,
        )
    print("geometric mean", np.exp(np.mean([np.log(row.evaluations) for row in rows])))
    write(rows)


if __name__ == "__main__":
    main()
