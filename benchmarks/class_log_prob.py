"""Log-densities of all classes: matrix products against scikit-learn and torch.distributions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB
from torch.distributions import Independent, MultivariateNormal, Normal

from benchmarks._measure import Bar, Row, Table, duration, paired
from fpigauss import ClassGaussians

NOTE = """
All in float64, N=10,000. GaussianNB's predict_joint_log_proba and QDA's decision_function are what
class_log_prob gives plus a constant; the rows "difference" check that, relative to the size of the
log-densities. torch.distributions broadcasts to (N, K, d), which takes 23 GiB in the diagonal case,
so that it is given blocks of rows. QDA's time is that of one product a class as well; where ours is
within a tenth of it, the sign changes from run to run.
"""


def run(full: bool, out: Path) -> Table:
    """The comparison."""
    return Table("class_log_prob", __doc__ + NOTE, [*diagonal(full), *dense(full)])


def labeled(n_samples: int, n_classes: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents and labels to fit to, and latents to evaluate."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((n_classes, dim))
    y = np.arange(n_samples) % n_classes
    z = means[y] + rng.standard_normal((n_samples, dim))
    return z, y, means[rng.integers(n_classes, size=10_000)] + rng.standard_normal((10_000, dim))


def by_blocks(log_prob: Callable[[Any], Any], z: torch.Tensor, rows: int) -> torch.Tensor:
    """torch.distributions' densities of all classes, ``rows`` latents at a time."""
    return torch.cat([log_prob(block[:, None]) for block in z.split(rows)])


def differing(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, but for a constant, relative to the values."""
    difference = a - b
    return float(np.abs(difference - difference.mean()).max() / np.abs(a).max())


def diagonal(full: bool) -> list[Row]:
    """K=100, d=3072."""
    n_classes, dim = 100, 3072
    z, y, latents = labeled(20 * n_classes, n_classes, dim)
    bayes = GaussianNB(priors=np.full(n_classes, 1.0 / n_classes)).fit(z, y)
    gaussians = ClassGaussians(bayes.theta_, bayes.var_)
    times = paired(
        {
            "ours": lambda: gaussians.class_log_prob(latents),
            "sklearn": lambda: bayes.predict_joint_log_proba(latents),
        },
        rounds=5,
        seconds=200.0 if full else 5.0,
    )
    some = latents[:1000]
    difference = differing(gaussians.class_log_prob(some), bayes.predict_joint_log_proba(some))
    means, variances = torch.as_tensor(bayes.theta_), torch.as_tensor(bayes.var_)
    rival = Independent(Normal(means, variances.sqrt()), 1)
    part = torch.as_tensor(latents if full else some)
    torch_rows = against_torch(gaussians, rival.log_prob, part, rows=32, size="diagonal, d=3072")
    return [
        Row(
            f"diagonal, d={dim}, K={n_classes}: faster than GaussianNB",
            duration(times.median("ours")),
            f"GaussianNB: {duration(times.median('sklearn'))}",
            times.ratio("sklearn", "ours"),
            bar=Bar(5.0, at_least=True),
        ),
        Row(f"diagonal, d={dim}, K={n_classes}: difference", "", "GaussianNB", difference, ""),
        *torch_rows,
    ]


def dense(full: bool) -> list[Row]:
    """K=50, d=256."""
    n_classes, dim = 50, 256
    z, y, latents = labeled(600 * n_classes, n_classes, dim)
    priors = np.full(n_classes, 1.0 / n_classes)
    qda = QuadraticDiscriminantAnalysis(priors=priors, store_covariance=True).fit(z, y)
    gaussians = ClassGaussians(qda.means_, np.stack(qda.covariance_), covariance="dense")
    times = paired(
        {
            "ours": lambda: gaussians.class_log_prob(latents),
            "sklearn": lambda: qda.decision_function(latents),
        },
        rounds=9 if full else 5,
        seconds=60.0 if full else 10.0,
    )
    some = latents[:1000]
    difference = differing(gaussians.class_log_prob(some), qda.decision_function(some))
    rival = MultivariateNormal(
        torch.as_tensor(qda.means_), torch.as_tensor(np.stack(qda.covariance_))
    )
    part = torch.as_tensor(latents if full else some)
    return [
        Row(
            f"dense, d={dim}, K={n_classes}: time, of QDA's",
            duration(times.median("ours")),
            f"QDA: {duration(times.median('sklearn'))}",
            times.ratio("ours", "sklearn"),
            bar=Bar(1.0),
        ),
        Row(f"dense, d={dim}, K={n_classes}: difference", "", "QDA", difference, ""),
        *against_torch(gaussians, rival.log_prob, part, rows=250, size=f"dense, d={dim}"),
    ]


def against_torch(
    gaussians: ClassGaussians,
    log_prob: Callable[[Any], Any],
    z: torch.Tensor,
    rows: int,
    size: str,
) -> list[Row]:
    """The same on tensors."""
    ours = gaussians.to(z)
    times = paired(
        {
            "ours": lambda: ours.class_log_prob(z),
            "torch": lambda: by_blocks(log_prob, z, rows),
        },
        rounds=3,
        seconds=20.0 if len(z) > 1000 else 5.0,
    )
    return [
        Row(
            f"{size}, tensors, N={len(z):,}: faster than torch.distributions",
            duration(times.median("ours")),
            f"torch.distributions: {duration(times.median('torch'))}",
            times.ratio("torch", "ours"),
        )
    ]
