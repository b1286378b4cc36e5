"""Data without variance in some direction: each remedy that a message names helps these data."""

import re

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS
from hypothesis import assume, given
from hypothesis import strategies as st

from fpigauss import (
    ClassStatistics,
    InvalidInputError,
    fit_fixed_point,
    fit_separated,
    lam_path,
    solve_fixed_point,
)

family = pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)

SINGULAR = "no variance|no covariance of its own"


def message_of(z, y, **options):
    """What the fit says of data that are singular; empty if it takes them."""
    try:
        assert fit_fixed_point(z, y, 0.0, **options).converged
    except InvalidInputError as error:
        return str(error)
    return ""


@family
@given(
    seed=st.integers(0, 10_000),
    dim=st.integers(1, 3),
    constant=st.sets(st.integers(0, 2)),
    classes=st.sets(st.integers(0, 2)),
    few=st.integers(1, 5),
    equations=st.sampled_from(["stationary", "printed"]),
)
def test_every_remedy_helps(covariance, tied, seed, dim, constant, classes, few, equations):
    assume(equations == "stationary" or not tied)
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1, 2], [few, 10, 10])
    z = rng.normal(size=(len(y), dim)) + y[:, None]
    for axis in constant & set(range(dim)):
        for k in classes:
            z[y == k, axis] = k
    options = {"covariance": covariance, "tied": tied, "equations": equations}
    message = message_of(z, y, **options)
    if not message:
        return
    assert re.search(SINGULAR, message)
    if "tied=True" in message:
        assert not message_of(z, y, **options | {"tied": True})
    if "shrinkage" in message:
        assert options["covariance"] != "isotropic"
        # of this class; another may be at fault next
        again = message_of(z, y, **options | {"shrinkage": 0.1})
        at_fault = re.search(r"class (\d)", message)
        assert not again or (at_fault and f"class {at_fault[1]}" not in again)
    if axis := re.search(r"no variance in any class \(dimension (\d)\); drop ", message):
        assert np.ptp(z[:, int(axis[1])][y == 1]) == 0.0
    if "drop constant columns: z[:, (z != z[0]).any(0)]" in message:
        assert z[:, (z != z[0]).any(0)].shape[1] < dim
    assert "pass " in message or "drop " in message
    if "drop " in message:  # something is left
        assert any(np.ptp(z[y == k], axis=0).any() for k in range(3))
    if "more samples" not in message and "samples that differ" not in message:
        assert "drop " in message or re.search("pass (tied|shrinkage)", message)


@pytest.mark.parametrize("covariance", ["diagonal", "dense"])
def test_an_axis_that_is_constant_everywhere_is_not_to_be_tied(covariance):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 20)
    z = rng.normal(size=(40, 3)) + y[:, None]
    z[:, 1] = 7.0
    with pytest.raises(InvalidInputError, match="no variance in any class") as caught:
        fit_fixed_point(z, y, 1.0, covariance=covariance)
    assert str(caught.value).endswith(
        "(dimension 1); drop constant columns: z[:, (z != z[0]).any(0)], or pass shrinkage=0.01"
    )
    assert "tied" not in str(caught.value)
    for remedy in ({"z": z[:, (z != z[0]).any(0)]}, {"shrinkage": 0.01}):
        assert fit_fixed_point(**{"z": z, "y": y, "lam": 0.0, "covariance": covariance} | remedy)
    statistics = ClassStatistics.from_samples(z, y, covariance="dense")
    with pytest.raises(InvalidInputError, match=r"drop constant columns, or pass shrinkage=0\.01$"):
        solve_fixed_point(statistics, 1.0, covariance=covariance)
    z[:, 1] = np.where(y == 0, 7.0, z[:, 0] ** 2)
    with pytest.raises(InvalidInputError, match=r"dimension 1.*pass tied=True, shrinkage=0\.01 or"):
        fit_fixed_point(z, y, 1.0, covariance=covariance)


@pytest.mark.parametrize("tied", [True, False])
def test_too_few_samples_for_a_dense_covariance_are_counted(tied):
    y = np.repeat([0, 1, 2], 3)
    z = np.random.default_rng(0).normal(size=(9, 13)) + y[:, None]
    with pytest.raises(InvalidInputError, match=r"9 samples of 3 classes .* of 13 dim") as caught:
        fit_fixed_point(z, y, 1.0, covariance="dense", tied=tied)
    assert str(caught.value).endswith("pass shrinkage=0.01 or more samples")
    assert fit_fixed_point(z, y, 0.0, covariance="dense", tied=tied, shrinkage=0.01)


@pytest.mark.parametrize("covariance", ["isotropic", "diagonal", "dense"])
@pytest.mark.parametrize("dim", [1, 3])
def test_classes_without_any_variance(covariance, dim):
    y = np.arange(3)
    for few, message in ((1, "each class has one sample"), (4, "each class are all the same")):
        z = np.repeat(np.eye(3)[:, :dim], few, axis=0)
        with pytest.raises(InvalidInputError, match=message) as caught:
            fit_fixed_point(z, np.repeat(y, few), 1.0, covariance=covariance, tied=True)
        assert "drop" not in str(caught.value)
    z = np.concatenate([np.ones((4, dim)), np.random.default_rng(0).normal(size=(20, dim))])
    y = np.repeat([0, 1], [4, 20])
    with pytest.raises(InvalidInputError, match="samples of class 0 are all the same") as caught:
        fit_fixed_point(z, y, 1.0, covariance=covariance)
    assert str(caught.value).endswith("pass tied=True or samples that differ")
    assert fit_fixed_point(z, y, 1.0, covariance=covariance, tied=True).converged


def test_shrinkage_of_a_shared_covariance_needs_variance_in_one_class():
    z = np.concatenate([np.random.default_rng(0).normal(size=(4, 6)), np.ones((1, 6))])
    y = [0, 0, 1, 1, 2]
    with pytest.raises(InvalidInputError, match=r"pass shrinkage=0\.01 or more samples"):
        fit_fixed_point(z, y, 1.0, covariance="dense", tied=True)
    assert fit_fixed_point(z, y, 1.0, covariance="dense", tied=True, shrinkage=0.01).converged


def test_equations_without_tied_covariances_do_not_advise_them():
    y = np.repeat([0, 1], [1, 20])
    z = np.random.default_rng(0).normal(size=(21, 2))
    for equations in ("printed", "released"):
        with pytest.raises(InvalidInputError, match=r"class 0 has one sample.*pass more samples$"):
            fit_fixed_point(z, y, 1.0, equations=equations)


@pytest.mark.parametrize("call", [fit_fixed_point, fit_separated, lam_path])
def test_the_constant_column_of_a_frame_is_named(call):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 20)
    z = pandas.DataFrame(rng.normal(size=(40, 3)) + y[:, None], columns=["a", "edge", "c"])
    z["edge"] = 7.0
    options = {fit_fixed_point: {"lam": 1.0}, fit_separated: {"min_kld": 9.0}, lam_path: {}}[call]
    with pytest.raises(InvalidInputError, match="no variance in any class") as caught:
        call(z, y, **options)
    assert "(dimension 1, column 'edge')" in str(caught.value)
    code = "z.loc[:, (z != z.iloc[0]).any()]"
    assert f"drop constant columns: {code}, or pass" in str(caught.value)
    assert eval(code, {"z": z}).columns.tolist() == ["a", "c"]


def test_a_dimension_that_is_constant_in_each_class_but_differs_between_them():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 20)
    z = np.stack([rng.normal(size=40), 1.0 + y], 1)  # which is not a constant column
    with pytest.raises(InvalidInputError, match=r"\(dimension 1\); drop that direction, or pass"):
        fit_fixed_point(z, y, 1.0)
