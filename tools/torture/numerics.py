"""Fit, and compute densities and divergences, at the ends of the number range.

Scales from 1e-150 to 1e150, conditions up to 1e14, classes of 2 and of a million rows, coincident or
infinitely far apart, subnormal and huge lam and alpha; one dimension and 20,000, two classes and
2,000; every namespace and dtype. A fit gives finite Gaussians and an honest status, or one of our
errors; it never gives a NaN, nor a warning of numpy. Small cases are held against mpmath.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tools.torture._examples import examples
from tools.torture._runner import Fault, Machine

__all__ = ["MACHINE"]

_EXAMPLES = 15
_FAMILIES = [(name, tied) for name in ("isotropic", "diagonal", "dense") for tied in (True, False)]
_SEEDS = st.integers(0, 2**32 - 1)
_LAMS = st.sampled_from([0.0, 5e-324, 1e-300, 1e-3, 0.5, 1.0, 30.0, 1e3, 1e6, 1e12, 1e300])
_ALPHAS = st.sampled_from([1.0, 1.0, 1.0, 1e-300, 1e-3, 0.1, 10.0, 1e6, 1e300])
_PIS: Any = st.sampled_from(["forward", "mean", "initial", 1.0, 1e-300, 1e-6, 1e6, 1e300])
_SCALES = st.sampled_from([1.0, 1.0, 1e-3, 1e3, 1e-30, 1e30, 1e-100, 1e100, 1e-150, 1e150])
_OPTIONS = st.fixed_dictionaries(
    {
        "family": st.sampled_from(_FAMILIES),
        "update": st.sampled_from(["both", "both", "means", "covariances"]),
        "init": st.sampled_from(["data", "data", "identity"]),
        "pi": _PIS,
        "alpha": _ALPHAS,
        "solver": st.sampled_from(["auto", "auto", "guarded", "picard"]),
    }
)


def _spd(rng: np.random.Generator, n: int, dim: int, condition: float) -> Any:
    """Return matrices whose eigenvalues spread over a condition number."""
    basis = np.linalg.qr(rng.standard_normal((n, dim, dim)))[0]
    exponents = rng.uniform(-0.5, 0.5, (n, 1, dim))
    values = condition**exponents
    matrices = (basis * values) @ np.swapaxes(basis, 1, 2)
    return 0.5 * (matrices + np.swapaxes(matrices, 1, 2))


def _statistics(
    rng: np.random.Generator,
    xp: Any,
    *,
    n_classes: int,
    dim: int,
    dense: bool,
    condition: float,
    apart: float,
    scale: float,
) -> Any:
    """Return statistics of classes that are so many standard deviations apart."""
    from fpigauss import ClassStatistics

    matrices = _spd(rng, n_classes, dim, condition) if dense else None
    if matrices is None:
        matrices = condition ** rng.uniform(-0.5, 0.5, (n_classes, dim))
    means = apart * rng.standard_normal((n_classes, dim))
    counts = 10 ** rng.uniform(0.31, 6.0, n_classes)
    counts[0], counts[-1] = 2.0, 1e6
    with np.errstate(all="ignore"):
        fields = {"means": scale * means, "covariances": scale * (scale * matrices)}
    return ClassStatistics(
        counts=xp.asarray(counts),
        classes=np.arange(n_classes),
        **{name: xp.asarray(value) for name, value in fields.items()},
    )


def _solve(
    statistics: Any, lam: float, options: dict[str, Any], max_iter: int = 60, target: float = 0.0
) -> Any:
    """Fit at a lam, or to a separation; None for what is refused."""
    from fpigauss import (
        InvalidInputError,
        NotPositiveDefiniteError,
        UnreachableSeparationError,
        solve_fixed_point,
        solve_separated,
    )

    options = dict(options)
    covariance, tied = options.pop("family")
    options |= {"covariance": covariance, "tied": tied, "max_iter": max_iter}
    try:
        if target:
            return solve_separated(statistics, min_kld=target, **options).result
        return solve_fixed_point(statistics, lam, **options)
    except (InvalidInputError, NotPositiveDefiniteError, UnreachableSeparationError):
        return None


def _check(result: Any) -> None:
    """See that a result is finite, that its covariances are covariances, and its status honest."""
    from helpers import to_numpy

    gaussians = result.gaussians
    means, covariances = to_numpy(gaussians.means), to_numpy(gaussians.covariances)
    if not (np.isfinite(means).all() and np.isfinite(covariances).all()):
        raise Fault(f"numbers that are not finite: {result}")
    if gaussians.family.name == "dense":
        axes = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
        with np.errstate(all="ignore"):
            covariances = covariances / axes[..., None] / axes[..., None, :]
        smallest = np.linalg.eigvalsh(covariances).min()
    else:
        smallest = covariances.min()
    if not smallest > 0.0:
        raise Fault(f"a covariance has the eigenvalue {smallest}: {result}")
    if np.isnan(result.objective) or np.isnan(result.residual):
        raise Fault(f"objective {result.objective}, residual {result.residual}")
    density = to_numpy(gaussians.class_log_prob(gaussians.means))
    if np.isnan(density).any():
        raise Fault(f"densities at the means are NaN: {result}")


def _quiet(function: Any) -> Any:
    """Call, with warnings that are not ours as errors."""
    import warnings

    import fpigauss

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("ConvergenceWarning", "UnboundedObjectiveWarning", "PooledCovarianceWarning"):
            warnings.simplefilter("ignore", getattr(fpigauss, name))
        return function()


@examples(
    seed=_SEEDS,
    options=_OPTIONS,
    lam=_LAMS,
    n_classes=st.sampled_from([2, 2, 3, 5, 20]),
    dim=st.sampled_from([1, 1, 2, 3, 8]),
    condition=st.sampled_from([1.0, 10.0, 1e4, 1e8, 1e12, 1e14]),
    apart=st.sampled_from([0.0, 1e-12, 1e-6, 1e-2, 1.0, 10.0, 1e3, 1e8, 1e100]),
    scale=_SCALES,
    namespace=st.sampled_from(["numpy", "numpy", "torch", "array_api_strict"]),
    target=st.sampled_from([0.0, 0.0, 0.0, 1e-300, 1.0, 1e3, 1e12, 1e300]),
)
def _extreme(
    seed: int,
    options: dict[str, Any],
    lam: float,
    scale: float,
    namespace: str,
    target: float,
    **sizes: Any,
) -> None:
    import importlib

    xp = importlib.import_module(namespace)
    rng = np.random.default_rng(seed)
    dense = options["family"][0] == "dense"

    def fitted() -> Any:
        from fpigauss import InvalidInputError

        try:
            statistics = _statistics(rng, xp, dense=dense, scale=scale, **sizes)
        except InvalidInputError:
            return None
        return _solve(statistics, lam, options, target=target)

    result = _quiet(fitted)
    if result is not None:
        _check(result)


@examples(
    seed=_SEEDS,
    options=_OPTIONS,
    lam=st.sampled_from([0.0, 0.5, 30.0, 1e4]),
    dtype=st.sampled_from(["float64", "float32", "float16", "bfloat16", "int8", "int64"]),
    namespace=st.sampled_from(["numpy", "torch", "array_api_strict"]),
    spread=st.sampled_from([0.0, 1.0, 100.0]),
    scale=st.sampled_from([1e-30, 1e-6, 1.0, 10.0, 1e3, 1e30]),
    offset=st.sampled_from([0.0, 0.0, 1e3, 1e8]),
    counts=st.sampled_from([(2, 2), (2, 3, 2000), (30, 30, 30)]),
)
def _samples(
    seed: int,
    options: dict[str, Any],
    lam: float,
    dtype: str,
    namespace: str,
    spread: float,
    scale: float,
    offset: float,
    counts: tuple[int, ...],
) -> None:
    import importlib

    from helpers import to_numpy

    from fpigauss import InvalidInputError, NotPositiveDefiniteError, fit_fixed_point

    if dtype == "float16" and namespace == "array_api_strict":
        return  # which has no such type
    xp = importlib.import_module(namespace)
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    dim = int(rng.integers(1, 4))
    means = spread * rng.standard_normal((len(counts), dim))
    z = scale * (means[y] + rng.standard_normal((len(y), dim)) + offset)
    if "int" in dtype:
        z = np.clip(np.rint(10.0 * z / scale), -120, 120)
    if dtype == "bfloat16":
        import torch

        xp, given = torch, torch.asarray(z).bfloat16()
    else:
        with np.errstate(all="ignore"):
            given = xp.asarray(z.astype(dtype))
    options = dict(options)
    covariance, tied = options.pop("family")

    def fitted() -> Any:
        try:
            return fit_fixed_point(
                given, y, lam, covariance=covariance, tied=tied, max_iter=60, **options
            )
        except (InvalidInputError, NotPositiveDefiniteError):
            return None

    result = _quiet(fitted)
    if result is None:
        return
    wide = to_numpy(given.double() if dtype == "bfloat16" else given).astype(float)
    if "int" not in dtype and str(result.gaussians.means.dtype).rpartition(".")[2] != dtype:
        raise Fault(f"z is {dtype}, the means are {result.gaussians.means.dtype}")
    for numbers in (result.gaussians.means, result.gaussians.covariances):
        numbers = numbers.double() if dtype == "bfloat16" else numbers
        if not np.isfinite(to_numpy(numbers).astype(float)).all():
            raise Fault(f"numbers that are not finite: {result}")
    shares = result.gaussians.predict_proba(given)
    shares = to_numpy(shares.double() if dtype == "bfloat16" else shares).astype(float)
    if not np.allclose(shares.sum(1), 1.0, atol=0.02 if "16" in dtype else 1e-5):
        raise Fault(f"shares do not sum to one: {shares} at {wide[:2]}")


def _mp_kld(mp: Any, m1: Any, s1: Any, m2: Any, s2: Any) -> Any:
    """Return the divergence of Gaussians of one dimension or several, in mpmath."""
    inverse = s2**-1
    delta = m1 - m2
    product = inverse * s1
    trace = sum(product[i, i] for i in range(product.rows))
    square = (delta.T * inverse * delta)[0]
    return (trace + square - product.rows + mp.log(mp.det(s2) / mp.det(s1))) / 2


@examples(
    seed=_SEEDS,
    family=st.sampled_from(_FAMILIES),
    n_classes=st.integers(2, 3),
    dim=st.integers(1, 3),
    apart=st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 1.0, 30.0, 1e5]),
    near=st.sampled_from([0.0, 1e-12, 1e-6, 0.1, 1.0]),
    condition=st.sampled_from([1.0, 1e3, 1e8]),
    scale=_SCALES,
    offset=st.sampled_from([0.0, 1e3]),
    alpha=st.sampled_from([0.1, 1.0, 10.0]),
)
def _mpmath(
    seed: int,
    family: tuple[str, bool],
    n_classes: int,
    dim: int,
    apart: float,
    near: float,
    condition: float,
    scale: float,
    offset: float,
    alpha: float,
) -> None:
    import mpmath as mp

    from fpigauss import ClassGaussians, critical_lam, pairwise_kld

    mp.mp.dps = 60
    rng = np.random.default_rng(seed)
    scale = min(scale, 1e145)  # the squares of the means are numbers
    name, tied = family
    n = 1 if tied else n_classes
    base = _spd(rng, 1, dim, condition) if name == "dense" else None
    if base is None:
        base = condition ** rng.uniform(-0.5, 0.5, (1, dim))
    matrices = base * np.exp(near * rng.standard_normal((n, *([1] * (base.ndim - 1)))))
    if name == "isotropic":
        matrices = matrices[:, 0]
    means = scale * (apart * rng.standard_normal((n_classes, dim)) + offset)
    covariances = scale * (scale * (matrices[0] if tied else matrices))
    gaussians = ClassGaussians(means, covariances, covariance=name, tied=tied)
    full = [_full(mp, gaussians, k) for k in range(n_classes)]
    points = [mp.matrix(m.tolist()) for m in means]
    found = pairwise_kld(gaussians)
    # differences are taken of log-determinants
    logs = 1e-15 * dim * abs(np.log(scale)) + 1e-300
    worst = 0.0
    for i in range(n_classes):
        for j in range(n_classes):
            if i == j:
                continue
            wanted = _mp_kld(mp, points[i], full[i], points[j], full[j])
            # the root of a divergence is a distance, and off by some roundings of one; where
            # matrices are dense, times their condition
            distance = mp.sqrt(abs(wanted))
            noise = 1e-12 * abs(wanted) + 1e-14 * distance + logs
            if name == "dense":
                noise += 1e-14 * condition * (abs(wanted) + distance)
            worst = max(worst, float(abs(found[i, j] - wanted) / noise))
    if worst > 1.0:
        raise Fault(f"a divergence is {worst:.1e} times what rounding allows")
    z = means[:1] + scale * rng.standard_normal((2, dim)) * rng.choice([0.0, 1.0, 1e3])
    log_prob = gaussians.class_log_prob(z)
    for i in range(2):
        for k in range(n_classes):
            delta = mp.matrix(z[i].tolist()) - points[k]
            square = (delta.T * full[k] ** -1 * delta)[0]
            wanted = -(square + mp.log(mp.det(full[k])) + dim * mp.log(2 * mp.pi)) / 2
            size = square * (1 + 1e-2 * (condition if name == "dense" else 1)) + dim * 1e3
            if abs(log_prob[i, k] - wanted) > 1e-12 * size:
                raise Fault(f"log-density {log_prob[i, k]}, in mpmath {mp.nstr(wanted, 17)}")
    bound = critical_lam(n_classes, alpha, covariance=name, tied=tied, dim=dim)
    exact = n_classes * mp.mpf(alpha) * mp.exp(1 / mp.mpf(alpha)) / 2
    exact *= dim if name == "isotropic" else 1
    if not tied and abs(bound - exact) > 1e-14 * exact:
        raise Fault(f"critical_lam is {bound}, in mpmath {exact}")


def _full(mp: Any, gaussians: Any, k: int) -> Any:
    """Return a covariance matrix in mpmath."""
    value = np.asarray(gaussians.covariances)
    value = value if gaussians.family.tied else value[k]
    if gaussians.family.name == "dense":
        return mp.matrix(value.tolist())
    axes = np.broadcast_to(value, (gaussians.dim,))
    return mp.diag([mp.mpf(float(v)) for v in axes])


@examples(
    seed=_SEEDS,
    options=_OPTIONS.filter(lambda o: o["family"][0] != "dense"),
    lam=_LAMS,
    sizes=st.sampled_from([(2000, 1), (2000, 2), (2, 20_000), (3, 20_000)]),
    scale=_SCALES,
    apart=st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
)
def _large(
    seed: int,
    options: dict[str, Any],
    lam: float,
    sizes: tuple[int, int],
    scale: float,
    apart: float,
) -> None:
    rng = np.random.default_rng(seed)

    def fitted() -> Any:
        statistics = _statistics(
            rng,
            np,
            n_classes=sizes[0],
            dim=sizes[1],
            dense=False,
            condition=10.0,
            apart=apart,
            scale=scale,
        )
        return _solve(statistics, lam, options, max_iter=2)

    result = _quiet(fitted)
    if result is not None:
        _check(result)


@examples(
    seed=_SEEDS,
    options=_OPTIONS,
    lam=_LAMS,
    condition=st.sampled_from([1.0, 1e4, 1e10]),
    apart=st.sampled_from([0.0, 1e-6, 1.0, 1e3]),
    scale=_SCALES,
)
def _jax(
    seed: int, options: dict[str, Any], lam: float, condition: float, apart: float, scale: float
) -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(seed)
    sizes: dict[str, Any] = {"n_classes": 3, "dim": 2, "condition": condition, "apart": apart}
    dense = options["family"][0] == "dense"

    def fitted() -> Any:
        statistics = _statistics(rng, jax.numpy, dense=dense, scale=scale, **sizes)
        return _solve(statistics, lam, options, max_iter=10)

    result = _quiet(fitted)
    if result is not None:
        _check(result)


_TESTS = {
    "extreme": (_extreme, _EXAMPLES),
    "samples": (_samples, _EXAMPLES),
    "mpmath": (_mpmath, _EXAMPLES),
    "large": (_large, 1),
    "jax": (_jax, 2),
}
_ORDER = ("extreme", "samples", "mpmath", "extreme", "samples") * 3 + ("large", "jax")


def trial(number: int, _: Path) -> Iterator[str]:
    """Run examples of one test."""
    name = _ORDER[number % len(_ORDER)]
    test, n = _TESTS[name]
    test(number, n)
    yield name


MACHINE = Machine(
    what=f"{_EXAMPLES} fits or sets of Gaussians at the ends of the number range",
    trial=trial,
    quick=17,
    full=3000,
    imports=("fpigauss", "helpers", "torch", "array_api_strict", "mpmath"),
    batch=len(_ORDER),
    seconds=60.0,
    memory=2**35,
)
