"""One Gaussian per class: densities, prediction, samples, conversion and files."""

import os
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from fpigauss._array.checks import (
    as_integer,
    check_draws,
    check_nonnegative,
    check_range,
    check_seed,
    check_whole,
)
from fpigauss._array.files import FLAG, FLOATS, LABELS, NAME, load_arrays, save_arrays
from fpigauss._array.flags import unflagged
from fpigauss._array.namespaces import (
    as_floating,
    cast_like,
    device_of,
    is_array,
    lie_together,
    namespace,
    portable,
    precise,
    to_numpy,
)
from fpigauss._array.typing import Array
from fpigauss.covariance import CovarianceFamily, own_name
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians._checks import saved_family, unified
from fpigauss.gaussians._densities import Densities
from fpigauss.gaussians._density import by_class_rows, index_of
from fpigauss.gaussians._pytree import register

__all__ = ["ClassGaussians"]


@dataclass(frozen=True, eq=False, repr=False)
class ClassGaussians(Densities):
    r"""K Gaussians N(mu_y, Sigma_y), one per class.

    Posteriors, predictions and the mixture take all classes for equally frequent, unless
    ``priors="counts"`` or other priors are passed to them.

    They are frozen: the arrays given are copied once, in time and memory like those of one sum over
    them.

    For jax they are a pytree of means, covariances and counts; inside jit, grad and vmap, shapes
    are checked and values are not.

    Parameters
    ----------
    means : (K, d) array
        Means, of any namespace; their floating dtype is that of the covariances and samples.
    covariances : array
        Covariances, in the shape of the family: diagonal (K, d), dense (K, d, d), isotropic (K,);
        tied (d,), (d, d) and (). They are variances, not standard deviations.
    covariance : {"diagonal", "dense", "isotropic"} or CovarianceFamily
        The family.
    tied : bool
        One covariance shared by all classes.
    classes : (K,) array-like, optional
        Distinct labels in ascending order; 0..K-1 by default.
    counts : (K,) array-like, optional
        How many samples each class has, or the sums of their weights, for ``priors="counts"``; a
        fit knows them. Held in float64 where the device supports it.

    Attributes
    ----------
    family : CovarianceFamily
        The family as an object; ``covariance`` is its name, or the object if it is your own.

    Raises
    ------
    InvalidInputError
        If the shapes disagree, a number is not finite, or a covariance is not symmetric and
        positive definite; the message names the class.

    See Also
    --------
    pairwise_kld : how far apart they are.
    open_set_score : how unknown rows are to them.
    fpigauss_torch.LatentGaussians : the same as a module, under a flow.

    Examples
    --------
    >>> from fpigauss import ClassGaussians
    >>> gaussians = ClassGaussians([[0.0, 0.0], [4.0, 4.0]], [1.0, 1.0],
    ...                            covariance="isotropic", classes=["cat", "dog"])
    >>> gaussians.predict([[0.1, 0.3], [5.0, 3.0]])
    array(['cat', 'dog'], dtype='<U3')
    >>> gaussians.sample(["dog", "cat"], seed=0).shape
    (2, 2)
    >>> gaussians.sample(5, seed=0).shape
    (5, 2)
    """

    means: Array
    covariances: Array
    covariance: Any = field(default="diagonal", kw_only=True)
    tied: bool = field(default=False, kw_only=True)
    classes: Any = field(default=None, kw_only=True)
    counts: Any = field(default=None, kw_only=True)
    family: CovarianceFamily = field(init=False, repr=False)

    @unflagged
    def __post_init__(self) -> None:
        """Check and unify the fields."""
        register(type(self))
        for name, value in unified(
            self.means,
            self.covariances,
            covariance=self.covariance,
            tied=self.tied,
            classes=self.classes,
            counts=self.counts,
        ).items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Describe the Gaussians, without their numbers."""
        covariance = self.covariance if isinstance(self.covariance, str) else self.family
        tied = ", tied=True" if self.tied and isinstance(self.covariance, str) else ""
        shape = getattr(self.means, "shape", ())  # in a pytree, jax puts anything in its place
        return (
            f"ClassGaussians(n_classes={len(self.classes)}, dim={shape[-1] if shape else '?'}, "
            f"covariance={covariance!r}{tied})"
        )

    # -- samples ---------------------------------------------------------------------------

    @unflagged
    def sample(
        self,
        labels: Any,
        *,
        temperature: float = 1.0,
        seed: int | np.random.Generator | None = None,
    ) -> Array:
        """Draw one sample per label, or ``labels`` samples from the mixture of all classes.

        Draws are made on the host, so a seed gives the same samples in every namespace.

        Parameters
        ----------
        labels : (N,) array-like, or int
            The classes to draw from, in this order; or how many draws, each of a class drawn
            uniformly. ``[5]`` is one draw of the class 5, ``5`` is five draws.
        temperature : float
            Multiplies the standard deviations; 0 gives the means.
        seed : int or numpy.random.Generator, optional
            The source of randomness; fresh by default.

        Returns
        -------
        (N, d) array
            In the namespace, device and dtype of the means.

        Raises
        ------
        InvalidInputError
            If a label is unknown, or ``temperature`` or the number of draws is negative.
        """
        temperature = check_nonnegative(temperature, "temperature")
        source = check_seed(seed)
        n_draws = as_integer(labels)
        if n_draws is None:
            codes = self._codes(labels)
        else:
            n_draws = check_whole(n_draws, "labels")
            check_draws(n_draws, self.dim, "labels")
            codes = source.integers(self.n_classes, size=n_draws)
        means, factor = self.working()
        noise = source.standard_normal((codes.shape[0], self.dim))
        white = cast_like(temperature * noise, means)
        xp = namespace(means)

        def draw(code: int, rows: Array) -> Array:
            own = self.family.rows(factor, index_of(code, means))
            return means[code, :] + self.family.color(own, xp.take(white, rows, axis=0))

        return cast_like(by_class_rows(codes, white, draw), self.means)

    # -- conversion and files --------------------------------------------------------------

    @unflagged
    def to(self, like: Array) -> Self:
        """Convert to the namespace, device and floating dtype of an array.

        Where rounding to a lower precision would make a dense covariance indefinite, its
        correlations shrink by no more than that rounding; its variances stay.

        Parameters
        ----------
        like : array
            Any floating array.

        Returns
        -------
        ClassGaussians
        """
        if not is_array(like):
            raise InvalidInputError(
                f"like is {like!r}; pass an array of the namespace, device and dtype to convert to"
            )
        like = as_floating(like, "like")
        values = self.family.unpack(self.covariances)
        if not lie_together(like, values):
            values = portable(values)
            if precise(like) is like:
                values = namespace(like).asarray(values, device=device_of(like))
        check_range(self.means, like, "means", positive=False)
        values = self.family.rounded(values, like)
        return type(self)(
            cast_like(self.means, like),
            cast_like(self.family.pack(values), like),
            covariance=self.family,
            tied=self.tied,
            classes=self.classes,
            counts=self.counts,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file, atomically; bfloat16 as float32.

        An earlier file keeps its mode, and a link stays a link; other hard links to the file keep
        the earlier contents.

        Parameters
        ----------
        path : path-like
            If it ends in ``.safetensors``, that is the format, which needs the package safetensors:
            counts, means and covariances are tensors, and the rest is a JSON object in the
            metadata, under "fpigauss". Otherwise the format is npz.

        Raises
        ------
        InvalidInputError
            If the family is one of your own that has the name of another.
        """
        arrays = {
            "means": to_numpy(self.means),
            "covariances": to_numpy(self.covariances),
            "classes": self.classes,
            "covariance": np.asarray(own_name(self.family)),
            "tied": np.asarray(self.tied),
        }
        if self.counts is not None:
            arrays["counts"] = to_numpy(self.counts)
        save_arrays(path, "ClassGaussians", arrays)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, covariance: CovarianceFamily | None = None
    ) -> Self:
        """Read what ``save`` wrote, as numpy arrays; older files do not contain ``counts``.

        Parameters
        ----------
        path : path-like
        covariance : CovarianceFamily, optional
            The family, if it is one of your own.

        Returns
        -------
        ClassGaussians

        Raises
        ------
        InvalidInputError
            If the file is not one that ``ClassGaussians.save`` wrote, or is of another family.
        """
        fields = {"means": FLOATS, "covariances": FLOATS, "classes": LABELS}
        fields |= {"covariance": NAME, "tied": FLAG}
        arrays = load_arrays(path, "ClassGaussians", fields, optional={"counts": FLOATS})
        name, tied = str(arrays.pop("covariance")), bool(arrays.pop("tied"))
        return cls(**arrays, covariance=saved_family(path, name, tied, covariance), tied=tied)
