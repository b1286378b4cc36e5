"""The options of a fit: one declaration, from which calls, objects and documentation follow."""

import inspect
import pickle
import warnings
from copy import deepcopy
from dataclasses import FrozenInstanceError, asdict, dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from helpers import blobs
from hypothesis import given
from hypothesis import strategies as st

import fpigauss
from fpigauss import (
    Accelerated,
    CallableRepulsion,
    ClassStatistics,
    ConvergenceWarning,
    Dense,
    Diagonal,
    FixedPoint,
    FixedPointOptions,
    ForwardRepulsion,
    FrozenRepulsion,
    Guarded,
    InvalidInputError,
    Isotropic,
    MeanRepulsion,
    Picard,
    PrintedEquations,
    ReleasedEquations,
    Repulsion,
    StationaryEquations,
    UnknownOptionError,
    fit_fixed_point,
    fit_separated,
    lam_path,
    pairwise_kld,
    solve_fixed_point,
)
from fpigauss.covariance import FAMILIES, FamilyName
from fpigauss.equations import EQUATIONS, EquationsName
from fpigauss.fit._documented import declared_options
from fpigauss.repulsion import REPULSIONS, PiName
from fpigauss.solvers import SOLVERS, SolverName
from tools.write_options import TARGET, rendered

NAMES = [option.name for option in declared_options()]


def assert_same(a, b):
    """The same fit, bit for bit."""
    assert (a.status, a.n_iter, a.objective) == (b.status, b.n_iter, b.objective)
    np.testing.assert_array_equal(a.gaussians.means, b.gaussians.means)
    np.testing.assert_array_equal(a.gaussians.covariances, b.gaussians.covariances)


# -- one declaration -----------------------------------------------------------------------


def test_the_typed_options_are_those_that_are_declared():
    assert TARGET.read_text(encoding="utf-8") == rendered()


def test_annotations_are_the_declared_ones():
    declared, typed = get_type_hints(FixedPoint), get_type_hints(FixedPointOptions)
    assert set(typed) == set(NAMES) - {"lam"}
    assert all(typed[name] == declared[name] for name in typed)


@pytest.mark.parametrize("target", [fit_fixed_point, solve_fixed_point, FixedPoint])
def test_every_option_is_documented_and_in_the_signature(target):
    lines = target.__doc__.splitlines()
    assert "{options}" not in target.__doc__
    for option in declared_options():
        assert any(line.strip().startswith(f"{option.name} : ") for line in lines), option.name
        assert option.metadata["doc"].split()[0] in target.__doc__
        parameter = inspect.signature(target).parameters[option.name]
        if not (option.name == "lam" and target is not FixedPoint):
            assert parameter.default == option.default


@pytest.mark.parametrize(
    ("names", "registry"),
    [
        (FamilyName, FAMILIES),
        (PiName, REPULSIONS),
        (EquationsName, EQUATIONS),
        (SolverName, {"auto": None, **SOLVERS}),
    ],
)
def test_type_checkers_know_the_names(names, registry):
    assert get_args(names) == tuple(registry)


# -- the object ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"lam": 3.0},
        {"lam": 100.0, "tied": True, "covariance": "dense", "pi": "initial"},
        {"lam": 2.0, "equations": "printed", "max_iter": 5},
        {"lam": 2.0, "equations": ReleasedEquations(summed_square=False), "alpha": 10.0},
        {"lam": 30.0, "update": "means", "init": "identity", "solver": "guarded"},
    ],
)
def test_the_object_and_the_functions_are_the_same_fit(options):
    z, y = blobs(seed=3)
    weight = np.linspace(0.5, 2.0, len(y))
    lam = options["lam"]
    keywords = {name: value for name, value in options.items() if name != "lam"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        called = fit_fixed_point(z, y, lam, sample_weight=weight, **keywords)
        assert_same(FixedPoint(**options).fit(z, y, weight), called)
        statistics = ClassStatistics.from_samples(z, y, covariance="dense", sample_weight=weight)
        solved = solve_fixed_point(statistics, lam, **keywords)
        assert_same(FixedPoint(**options).solve(statistics), solved)


@given(
    lam=st.none() | st.floats(0.0, 1e6),
    tied=st.booleans(),
    covariance=st.sampled_from(["diagonal", "dense", "isotropic"]),
    pi=st.sampled_from(["forward", "mean", "initial"]) | st.floats(1e-3, 1e3),
    alpha=st.floats(0.1, 100.0),
    solver=st.sampled_from(["auto", "accelerated", "guarded", "picard"]),
    max_iter=st.integers(0, 10_000),
)
def test_it_is_a_value(**options):
    fixed_point = FixedPoint(**options)
    assert fixed_point == FixedPoint(**options)
    assert hash(fixed_point) == hash(FixedPoint(**options))
    assert replace(fixed_point, max_iter=options["max_iter"] + 1) != fixed_point
    assert pickle.loads(pickle.dumps(fixed_point)) == deepcopy(fixed_point) == fixed_point
    assert eval(repr(fixed_point)) == fixed_point
    for name, value in options.items():
        assert getattr(fixed_point, name) == value


def test_its_repr_says_what_is_not_a_default():
    assert repr(FixedPoint()) == "FixedPoint()"
    assert repr(FixedPoint(3, tied=True)) == "FixedPoint(lam=3.0, tied=True)"
    assert repr(FixedPoint(solver=Accelerated(history=5))) == (
        "FixedPoint(solver=Accelerated(history=5))"
    )


def test_it_can_be_taken_apart_and_put_together():
    fixed_point = FixedPoint(3.0, tied=True, pi=2)
    assert FixedPoint(**asdict(fixed_point)) == fixed_point
    assert [field.name for field in fields(FixedPoint)] == NAMES


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2.0), np.array(2.0)])
def test_a_number_for_pi_is_taken_as_it_is_now(number):
    fixed_point = FixedPoint(pi=number)
    assert fixed_point.pi == 2.0 and type(fixed_point.pi) is float
    assert hash(fixed_point) == hash(FixedPoint(pi=2.0))
    if isinstance(number, np.ndarray):
        number[...] = 5.0
        assert replace(fixed_point, lam=1.0).strategies.repulsion == FrozenRepulsion(2.0)


def test_a_subclass_may_have_fields_of_its_own():
    @dataclass(frozen=True, repr=False)
    class Named(FixedPoint):
        title: str = "a fit"

    assert set(inspect.signature(Named).parameters) == {*NAMES, "title"}
    assert "title" not in inspect.signature(FixedPoint).parameters
    named = Named(1.0, title="mine", tied=True)
    assert (named.title, named.tied) == ("mine", True)
    assert named.fit(*blobs()).converged
    with pytest.raises(UnknownOptionError, match="did you mean title"):
        Named(1.0, titles="mine")


def test_strategies_of_ones_own_are_not_taken_for_equal():
    class Own(Repulsion):
        def __init__(self, pi):
            object.__setattr__(self, "pi", pi)

        def measure(self, blocks, n_classes):
            return self.pi

    assert FixedPoint(pi=Own(1.0)) != FixedPoint(pi=Own(2.0))


def test_it_is_frozen():
    with pytest.raises(FrozenInstanceError):
        FixedPoint(lam=1.0).lam = 2.0


def test_without_lam_it_is_kept_but_not_run():
    fixed_point = FixedPoint(tied=True)
    z, y = blobs()
    for run in (
        lambda: fixed_point.fit(z, y),
        lambda: fixed_point.solve(ClassStatistics.from_samples(z, y)),
        lambda: fit_fixed_point(z, y, None),
    ):
        with pytest.raises(InvalidInputError, match="lam is not given; pass a number >= 0"):
            run()
    assert replace(fixed_point, lam=1.0).fit(z, y).converged


# -- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": Dense}, r"covariance is the class Dense; pass an object, Dense\("),
        ({"pi": MeanRepulsion}, r"pi is the class MeanRepulsion; pass an object"),
        ({"equations": PrintedEquations}, "equations is the class PrintedEquations; pass an obj"),
        ({"solver": Picard}, "solver is the class Picard; pass an object"),
        ({"lam": -1}, "lam is -1; pass a finite number >= 0"),
        ({"lam": float("nan")}, "lam is NaN"),
        ({"tied": 1}, "tied is 1; pass True or False"),
        ({"covariance": "full"}, 'covariance is \'full\'; pass one of "diagonal", "dense"'),
        ({"update": "mean"}, "update is 'mean'"),
        ({"init": "random"}, "init is 'random'"),
        ({"pi": "backward"}, "pi is 'backward'"),
        ({"pi": -1.0}, "pi is -1"),
        ({"alpha": 0.0}, "alpha is 0"),
        ({"equations": "exact"}, "equations is 'exact'"),
        ({"solver": "newton"}, "solver is 'newton'"),
        ({"solver": "guarded", "equations": "printed"}, 'solver is "guarded", but the printed'),
        ({"solver": Guarded(), "equations": "released"}, r"solver is Guarded\(\), but the relea"),
        ({"equations": "printed", "tied": True}, "has no tied covariances"),
        ({"equations": "released", "covariance": "dense"}, "only per-class diagonal"),
        ({"equations": "released", "pi": "mean"}, "pi is 'mean', but equations"),
        ({"max_iter": 1.5}, "max_iter is 1.5"),
        ({"tol": -1e-3}, "tol is -0.001"),
        ({"shrinkage": 2.0}, "shrinkage is 2"),
        ({"n_init": 0}, "n_init is 0; pass an integer >= 1"),
        ({"n_init": 1.5}, "n_init is 1.5"),
        ({"n_init": 2, "pi": "mean"}, "n_init is 2, but objectives do not compare where pi depen"),
        ({"n_init": 2, "pi": lambda kld: 1.0}, "n_init is 2, but objectives do not compare"),
        ({"n_init": 2, "equations": "printed"}, "n_init is 2, but fixed points of the printed"),
        ({"n_init": 2, "equations": "released"}, "n_init is 2, but fixed points of the released"),
        ({"memory_limit": 0}, "memory_limit is 0"),
        ({"max_iter": "5"}, "max_iter is '5', not a number; pass an integer >= 0"),
        ({"n_init": True}, "n_init is True, not a number; pass an integer >= 1"),
        ({"callback": 3}, "callback is 3"),
        ({"callback": lambda: None}, "callback cannot be called with one argument"),
        ({"callback": lambda a, b: None}, "callback cannot be called with one argument .*'b'"),
        ({"callback": lambda **options: None}, "callback cannot be called with one argument"),
    ],
)
def test_an_option_is_refused_by_all_alike(options, message):
    z, y = blobs()
    lam = {"lam": 1.0} | options
    for run in (
        lambda: FixedPoint(**options),
        lambda: replace(FixedPoint(), **options),
        lambda: fit_fixed_point(z, y, **lam),
        lambda: solve_fixed_point(ClassStatistics.from_samples(z, y), **lam),
    ):
        with pytest.raises(InvalidInputError, match=message):
            run()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("lamb", "lam"),
        ("covariances", "covariance"),
        ("tolerance", "tol"),
        ("maxiter", "max_iter"),
        ("beta_1", None),
    ],
)
def test_an_unknown_option_names_the_nearest(name, nearest):
    z, y = blobs()
    for run in (
        lambda: FixedPoint(**{name: 1}),
        lambda: replace(FixedPoint(), **{name: 1}),
        lambda: fit_fixed_point(z, y, 1.0, **{name: 1}),
    ):
        with pytest.raises(UnknownOptionError, match=f"{name} is not an option") as caught:
            run()
        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, InvalidInputError)
        if nearest is None:
            assert all(known in str(caught.value) for known in NAMES)
        else:
            assert f"did you mean {nearest}?" in str(caught.value)


@pytest.mark.parametrize("name", ["separation", "separations", "min_kld", "max_overlap", "per_dim"])
def test_a_distance_is_told_where_it_can_be_asked_for(name):
    z, y = blobs()
    for run in (
        lambda: FixedPoint(**{name: 1}),
        lambda: fit_fixed_point(z, y, 1.0, **{name: 1}),
        lambda: lam_path(z, y, **{name: 1}),
    ):
        with pytest.raises(UnknownOptionError, match="pass min_kld= to fit_separated, or separa"):
            run()
    if name.startswith("sep"):
        with pytest.raises(UnknownOptionError, match="pass min_kld=, the smallest KLD"):
            fit_separated(z, y, **{name: 1})


@pytest.mark.parametrize("name", ["lambd", "lambda_", "lams"])
def test_a_misspelled_lam_is_told_before_lam_is_missed(name):
    z, y = blobs()
    statistics = ClassStatistics.from_samples(z, y)
    for run in (fit_fixed_point, lambda z, y, **o: solve_fixed_point(statistics, **o)):
        with pytest.raises(UnknownOptionError, match=f"{name} is not an option.*did you mean lam"):
            run(z, y, **{name: 1.0})


# -- strategies as objects -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "option", "strategy"),
    [
        ("diagonal", "covariance", Diagonal()),
        ("dense", "covariance", Dense()),
        ("isotropic", "covariance", Isotropic()),
        ("forward", "pi", ForwardRepulsion()),
        ("mean", "pi", MeanRepulsion()),
        ("stationary", "equations", StationaryEquations()),
        ("printed", "equations", PrintedEquations()),
        ("released", "equations", ReleasedEquations()),
        ("accelerated", "solver", Accelerated()),
        ("guarded", "solver", Guarded()),
        ("picard", "solver", Picard()),
    ],
)
def test_a_name_is_short_for_an_object(name, option, strategy):
    z, y = blobs(seed=1)
    runs = [
        fit_fixed_point(z, y, 0.5, **{option: value, "max_iter": 20, "tol": 0.0})
        for value in (name, strategy)
    ]
    assert_same(*runs)


def test_a_number_is_short_for_a_frozen_pi():
    z, y = blobs(seed=1)
    number = fit_fixed_point(z, y, 10.0, pi=3.0, tied=True)
    assert_same(fit_fixed_point(z, y, 10.0, pi=FrozenRepulsion(3.0), tied=True), number)
    assert number.pi == 3.0


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        (-1.0, "pi returned a number that is not positive"),
        (0.0, "pi returned a number that is not positive"),
        (float("nan"), "pi returned a number that is not positive"),
        (float("inf"), "pi returned a number that is not positive and finite"),
        ("a", "pi has dtype"),
        ([1.0, 2.0], r"pi returned an array of shape \(2,\)"),
    ],
)
@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_what_a_repulsion_of_ones_own_measures_is_checked(measured, message, lam):
    @dataclass(frozen=True)
    class Own(Repulsion):
        def measure(self, blocks, n_classes):
            return measured

    with pytest.raises(InvalidInputError, match=message):
        fit_fixed_point(*blobs(), lam, tied=True, pi=Own())


def test_a_repulsion_of_ones_own_in_blocks_of_rows():
    @dataclass(frozen=True)
    class Median(Repulsion):
        def measure(self, blocks, n_classes):
            pairs, start = [], 0
            for block in blocks:
                rows = np.arange(block.shape[0])
                other = np.ones(block.shape, dtype=bool)
                other[rows, start + rows] = False  # the diagonal belongs to no pair
                pairs.append(block[other])
                start += block.shape[0]
            return float(np.median(np.concatenate(pairs)))

    z, y = blobs(n_classes=30, dim=4, n_samples=10)
    options = {"tied": True, "pi": Median(), "max_iter": 5, "tol": 0.0, "solver": "guarded"}
    whole = fit_fixed_point(z, y, 100.0, **options)
    rows = fit_fixed_point(z, y, 100.0, memory_limit=1, **options)
    assert rows.pi == pytest.approx(whole.pi, rel=1e-9)  # sums in another order, five steps on


def test_a_callable_is_checked_when_it_is_wrapped():
    with pytest.raises(InvalidInputError, match="function is 3; pass a function"):
        CallableRepulsion(3)


def test_a_fit_warns_where_globals_have_no_name():
    z, y = blobs()
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        exec("fit(z, y, 5.0, max_iter=1)", {"fit": fit_fixed_point, "z": z, "y": y})


@pytest.mark.parametrize("history", [0, 1.5, -1, "many", True])
def test_a_solver_checks_its_setting(history):
    with pytest.raises(InvalidInputError, match="history is"):
        Accelerated(history=history)


def test_a_shorter_history_is_another_path_to_the_same_minimum():
    z, y = blobs(n_classes=6, seed=2)
    few, many = (
        fit_fixed_point(z, y, 500.0, tied=True, solver=Accelerated(history=n), tol=1e-9)
        for n in (1, 30)
    )
    assert few.converged and many.converged and few.n_iter > many.n_iter
    # at a residual of 1e-9 two paths agree to the square of it, and so to rounding
    assert few.objective == pytest.approx(many.objective, rel=1e-12)


# -- warnings, and the names of the release before ------------------------------------------


@pytest.mark.parametrize(
    "run",
    [
        lambda z, y: fit_fixed_point(z, y, 1e3, max_iter=1),
        lambda z, y: FixedPoint(1e3, max_iter=1).fit(z, y),
        lambda z, y: solve_fixed_point(ClassStatistics.from_samples(z, y), 1e3, max_iter=1),
        lambda z, y: FixedPoint(1e3, max_iter=1).solve(ClassStatistics.from_samples(z, y)),
    ],
)
def test_warnings_point_to_the_line_that_asked(run):
    with pytest.warns() as caught:
        run(*blobs())
    assert {Path(warning.filename).name for warning in caught} == {Path(__file__).name}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ForwardPi", "ForwardRepulsion"),
        ("MeanPi", "MeanRepulsion"),
        ("InitialPi", "InitialRepulsion"),
        ("FrozenPi", "FrozenRepulsion"),
        ("CallablePi", "CallableRepulsion"),
    ],
)
def test_former_names_of_repulsions(old, new):
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(fpigauss.repulsion, old) is getattr(fpigauss, new)


def test_a_name_that_never_was():
    with pytest.raises(AttributeError, match="BackwardPi"):
        _ = fpigauss.repulsion.BackwardPi


def test_a_family_written_for_the_release_before():
    with pytest.warns(DeprecationWarning, match="per_axis"):

        class PairedAxes(Diagonal):
            name = "paired axes"

            def fold(self, x):
                return x[..., 0::2] + x[..., 1::2]

            def spread(self, values):
                return np.repeat(values, 2, axis=-1)

            def multiplicity(self, dim):
                return 2.0

            def entry_shape(self, dim):
                return (dim // 2,)

    z, y = blobs(dim=4)
    result = fit_fixed_point(z, y, 1.0, covariance=PairedAxes())
    assert result.converged
    assert float(np.max(pairwise_kld(result.gaussians))) > 0.0


def test_former_names_of_methods_of_a_family_are_found_wherever_they_are_defined():
    ones = np.ones((2, 3))
    with pytest.warns(DeprecationWarning, match="projections"):
        np.testing.assert_array_equal(Diagonal().moments(ones), Diagonal().projections(ones))
    assert hasattr(Dense(), "moments")

    class Mixin:
        def moments(self, covariances):
            return 4.0 * covariances

    with pytest.warns(DeprecationWarning, match="Mixed.moments is now projections") as caught:

        class Mixed(Mixin, Diagonal):
            name = "mixed"

    assert [warning.filename for warning in caught] == [__file__]
    np.testing.assert_array_equal(Mixed().projections(ones), 4.0 * ones)

    with pytest.warns(DeprecationWarning, match="Doubled.moments is now projections"):

        class Doubled(Diagonal):
            name = "doubled"

            def moments(self, covariances):
                return 2.0 * super().moments(covariances)

    with pytest.warns(DeprecationWarning, match="moments is now projections"):
        np.testing.assert_array_equal(Doubled().projections(ones), 2.0 * ones)


def test_the_former_name_of_the_equations_of_an_error():
    error = fpigauss.NotPositiveDefiniteError("elm", 3.0, "printed")
    with pytest.warns(DeprecationWarning, match=r"\.equations"):
        assert error.reading == error.equations == "printed"


def test_names_may_be_strings_of_numpy():
    names = {"pi": "forward", "covariance": "dense", "update": "means", "init": "data"}
    names |= {"equations": "stationary", "solver": "guarded"}
    plain = FixedPoint(1.0, **names)
    assert FixedPoint(1.0, **{option: np.str_(name) for option, name in names.items()}) == plain
    assert FixedPoint(1.0, shrinkage=np.str_("oas")).shrinkage == "oas"


@pytest.mark.parametrize("callback", [print, type, lambda *found: None, lambda found, n=0: None])
def test_a_callback_of_any_kind_that_takes_one_argument(callback, capsys):
    FixedPoint(lam=1.0, callback=callback).fit(*blobs())


@pytest.mark.parametrize("exact", [Fraction(1, 4), Decimal("0.25")])
def test_exact_numbers_are_numbers(exact):
    assert FixedPoint(lam=exact, alpha=exact, pi=exact) == FixedPoint(0.25, alpha=0.25, pi=0.25)
