"""The classifiers and the scores for unknown rows that ``benchmarks.estimators`` compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB

from fpigauss import ClassGaussians, open_set_score
from fpigauss.sklearn import FixedPointGaussianClassifier

#: In nats of KLD between the closest two classes.
SEPARATIONS = (20.0, 50.0, 150.0)
SCORES = ("likelihood", "mahalanobis", "relative_mahalanobis", "typicality", "entropy")
N_BINS = 15

LINEAR = "LinearDiscriminantAnalysis"
#: Without repulsion: separated fits are compared with it.
REFERENCE = "fpigauss, tied dense"
LOGISTIC = "LogisticRegression: largest posterior"


class MixturePerClass(ClassifierMixin, BaseEstimator):
    """Classify by a mixture of Gaussians per class and the priors of the training rows."""

    def __init__(self, covariance_type: str = "full", seed: int = 0) -> None:
        self.covariance_type = covariance_type
        self.seed = seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> MixturePerClass:
        self.classes_, counts = np.unique(y, return_counts=True)
        self.log_priors_ = np.log(counts / len(y))
        self.mixtures_ = [
            GaussianMixture(
                3,
                covariance_type=self.covariance_type,
                reg_covar=1e-3,  # of a variance of about 1
                max_iter=500,
                random_state=self.seed,
            ).fit(X[y == label])
            for label in self.classes_
        ]
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        log_prob = np.stack([mixture.score_samples(X) for mixture in self.mixtures_], axis=1)
        joint = log_prob + self.log_priors_
        return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


def with_separation(separation: float) -> str:
    return f"{REFERENCE}, separation {separation:g}"


def classifiers() -> dict[str, Callable[[], Any]]:
    """Return what makes each classifier."""
    separated: dict[str, Callable[[], Any]] = {
        with_separation(nats): lambda nats=nats: FixedPointGaussianClassifier(
            separation=nats, covariance="dense"
        )
        for nats in SEPARATIONS
    }
    return {
        LINEAR: LinearDiscriminantAnalysis,
        "QuadraticDiscriminantAnalysis": lambda: QuadraticDiscriminantAnalysis(reg_param=1e-3),
        "GaussianNB": GaussianNB,
        "GaussianMixture per class, 3 full": MixturePerClass,
        "GaussianMixture per class, 3 diagonal": lambda: MixturePerClass("diag"),
        "LogisticRegression": lambda: LogisticRegression(max_iter=5000),
        REFERENCE: lambda: FixedPointGaussianClassifier(covariance="dense", tied=True),
        "fpigauss, per-class dense, OAS": lambda: FixedPointGaussianClassifier(
            covariance="dense", shrinkage="oas"
        ),
        "fpigauss, per-class diagonal": FixedPointGaussianClassifier,
        **separated,
    }


def figures(
    y: np.ndarray, classes: np.ndarray, shares: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Compute what is reported of posteriors (N, K) of held-out rows, which may have weights."""
    codes = np.searchsorted(classes, y)
    right = shares.argmax(axis=1) == codes
    numbers = np.arange(len(classes))
    return {
        "accuracy": float(np.average(right, weights=weights)),
        "log-loss": float(log_loss(codes, shares, labels=numbers, sample_weight=weights)),
        "ECE": calibration_error(shares.max(axis=1), right, weights),
    }


def calibration_error(
    confidence: np.ndarray, right: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Compute the expected calibration error over bins of equal width."""
    weights = np.ones(len(right)) if weights is None else weights
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gaps = np.bincount(bins, weights=weights * (confidence - right), minlength=N_BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def unknown_scores(
    X: np.ndarray, y: np.ndarray, X_test: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """Score held-out rows by each fit to known rows: by fit and method, higher is more unknown."""
    logistic = LogisticRegression(max_iter=5000).fit(X, y)
    found = {(LOGISTIC, ""): 1.0 - logistic.predict_proba(X_test).max(axis=1)}
    background = background_of(X)
    makers = classifiers()
    fits = (
        REFERENCE,
        *map(with_separation, SEPARATIONS),
        "fpigauss, per-class dense, OAS",
    )
    for name in fits:
        gaussians = makers[name]().fit(X, y).gaussians_
        for method in SCORES:
            found[name, method] = open_set_score(
                gaussians,
                X_test,
                method=method,
                background=background if method == "relative_mahalanobis" else None,
            )
    return found


def background_of(X: np.ndarray) -> ClassGaussians:
    """Return one Gaussian of all rows, smoothed as the classifier smooths the classes."""
    covariance = np.cov(X.T, bias=True)
    smoothing = FixedPointGaussianClassifier().var_smoothing * np.diagonal(covariance).max()
    smoothed = covariance + smoothing * np.eye(X.shape[1])
    return ClassGaussians(X.mean(axis=0)[None], smoothed[None], covariance="dense")


def shares_of(gaussians: Any, z: np.ndarray) -> np.ndarray:
    """Return the posteriors (N, K) at equal priors."""
    return softmax(gaussians.class_log_prob(z), axis=1)
