"""Claims of the paper as comparisons with a rule, and what the runs say of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fpigauss import InvalidInputError

from nfpi.intervals import Interval, paired_interval

__all__ = ["Claim", "Finding", "Measured", "Side", "Verdict", "decide"]

RULES = ("greater", "at_least", "hump")


class Verdict(StrEnum):
    """What the runs say of a claim."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    NOT_DECIDED = "not decided at this scale"


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a metric of a setting of the grid."""

    setting: str
    metric: str


@dataclass(frozen=True)
class Measured:
    """What the grid's runs of a side gave.

    Parameters
    ----------
    values : mapping of seed to value
        Of the runs that gave one.
    failed, missing : frozenset of int
        Seeds of runs that came to none: they failed, or have no record (or no such metric).
    """

    values: Mapping[int, float]
    failed: frozenset[int] = frozenset()
    missing: frozenset[int] = frozenset()

    @property
    def is_whole(self) -> bool:
        """Whether every run gave a value."""
        return bool(self.values) and not self.failed and not self.missing


@dataclass(frozen=True)
class Claim:
    """A claim, and the rule that decides it, stated before the runs.

    Every comparison is of a difference paired by seed and its 95 % t-interval. It decides nothing
    unless every run of the grid has a value, on both sides: which seeds fail is no accident.

    Parameters
    ----------
    name : str
        In one word.
    text : str
        The claim.
    rule : {"greater", "at_least", "hump"}
        "greater": every left side lies above its right side. A pair holds if its interval lies
        above 0, and fails if all of it lies at or below. "at_least": it holds if its interval lies
        above ``-margin``, and fails if all of it lies below. "hump": ``pairs`` is one tuple of
        levels in order, of which those with a failed run are left out; the best inner level lies
        above both ends by more than ``margin``: it holds if both intervals lie above that, and
        fails if one lies below.
    pairs : tuple of tuples of Side
        The comparisons, or the levels.
    margin : float
        What counts as no difference, in units of the metric.
    lower_is_better : bool
        For a likelihood's negative logarithm, say: the rule is applied to minus the differences.
    """

    name: str
    text: str
    rule: str
    pairs: tuple[tuple[Side, ...], ...]
    margin: float = 0.0
    lower_is_better: bool = False

    def __post_init__(self) -> None:
        """Check the rule."""
        if self.rule not in RULES:
            raise InvalidInputError(f"rule is {self.rule!r}; pass one of {list(RULES)}")
        if self.rule == "hump" and (len(self.pairs) != 1 or len(self.pairs[0]) < 3):
            raise InvalidInputError(f"pairs of {self.name!r} is no tuple of three levels or more")
        if self.rule != "hump" and any(len(pair) != 2 for pair in self.pairs):
            raise InvalidInputError(f"pairs of {self.name!r} holds a tuple that is no pair")


@dataclass(frozen=True)
class Finding:
    """A claim's verdict, with the differences that it rests on (None: no seed in common).

    Differences are left minus right, of the metric as it is. Of the ``n_values`` values that
    the claim is about, a side and a run each, ``n_without`` are lacking. ``left_out`` are the
    settings that a hump is not sought at, as runs of them failed.
    """

    claim: Claim
    verdict: Verdict
    differences: tuple[tuple[Side, Side, Interval | None], ...]
    n_without: int
    n_values: int
    left_out: tuple[str, ...] = ()


def decide(claim: Claim, measured: Callable[[Side], Measured]) -> Finding:
    """Apply the rule of a claim.

    All pairs must hold for the claim to hold; it does not hold if any pair fails.

    Parameters
    ----------
    claim : Claim
    measured : callable
        Of a side, what its runs gave.

    Returns
    -------
    Finding
    """
    sign = -1.0 if claim.lower_is_better else 1.0
    found = {side: measured(side) for pair in claim.pairs for side in pair}
    pairs, open_ = claim.pairs, False
    if claim.rule == "hump":
        pairs = _best_against_ends(found, sign)
        open_ = any(one.missing for one in found.values())  # a level to come may be the best
    least = {"greater": 0.0, "at_least": -claim.margin, "hump": claim.margin}[claim.rule]
    differences = tuple(
        (left, right, paired_interval(found[left].values, found[right].values))
        for left, right in pairs
    )
    verdicts = [
        _verdict(interval, sign, least)
        if found[left].is_whole and found[right].is_whole and not open_
        else Verdict.NOT_DECIDED
        for left, right, interval in differences
    ]
    if Verdict.DOES_NOT_HOLD in verdicts:
        verdict = Verdict.DOES_NOT_HOLD
    elif verdicts and all(one is Verdict.HOLDS for one in verdicts):
        verdict = Verdict.HOLDS
    else:
        verdict = Verdict.NOT_DECIDED
    left_out = {side for side, one in found.items() if claim.rule == "hump" and one.failed}
    asked = [one for side, one in found.items() if side not in left_out]
    n_without = sum(len(one.failed | one.missing) for one in asked)
    n_values = n_without + sum(len(one.values) for one in asked)
    names = tuple(side.setting for side in found if side in left_out)
    return Finding(claim, verdict, differences, n_without, n_values, names)


def _verdict(interval: Interval | None, sign: float, least: float) -> Verdict:
    if interval is None:
        return Verdict.NOT_DECIDED
    low, high = sorted((sign * interval.low, sign * interval.high))
    if low > least:
        return Verdict.HOLDS
    if high <= least:
        return Verdict.DOES_NOT_HOLD
    return Verdict.NOT_DECIDED


def _best_against_ends(
    levels: Mapping[Side, Measured], sign: float
) -> tuple[tuple[Side, Side], ...]:
    """The inner level with the best mean, beside the first and the last; none of fewer than 3."""
    means = {
        side: sign * sum(one.values.values()) / len(one.values)
        for side, one in levels.items()
        if one.is_whole
    }
    if len(means) < 3:
        return ()
    first, *inner, last = means
    best = max(inner, key=lambda side: means[side])
    return (best, first), (best, last)
