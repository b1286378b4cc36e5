"""Fit the estimators to data frames of any kind, and see that they keep scikit-learn's contract.

Columns have any type, size and number of values, labels are words, numbers, flags or categories.
An estimator may refuse with a ``ValueError``; what it fits has to predict its own labels with
shares that sum to one, the same from arrays, from copies and from statistics in parts.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tools.torture._examples import examples
from tools.torture._runner import Fault, Machine

__all__ = ["MACHINE"]

_EXAMPLES = 15
_WORDS = ["ant", "bee", "cat", "dög", "", "nan"]
_COLUMNS = ("float64", "float32", "float16", "int8", "bool", "Int64", "Float64", "uint8")


@st.composite
def _frames(draw: Any, most: int = 40) -> tuple[Any, Any]:
    """Draw a data frame and labels, most of which can be used."""
    import pandas as pd

    n = draw(st.integers(4, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    codes = rng.integers(0, draw(st.integers(1, 4)), size=n)
    columns: dict[Any, Any] = {}
    for i in range(draw(st.integers(1, 5))):
        dtype = draw(st.sampled_from(_COLUMNS))
        scale = draw(st.sampled_from([1.0, 1.0, 10.0, 100.0, 1e-30, 1e30]))
        values = rng.standard_normal(n) + codes * draw(st.sampled_from([0.0, 3.0]))
        if dtype.startswith(("float", "Float")) and dtype != "float16":
            values = values * scale
        if draw(st.integers(0, 9)) == 0:
            values[:] = values[0]
        if draw(st.integers(0, 19)) == 0:
            values[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
        finite = np.nan_to_num(values, posinf=0.0, neginf=0.0)
        integral = dtype in {"int8", "uint8", "Int64", "bool"}
        whole = np.abs(np.clip(finite * 10.0, -12, 12)).astype("int64")
        series = pd.Series(whole if integral else values)
        columns[f"column {i}"] = series.astype(dtype)
    frame = pd.DataFrame(columns)
    if draw(st.booleans()):
        frame.index = rng.permutation(n) * 7
    kind = draw(
        st.sampled_from(["int", "negative", "words", "object", "bool", "category", "float"])
    )
    labels: Any = {
        "int": codes,
        "negative": codes * 1000 - 10**6,
        "words": np.asarray(_WORDS)[codes],
        "object": np.asarray(_WORDS, dtype=object)[codes],
        "bool": codes > 0,
        "category": pd.Series(pd.Categorical(np.asarray(_WORDS)[codes]), index=frame.index),
        "float": codes.astype(float),
    }[kind]
    return frame, labels


def _options(draw: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        "covariance": draw(st.sampled_from(["diagonal", "dense", "isotropic"])),
        "tied": draw(st.sampled_from([None, True, False])),
        "priors": draw(st.sampled_from(["counts", None])),
    }
    options |= draw(st.sampled_from([{}, {"lam": 1.0}, {"lam": 0.0}, {"separation": 5.0}]))
    options |= draw(st.sampled_from([{}, {"var_smoothing": 0.0}, {"shrinkage": 0.1}]))
    return options


def _same(first: Any, second: Any, what: str, near: float = 0.0) -> None:
    if not np.allclose(first, second, rtol=near, atol=near, equal_nan=True):
        raise Fault(f"{what} changes shares by {np.abs(np.asarray(first) - second).max():.1e}")


@examples(data=st.data())
def _gaussian(data: Any) -> None:
    from sklearn.base import clone

    from fpigauss import UnreachableSeparationError
    from fpigauss.sklearn import FixedPointGaussianClassifier

    frame, y = data.draw(_frames())
    estimator = FixedPointGaussianClassifier(**_options(data.draw))
    weight = None
    if data.draw(st.booleans()):
        weight = np.random.default_rng(0).integers(0, 4, size=len(frame)).astype(float)
    try:
        fitted = estimator.fit(frame, y, weight)
    except (ValueError, UnreachableSeparationError):
        return
    shares = fitted.predict_proba(frame)
    _check_classifier(fitted, frame, y if weight is None else np.asarray(y)[weight > 0], shares)
    _same(clone(fitted).fit(frame, y, weight).predict_proba(frame), shares, "a second fit")
    _same(pickle.loads(pickle.dumps(fitted)).predict_proba(frame), shares, "pickle")
    again = clone(fitted).fit_statistics(fitted.statistics_)
    _same(again.predict_proba(np.asarray(frame, dtype=float)), shares, "its statistics", 1e-5)
    swapped = frame[frame.columns[::-1]]
    if len(frame.columns) > 1:
        try:
            fitted.predict(swapped)
        except ValueError:
            return
        raise Fault("columns in another order are taken")


@examples(data=st.data())
def _flow(data: Any) -> None:
    from fpigauss_torch.sklearn import FlowClassifier

    frame, y = data.draw(_frames(20))
    priors = data.draw(st.sampled_from(["counts", None]))
    fraction = data.draw(st.sampled_from([0.0, 0.15, 0.5]))
    estimator = FlowClassifier(
        max_epochs=2,
        transforms=1,
        hidden_features=(8,),
        priors=priors,
        validation_fraction=fraction,
        random_state=0,
    )
    try:
        fitted = estimator.fit(frame, y)
    except ValueError:
        return
    _check_classifier(fitted, frame, y, fitted.predict_proba(frame))
    rows, labels = fitted.sample(6, random_state=0)
    if rows.shape != (6, frame.shape[1]) or not set(labels.tolist()) <= set(
        fitted.classes_.tolist()
    ):
        raise Fault(f"samples have shape {rows.shape} and labels {labels}")
    if not np.isfinite(rows).all():
        raise Fault("samples are not finite")


def _check_classifier(fitted: Any, frame: Any, y: Any, shares: Any) -> None:
    classes = np.unique(np.asarray(y))
    if fitted.classes_.tolist() != classes.tolist():
        raise Fault(f"classes_ are {fitted.classes_}, the labels {classes}")
    if shares.shape != (len(frame), len(classes)):
        raise Fault(f"shares have shape {shares.shape}")
    if not (np.allclose(shares.sum(1), 1.0, atol=1e-4) and (shares >= 0).all()):
        raise Fault(f"shares are {shares}")
    predicted = fitted.predict(frame)
    if not set(np.asarray(predicted).tolist()) <= set(classes.tolist()):
        raise Fault(f"{predicted} are predicted, of {classes}")
    largest = (
        shares.max(1)
        - np.take_along_axis(shares, np.searchsorted(classes, predicted)[:, None], 1)[:, 0]
    )
    if largest.max() > 1e-5:
        raise Fault("what is predicted has not the largest share")


def trial(number: int, _: Path) -> Iterator[str]:
    """Fit one of both estimators to a few data frames."""
    name, test = (("Gaussian", _gaussian), ("flow", _flow))[number % 6 == 5]
    test(number, _EXAMPLES if name == "Gaussian" else 2)
    yield name


MACHINE = Machine(
    what=f"{_EXAMPLES} data frames for the classifier of Gaussians, or 2 for that of flows",
    trial=trial,
    quick=12,
    full=800,
    imports=("pandas", "fpigauss.sklearn", "fpigauss_torch.sklearn", "skorch", "zuko"),
    batch=12,
    seconds=60.0,
)
