"""Few rows, and uneven ones: classifiers that learn a class from some of its rows.

``METHODS`` classify rows, ``SAMPLERS`` even the classes out before a classifier is trained.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from fpigauss import InvalidInputError, smallest_kld
from fpigauss.sklearn import FixedPointGaussianClassifier
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

__all__ = [
    "CLASSIFIERS",
    "METHODS",
    "SAMPLERS",
    "drawn_rows",
    "recalls",
    "sampler",
    "uneven_counts",
]

Rows = np.ndarray[Any, np.dtype[Any]]

#: Separations that cross-validation chooses from, as multiples of that of the data; 1 is lam = 0.
_MULTIPLES = (1.0, 1.5, 3.0, 10.0)
_N_FOLDS = 5


class _Apart:
    """Gaussians whose separation is chosen by cross-validation, no repulsion among the choices."""

    def __init__(self, seed: int, **options: Any) -> None:
        self.seed, self.options = seed, options

    def fit(self, x: Rows, y: Rows) -> "_Apart":
        """Choose and fit."""
        data = FixedPointGaussianClassifier(lam=0.0, **self.options).fit(x, y)
        least = float(smallest_kld(data.gaussians_))
        grid = [{"lam": [0.0], "separation": [None]}]
        if least > 0.0:
            further = [least * multiple for multiple in _MULTIPLES[1:]]
            grid.append({"lam": [None], "separation": further})
        folds = StratifiedKFold(_N_FOLDS, shuffle=True, random_state=self.seed)
        search = GridSearchCV(data, grid, cv=folds, error_score=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a choice that fails scores 0, and is not taken
            self.best_ = search.fit(x, y).best_estimator_
        return self

    def predict(self, x: Rows) -> Rows:
        """Return the classes of rows."""
        found: Rows = self.best_.predict(x)
        return found


def _gaussians(covariance: str) -> dict[str, Any]:
    """Return the options of a family, alike with and without repulsion; priors are equal."""
    # OAS, which knows variances alone, makes a diagonal isotropic
    shrinkage: Any = {"isotropic": 0.0, "diagonal": 0.1, "dense": "oas"}[covariance]
    return {"covariance": covariance, "tied": True, "priors": None, "shrinkage": shrinkage}


#: What learns a few rows per class, made from a seed.
METHODS: dict[str, Callable[[int], Any]] = {
    "data_iso": lambda seed: FixedPointGaussianClassifier(lam=0.0, **_gaussians("isotropic")),
    "apart_iso": lambda seed: _Apart(seed, **_gaussians("isotropic")),
    "data_diag": lambda seed: FixedPointGaussianClassifier(lam=0.0, **_gaussians("diagonal")),
    "apart_diag": lambda seed: _Apart(seed, **_gaussians("diagonal")),
    "data_dense": lambda seed: FixedPointGaussianClassifier(lam=0.0, **_gaussians("dense")),
    "apart_dense": lambda seed: _Apart(seed, **_gaussians("dense")),
    "lda": lambda seed: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    "logistic": lambda seed: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "svm": lambda seed: make_pipeline(StandardScaler(), SVC()),
}

#: What is trained on uneven rows, made from a seed.
CLASSIFIERS: dict[str, Callable[..., Any]] = {
    "logistic": lambda seed, **options: LogisticRegression(max_iter=1000, **options),
    "forest": lambda seed, **options: RandomForestClassifier(200, random_state=seed, **options),
}

#: What evens classes out by adding rows.
SAMPLERS = ("random", "smote", "data", "apart", "flow")


def sampler(name: str, seed: int, separation: float, least: int) -> Any:
    """Return an over-sampler of imbalanced-learn's interface; it needs the extra ``few``.

    Parameters
    ----------
    name : str
        One of ``SAMPLERS``.
    seed : int
    separation : float
        Of "apart".
    least : int
        The rows of the smallest class, which limit SMOTE's neighbors.
    """
    try:
        from fpigauss_torch.imblearn import FlowOverSampler
        from imblearn.over_sampling import SMOTE, RandomOverSampler
    except ImportError as error:
        raise ImportError(
            'over-sampling needs imbalanced-learn: pip install "examples/nfpi[few]"'
        ) from error
    match name:
        case "random":
            return RandomOverSampler(random_state=seed)
        case "smote":
            return SMOTE(k_neighbors=min(5, least - 1), random_state=seed)
        case "flow":
            return FlowOverSampler(random_state=seed)
        case "data" | "apart":
            wanted: dict[str, Any] = {"lam": 0.0} if name == "data" else {"separation": separation}
            source = FixedPointGaussianClassifier(**wanted, **_gaussians("dense"))
            return FlowOverSampler(estimator=source, random_state=seed)
    raise InvalidInputError(f"sampler is {name!r}; pass one of {', '.join(SAMPLERS)}")


def drawn_rows(labels: Rows, counts: Sequence[int], seed: int) -> Rows:
    """Draw so many rows of each class, and return their numbers in ascending order.

    Larger counts include the rows of smaller ones at the same seed.

    Parameters
    ----------
    labels : (N,) int array
        Classes 0..K-1.
    counts : sequence of int
        K of them.
    seed : int
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    found = []
    for label, count in enumerate(counts):
        own: Rows = order[labels[order] == label]
        if len(own) < count:
            raise InvalidInputError(
                f"class {label} has {len(own)} rows, fewer than the {count} asked for; pass a "
                "smaller number"
            )
        found.append(own[:count])
    return np.sort(np.concatenate(found))


def uneven_counts(n_classes: int, common: int, rare: int, seed: int) -> list[int]:
    """Make every other class of a random order rare; with an odd K, one more is common."""
    order = np.random.default_rng(seed).permutation(n_classes)
    rare_ones = set(order[: n_classes // 2].tolist())
    return [rare if label in rare_ones else common for label in range(n_classes)]


def recalls(found: Rows, labels: Rows, rare: Sequence[bool]) -> Iterator[tuple[str, float]]:
    """Yield acc, the mean recall over classes, and rare and common, over those alone."""
    own = np.array([np.mean(found[labels == label] == label) for label in range(len(rare))])
    mask = np.array(rare)
    yield "acc", float(own.mean())
    yield "rare", float(own[mask].mean())
    yield "common", float(own[~mask].mean())
