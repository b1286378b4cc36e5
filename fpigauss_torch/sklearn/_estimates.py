"""What a fitted flow tells about rows: labels, probabilities, densities; and rows that it draws."""

import math
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from fpigauss import ClassGaussians, InvalidInputError, open_set_threshold
from fpigauss.interface import (
    as_labels,
    check_kept_by_numpy,
    check_positive,
    check_unmasked,
    joint,
)
from fpigauss.sklearn.posterior import PosteriorMixin
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.gaussians import LatentGaussians
from fpigauss_torch.sklearn._columns import Columns
from fpigauss_torch.sklearn._training import encoded

__all__ = ["FlowEstimates"]

Floats = np.ndarray[Any, np.dtype[Any]]


class FlowEstimates(PosteriorMixin, BaseEstimator):
    """The methods of an estimator that has been fitted."""

    classes_: Floats
    model_: ClassFlow
    priors_: Floats
    temperature_: float
    held_out_scores_: Floats
    validation_fraction: float
    _columns: Columns

    # -- densities -------------------------------------------------------------------------

    def class_log_prob(self, X: Any) -> Any:
        """Compute log p(x|y) of every class.

        In columns of integers the density is that of the numbers after they were spread.

        Parameters
        ----------
        X : (N, d) array-like

        Returns
        -------
        (N, K) array
            In nats, columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        check_unmasked(X=X)
        return self._class_log_prob(validate_data(self, X, reset=False, dtype=np.float64))

    def score_samples(self, X: Any, y: Any = None) -> Any:
        """Compute log p(x), the log-density of the mixture of all classes; log p(x|y) with labels.

        Parameters
        ----------
        X : (N, d) array-like
        y : (N,) array-like, optional
            The class of each row.

        Returns
        -------
        (N,) array
            In nats.
        """
        by_class = self.class_log_prob(X)
        if y is None:
            return self._mixture(by_class)
        codes = self._codes(y, "y")
        if len(codes) != len(by_class):
            raise InvalidInputError(f"y has {len(codes)} labels for {len(by_class)} rows of X")
        return np.take_along_axis(by_class, codes[:, None], axis=1)[:, 0]

    def reject(self, X: Any, rate: float = 0.05) -> Any:
        """Tell which rows belong to no class: those less likely than nearly all held-out ones.

        The threshold is that of ``fpigauss.open_set_threshold``. Held-out rows have had a say in
        when to stop, so that it holds approximately.

        Parameters
        ----------
        X : (N, d) array-like
        rate : float
            The probability that a row of a known class is rejected, 0 < rate < 1. It needs 1 / rate
            - 1 held-out rows.

        Returns
        -------
        (N,) array of bool
            True where a row is rejected.

        Raises
        ------
        InvalidInputError
            If too few rows were held out for the rate.
        """
        check_is_fitted(self)
        n_held_out = len(self.held_out_scores_)
        needed = math.ceil(1.0 / check_positive(rate, "rate") - 1e-9) - 1
        if n_held_out < max(needed, 1):
            raise InvalidInputError(
                f"rate={rate:g} needs {max(needed, 1)} held-out rows, but fit held out "
                f"{n_held_out}; pass a higher rate, or fit with more rows or a higher "
                f"validation_fraction than {self.validation_fraction:g}"
            )
        return -self.score_samples(X) > open_set_threshold(self.held_out_scores_, rate=rate)

    # -- what else the fit has ----------------------------------------------------------------

    @property
    def gaussians_(self) -> ClassGaussians:
        """One Gaussian per class, in the latent space."""
        check_is_fitted(self)
        prior = self.model_.gaussians
        assert isinstance(prior, LatentGaussians)
        return prior.class_gaussians(self.classes_)

    def map_columns(self, X: Any) -> torch.Tensor:
        """Map rows to what ``model_`` encodes: standardized and whitened within the classes.

        Parameters
        ----------
        X : (N, d) array-like

        Returns
        -------
        (N, d) float64 tensor
        """
        check_is_fitted(self)
        check_unmasked(X=X)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return torch.as_tensor(self._columns(X), device="cpu")

    # -- within --------------------------------------------------------------------------------

    def _class_log_prob(self, X: Floats) -> Floats:
        """Compute log p(x|y) (N, K) of checked rows."""
        if len(X) == 0:
            return np.empty((0, len(self.classes_)))
        z, log_det = encoded(self.model_, self._columns(X))
        by_class = self.model_.gaussians.class_log_prob(z) + log_det[:, None]
        log_prob: Floats = by_class.numpy() + self._columns.log_det
        return log_prob

    def _mixture(self, by_class: Floats) -> Floats:
        with np.errstate(divide="ignore"):  # a prior may be zero
            sums: Floats = np.logaddexp.reduce(by_class + np.log(self.priors_), axis=1)
        return sums

    def _logits(self, X: Any, method: str) -> Floats:
        """Compute log p(x, y) (N, K), divided by the temperature; log p(y) without a density."""
        by_class = self.class_log_prob(X)
        with np.errstate(divide="ignore"):  # a prior may be zero
            logits: Floats = joint(by_class, np.log(self.priors_))
        lost = np.isneginf(by_class).all(axis=1, keepdims=True)
        return np.where(lost, logits, logits / self.temperature_)

    def _drawn(self, labels: Any, seed: int) -> tuple[Any, Any]:
        codes = self._codes(labels, "labels")
        rows = self.model_.sample(torch.tensor(codes, device="cpu"), seed=seed)
        return self._columns.undo(rows.numpy()), self.classes_[codes]

    def _codes(self, labels: Any, name: str) -> Floats:
        """Return the numbers of labels, all of which must be among the classes."""
        check_kept_by_numpy(labels, name)
        labels = np.asarray(labels)
        if labels.ndim == 0:
            raise InvalidInputError(
                f"{name} is {labels.item()!r}; pass a sequence of labels, one per row"
            )
        as_labels(labels, name)  # raises for what cannot be a label
        labels = column_or_1d(labels)
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise InvalidInputError(
                f"{name} contains {unknown[:1].tolist()[0]!r}, which is not among classes_; pass "
                "labels that occurred in fit"
            )
        codes: Floats = np.searchsorted(self.classes_, labels)
        return codes
