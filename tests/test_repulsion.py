"""Kernels, potentials and their slopes against one another, and what measures pi."""

import math

import numpy as np
import pytest

from fpigauss import InvalidInputError, critical_lam
from fpigauss.covariance import Dense, Diagonal, Isotropic
from fpigauss.repulsion import (
    CallableRepulsion,
    ForwardRepulsion,
    FrozenRepulsion,
    InitialRepulsion,
    MeanRepulsion,
    NoRepulsion,
    Repulsion,
    resolve_repulsion,
)

K, ALPHA, PI = 3, 0.6, 1.7
D = np.array([0.3, 1.0, 2.5, 40.0])
DIVERGENCES = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 5.0], [7.0, 11.0, 0.0]])
BLOCKS = [DIVERGENCES[:2], DIVERGENCES[2:]]
EVERY = {
    "forward": (ForwardRepulsion(), None),
    "mean": (MeanRepulsion(), PI),
    "number": (FrozenRepulsion(PI), PI),
    "matrix": (CallableRepulsion(np.max), np.array([0.5, 1.0, 2.0, 4.0])),
}
every = pytest.mark.parametrize(("repulsion", "pi"), EVERY.values(), ids=EVERY)


def slope_of(f, at, part=1e-4):
    h = part * at
    return (8.0 * (f(at + h) - f(at - h)) - (f(at + 2.0 * h) - f(at - 2.0 * h))) / (12.0 * h)


@every
def test_a_kernel_is_minus_the_slope_of_its_potential(repulsion, pi):
    kernel = repulsion.kernel(D, pi, ALPHA)
    assert (kernel > 0.0).all()
    slope = slope_of(lambda d: repulsion.potential(d, pi, ALPHA), D)
    np.testing.assert_allclose(kernel, -slope, rtol=1e-8)
    np.testing.assert_allclose(
        repulsion.slope(D, pi, ALPHA),
        slope_of(lambda d: repulsion.kernel(d, pi, ALPHA), D),
        rtol=1e-8,
    )


@pytest.mark.parametrize("name", ["mean", "number"])
def test_how_a_kernel_changes_with_pi(name):
    repulsion, pi = EVERY[name]
    found = repulsion.slope_in_pi(D, pi, ALPHA)
    np.testing.assert_allclose(
        found, slope_of(lambda at: repulsion.kernel(D, at, ALPHA), pi), rtol=1e-8
    )


def test_kernels_are_those_of_the_paper():
    forward = ForwardRepulsion().kernel(D, None, ALPHA)
    np.testing.assert_allclose(forward, np.exp(-D / (ALPHA * D)) / (ALPHA * D), rtol=1e-14)
    frozen = FrozenRepulsion(PI).kernel(D, PI, ALPHA)
    np.testing.assert_allclose(frozen, np.exp(-D / (ALPHA * PI)) / (ALPHA * PI), rtol=1e-14)


def test_what_pi_is_measured():
    mean = DIVERGENCES.sum() / (K * (K - 1))
    for repulsion in (MeanRepulsion(), InitialRepulsion()):
        assert float(repulsion.measured(iter(BLOCKS), K, DIVERGENCES)) == pytest.approx(mean)
    assert FrozenRepulsion(PI).measured(iter(BLOCKS), K, DIVERGENCES) == PI
    assert ForwardRepulsion().measured(iter(BLOCKS), K, DIVERGENCES) is None
    assert CallableRepulsion(np.max).measured(iter([DIVERGENCES]), K, DIVERGENCES) == 11.0


def test_a_function_of_its_own_cannot_change_the_divergences():
    def emptied(d):
        d[:] = 1.0
        return d

    before = DIVERGENCES.copy()
    pi = CallableRepulsion(emptied).measured(iter([DIVERGENCES]), K, DIVERGENCES)
    assert (before == DIVERGENCES).all() and (pi == 1.0).all()


@pytest.mark.parametrize("faulty", [0.0, -1.0, np.nan, np.inf])
def test_what_a_function_may_return(faulty):
    def repulsion(result):
        return CallableRepulsion(lambda d: result)

    def measured(result, divergences=DIVERGENCES):
        return repulsion(result).measured(iter([divergences]), K, divergences)

    with pytest.raises(InvalidInputError, match="not positive and finite"):
        measured(faulty)
    matrix = np.ones((K, K))
    matrix[0, 2] = faulty
    with pytest.raises(InvalidInputError, match="not positive and finite"):
        measured(matrix)
    diagonal = np.ones((K, K)) + np.diag([faulty] * K)
    np.testing.assert_array_equal(measured(diagonal), np.ones((K, K)))  # it is never used
    for shape in ((K,), (K, 1), (K, K, 1)):
        with pytest.raises(InvalidInputError, match="returned an array of shape"):
            measured(np.ones(shape))
    with pytest.raises(InvalidInputError, match="pi returned None"):
        measured(None)
    # where the divergences are to blame, the step is, and not the function
    for blamed in (np.zeros((K, K)), np.full((K, K), np.inf)):
        assert math.isnan(measured(faulty, blamed))


def test_what_stays_as_it_is():
    moves = {"forward": False, "mean": True, "initial": True, "number": False}
    for name, mean in moves.items():
        repulsion = resolve_repulsion(PI if name == "number" else name)
        assert repulsion.is_mean_kld == mean
        assert repulsion.bounded == (name in {"initial", "number"})
        assert repulsion.has_potential == (name != "mean")
        assert repulsion.pushing is repulsion
    for pi in (0.5, 2.5):
        assert InitialRepulsion().at_start(pi) == FrozenRepulsion(pi)
    assert isinstance(InitialRepulsion().at_start(0.0), InitialRepulsion)


def test_without_lam_nothing_repels():
    none = resolve_repulsion(PI, 0.0)
    assert isinstance(none, NoRepulsion) and none.pushing == FrozenRepulsion(PI)
    for f in (none.kernel, none.potential, none.slope, none.slope_in_pi):
        assert (f(D, PI, ALPHA) == 0.0).all()
    assert none.bounded and none.has_potential
    initial = resolve_repulsion("initial", 0.0)
    assert initial.at_start(2.5) == NoRepulsion(FrozenRepulsion(2.5))
    assert float(initial.measured(iter(BLOCKS), K, DIVERGENCES)) == pytest.approx(29.0 / 6.0)


def test_a_callable_needs_room_for_all_divergences():
    repulsion = CallableRepulsion(np.max)
    with pytest.raises(InvalidInputError, match="memory_limit is 1000 bytes") as caught:
        repulsion.check_memory(100, 1000)
    needed = int(str(caught.value).partition("which takes ")[2].partition(";")[0])
    assert 8 * 100**2 <= needed <= 1000 * 100**2
    repulsion.check_memory(100, needed)
    repulsion.check_memory(200, 4 * needed)
    for n_classes, limit in [(100, needed - 1), (200, 4 * needed - 1)]:
        with pytest.raises(InvalidInputError):
            NoRepulsion(repulsion).check_memory(n_classes, limit)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 10.0])
@pytest.mark.parametrize("n_classes", [2, 7])
def test_lam_past_which_one_variance_inflates(alpha, n_classes):
    # inflating one variance by t costs 1/2 log t, and D grows by t in K - 1 of the pairs
    gain = (n_classes - 1) * math.exp(-1.0 / alpha) / alpha / (n_classes * (n_classes - 1))
    expected = 0.5 / gain
    for family, times in [(Diagonal(), 1), (Dense(), 1), (Isotropic(), 5)]:
        found = ForwardRepulsion().critical_lam(family, n_classes, 5, alpha)
        assert found == pytest.approx(times * expected)
        assert critical_lam(n_classes, alpha, covariance=family, dim=5) == pytest.approx(found)
        tied = family.with_tied(True)
        for repulsion in (ForwardRepulsion(), MeanRepulsion(), FrozenRepulsion(PI)):
            assert repulsion.critical_lam(tied, n_classes, 5, alpha) == math.inf
    assert critical_lam(n_classes, alpha) == pytest.approx(expected)
    assert critical_lam(n_classes, alpha, covariance="isotropic", tied=True) == math.inf
    assert FrozenRepulsion(PI).critical_lam(Diagonal(), n_classes, 5, alpha) == math.inf
    assert math.isnan(MeanRepulsion().critical_lam(Diagonal(), n_classes, 5, alpha))
    assert ForwardRepulsion().critical_lam(Diagonal(), n_classes, 5, 1e-3) == math.inf


def test_what_critical_lam_needs():
    for n_classes, options, match in [
        (1, {}, "n_classes is 1"),
        (3, {"covariance": "isotropic"}, "dim is not given"),
        (3, {"dim": 0}, "dim"),
        (3, {"alpha": 0.0}, "alpha"),
    ]:
        with pytest.raises(InvalidInputError, match=match):
            critical_lam(n_classes, **options)


def test_ranges_that_underflow_repel_nothing():
    with np.errstate(all="ignore"):
        found = FrozenRepulsion(1e-200).kernel(D, 1e-200, 1e-200)
        matrix = CallableRepulsion(np.max).kernel(D, np.full(4, 1e-200), 1e-200)
    assert (found == 0.0).all() and (matrix == 0.0).all()


def test_a_kernel_of_its_own_needs_a_slope_of_its_own():
    class Own(MeanRepulsion):
        def kernel(self, divergences, pi, alpha):
            return 0.0 * divergences + 1.0

    for slope in (Own().slope, Own().slope_in_pi):
        with pytest.raises(InvalidInputError, match=r"define Own\.slope"):
            slope(D, PI, ALPHA)


class OfTheLast(Repulsion):
    """A pi of a user's own: what it is given, of the last block that it reads."""

    def __init__(self, result, n_blocks=2):
        self.result, self.n_blocks = result, n_blocks

    def measure(self, blocks, n_classes):
        for _ in range(self.n_blocks):
            next(blocks)[:] = 7.0  # what it writes to are copies
        return self.result


def test_a_repulsion_of_ones_own_is_checked():
    def measured(divergences, **given):
        repulsion = OfTheLast(**given)
        return repulsion.measured(iter([divergences[:2], divergences[2:]]), K, divergences)

    assert measured(DIVERGENCES, result=3) == 3.0
    assert measured(DIVERGENCES, result=None) is None
    assert DIVERGENCES[2, 0] == 7.0 and DIVERGENCES[0, 1] == 1.0
    for n_blocks in (0, 1, 2):
        with pytest.raises(InvalidInputError, match="not positive and finite"):
            measured(DIVERGENCES, result=np.nan, n_blocks=n_blocks)
    # divergences that have vanished, or overflowed, are not its fault
    for blamed in (np.zeros((K, K)), np.full((K, K), np.inf)):
        assert math.isnan(measured(blamed, result=np.nan))
        with pytest.raises(InvalidInputError):  # but if it has not read them
            measured(blamed, result=np.nan, n_blocks=0)
