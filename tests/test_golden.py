"""The released equations reproduce the authors' code, whose results are the files in data/.

The files hold what that code computed in float64 from the z, y, lam, ... beside it. Both sides
run the same iteration in another order of operations, so they differ by rounding alone: a few
1e-15 for a step. The map contracts at the runs' end, which keeps rounding from growing, and the
bound of 1e-10 leaves it four digits.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import asarray_in, in_namespace, to_numpy

from fpigauss import ClassStatistics, ReleasedEquations, fit_fixed_point, solve_fixed_point

DATA = Path(__file__).parent / "data"
FILES = sorted(DATA.glob("nfpi_*.npz"))
UPDATES = {(True, True): "both", (True, False): "means", (False, True): "covariances"}


def golden(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] if file[name].ndim else file[name].item() for name in file.files}


def options(run, **changed):
    """The arguments of the run, by this library's names."""
    flags = {name: run[name] for name in ("isotropic_mean", "summed_square")}
    return {
        "covariance": "diagonal",
        "equations": ReleasedEquations(**flags),
        "alpha": run["alpha"],
        "update": UPDATES[run["train_mean"], run["train_cov"]],
        "init": "identity" if run["identity_init"] else "data",
        "max_iter": run["max_iter"],
        "tol": run["tol"],
        **changed,
    }


def assert_reproduced(result, run):
    means, variances = to_numpy(result.gaussians.means), to_numpy(result.gaussians.covariances)
    np.testing.assert_allclose(means, run["means"], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(variances, run["variances"], rtol=1e-10, atol=1e-10)
    assert result.n_iter == run["n_iter"]


def largest_change(one, other):
    """The largest L2 change of a class, of its means or its variances."""
    return max(
        np.linalg.norm(to_numpy(a) - to_numpy(b), axis=1).max()
        for a, b in (
            (one.gaussians.means, other.gaussians.means),
            (one.gaussians.covariances, other.gaussians.covariances),
        )
    )


def test_every_golden_file_is_here():
    assert [path.stem for path in FILES] == [
        "nfpi_cov_only",
        "nfpi_isotropic_mean_conv",
        "nfpi_isotropic_mean_one",
        "nfpi_lam0_ten_steps",
        "nfpi_mean_only_identity",
        "nfpi_one_step_plain",
        "nfpi_release_flags",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_file(xp, path):
    run = golden(path)
    z, y = asarray_in(xp, run["z"]), asarray_in(xp, run["y"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # neither tol=0 nor a tol that is reached warns
        result = fit_fixed_point(z, y, run["lam"], **options(run))
    assert_reproduced(result, run)
    assert in_namespace(result.gaussians.means, xp)
    assert in_namespace(result.gaussians.covariances, xp)
    if run["tol"] == 0:
        assert result.status == "max_iter"
    else:
        assert result.status == "converged"
        assert result.residual <= run["tol"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_from_statistics_alone(path):
    # the unbiased variance needs N_y, which the statistics carry
    run = golden(path)
    statistics = ClassStatistics.from_samples(run["z"], run["y"])
    assert_reproduced(solve_fixed_point(statistics, run["lam"], **options(run)), run)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_residual_is_the_last_change(path):
    run = golden(path)
    last, before = (
        fit_fixed_point(run["z"], run["y"], run["lam"], **options(run, max_iter=n, tol=0.0))
        for n in (run["n_iter"], run["n_iter"] - 1)
    )
    # A difference of numbers up to 1e2, each right to a few of their last digits.
    assert last.residual == pytest.approx(largest_change(last, before), rel=1e-10, abs=1e-12)


def test_the_name_means_both_flags():
    run = golden(DATA / "nfpi_release_flags.npz")
    assert run["isotropic_mean"]
    assert run["summed_square"]
    for equations in ("released", ReleasedEquations()):
        arguments = options(run, equations=equations)
        assert_reproduced(fit_fixed_point(run["z"], run["y"], run["lam"], **arguments), run)


def test_without_repulsion_the_cube_root_is_reached():
    # A known defect, kept: v <- sqrt(s2 / v) has the fixed point s2^(1/3). The error in log v
    # halves at each step, so 60 steps take it below rounding.
    run = golden(DATA / "nfpi_lam0_ten_steps.npz")
    result = fit_fixed_point(run["z"], run["y"], 0.0, **options(run, max_iter=60))
    labels = np.unique(run["y"])
    unbiased = np.stack([run["z"][run["y"] == label].var(axis=0, ddof=1) for label in labels])
    np.testing.assert_allclose(
        to_numpy(result.gaussians.covariances), np.cbrt(unbiased), rtol=1e-13
    )
