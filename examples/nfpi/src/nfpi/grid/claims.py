"""Claims as comparisons with a rule, and the verdicts of the runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from fpigauss import InvalidInputError

from nfpi.grid.curves import differences_by_seed
from nfpi.intervals import Interval, paired_interval

__all__ = ["Claim", "Finding", "Measured", "Side", "Verdict", "decide"]

RULES = ("greater", "at_least", "hump", "grows", "level")


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
    rule : {"greater", "at_least", "hump", "grows", "level"}
        "greater": every left side lies above its right side. A pair holds if its interval lies
        above 0, and fails if it lies entirely at or below 0. "at_least": a pair holds if its
        interval lies above ``-margin``, and fails if it lies entirely below. "hump": ``pairs`` is
        one tuple of levels in order, without those that have a failed run; the best inner level
        lies above both ends by more than ``margin``. It holds if both intervals lie above that, and
        fails if one lies below. "grows": the first pair's difference lies above the second's; one
        interval, judged as "greater". "level": ``pairs`` is two curves, each of the settings of a
        method; the first lies above the second at equal ``beside`` (see `difference_of_curves`),
        judged as "at_least".
    pairs : tuple of tuples of Side
        The comparisons, or the levels.
    margin : float
        The largest difference that does not matter, in units of the metric.
    lower_is_better : bool
        For metrics such as NLL: the rule is applied to minus the differences.
    beside : str
        The metric that "level" holds equal.
    """

    name: str
    text: str
    rule: str
    pairs: tuple[tuple[Side, ...], ...]
    margin: float = 0.0
    lower_is_better: bool = False
    beside: str = ""

    def __post_init__(self) -> None:
        """Check the rule."""
        if self.rule not in RULES:
            raise InvalidInputError(f"rule is {self.rule!r}; pass one of {list(RULES)}")
        if self.rule == "hump" and (len(self.pairs) != 1 or len(self.pairs[0]) < 3):
            raise InvalidInputError(
                f"pairs of {self.name!r} is not a tuple of three or more levels"
            )
        curves = self.rule == "level"
        if curves and (len(self.pairs) != 2 or min(map(len, self.pairs)) < 2 or not self.beside):
            raise InvalidInputError(
                f"pairs of {self.name!r} is not two curves of two or more settings, with a metric "
                "beside them"
            )
        if self.rule not in ("hump", "level") and any(len(pair) != 2 for pair in self.pairs):
            raise InvalidInputError(f"pairs of {self.name!r} contains a tuple that is not a pair")
        if self.rule == "grows" and len(self.pairs) != 2:
            raise InvalidInputError(f"pairs of {self.name!r} is not two pairs")


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
    sides = [side for pair in claim.pairs for side in pair]
    sides += [Side(side.setting, claim.beside) for side in sides if claim.beside]
    found = {side: measured(side) for side in sides}
    least = {"at_least": -claim.margin, "level": -claim.margin, "hump": claim.margin}
    compared = _COMPARED.get(claim.rule, _each_pair)(claim, found, sign)
    verdicts = [
        _verdict(one.interval, sign, least.get(claim.rule, 0.0))
        if one.is_whole
        else Verdict.NOT_DECIDED
        for one in compared
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
    differences = tuple((one.left, one.right, one.interval) for one in compared)
    return Finding(claim, verdict, differences, n_without, n_values, names)


@dataclass(frozen=True)
class _Compared:
    """A difference, and whether every run behind it has a value."""

    left: Side
    right: Side
    interval: Interval | None
    is_whole: bool


_Found = Mapping[Side, Measured]


def _each_pair(claim: Claim, found: _Found, sign: float) -> list[_Compared]:
    """Compare the two sides of every pair."""
    return [_pair(left, right, found) for left, right in claim.pairs]


def _hump(claim: Claim, found: _Found, sign: float) -> list[_Compared]:
    """Compare the best inner level with both ends."""
    waiting = any(one.missing for one in found.values())  # a level not yet run may be the best
    compared = [_pair(left, right, found) for left, right in _best_against_ends(found, sign)]
    return [replace(one, is_whole=one.is_whole and not waiting) for one in compared]


def _growth(claim: Claim, found: _Found, sign: float) -> list[_Compared]:
    """Compare the difference of the first pair with that of the second."""
    names: list[Side] = []
    values: list[dict[int, float]] = []
    for left, right in claim.pairs:
        first, second = found[left].values, found[right].values
        values.append({seed: first[seed] - second[seed] for seed in first.keys() & second.keys()})
        names.append(Side(f"({left.setting} - {right.setting})", left.metric))
    whole = all(one.is_whole for one in found.values())
    return [_Compared(names[0], names[1], paired_interval(values[0], values[1]), whole)]


def _at_level(claim: Claim, found: _Found, sign: float) -> list[_Compared]:
    """Compare two curves at equal values of the metric beside them."""
    differences = differences_by_seed(
        *(
            [(found[Side(side.setting, claim.beside)].values, found[side].values) for side in sides]
            for sides in claim.pairs
        )
    )
    known = {seed: value for seed, value in differences.items() if value is not None}
    whole = all(one.is_whole for one in found.values()) and len(known) == len(differences)
    left, right = (
        Side(
            f"({', '.join(side.setting for side in sides)})",
            f"{sides[0].metric} at equal {claim.beside}",
        )
        for sides in claim.pairs
    )
    interval = paired_interval(known, dict.fromkeys(known, 0.0))
    return [_Compared(left, right, interval, whole)]


_COMPARED: dict[str, Callable[[Claim, _Found, float], list[_Compared]]] = {
    "hump": _hump,
    "grows": _growth,
    "level": _at_level,
}


def _pair(left: Side, right: Side, found: _Found) -> _Compared:
    interval = paired_interval(found[left].values, found[right].values)
    return _Compared(left, right, interval, found[left].is_whole and found[right].is_whole)


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
