"""Claims as comparisons with a rule, and the verdicts of the runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fpigauss import InvalidInputError

from nfpi.intervals import Interval, paired_interval

__all__ = ["Claim", "Finding", "Measured", "Side", "Verdict", "decide"]

RULES = ("greater", "at_least", "hump")


class Verdict(StrEnum):
    """The verdict of the runs on a claim."""

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
    """The values that the grid's runs give for a side.

    Parameters
    ----------
    values : mapping of seed to value
        Only runs with a value.
    failed, missing : frozenset of int
        Seeds of runs without a value: they failed, or have no record (or no such metric).
    """

    values: Mapping[int, float]
    failed: frozenset[int] = frozenset()
    missing: frozenset[int] = frozenset()

    @property
    def is_whole(self) -> bool:
        """Return whether every run has a value."""
        return bool(self.values) and not self.failed and not self.missing


@dataclass(frozen=True)
class Claim:
    """A claim, and the rule that decides it, stated before the runs.

    Each comparison uses differences paired by seed and their 95 % t-interval. It decides nothing
    unless every run of the grid has a value, on both sides: seeds do not fail at random.

    Parameters
    ----------
    name : str
        A short name.
    text : str
        The claim.
    rule : {"greater", "at_least", "hump"}
        "greater": every left side lies above its right side. A pair holds if its interval lies
        above 0, and fails if it lies entirely at or below 0. "at_least": a pair holds if its
        interval lies above ``-margin``, and fails if it lies entirely below. "hump": ``pairs`` is
        one tuple of levels in order, without those that have a failed run; the best inner level
        lies above both ends by more than ``margin``. It holds if both intervals lie above that, and
        fails if one lies below.
    pairs : tuple of tuples of Side
        The comparisons, or the levels.
    margin : float
        The largest difference that does not matter, in units of the metric.
    lower_is_better : bool
        For metrics such as NLL: the rule is applied to minus the differences.
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
            raise InvalidInputError(
                f"pairs of {self.name!r} is not a tuple of three or more levels"
            )
        if self.rule != "hump" and any(len(pair) != 2 for pair in self.pairs):
            raise InvalidInputError(f"pairs of {self.name!r} contains a tuple that is not a pair")


@dataclass(frozen=True)
class Finding:
    """A claim's verdict, with the differences behind it (None: no seed in common).

    Differences are left minus right, without change of sign. ``n_values`` counts the values needed,
    one per side and run, and ``n_without`` those that are lacking. ``left_out`` lists the settings
    excluded from a hump because of failed runs.
    """

    claim: Claim
    verdict: Verdict
    differences: tuple[tuple[Side, Side, Interval | None], ...]
    n_without: int
    n_values: int
    left_out: tuple[str, ...] = ()


def decide(claim: Claim, measured: Callable[[Side], Measured]) -> Finding:
    """Apply the rule of a claim.

    The claim holds if all pairs hold, and does not hold if any pair fails.

    Parameters
    ----------
    claim : Claim
    measured : callable
        Maps a side to the values of its runs.

    Returns
    -------
    Finding
    """
    sign = -1.0 if claim.lower_is_better else 1.0
    found = {side: measured(side) for pair in claim.pairs for side in pair}
    pairs, open_ = claim.pairs, False
    if claim.rule == "hump":
        pairs = _best_against_ends(found, sign)
        open_ = any(one.missing for one in found.values())  # a level not yet run may be the best
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
    """Pair the inner level with the best mean with both ends; no pairs for fewer than 3 levels."""
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
