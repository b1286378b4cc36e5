"""Scores of latents that may belong to no class, without a flow."""

from typing import Any, overload

from fpigauss._array.flags import unflagged
from fpigauss._array.linalg import squared_norms
from fpigauss._array.namespaces import as_floating, detached, namespace
from fpigauss._array.typing import Array, HostArray, NumpyArray, TensorT
from fpigauss.errors import InvalidInputError
from fpigauss.gaussians import (
    ClassGaussians,
    Density,
    by_blocks,
    check_gaussians,
    latents,
    log_priors,
    narrowed,
    widened,
)
from fpigauss.open_set._background import background_of
from fpigauss.open_set._methods import Evidence, check_method, finished

__all__ = ["l2_normalize", "open_set_score"]


@overload
def open_set_score(
    gaussians: ClassGaussians,
    z: HostArray,
    *,
    method: str = "likelihood",
    background: Any = None,
    priors: Any = None,
) -> NumpyArray: ...


@overload
def open_set_score(
    gaussians: ClassGaussians,
    z: TensorT,
    *,
    method: str = "likelihood",
    background: Any = None,
    priors: Any = None,
) -> TensorT: ...


@overload
def open_set_score(
    gaussians: ClassGaussians,
    z: Any,
    *,
    method: str = "likelihood",
    background: Any = None,
    priors: Any = None,
) -> Any: ...


@unflagged
def open_set_score(
    gaussians: ClassGaussians,
    z: Any,
    *,
    method: str = "likelihood",
    background: Any = None,
    priors: Any = None,
) -> Array:
    r"""Score how unknown latents are to class Gaussians: higher is more unknown.

    With squared Mahalanobis distances m_y from each class, the methods are:

    - ``"likelihood"``: -log sum_y p(y) N_y(z), in nats;
    - ``"mahalanobis"`` (Lee et al., 2018): min_y m_y;
    - ``"relative_mahalanobis"`` (Ren et al., 2021): min_y m_y - m_0, with m_0 from one Gaussian of
      all known samples together, so that what is unusual for all classes alike cancels;
    - ``"typicality"``: \|(m/d)^(1/3) - 1 + 2/(9d)\| / sqrt(2/(9d)) for the predicted class, how far
      m is from that of a draw of the class, in standard deviations; also where it is too small;
    - ``"entropy"``: -sum_y p(y|z) log p(y|z), in nats: high between classes, but low far from all
      of them, unless they are equally far.

    They are computed in float64 where the device supports it, without gradients in torch; jax may
    transform them (jit, grad, vmap). Rows that are not
    finite, and those infinitely far from all classes in the dtype of ``z``, score +inf.

    Parameters
    ----------
    gaussians : ClassGaussians
        Gaussians of the known classes.
    z : (N, d) array
        Latents. For latents on the unit sphere, apply ``l2_normalize`` here and before the fit.
    method : {"likelihood", "mahalanobis", "relative_mahalanobis", "typicality", "entropy"}
        What is scored.
    background : ClassStatistics or ClassGaussians, optional
        For "relative_mahalanobis": statistics of the known samples, whose total mean and scatter
        are taken (all samples together, whatever their class); or one Gaussian, of one class.
    priors : "counts" or (K,) array-like, optional
        For "likelihood", "typicality" and "entropy": the probability of each class, as in
        ``ClassGaussians.predict``; equal by default.

    Returns
    -------
    (N,) array
        In the namespace, device and dtype of ``z`` (float32 for half precision).

    Raises
    ------
    InvalidInputError
        If an argument cannot be used, or has no use to ``method``.

    Examples
    --------
    >>> import numpy as np
    >>> from fpigauss import fit_fixed_point, open_set_score, open_set_threshold
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(400) % 4
    >>> z = rng.normal(size=(400, 2)) + 8.0 * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])[y]
    >>> gaussians = fit_fixed_point(z[:200], y[:200], 0.0, tied=True).gaussians
    >>> held_out = open_set_score(gaussians, z[200:], method="mahalanobis")
    >>> threshold = open_set_threshold(held_out, rate=0.05)
    >>> open_set_score(gaussians, [[8.0, 7.0], [4.0, 4.0]], method="mahalanobis") > threshold
    array([False,  True])

    See Also
    --------
    open_set_threshold : the score to reject above.
    fpigauss_torch.rejection_score : the same under a flow.

    References
    ----------
    - Lee, Lee, Lee, Shin. A simple unified framework for detecting out-of-distribution samples
      and adversarial attacks. NeurIPS 2018.
    - Ren, Fort, Liu, Roy, Padhy, Lakshminarayanan. A simple fix to Mahalanobis distance for
      improving near-OOD detection. 2021.
    """
    check_gaussians(gaussians)
    found = check_method(method, background=background, priors=priors)
    logs = log_priors(
        priors,
        counts=gaussians.counts,
        classes=gaussians.classes,
        like=widened(gaussians.means),
    )
    z = detached(latents(gaussians, z, finite=False))
    wide = widened(z)
    one = None if background is None else background_of(background, gaussians.dim, wide[:0, :])
    dtype = narrowed(wide[:0, :], z).dtype

    def score(density: Density, rows: Array) -> Array:
        evidence = Evidence(
            density.squared_distances(rows),
            density.log_normalizers,
            gaussians.dim,
            logs,
            None if one is None else one.squared(rows),
        )
        return finished(found, evidence, dtype)

    return detached(by_blocks(gaussians, wide, score))  # the Gaussians may have a history too


@overload
def l2_normalize(z: HostArray) -> NumpyArray: ...


@overload
def l2_normalize(z: TensorT) -> TensorT: ...


@overload
def l2_normalize(z: Any) -> Any: ...


@unflagged
def l2_normalize(z: Any) -> Array:
    """Divide every row by its Euclidean norm, so that only directions count.

    Features of classifiers vary in length with the confidence of the classifier more than with the
    class; open-set scores of their directions are often better. Normalize the rows of a fit and
    those that are scored alike. A row of zeros, which has no direction, stays as it is; one that is
    not finite becomes NaN, which scores +inf.

    Parameters
    ----------
    z : (N, d) array
        Latents.

    Returns
    -------
    (N, d) array
        In the namespace, device and dtype of ``z``; differentiable where the namespace is.

    See Also
    --------
    open_set_score : scores of rows.

    Examples
    --------
    >>> from fpigauss import l2_normalize
    >>> l2_normalize([[3.0, 4.0], [0.0, 0.0]])
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    z = as_floating(z, "z")
    if z.ndim != 2 or z.shape[1] == 0:
        raise InvalidInputError(f"z has shape {tuple(z.shape)}, (N, d) is needed")
    xp, wide = namespace(z), widened(z)
    # divided by the largest entry first: squares neither overflow nor vanish
    largest = xp.max(xp.abs(detached(wide)), axis=-1, keepdims=True)
    nowhere = largest == 0.0  # False where it is NaN
    scaled = wide / xp.where(nowhere, xp.ones_like(largest), largest)
    squared = squared_norms(scaled)[:, None]
    norms = xp.sqrt(xp.where(nowhere, xp.ones_like(squared), squared))
    return xp.astype(scaled / norms, z.dtype, copy=False)
