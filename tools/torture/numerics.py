"""Fit at the ends of the number range.

Scales from 1e-150 to 1e150, conditions up to 1e14, classes of 2 and of a million rows, coincident
or infinitely far apart, subnormal and huge lam and alpha; one dimension and 20,000, two classes and
2,000; every namespace and dtype. A fit gives finite Gaussians and an honest status, or one of our
errors; it never gives a NaN, nor a warning of numpy.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tools.torture._examples import examples
from tools.torture._runner import Fault, Machine

__all__ = ["FAMILIES", "MACHINE", "SCALES", "SEEDS", "spd"]

_EXAMPLES = 15
FAMILIES = [(name, tied) for name in ("isotropic", "diagonal", "dense") for tied in (True, False)]
SEEDS = st.integers(0, 2**32 - 1)
_LAMS = st.sampled_from([0.0, 5e-324, 1e-300, 1e-3, 0.5, 1.0, 30.0, 1e3, 1e6, 1e12, 1e300])
_ALPHAS = st.sampled_from([1.0, 1.0, 1.0, 1e-300, 1e-3, 0.1, 10.0, 1e6, 1e300])
_PIS: Any = st.sampled_from(["forward", "mean", "initial", 1.0, 1e-300, 1e-6, 1e6, 1e300])
SCALES = st.sampled_from([1.0, 1.0, 1e-3, 1e3, 1e-30, 1e30, 1e-100, 1e100, 1e-150, 1e150])
_OPTIONS = st.fixed_dictionaries(
    {
        "family": st.sampled_from(FAMILIES),
        "update": st.sampled_from(["both", "both", "means", "covariances"]),
        "init": st.sampled_from(["data", "data", "identity"]),
        "pi": _PIS,
        "alpha": _ALPHAS,
        "solver": st.sampled_from(["auto", "auto", "guarded", "picard"]),
    }
)


def spd(rng: np.random.Generator, n: int, dim: int, condition: float) -> Any:
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

    matrices = spd(rng, n_classes, dim, condition) if dense else None
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
    seed=SEEDS,
    options=_OPTIONS,
    lam=_LAMS,
    n_classes=st.sampled_from([2, 2, 3, 5, 20]),
    dim=st.sampled_from([1, 1, 2, 3, 8]),
    condition=st.sampled_from([1.0, 10.0, 1e4, 1e8, 1e12, 1e14]),
    apart=st.sampled_from([0.0, 1e-12, 1e-6, 1e-2, 1.0, 10.0, 1e3, 1e8, 1e100]),
    scale=SCALES,
    namespace=st.sampled_from(["numpy", "numpy", "torch", "array_api_strict"]),
    target=st.sampled_from([0.0, 0.0, 0.0, 1e-300, 1.0, 1e3, 1e12, 1e300]),
)
def _extreme(
    *,
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
    seed=SEEDS,
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
    *,
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
    if result is not None:
        _check_dtype(result, given, dtype)


def _wide(array: Any) -> Any:
    """Return an array as float64 of numpy, which has no bfloat16."""
    from helpers import to_numpy

    return to_numpy(array.double() if "bfloat16" in str(array.dtype) else array).astype(float)


def _check_dtype(result: Any, z: Any, dtype: str) -> None:
    """See that results are in the dtype of the latents, and are as usable."""
    gaussians = result.gaussians
    if "int" not in dtype and str(gaussians.means.dtype).rpartition(".")[2] != dtype:
        raise Fault(f"z is {dtype}, the means are {gaussians.means.dtype}")
    if not all(np.isfinite(_wide(x)).all() for x in (gaussians.means, gaussians.covariances)):
        raise Fault(f"numbers that are not finite: {result}")
    shares = _wide(gaussians.predict_proba(z))
    if not np.allclose(shares.sum(1), 1.0, atol=0.02 if "16" in dtype else 1e-5):
        raise Fault(f"shares do not sum to one: {shares}")


@examples(
    seed=SEEDS,
    options=_OPTIONS.filter(lambda o: o["family"][0] != "dense"),
    lam=_LAMS,
    sizes=st.sampled_from([(2000, 1), (2000, 2), (2, 20_000), (3, 20_000)]),
    scale=SCALES,
    apart=st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
)
def _large(
    *,
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
    seed=SEEDS,
    options=_OPTIONS,
    lam=_LAMS,
    condition=st.sampled_from([1.0, 1e4, 1e10]),
    apart=st.sampled_from([0.0, 1e-6, 1.0, 1e3]),
    scale=SCALES,
)
def _jax(
    *, seed: int, options: dict[str, Any], lam: float, condition: float, apart: float, scale: float
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
    "large": (_large, 1),
    "jax": (_jax, 2),
}
_ORDER = ("extreme", "samples") * 7 + ("large", "jax", "large")


def trial(number: int, _: Path) -> Iterator[str]:
    """Run examples of one test."""
    name = _ORDER[number % len(_ORDER)]
    test, n = _TESTS[name]
    test(number, n)
    yield name


MACHINE = Machine(
    what=f"{_EXAMPLES} fits at the ends of the number range",
    trial=trial,
    quick=17,
    full=1530,
    imports=(
        "fpigauss",
        "helpers",
        "torch",
        "array_api_strict",
    ),
    batch=len(_ORDER),
    seconds=60.0,
    memory=2**35,
)
