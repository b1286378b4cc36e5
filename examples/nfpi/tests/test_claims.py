"""Claims are decided by their rules, and by whole sets of runs alone."""

from dataclasses import replace

import numpy as np
import pytest
from fpigauss import InvalidInputError

from nfpi.grid.claims import Claim, Measured, Side, Verdict, decide

A, B = Side("a", "m"), Side("b", "m")


def verdict(rule, left, right, **options):
    found = {A: Measured(dict(enumerate(left))), B: Measured(dict(enumerate(right)))}
    return decide(Claim("c", "C.", rule, ((A, B),), **options), found.__getitem__).verdict


@pytest.mark.parametrize(
    ("rule", "shift", "margin", "expected"),
    [
        ("greater", 0.02, 0.0, Verdict.HOLDS),
        ("greater", -0.02, 0.0, Verdict.DOES_NOT_HOLD),
        ("greater", 0.001, 0.0, Verdict.NOT_DECIDED),
        ("at_least", -0.001, 0.01, Verdict.HOLDS),
        ("at_least", -0.02, 0.01, Verdict.DOES_NOT_HOLD),
        ("at_least", -0.01, 0.01, Verdict.NOT_DECIDED),
    ],
)
def test_verdicts_of_a_pair(rule, shift, margin, expected):
    noise = np.array([-2e-3, 0.0, 2e-3])  # the interval is 5e-3 wide to either side
    right = np.array([0.7, 0.8, 0.9])
    assert verdict(rule, right + shift + noise, right, margin=margin) is expected
    # turned round, for a metric that should be low
    turned = verdict(rule, right - shift + noise, right, margin=margin, lower_is_better=True)
    assert turned is expected


def test_one_seed_or_none_decides_nothing():
    assert verdict("greater", [0.9], [0.1]) is Verdict.NOT_DECIDED
    assert verdict("greater", [], [0.1, 0.2]) is Verdict.NOT_DECIDED


def test_a_claim_of_several_pairs_needs_all_of_them():
    found = {Side(s, "m"): Measured({i: v + 1e-3 * i * v for i in range(3)})
             for s, v in {"low": 0.1, "mid": 0.5, "high": 0.9}.items()}  # fmt: skip
    low, mid, high = found
    both = Claim("c", "C.", "greater", ((high, mid), (mid, low)))
    assert decide(both, found.__getitem__).verdict is Verdict.HOLDS
    broken = replace(both, pairs=((high, mid), (low, mid)))
    assert decide(broken, found.__getitem__).verdict is Verdict.DOES_NOT_HOLD


@pytest.mark.parametrize("side", [A, B])
@pytest.mark.parametrize("shift", [0.02, -0.02])
@pytest.mark.parametrize("how", ["failed", "missing"])
def test_seeds_without_a_value_decide_nothing(side, shift, how):
    right = {0: 0.7, 1: 0.8, 2: 0.9}
    found = {A: Measured({seed: v + shift for seed, v in right.items()}), B: Measured(right)}
    claim = Claim("c", "C.", "greater", ((A, B),))
    whole = decide(claim, found.__getitem__)
    assert whole.verdict is (Verdict.HOLDS if shift > 0 else Verdict.DOES_NOT_HOLD)
    assert (whole.n_without, whole.n_values) == (0, 6)
    kept = {seed: v for seed, v in found[side].values.items() if seed != 2}
    found[side] = Measured(kept, **{how: frozenset({2})})
    finding = decide(claim, found.__getitem__)
    assert finding.verdict is Verdict.NOT_DECIDED
    assert (finding.n_without, finding.n_values) == (1, 6)
    assert finding.differences[0][2].n == 2  # shown nevertheless


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0.3, 0.5, 0.45, 0.35], Verdict.HOLDS),
        ([0.3, 0.4, 0.45, 0.5], Verdict.DOES_NOT_HOLD),  # it only rises
        ([0.5, 0.501, 0.5, 0.5], Verdict.DOES_NOT_HOLD),  # smaller than the margin
    ],
)
def test_a_hump_rises_and_falls(levels, expected):
    noise = [0.0, 1e-3, 3e-3]  # of a seed, which all levels share
    sides = tuple(Side(f"lam-{i}", "cnn") for i in range(len(levels)))
    found = {
        side: Measured({seed: level + extra for seed, extra in enumerate(noise)})
        for side, level in zip(sides, levels, strict=True)
    }
    claim = Claim("hump", "Hump.", "hump", (sides,), margin=0.01)
    assert decide(claim, found.__getitem__).verdict is expected


def test_a_hump_is_among_the_levels_at_which_no_run_failed():
    sides = tuple(Side(f"lam-{i}", "cnn") for i in range(4))
    found = {side: Measured({}, failed=frozenset({0, 1})) for side in sides}
    claim = Claim("hump", "Hump.", "hump", (sides,), margin=0.01)
    assert decide(claim, found.__getitem__).verdict is Verdict.NOT_DECIDED
    for side, level in zip(sides[:3], (0.3, 0.5, 0.4), strict=True):
        found[side] = Measured({0: level, 1: level + 1e-3})
    found[sides[3]] = Measured({0: 0.9}, failed=frozenset({1}))  # the other seed was lucky
    finding = decide(claim, found.__getitem__)
    assert finding.verdict is Verdict.HOLDS
    assert (finding.left_out, finding.n_without, finding.n_values) == (("lam-3",), 0, 6)
    assert [pair[:2] for pair in finding.differences] == [
        (sides[1], sides[0]),
        (sides[1], sides[2]),
    ]
    found[sides[3]] = Measured({0: 0.9}, missing=frozenset({1}))  # still to be run
    assert decide(claim, found.__getitem__).verdict is Verdict.NOT_DECIDED


def test_a_difference_grows_from_one_pair_to_the_other():
    sides = [Side(name, "m") for name in ("many", "its rival", "few", "their rival")]
    levels = (0.9, 0.8, 0.9, 0.88)
    found = {
        side: Measured({seed: level + 1e-3 * seed * i for seed in range(3)})
        for i, (side, level) in enumerate(zip(sides, levels, strict=True))
    }
    claim = Claim("c", "C.", "grows", ((sides[0], sides[1]), (sides[2], sides[3])))
    finding = decide(claim, found.__getitem__)
    assert finding.verdict is Verdict.HOLDS
    assert finding.differences[0][2].mean == pytest.approx(0.08)
    turned = replace(claim, pairs=claim.pairs[::-1])
    assert decide(turned, found.__getitem__).verdict is Verdict.DOES_NOT_HOLD
    found[sides[3]] = Measured({0: 0.9}, failed=frozenset({1, 2}))
    assert decide(claim, found.__getitem__).verdict is Verdict.NOT_DECIDED


def of_curves(left, right, margin=0.0):
    """Decide between two methods, given (NLL, accuracy) of each setting, with three seeds."""
    pairs, found = [], {}
    for name, points in (("left", left), ("right", right)):
        sides = tuple(Side(f"{name}-{i}", "acc") for i in range(len(points)))
        pairs.append(sides)
        for side, (nll, acc) in zip(sides, points, strict=True):
            found[side] = Measured(
                {seed: acc + 1e-3 * seed * (name == "left") for seed in range(3)}
            )
            found[Side(side.setting, "nll")] = Measured({seed: nll + seed for seed in range(3)})
    claim = Claim("c", "C.", "level", tuple(pairs), margin=margin, beside="nll")
    return decide(claim, found.__getitem__)


def test_curves_are_compared_at_equal_cost():
    right = [(0.0, 0.5), (100.0, 0.7), (200.0, 0.9)]
    higher = of_curves([(50.0, 0.7), (150.0, 0.9)], right)
    assert higher.verdict is Verdict.HOLDS
    assert higher.differences[0][2].mean == pytest.approx(0.1 + 1e-3)
    assert of_curves([(50.0, 0.5), (150.0, 0.7)], right, 0.05).verdict is Verdict.DOES_NOT_HOLD
    # the first is as good where both are; the rest of its curve does not count
    same = of_curves([(0.0, 0.5), (50.0, 0.6)], right, margin=0.005)
    assert same.verdict is Verdict.HOLDS
    # past the best setting a curve stays where it was
    assert of_curves([(0.0, 0.9), (200.0, 0.1)], right).verdict is Verdict.HOLDS
    apart = of_curves([(300.0, 0.5), (400.0, 0.6)], right)
    assert apart.verdict is Verdict.NOT_DECIDED and apart.differences[0][2] is None


def test_curves_need_a_cost():
    side = Side("a", "m")
    with pytest.raises(InvalidInputError, match="is not two curves"):
        Claim("c", "C.", "level", ((side, side), (side, side)))
    with pytest.raises(InvalidInputError, match="is not two pairs"):
        Claim("c", "C.", "grows", ((side, side),))
