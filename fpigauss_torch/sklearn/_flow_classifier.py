"""A neural spline flow over separated class Gaussians, as a classifier of scikit-learn."""

import threading
from typing import Any, Self

import numpy as np
import torch
import zuko
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from fpigauss import InvalidInputError
from fpigauss.interface import (
    as_labels,
    check_kept_by_numpy,
    check_nonnegative,
    check_positive,
    check_positive_integer,
    check_sample_weight,
    check_unmasked,
    log_priors,
    progress_bar,
)
from fpigauss_torch.flow import ClassFlow
from fpigauss_torch.gaussians import LatentGaussians
from fpigauss_torch.refit import SEPARATION
from fpigauss_torch.sklearn._columns import Columns
from fpigauss_torch.sklearn._estimates import FlowEstimates
from fpigauss_torch.sklearn._held_out import held_out_rows, temperature_of
from fpigauss_torch.sklearn._training import Rows, Training

__all__ = ["FlowClassifier"]

Floats = np.ndarray[Any, np.dtype[Any]]

#: The batches of an epoch, and the sizes that one may have, if none is given.
_N_BATCHES, _SMALLEST, _LARGEST = 5, 32, 512
#: Held while the global generator, which all threads share, is in use.
_DRAWING = threading.Lock()


class FlowClassifier(ClassifierMixin, FlowEstimates):
    r"""Classify, score and sample rows by a flow over class Gaussians that are kept apart.

    A neural spline flow (zuko) encodes the rows to latents, in which each class is one Gaussian.
    All share one variance, and every two of them are ``separation`` nats apart: the Gaussians are
    fitted before the first two epochs, and stay as they are while the flow learns to send each
    class to its own. The model is a density, p(x|y): it classifies by Bayes' rule, tells rows that
    belong to no class, and draws new ones.

    Columns are standardized and whitened within the classes, and the values of columns of integers
    are spread evenly over the gaps between them; drawn rows have integers within their range there.
    A part of the rows is held out: to stop in time, to set the temperature of the probabilities,
    and for the threshold of ``reject``.

    Parameters
    ----------
    separation : float
        How far apart the Gaussians are: the smallest KLD over pairs of classes, in nats, > 0.
    transforms : int
        How many autoregressive spline transforms the flow has.
    hidden_features : tuple of int
        The widths of the hidden layers in each of them.
    bins : int
        The pieces of each spline.
    noise : float
        The standard deviation of the normal noise that is added to rows in training, relative to
        that of the rows of a class. It keeps the flow from fitting single rows.
    learning_rate, weight_decay : float
        Of AdamW. The rate falls where the loss of held-out rows does not.
    batch_size : int, optional
        By default a fifth of the rows, between 32 and 512.
    max_epochs : int
        The number of passes over the rows, at most.
    patience : int
        After how many passes without a better loss of the held-out rows to stop.
    validation_fraction : float
        The part of each class to hold out, 0 <= fraction < 1. At 0, training takes ``max_epochs``,
        there is no temperature, and ``reject`` cannot be called.
    priors : "counts", None or (K,) array-like
        Prior probabilities of the classes: those of the training rows, equal ones, or numbers that
        sum to one.
    device : str, optional
        Where to train, "cuda" for example; by default on the CPU. Afterwards the model is on the
        CPU, in float64.
    progress : bool
        Show a progress bar of epochs.
    random_state : int, numpy.random.RandomState or None
        The source of randomness, as in scikit-learn. The global generators are left as they are.

    Attributes
    ----------
    classes_ : (K,) array
        The labels.
    model_ : ClassFlow
        The flow and its Gaussians, for rows as ``map_columns`` returns them.
    gaussians_ : ClassGaussians
        One Gaussian per class, in the latent space.
    priors_ : (K,) array
        The prior probabilities in use.
    temperature_ : float
        What log p(x, y) is divided by in ``predict_proba``: flows are far too sure. No label
        depends on it. 1 if fewer than ten rows were held out.
    held_out_scores_ : (M,) array
        -log p(x) of the held-out rows, for thresholds.
    history_ : list of dict
        The losses of every epoch, in nats: "train_loss" and "valid_loss".
    n_iter_ : int
        The number of epochs.
    n_features_in_ : int
        The number of columns d.
    feature_names_in_ : (d,) array
        The names of the columns, if ``X`` had any.

    See Also
    --------
    fpigauss.sklearn.FixedPointGaussianClassifier : Gaussians on the columns as they are.
    fpigauss_torch.ClassFlow : flows of any library, in a training loop of your own.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fpigauss_torch.sklearn import FlowClassifier
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> classifier = FlowClassifier(max_epochs=10, random_state=0).fit(X, y)
    >>> bool(classifier.score(X, y) > 0.9)
    True
    >>> X_new, y_new = classifier.sample(5, random_state=0)
    >>> X_new.shape
    (5, 4)
    >>> classifier.reject(X + 20.0, rate=0.1).all()
    np.True_
    """

    def __init__(
        self,
        separation: float = SEPARATION,
        *,
        transforms: int = 2,
        hidden_features: tuple[int, ...] = (64, 64),
        bins: int = 8,
        noise: float = 0.5,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-4,
        batch_size: int | None = None,
        max_epochs: int = 200,
        patience: int = 20,
        validation_fraction: float = 0.15,
        priors: Any = "counts",
        device: str | None = None,
        progress: bool = False,
        random_state: Any = None,
    ) -> None:
        """Keep the parameters; ``fit`` checks them."""
        self.separation = separation
        self.transforms = transforms
        self.hidden_features = hidden_features
        self.bins = bins
        self.noise = noise
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.priors = priors
        self.device = device
        self.progress = progress
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a flow and its Gaussians.

        Parameters
        ----------
        X : (N, d) array-like
            Rows.
        y : (N,) array-like
            Labels.
        sample_weight : (N,) array-like, optional
            Weights >= 0 of the rows in the likelihood, the Gaussians and the priors. Only their
            ratios matter.

        Returns
        -------
        FlowClassifier
            Itself.

        Raises
        ------
        InvalidInputError
            If a parameter cannot be used, or there is only one class, or only one row of each. What
            is wrong with ``X`` or ``y`` alone is told by scikit-learn's own ValueError.
        """
        self._check_parameters()
        # scikit-learn forgets the mask
        check_unmasked(X=X, y=y, sample_weight=sample_weight)
        check_kept_by_numpy(y)
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        as_labels(y)  # those that Gaussians cannot have are refused before any work
        X, y, weights = _counted(X, y, sample_weight)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise InvalidInputError(
                f"y contains one class, {classes[:1].tolist()[0]!r}; at least two are needed"
            )
        if len(classes) == len(y):
            raise InvalidInputError(
                f"y has one row per class, n_samples={len(y)}; at least one class needs two"
            )
        counts = np.bincount(codes, weights=weights)
        logs = log_priors(self.priors, counts=counts, classes=classes, like=np.zeros(1))
        source = check_random_state(self.random_state)
        held_out = held_out_rows(codes, self.validation_fraction, source)
        columns = Columns.of(X[~held_out], codes[~held_out], weights[~held_out])
        rows = Rows(columns(X), codes, weights)
        seed = int(source.randint(2**31 - 1))
        model, history = self._trained(columns, rows[~held_out], rows[held_out], seed)
        self.classes_, self.model_, self.history_ = classes, model, history
        self._columns, self.n_iter_ = columns, len(history)
        self.priors_ = np.full(len(classes), 1 / len(classes)) if logs is None else np.exp(logs)
        by_class = self._class_log_prob(X[held_out])
        self.held_out_scores_ = -self._mixture(by_class)
        self.temperature_ = temperature_of(by_class, codes[held_out], self.priors_)
        return self

    def _check_parameters(self) -> None:
        for name in ("separation", "learning_rate"):
            check_positive(getattr(self, name), name)
        for name in ("noise", "weight_decay"):
            check_nonnegative(getattr(self, name), name)
        for name in ("transforms", "bins", "max_epochs", "patience"):
            check_positive_integer(getattr(self, name), name)
        if self.bins < 2:
            raise InvalidInputError(f"bins is {self.bins}; a spline needs 2 pieces or more")
        if self.batch_size is not None:
            check_positive_integer(self.batch_size, "batch_size")
        if check_nonnegative(self.validation_fraction, "validation_fraction") >= 1.0:
            raise InvalidInputError(
                f"validation_fraction is {self.validation_fraction:g}; pass a number, "
                "0 <= validation_fraction < 1"
            )
        if not isinstance(self.hidden_features, tuple | list):
            raise InvalidInputError(
                f"hidden_features is {self.hidden_features!r}; pass a tuple of widths"
            )
        for width in self.hidden_features:
            check_positive_integer(width, "hidden_features")
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise InvalidInputError(
                f"device is {self.device!r}, which torch cannot use here ({error}); pass None"
            ) from None

    @torch.inference_mode(False)
    def _trained(
        self, columns: Columns, rows: Rows, held_out: Rows, seed: int
    ) -> tuple[ClassFlow, list[dict[str, float]]]:
        """Make a model and train it; return it in float64 on the CPU, with the losses."""
        dim = rows.x.shape[1]
        by_default = min(max(len(rows) // _N_BATCHES, _SMALLEST), _LARGEST)
        max_epochs = int(self.max_epochs)
        flow, generator = self._flow(dim, seed)
        training = Training(
            separation=self.separation,
            steps=columns.steps[:, None] * columns.matrix,
            noise=self.noise * columns.within,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            batch_size=int(self.batch_size or by_default),
            max_epochs=max_epochs,
            patience=int(self.patience),
            device="cpu" if self.device is None else str(torch.device(self.device)),
            seed=seed,
            generator=generator,
        )
        n_classes = int(rows.codes.max()) + 1
        with torch.device("cpu"):  # whatever the default: skorch moves the model and its batches
            gaussians = LatentGaussians(n_classes, dim, "isotropic", tied=True)
            model = ClassFlow(flow, gaussians.float())
        with (
            torch.device("cpu"),
            progress_bar(range(max_epochs), self.progress, "epochs") as epochs,
        ):
            steps = iter(epochs)
            history = training.run(model, rows, held_out, lambda: next(steps, None))
        return model.cpu().double().eval(), history

    def _flow(self, dim: int, seed: int) -> tuple[torch.nn.Module, torch.Generator]:
        """Make an untrained flow, in float32, and a generator that goes on from its weights.

        Modules are made in torch's default dtype, which all threads share, so that it is not to be
        set here. Their weights are drawn anew in float32.
        """
        generator = torch.Generator("cpu")
        with (
            _DRAWING,
            torch.random.fork_rng(),
            torch.device("cpu"),
        ):  # weights can only be drawn by the global one
            flow = zuko.flows.NSF(
                dim,
                transforms=int(self.transforms),
                hidden_features=tuple(map(int, self.hidden_features)),
                bins=int(self.bins),
            ).float()
            torch.manual_seed(seed)
            for module in flow.modules():
                if isinstance(module, torch.nn.Linear):
                    module.reset_parameters()
            generator.set_state(torch.random.get_rng_state())
        return flow, generator


def _counted(X: Floats, y: Floats, sample_weight: Any) -> tuple[Floats, Floats, Floats]:
    """Return the rows that count, and their weights, of which the mean is one."""
    if sample_weight is None:
        return X, y, np.ones(len(y))
    weights = check_sample_weight(_check_sample_weight(sample_weight, X), len(y))
    counted = weights > 0.0
    if not counted.any():
        raise InvalidInputError("sample_weight is zero in every row; give some of them weight")
    # by the largest first, so that no sum overflows; what vanishes beside it still counts
    shares = np.maximum(weights[counted] / weights.max(), np.finfo(np.float64).tiny)
    return X[counted], y[counted], shares / shares.mean()
