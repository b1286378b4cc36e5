"""Claims of the paper as comparisons with a rule, and what the runs say of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fpigauss import InvalidInputError
from nfpi.statistics import Interval, paired_interval

__all__ = ["Claim", "Finding", "Side", "Verdict", "decide"]

#: Setting and metric to values by seed.
Values = Callable[["Side"], Mapping[int, float]]

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
class Claim:
    """A claim, and the rule that decides it, stated before the runs.

    Every comparison is of a difference paired by seed and its 95 % t-interval.

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
        levels in order, of which those without a value are left out; the best inner level lies
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

    Differences are left minus right, of the metric as it is.
    """

    claim: Claim
    verdict: Verdict
    differences: tuple[tuple[Side, Side, Interval | None], ...]


def decide(claim: Claim, values: Values) -> Finding:
    """Apply the rule of a claim.

    All pairs must hold for the claim to hold; it does not hold if any pair fails.

    Parameters
    ----------
    claim : Claim
    values : callable
        Of a side, its values by seed; empty where there are no runs.

    Returns
    -------
    Finding
    """
    sign = -1.0 if claim.lower_is_better else 1.0

    pairs = claim.pairs
    if claim.rule == "hump":
        pairs = _best_against_ends(claim.pairs[0], values, sign)
    least = {"greater": 0.0, "at_least": -claim.margin, "hump": claim.margin}[claim.rule]
    differences = tuple(
        (left, right, paired_interval(values(left), values(right))) for left, right in pairs
    )
    verdicts = [_verdict(interval, sign, least) for _, _, interval in differences]
    if Verdict.DOES_NOT_HOLD in verdicts:
        verdict = Verdict.DOES_NOT_HOLD
    elif verdicts and all(one is Verdict.HOLDS for one in verdicts):
        verdict = Verdict.HOLDS
    else:
        verdict = Verdict.NOT_DECIDED
    return Finding(claim, verdict, differences)


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
    levels: tuple[Side, ...], values: Values, sign: float
) -> tuple[tuple[Side, ...], ...]:
    """The inner level with the best mean, beside the first and the last; none of fewer than 3."""
    means = {
        side: sign * sum(found.values()) / len(found) for side in levels if (found := values(side))
    }
    if len(means) < 3:
        return ()
    first, *inner, last = means
    best = max(inner, key=lambda side: means[side])
    return (best, first), (best, last)
