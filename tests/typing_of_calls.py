"""What a type checker sees of the public calls: mypy and pyright read this file, nobody runs it.

The lines are those of three users. ``assert_type`` is an error if the type is another, ``Any`` too.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from torch import Tensor

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    FixedPoint,
    FixedPointResult,
    LamPath,
    SeparatedResult,
    Status,
    fit_fixed_point,
    fit_separated,
    geometric_mean,
    l2_normalize,
    lam_path,
    open_latents,
    open_set_score,
    open_set_threshold,
    smallest_kld,
)
from fpigauss.sklearn import FixedPointGaussianClassifier

Floats = np.ndarray[Any, np.dtype[np.float64]]
Numpy = np.ndarray[Any, np.dtype[Any]]


def researcher(z: Tensor, y: Tensor) -> Tensor:
    result = fit_fixed_point(z, y, 1.0, tied=True)
    assert_type(result, FixedPointResult)
    assert_type(result.gaussians, ClassGaussians)
    assert_type(result.status, Status)
    assert_type(result.history["residual"], Floats)
    gaussians = result.gaussians.to(z)
    assert_type(gaussians, ClassGaussians)
    assert_type(gaussians.log_prob(z, y), Tensor)
    assert_type(gaussians.class_log_prob(z), Tensor)
    assert_type(gaussians.mahalanobis(z), Tensor)
    assert_type(gaussians.predict_proba(z, priors="counts"), Tensor)
    assert_type(gaussians.predict(z), Tensor | Any)  # numpy's where the classes are strings
    assert_type(open_set_score(gaussians, l2_normalize(z)), Tensor)
    assert_type(geometric_mean(z, z), Tensor)
    return -gaussians.log_prob(z, y).mean()


def engineer(folder: Path, batches: Iterable[tuple[Floats, list[int]]]) -> Numpy:
    statistics = ClassStatistics.from_batches(open_latents(folder))
    assert_type(statistics, ClassStatistics)
    assert_type(statistics.merge(ClassStatistics.from_batches(batches)), ClassStatistics)
    fit = FixedPoint(1.0, covariance="dense", tied=True, max_iter=50)
    assert_type(fit.solve(statistics), FixedPointResult)
    gaussians = ClassGaussians.load(folder / "gaussians.npz")
    assert_type(gaussians, ClassGaussians)
    for z, _ in batches:
        assert_type(gaussians.predict(z), Numpy)
        assert_type(gaussians.log_prob(z), Numpy)
        assert_type(open_set_threshold(open_set_score(gaussians, z), rate=0.05), float)
    assert_type(gaussians.predict([[0.0, 1.0]]), Numpy)
    return gaussians.predict([[0.0, 1.0]])


def statistician(X: Floats, y: list[str], weight: Floats) -> float:
    separated = fit_separated(X, y, min_kld=2.0, sample_weight=weight)
    assert_type(separated, SeparatedResult)
    assert_type(separated.lam, float)
    assert_type(smallest_kld(separated.gaussians), float)
    assert_type(lam_path(X, y, validation=(X, y)), LamPath)
    classifier = FixedPointGaussianClassifier().fit(X, y, sample_weight=weight)
    assert_type(classifier, FixedPointGaussianClassifier)
    assert_type(classifier.predict(X), Numpy)
    assert_type(classifier.predict_proba([[0.0, 1.0]]), Numpy)
    assert_type(classifier.score_samples(X), Numpy)
    return float(separated.gaussians.predict_proba(X)[:, 0].mean())
