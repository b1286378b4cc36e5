"""Warnings point to the line of whoever called, whatever lies in between."""

import warnings

import pytest
from helpers import blobs

from fpigauss import ConvergenceWarning, fit_fixed_point
from fpigauss._warnings import warn_user


def module(name, code, **names):
    """Execute code as that of a module of this name, or of none; its file is called as it is."""
    names = names if name is None else {"__name__": name, **names}
    exec(compile(code, f"{name}.py", "exec"), names)
    return names


def warning_in(name):
    """Return a function of a module that warns."""
    return module(name, "def warn():\n    warn_user('here', UserWarning)", warn_user=warn_user)[
        "warn"
    ]


def passing_on(name, function):
    """Return a function of a module that calls another."""
    return module(name, "def call():\n    function()", function=function)["call"]


@pytest.mark.parametrize("within", [["fpigauss"], ["fpigauss.fit._run", "fpigauss_torch.flow"]])
def test_points_to_the_first_line_outside_of_both_packages(within):
    innermost, *others = within
    function = warning_in(innermost)
    for name in others:
        function = passing_on(name, function)
    with pytest.warns(UserWarning, match="here") as caught:
        function()
    assert caught[0].filename == __file__


@pytest.mark.parametrize("between", ["sklearn.pipeline", "joblib.parallel", "imblearn.base"])
def test_points_to_the_line_that_fits_a_pipeline(between):
    function = passing_on(between, warning_in("fpigauss.sklearn"))
    with pytest.warns(UserWarning, match="here") as caught:
        function()
    assert caught[0].filename == __file__


def test_a_fit_in_a_pipeline_warns_at_the_line_of_its_user():
    pipeline = pytest.importorskip("sklearn.pipeline")
    estimator = pytest.importorskip("fpigauss.sklearn").FixedPointGaussianClassifier
    z, y = blobs()
    whole = pipeline.make_pipeline(estimator(lam=1.0, max_iter=1))
    with pytest.warns(ConvergenceWarning) as caught:
        whole.fit(z, y)
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("name", ["fpigaussian", "nfpi.fpigauss", None])
def test_stops_at_a_module_of_another_name_or_of_none(name):
    function = passing_on(name, warning_in("fpigauss.fit"))
    with pytest.warns(UserWarning, match="here") as caught:
        function()
    assert caught[0].filename == f"{name}.py"
    assert caught[0].lineno == 2


def test_code_without_a_module_name_may_fit():
    z, y = blobs()
    with pytest.warns(ConvergenceWarning) as caught:
        module(None, "fit(z, y, 1.0, max_iter=1)", fit=fit_fixed_point, z=z, y=y)
    assert {warning.filename for warning in caught} == {"None.py"}


def test_a_warning_that_was_caught_is_passed_on_as_it_is():
    first = ConvergenceWarning("it stalled")
    function = module(
        "fpigauss", "def f():\n    warn(first, Category)", warn=warn_user, first=first
    )
    function["Category"] = ConvergenceWarning
    with pytest.warns(ConvergenceWarning) as caught:
        function["f"]()
    assert [warning.message for warning in caught] == [first]


def test_a_line_is_told_once_where_filters_say_so():
    function = warning_in("fpigauss")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            function()
    assert len(caught) == 1
