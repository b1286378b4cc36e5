"""The search for the lam whose fitted Gaussians are as far apart as asked."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fpigauss.errors import UnreachableSeparationError
from fpigauss.fit._continued import Continuation, Fit
from fpigauss.fit._separation import Separation
from fpigauss.gaussians import ClassGaussians
from fpigauss.result import Status

__all__ = ["Search", "Trial"]

#: The residual that is enough to see how far apart the Gaussians will be.
_LOOSE = 1e-2
#: The largest step in lam from one warm start to the next, and where the repulsion is bounded.
_STEP, _BOUNDED_STEP = 10.0, 1e3
#: How far past the first guess to look for a lam that is large enough.
_FARTHEST = 1e8
#: A bracket as narrow as this, in lam, is closed: between two solutions, or before a failure.
_CLOSED, _CLOSED_AT_FAILURE = 1.001, 1.01
#: The part of lam* to try first: a local minimum may survive past it, but need not.
_BELOW_CRITICAL = 0.9
_MAX_FITS = 60


class Trial(NamedTuple):
    """A fit on the way to a target.

    Attributes
    ----------
    lam : float
        The weight of the repulsion.
    value : float
        What was asked for, at the fitted Gaussians; NaN if there are none.
    status : Status
        How the fit ended.
    n_iter : int
        Its evaluations.
    """

    lam: float
    value: float
    status: Status
    n_iter: int


class _Seen(NamedTuple):
    """A fit, and the smallest KLD that goes with its separation."""

    fit: Fit
    kld: float

    @property
    def lam(self) -> float:
        return self.fit.lam

    @property
    def gaussians(self) -> ClassGaussians:
        assert self.fit.result is not None  # it is usable
        return self.fit.result.gaussians


class _Bracket(NamedTuple):
    """The last fit before the target, the first beyond it, and the lam of the first failure."""

    below: _Seen
    above: _Seen | None
    failed: float

    @property
    def closed(self) -> bool:
        """Whether there is nothing more to find in it."""
        if self.above is not None:
            return self.above.lam <= _CLOSED * self.below.lam
        return self.failed <= _CLOSED_AT_FAILURE * self.below.lam


#: Chooses where to start from for a lam within a bracket; None for a cold start.
_Policy = Callable[[_Bracket, float], _Seen | None]


def _nearest(bracket: _Bracket, lam: float) -> _Seen | None:
    below, above = bracket.below, bracket.above
    if above is not None and above.lam * below.lam <= lam * lam:
        return above
    return below if below.lam > 0.0 else None


def _from_below(bracket: _Bracket, lam: float) -> _Seen | None:
    return bracket.below if bracket.below.lam > 0.0 else None


def _from_above(bracket: _Bracket, lam: float) -> _Seen | None:
    return bracket.above


class Search:
    """Bracket the target in tenfold steps, then close in on it by a guarded secant in log lam.

    The trials are solved loosely; the one that is close enough is then solved to ``tol``.
    """

    def __init__(self, fits: Continuation, target: Separation, near: float | None) -> None:
        self.fits, self.target, self.near = fits, target, near
        self.path: list[Trial] = []
        self.seen: list[_Seen] = []
        exact = fits.options.strategies.equations.exact
        self.tol = max(fits.options.tol, _LOOSE) if exact else fits.options.tol

    def found(self) -> Fit:
        """Return the fit that meets the target, or one that was stopped."""
        zero = self._at(0.0, None, tol=self.fits.options.tol)
        if zero.fit.result is None:
            raise self._unreachable()
        self.zero, dim = zero, zero.gaussians.dim
        self.low, self.high = self.target.band(dim)
        if zero.fit.stopped or zero.kld >= self.low:
            return zero.fit
        self.first = self._first_lam(zero)
        found = self._tried(self.first, None) or self._closed_in(_nearest)
        for policy in (_from_below, _from_above):
            bracket = self._bracket()
            if found is not None or bracket.above is None:
                break
            # the solutions jump there: each branch may reach farther than the other's end
            farthest = max((s for s in self.seen if self._is_above(s)), key=lambda s: s.lam)
            ends = (bracket.below, farthest) if policy is _from_below else (zero, bracket.above)
            self.seen = [*ends, *(s for s in self.seen if not s.fit.usable)]
            found = self._closed_in(policy)
        if found is None:
            raise self._unreachable()
        return found

    # -- fits ------------------------------------------------------------------------------

    def _at(self, lam: float, start: _Seen | None, *, tol: float) -> _Seen:
        fit = self.fits.at(lam, None if start is None else start.gaussians, tol)
        nats = math.nan if fit.result is None else self.target.nats(fit.result.gaussians)
        self.path.append(Trial(lam, self.target.shown(nats), fit.status, fit.n_iter))
        dim = self.fits.statistics.dim
        seen = _Seen(fit, self.target.kld(nats, dim) if nats == nats else nats)
        self.seen.append(seen)
        return seen

    def _tried(self, lam: float, start: _Seen | None) -> Fit | None:
        """Fit at ``lam``, loosely and then to ``tol`` if that is close enough."""
        tol = self.fits.options.tol
        seen = self._at(lam, start, tol=self.tol)
        if self._hit(seen) and self.tol != tol and not seen.fit.stopped:
            self.seen.pop()
            seen = self._at(lam, seen, tol=tol)
            self.tol = tol
        return seen.fit if self._hit(seen) or seen.fit.stopped else None

    def _hit(self, seen: _Seen) -> bool:
        return seen.fit.usable and self.low <= seen.kld <= self.high

    def _is_above(self, seen: _Seen) -> bool:
        return seen.fit.usable and seen.kld > self.high

    # -- the bracket -----------------------------------------------------------------------

    def _bracket(self) -> _Bracket:
        above = min((s for s in self.seen if self._is_above(s)), key=lambda s: s.lam, default=None)
        limit = math.inf if above is None else above.lam
        unmet = (s for s in self.seen if s.fit.usable and s.kld < self.low and s.lam < limit)
        below = max(unmet, key=lambda s: s.lam)
        failed = (s.lam for s in self.seen if not s.fit.usable and s.lam > below.lam)
        return _Bracket(below, above, min(failed, default=math.inf))

    def _closed_in(self, policy: _Policy) -> Fit | None:
        """Narrow the bracket until a fit in it hits the target; None if it closes first."""
        for count in range(_MAX_FITS):
            bracket = self._bracket()
            if bracket.closed:
                return None
            lam = self._next_lam(bracket, halve=count % 3 == 2)
            if not _FARTHEST**-1 * self.first <= lam <= _FARTHEST * self.first:
                return None
            found = self._tried(lam, policy(bracket, lam))
            if found is not None:
                return found
        return None

    def _next_lam(self, bracket: _Bracket, *, halve: bool) -> float:
        below, above, failed = bracket
        if above is None:
            if below.lam == 0.0:
                return failed / _STEP
            ahead = self._extrapolated(below)
            bounded = self.fits.options.strategies.repulsion.bounded
            step = _BOUNDED_STEP if bounded else _STEP
            lam = below.lam * min(max(ahead, 1.02), step)
            return min(lam, math.sqrt(below.lam * failed)) if failed < math.inf else lam
        if below.lam == 0.0:
            part = math.exp(self._growth(self.aim) - self._growth(above.kld))
            return above.lam * (min(max(part, 0.01), 0.98) if part == part else 0.1)
        width = math.log(above.lam / below.lam)
        ends = self._growth(below.kld), self._growth(above.kld)
        part = (self._growth(self.aim) - ends[0]) / (ends[1] - ends[0])
        part = 0.5 if halve or not 0.0 < part < 1.0 else min(max(part, 0.05), 0.95)
        return below.lam * math.exp(part * width)

    # -- how the separation grows with lam -------------------------------------------------

    @property
    def aim(self) -> float:
        """The KLD to aim at, amid those that are close enough."""
        return math.sqrt(self.low * self.high)

    def _force(self, kld: float) -> float:
        """Compute -log W of a pair: lam grows as 1 / W where it outweighs the data.

        Where pi moves with the Gaussians, W falls as 1 / D, as that of "forward" does.
        """
        options, result = self.fits.options, self.zero.fit.result
        repulsion = options.strategies.repulsion.at_start(None if result is None else result.pi)
        pi = None if result is None else result.pi
        if repulsion.has_potential and (pi is None or isinstance(pi, float)):
            with np.errstate(all="ignore"):
                kernel = repulsion.kernel(np.asarray(kld), pi, options.alpha)
                return float(-np.log(kernel))
        return math.log(kld) + 1.0 / options.alpha + math.log(options.alpha)

    def _growth(self, kld: float) -> float:
        """Compute the logarithm of what lam is proportional to, up to its own slow changes."""
        before, after = self._force(self.zero.kld), self._force(kld)
        if not before < after < math.inf:
            return math.nan
        return after + math.log(-math.expm1(before - after))

    def _first_lam(self, zero: _Seen) -> float:
        """Guess the lam: there the repulsion balances the data, and the classes part as asked."""
        if self.near is not None:
            return self.near
        options, n_classes = self.fits.options, zero.gaussians.n_classes
        few = math.log(0.5 * (n_classes - 1))
        largest = few + self._force(self.low)
        if isinstance(options.init, ClassGaussians) and not options.strategies.repulsion.bounded:
            # a fit does not walk to a lam that is far past a warm start
            kld = self.target.kld(self.target.nats(options.init), zero.gaussians.dim)
            largest = min(largest, math.log(_STEP) + few + self._force(max(1.0, kld)))
        growth = few + self._growth(self.aim)
        lam = math.exp(min(growth, largest, 600.0)) if growth == growth else 1.0
        if not options.updates_covariances:
            return lam
        critical = options.strategies.repulsion.critical_lam(
            options.strategies.family, n_classes, zero.gaussians.dim, options.alpha
        )
        return _BELOW_CRITICAL * critical if lam > critical else lam

    def _extrapolated(self, below: _Seen) -> float:
        """Return the factor by which lam should grow from that of ``below``."""
        here, there = self._growth(below.kld), self._growth(self.aim)
        earlier = [s for s in self.seen if s.fit.usable and 0.0 < s.lam < below.lam]
        slope = 1.0
        if earlier:
            before = max(earlier, key=lambda s: s.lam)
            slope = (here - self._growth(before.kld)) / math.log(below.lam / before.lam)
        slope = min(max(slope, 0.2), 5.0) if slope == slope else 1.0
        exponent = (there - here) / slope
        return math.exp(min(exponent, 100.0)) if exponent == exponent else math.inf

    # -- failing ---------------------------------------------------------------------------

    def _unreachable(self) -> UnreachableSeparationError:
        """Return the error that says what was reached, what stands in the way, and the remedy."""
        options, target = self.fits.options, self.target
        usable = [s for s in self.seen if s.fit.usable]
        reason = "the equations broke down at lam=0"
        best = Trial(math.nan, math.nan, Status.DIVERGED, 0)
        if usable:
            bracket = self._bracket()
            best = _trial_of(bracket.below, self.path)
            reason = f"the farthest apart were {best.value:.4g}, at lam={best.lam:.4g}"
            if bracket.above is not None:
                beyond = _trial_of(bracket.above, self.path)
                reason = (
                    f"the fits jump from {best.value:.4g} at lam={best.lam:.6g} "
                    f"to {beyond.value:.4g} at lam={beyond.lam:.6g}"
                )
            elif bracket.failed < math.inf:
                end = next(t for t in self.path if t.lam == bracket.failed)
                reason += f', and at lam={end.lam:.4g} the fit ends "{end.status}"'
        remedy = "raise max_iter, or ask for less"
        if not options.strategies.family.tied:
            exact = "" if options.strategies.equations.exact else ' and equations="stationary"'
            remedy = f"pass tied=True{exact}, with which every separation can be reached, or ask for less"
        error = UnreachableSeparationError(f"no lam gives a {target}: {reason}; {remedy}")
        error.value, error.lam, error.path = best.value, best.lam, tuple(self.path)
        return error


def _trial_of(seen: _Seen, path: list[Trial]) -> Trial:
    return next(trial for trial in reversed(path) if trial.lam == seen.lam)
