"""The two calls: fit the class Gaussians of latents, or of their statistics."""

from typing import Any, Unpack

from fpigauss.fit._documented import checked_names, with_options
from fpigauss.fit._fixed_point import FixedPoint
from fpigauss.fit._typed_options import FixedPointOptions
from fpigauss.result import FixedPointResult
from fpigauss.statistics import ClassStatistics

__all__ = ["fit_fixed_point", "solve_fixed_point"]


@with_options
@checked_names
def fit_fixed_point(
    z: Any,
    y: Any,
    lam: float,
    *,
    sample_weight: Any = None,
    **options: Unpack[FixedPointOptions],
) -> FixedPointResult:
    r"""Give every class of labeled latents its own Gaussian, pushed apart from the others.

    Minimizes Eq. 4 of Enescu & Sahbi (2024), the balanced negative log-likelihood plus a repulsion
    between classes,

    .. math::

        L = \sum_y \frac{1}{N_y} \sum_{i \in y} -\log N(z_i; \mu_y, \Sigma_y) +
        \frac{lam}{K (K-1)} \sum_{y \ne y'} \phi(\mathrm{KLD}(N_y \| N_{y'})),

    by iterating its stationarity conditions (Eqs. 5 to 7, corrected). phi falls as two classes
    part: with ``pi="forward"`` as minus the logarithm of their divergence, otherwise as
    exp(-KLD / (alpha pi)).

    The latents stay where they are; only the Gaussians move apart. On fixed vectors, posteriors
    therefore get worse as ``lam`` grows, and accuracy gains little or falls. The repulsion is meant
    for an encoder that is then trained under these Gaussians, so that its latents follow them (see
    ``fpigauss_torch``); to classify fixed vectors, use ``lam=0`` or a small one.

    Parameters
    ----------
    z : (N, d) array
        Latents, of any array-API namespace (numpy, torch, ...) or array-like. Gradients are not
        tracked. The fit is computed in float64 where the device supports it. Fits of jax arrays
        are solved by numpy on the host, in float64 whatever ``jax_enable_x64`` says: the many
        small steps of a fit take jax ten to thirty times as long. A callable ``pi`` then gets an
        array of numpy.
    y : (N,) array-like
        Labels: integers, strings, or floats with integral values. -1 is a class like any other.
    lam : float
        The weight of the repulsion, >= 0. At 0 the answer is the class means and covariances.
    sample_weight : (N,) array-like, optional
        Repetition weights >= 0.
    {options}

    Returns
    -------
    FixedPointResult
        Gaussians in the namespace, device and floating dtype of ``z``, with status and history.

    Raises
    ------
    InvalidInputError
        If an argument cannot be used; the message names it, the class or row, and the remedy.
    NotPositiveDefiniteError
        If A of the printed or released equations loses positive definiteness on the way.

    Warns
    -----
    UnboundedObjectiveWarning
        If L has no lower bound for this ``lam`` and family, or runs away.
    ConvergenceWarning
        If a fit with ``tol > 0`` ended before it converged.
    PooledCovarianceWarning
        If a shared covariance is updated, and some ``frozen`` classes have no samples.

    See Also
    --------
    fit_separated : find the ``lam`` that puts the classes as far apart as asked.
    lam_path : fits for many ``lam``, to choose from.

    Notes
    -----
    L is not convex: a fit that has converged is at a stationary point, which need not be the
    lowest. Other starts find a lower minimum most often with a tied covariance in one dimension
    and ``pi="forward"``, where classes keep their order, and with ``pi="initial"`` and a covariance
    per class. ``n_init`` compares starts: ``init``, then starts with scaled covariances, with
    permuted means, and with both means and covariances off, in turn. All minimize one objective:
    with ``pi="initial"``, pi is measured once, at ``init``. Where objectives do not compare,
    because pi changes with the Gaussians ("mean", a callable) or the equations do not minimize
    ("printed", "released"), ``n_init`` must be 1. The result is one of these fits: ``n_iter`` and
    ``history`` are its own, and ``max_iter`` holds for each. ``callback`` is called in all of
    them; if it raises StopIteration, the best so far is returned. At ``lam=0`` one start is
    enough.

    For tied families and a ``lam`` far past the data, the fit first solves for smaller ones. Their
    evaluations count; in ``history`` and for ``callback`` they are one step.

    ``tol=0`` asks for ``max_iter`` evaluations; a fit ends sooner where it runs away, is stopped,
    or no step improves beyond rounding ("stalled", without a warning). With ``lam=0`` and
    ``init="data"`` the start is the answer, and "converged" for every ``tol``.

    Examples
    --------
    >>> import numpy as np
    >>> from fpigauss import fit_fixed_point, pairwise_kld
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1, 2], 50)
    >>> z = rng.normal(size=(150, 2)) + np.array([[0, 0], [1, 0], [0, 1]])[y]
    >>> result = fit_fixed_point(z, y, lam=30.0, tied=True)
    >>> result.status
    <Status.CONVERGED: 'converged'>
    >>> near = pairwise_kld(fit_fixed_point(z, y, lam=0.0, tied=True).gaussians)
    >>> far = pairwise_kld(result.gaussians)
    >>> bool(far[0, 1] > 5 * near[0, 1])
    True

    A class that comes later is fitted beside the others, which stay as they are:

    >>> old = result.gaussians
    >>> later = fit_fixed_point(
    ...     z[:50] + 9.0, y[:50] + 3, lam=30.0, tied=True, update="means", init=old,
    ...     frozen=old.classes,
    ... ).gaussians
    >>> later.classes, bool((later.means[:3] == old.means).all())
    (array([0, 1, 2, 3]), True)
    """
    return FixedPoint(lam, **options).fit(z, y, sample_weight)


@with_options
@checked_names
def solve_fixed_point(
    statistics: ClassStatistics,
    lam: float,
    **options: Unpack[FixedPointOptions],
) -> FixedPointResult:
    """Fit the class Gaussians from class statistics, without another pass over the data.

    Parameters
    ----------
    statistics : ClassStatistics
        Statistics of at least two classes, none empty; "dense" ones for dense families. Frozen
        classes may be missing or empty.
    lam : float
        The weight of the repulsion, >= 0. At 0 the answer is the class means and covariances.
    {options}

    Returns
    -------
    FixedPointResult
        Gaussians in the namespace, device and dtype of the statistics.

    Raises
    ------
    InvalidInputError, NotPositiveDefiniteError
        As in ``fit_fixed_point``.

    See Also
    --------
    fit_fixed_point : the same from samples.
    solve_separated : find the ``lam`` for a separation, from statistics.

    Examples
    --------
    >>> from fpigauss import ClassStatistics, solve_fixed_point
    >>> statistics = ClassStatistics(
    ...     counts=[10, 10], means=[[0.0], [1.0]], covariances=[[1.0], [1.0]], classes=[0, 1]
    ... )
    >>> solve_fixed_point(statistics, 0.0).gaussians.means
    array([[0.],
           [1.]])
    """
    return FixedPoint(lam, **options).solve(statistics)
