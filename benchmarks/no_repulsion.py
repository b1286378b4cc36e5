"""A fit without repulsion against one step of mixtures and supervised fits: for scale."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB

from benchmarks._measure import Row, Table, duration, paired
from fpigauss import fit_fixed_point

N_CLASSES, DIM = 10, 64
NAMES = {"diagonal": "diag", "dense": "full"}

NOTE = f"""
fit_fixed_point at lam = 0 (K={N_CLASSES}, d={DIM}, float64): the answer is the class means and
covariances. GaussianNB (diagonal) and QDA (dense) compute the same from the labels; GaussianMixture
and torchgmm do without labels, and are given the class means and one iteration of EM, so that the
value says only what such a step costs. torchgmm works in float32. A value above 1: fpigauss is
faster.
"""


def run(full: bool, out: Path) -> Table:
    """Run the comparison."""
    rng = np.random.default_rng(0)
    n_samples = 200_000 if full else 20_000
    y = rng.integers(N_CLASSES, size=n_samples)
    z = 2.0 * rng.standard_normal((N_CLASSES, DIM))[y] + rng.standard_normal((n_samples, DIM))
    rows = []
    for covariance in NAMES:
        rows += compare(z, y, covariance)
    return Table("Without repulsion", __doc__ + NOTE, rows)


def compare(z: np.ndarray, y: np.ndarray, covariance: str) -> list[Row]:
    """Compare one family."""
    means = np.stack([z[y == k].mean(axis=0) for k in range(N_CLASSES)])
    supervised = {
        "diagonal": ("GaussianNB", lambda: GaussianNB(var_smoothing=0.0).fit(z, y)),
        "dense": ("QDA", lambda: QuadraticDiscriminantAnalysis().fit(z, y)),
    }
    functions: dict[str, Callable[[], Any]] = {
        "ours": lambda: fit_fixed_point(z, y, 0.0, covariance=covariance),
        supervised[covariance][0]: supervised[covariance][1],
        "GaussianMixture, 1 step": lambda: mixture(z, means, covariance),
    }
    size = f"{covariance}, N={len(z):,}"
    rows = []
    step, failure = torch_mixture(z, means, covariance)
    if step is None:
        rows.append(Row(f"{size}: torchgmm, 1 step", "", failure, float("nan"), ""))
    else:
        functions["torchgmm, 1 step"] = step
    times = paired(functions, rounds=5, seconds=30.0)
    return [
        Row(
            f"{size}: faster than {name}",
            duration(times.median("ours")),
            f"{name}: {duration(times.median(name))}",
            times.ratio(name, "ours"),
        )
        for name in functions
        if name != "ours"
    ] + rows


def mixture(z: np.ndarray, means: np.ndarray, covariance: str) -> GaussianMixture:
    """Fit the mixture of scikit-learn by one iteration of EM from the class means."""
    identity = np.ones_like(means) if covariance == "diagonal" else np.eye(DIM)
    model = GaussianMixture(
        N_CLASSES,
        covariance_type=NAMES[covariance],
        means_init=means,
        weights_init=np.full(N_CLASSES, 1.0 / N_CLASSES),
        precisions_init=np.broadcast_to(identity, (N_CLASSES, *identity.shape[-2:]))
        if covariance == "dense"
        else identity,
        init_params="random",
        max_iter=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one iteration does not converge
        return model.fit(z)


def torch_mixture(
    z: np.ndarray, means: np.ndarray, covariance: str
) -> tuple[Callable[[], Any] | None, str]:
    """Do the same with torchgmm; if it cannot be used, return why."""
    warnings.simplefilter("ignore")  # lightning's advice on loaders
    try:
        from torchgmm.bayes import GaussianMixture as TorchMixture
    except Exception as error:  # whatever its import brings along
        return None, f"not measured: {type(error).__name__}: {error}"
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # importing it sets INFO
    latents = torch.as_tensor(z, dtype=torch.float32)
    start = torch.as_tensor(means, dtype=torch.float32)

    def step() -> Any:
        model = TorchMixture(
            N_CLASSES,
            covariance_type=NAMES[covariance],
            init_means=start,
            trainer_params={
                "max_epochs": 1,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "accelerator": "cpu",
            },
        )
        return model.fit(latents)

    try:
        step()
    except Exception as error:
        return None, f"fails: {type(error).__name__}: {error}"
    return step, ""
