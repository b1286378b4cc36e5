"""The public names, their signatures, and what importing brings along."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fpigauss

ROOT = Path(__file__).parents[1]
NAMES = {
    "Accelerated",
    "CallableRepulsion",
    "ClassGaussians",
    "ClassStatistics",
    "ConvergenceWarning",
    "CovarianceFamily",
    "Dense",
    "Diagonal",
    "Equations",
    "Factor",
    "FixedPoint",
    "FixedPointGradient",
    "FixedPointOptions",
    "FixedPointResult",
    "ForwardRepulsion",
    "FrozenRepulsion",
    "Guarded",
    "InitialRepulsion",
    "InvalidInputError",
    "Isotropic",
    "LamPath",
    "Latents",
    "MeanRepulsion",
    "NotDifferentiableError",
    "NotPositiveDefiniteError",
    "Picard",
    "PooledCovarianceWarning",
    "PrintedEquations",
    "ReleasedEquations",
    "Repulsion",
    "RunningStatistics",
    "SaddlePointWarning",
    "SeparatedResult",
    "Solver",
    "StationaryEquations",
    "Status",
    "Trial",
    "UnboundedObjectiveWarning",
    "UnknownOptionError",
    "UnreachableSeparationError",
    "__version__",
    "critical_lam",
    "fit_fixed_point",
    "fit_separated",
    "geometric_mean",
    "l2_normalize",
    "open_latents",
    "open_set_score",
    "open_set_threshold",
    "lam_path",
    "pairwise_kld",
    "pairwise_overlap",
    "smallest_kld",
    "solve_fixed_point",
    "solve_separated",
}
OPTIONS = {
    "covariance": "diagonal",
    "tied": False,
    "update": "both",
    "init": "data",
    "pi": "forward",
    "alpha": 1.0,
    "equations": "stationary",
    "solver": "auto",
    "max_iter": 1000,
    "tol": 1e-6,
    "shrinkage": 0.0,
    "frozen": (),
    "sample_weight": None,
    "n_init": 1,
    "memory_limit": 2**30,
    "progress": False,
    "callback": None,
}
TARGETS = {"min_kld": None, "max_overlap": None, "per_dim": None}
NO_WEIGHT = {name: default for name, default in OPTIONS.items() if name != "sample_weight"}
required = inspect.Parameter.empty


def test_names():
    assert set(fpigauss.__all__) == NAMES
    assert len(fpigauss.__all__) == len(NAMES)
    for name in NAMES:
        assert getattr(fpigauss, name) is not None


def test_every_public_name_has_a_docstring():
    for name in NAMES - {"__version__"}:
        assert getattr(fpigauss, name).__doc__, name


@pytest.mark.parametrize(
    ("function", "positional", "keywords"),
    [
        (
            "fit_fixed_point",
            {"z": required, "y": required, "lam": required},
            OPTIONS,
        ),
        (
            "solve_fixed_point",
            {"statistics": required, "lam": required},
            NO_WEIGHT,
        ),
        (
            "fit_separated",
            {"z": required, "y": required},
            {**TARGETS, **OPTIONS, "tied": True},
        ),
        (
            "solve_separated",
            {"statistics": required},
            {**TARGETS, **NO_WEIGHT, "tied": True},
        ),
        (
            "lam_path",
            {"z": required, "y": required, "lams": None},
            {"validation": None, **OPTIONS},
        ),
        ("smallest_kld", {"gaussians": required}, {"held": None}),
        ("pairwise_overlap", {"gaussians": required}, {"log": False}),
        (
            "FixedPoint",
            {"lam": None},
            NO_WEIGHT,
        ),
        (
            "ClassGaussians",
            {"means": required, "covariances": required},
            {"covariance": "diagonal", "tied": False, "classes": None, "counts": None},
        ),
        (
            "open_set_score",
            {"gaussians": required, "z": required},
            {"method": "likelihood", "background": None, "priors": None},
        ),
        (
            "open_latents",
            {"path": required, "labels": None},
            {"z": None, "y": None, "batch_size": None, "memory_limit": 2**30},
        ),
        (
            "RunningStatistics",
            {"decay": required, "covariance": "diagonal", "classes": None, "statistics": None},
            {},
        ),
        ("open_set_threshold", {"scores": required}, {"rate": required}),
        ("l2_normalize", {"z": required}, {}),
        ("geometric_mean", {"A": required, "B": required, "t": 0.5}, {}),
        ("pairwise_kld", {"gaussians": required}, {}),
        (
            "critical_lam",
            {"n_classes": required, "alpha": 1.0},
            {"covariance": "diagonal", "tied": False, "dim": None},
        ),
        (
            "ClassStatistics.from_samples",
            {"z": required, "y": required},
            {"covariance": "diagonal", "classes": None, "sample_weight": None},
        ),
        (
            "ClassStatistics.from_dask",
            {"z": required, "y": required},
            {"covariance": "diagonal", "classes": None, "sample_weight": None},
        ),
    ],
)
def test_signature(function, positional, keywords):
    target = fpigauss
    for part in function.split("."):
        target = getattr(target, part)
    parameters = inspect.signature(target).parameters.values()
    free = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    named = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    assert [(p.name, p.default) for p in free] == list(positional.items())
    assert {p.name: p.default for p in named} == keywords


def test_from_batches():
    parameters = list(inspect.signature(fpigauss.ClassStatistics.from_batches).parameters.values())
    expected = {"covariance": "diagonal", "classes": None, "progress": False}
    assert {p.name: p.default for p in parameters[1:]} == expected
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters[1:])


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("ClassStatistics.update", ["self", "z", "y", "sample_weight"]),
        ("ClassStatistics.merge", ["self", "other"]),
        ("ClassStatistics.save", ["self", "path"]),
        ("ClassGaussians.class_log_prob", ["self", "z"]),
        ("ClassGaussians.log_prob", ["self", "z", "labels", "priors"]),
        ("ClassGaussians.mahalanobis", ["self", "z"]),
        ("ClassGaussians.predict", ["self", "z", "priors"]),
        ("ClassGaussians.predict_proba", ["self", "z", "priors"]),
        ("ClassGaussians.sample", ["self", "labels", "temperature", "seed"]),
        ("ClassGaussians.to", ["self", "like"]),
        ("ClassGaussians.save", ["self", "path"]),
        ("ClassStatistics.load", ["path"]),
        ("ReleasedEquations", ["isotropic_mean", "summed_square"]),
        ("Accelerated", ["history"]),
        ("FixedPoint.fit", ["self", "z", "y", "sample_weight"]),
        ("FixedPoint.solve", ["self", "statistics"]),
        ("FixedPointResult.vjp", ["self", "means", "covariances"]),
        ("FixedPointGradient.of_samples", ["self", "z", "y", "sample_weight"]),
        ("RunningStatistics.update", ["self", "z", "y", "sample_weight"]),
        ("RunningStatistics.merge", ["self", "other"]),
        ("RunningStatistics.save", ["self", "path"]),
        ("RunningStatistics.load", ["path"]),
    ],
)
def test_parameter_names(method, names):
    target = fpigauss
    for part in method.split("."):
        target = getattr(target, part)
    assert list(inspect.signature(target).parameters) == names


def test_statuses():
    values = {"converged", "max_iter", "stalled", "unbounded", "diverged", "stopped", "running"}
    assert {str(status) for status in fpigauss.Status} == values
    assert fpigauss.Status("converged") == "converged"


def test_errors_and_warnings():
    assert issubclass(fpigauss.InvalidInputError, ValueError)
    assert issubclass(fpigauss.NotPositiveDefiniteError, Exception)
    for warning in (fpigauss.ConvergenceWarning, fpigauss.UnboundedObjectiveWarning):
        assert issubclass(warning, Warning)


def test_version():
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?([a-z.+-].*)?", fpigauss.__version__)


def python(code):
    """What the code prints in a fresh interpreter that finds what this one finds."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


HEAVY = (
    "torch",
    "dask",
    "zarr",
    "pyarrow",
    "rich",
    "safetensors",
    "sklearn",
    "typer",
    "matplotlib",
    "pandas",
    "IPython",
)
LOADED = f"import sys; print(*[name for name in {HEAVY} if name in sys.modules])"


def test_import_is_light():
    assert python(f"import fpigauss; {LOADED}") == []


def test_a_fit_on_numpy_stays_light():
    fit = (
        "import numpy as np, fpigauss; z = np.random.default_rng(0).normal(size=(60, 2));"
        "y = np.arange(60) % 3; fpigauss.fit_fixed_point(z + y[:, None], y, 1.0, tied=True)"
    )
    assert python(f"{fit}; {LOADED}") == []
