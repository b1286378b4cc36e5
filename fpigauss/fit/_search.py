"""The search for the lam whose fitted Gaussians are as far apart as asked."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fpigauss._array.checks import OutOfRangeError, OutOfScaleError
from fpigauss.errors import InvalidInputError
from fpigauss.fit._continued import Continuation, Fit
from fpigauss.fit._growth import LARGEST_LAM, Growth
from fpigauss.fit._separation import Separation
from fpigauss.fit._trials import Seen, Trial, measured
from fpigauss.fit._unreachable import unreachable
from fpigauss.gaussians import ClassGaussians

__all__ = ["Trial", "searched"]

#: The residual that is enough to see how far apart the Gaussians will be, relative to the distance
#: of the closest two in standard deviations, and at most.
_LOOSE, _LOOSEST = 1e-3, 1e-2
#: How far past the first guesses, in either direction, to look for a lam.
_FARTHEST = 1e8
#: A lam beside which the data are not lost to rounding.
_MODERATE = 1.0
#: A bracket as narrow as this, in lam, is closed: between two loose solutions, between others, or
#: before a failure.
_CLOSED, _CLOSED_EXACTLY, _CLOSED_AT_FAILURE = 1.001, 1.0001, 1.01
#: The fits that a search with one policy may take, and how often it halves the bracket.
_MAX_FITS = 60
_HALVE = 3
#: And those of one that climbs from where cold fits begin, in steps of 1e3 up to the largest lam.
_MAX_CLIMB = 120


class _Bracket(NamedTuple):
    """The last fit before the target, the first beyond it, and the first that failed."""

    below: Seen
    above: Seen | None
    failed: Seen | None

    @property
    def closed(self) -> bool:
        """Whether there is nothing more to find in it."""
        if self.above is not None:
            exact = self.above.exact and self.below.exact
            return self.above.lam <= (_CLOSED_EXACTLY if exact else _CLOSED) * self.below.lam
        return self.failed is not None and self.failed.lam <= _CLOSED_AT_FAILURE * self.below.lam


#: Chooses where to start from for a lam within a bracket; None for a cold start.
_Policy = Callable[[_Bracket, float], ClassGaussians | None]


def _nearest(bracket: _Bracket, lam: float) -> ClassGaussians | None:
    below, above = bracket.below, bracket.above
    if above is not None and above.lam * below.lam <= lam * lam:
        return above.gaussians
    return _from_below(bracket, lam)


def _from_below(bracket: _Bracket, lam: float) -> ClassGaussians | None:
    return bracket.below.gaussians if bracket.below.lam > 0.0 else None


def _from_above(bracket: _Bracket, lam: float) -> ClassGaussians | None:
    return None if bracket.above is None else bracket.above.gaussians


def searched(
    fits: Continuation, target: Separation, near: float | None = None
) -> tuple[Fit, tuple[Trial, ...]]:
    """Return the fit that meets ``target``, or one that the callback stopped, and the path to it.

    The target is bracketed from the first guess, ``near`` if given, in steps of at most ten, then
    approached by a guarded secant in log lam. Trials are solved loosely, and the one that is close
    enough to ``tol``.
    """
    options = fits.options
    zero = measured(fits.at(0.0), target, fits)
    low, high = target.band(fits.statistics.dim)
    if zero.fit.result is None:
        raise unreachable(options, target, [zero], low, None)
    if zero.fit.stopped or zero.kld >= low:
        return zero.fit, (zero.trial,)
    gaussians = zero.fit.result.gaussians
    growth = Growth(
        options,
        pi=zero.fit.result.pi,
        n_classes=gaussians.n_classes,
        dim=gaussians.dim,
        start=zero.kld,
        aim=math.sqrt(low) * math.sqrt(high),  # whose product may underflow
    )
    reached = None
    init = options.init
    if isinstance(init, ClassGaussians) and init.n_classes == gaussians.n_classes:
        reached = target.kld(target.nats(init, held=options.held_in(init)), gaussians.dim)
    first = growth.first(reached) if near is None else near
    search = _Search(fits, target, growth, zero)
    return search.found(first), tuple(seen.trial for seen in search.all)


class _Search:
    """The fits that were seen, and those of them that the bracket is made of."""

    def __init__(self, fits: Continuation, target: Separation, growth: Growth, zero: Seen) -> None:
        self.fits, self.target, self.growth = fits, target, growth
        self.low, self.high = target.band(growth.dim)
        self.zero, self.seen, self.all = zero, [zero], [zero]
        exact = fits.options.strategies.equations.exact
        loose = min(_LOOSE * math.sqrt(2.0 * self.low), _LOOSEST)
        self.tol = max(fits.options.tol, loose) if exact else fits.options.tol

    def found(self, first: float) -> Fit:
        """Search from a first guess; where the solutions jump, along each of their branches."""
        guesses = (first, self.growth.first(None))
        range_of_lam = (min(guesses) / _FARTHEST, min(max(guesses) * _FARTHEST, LARGEST_LAM))
        found = self._tried(first, None) or self._closed_in(_nearest, range_of_lam)
        if found is None:
            found = self._cold_again(range_of_lam)
        for policy in (_from_below, _from_above):
            above = [seen for seen in self.all if seen.exact and self._is_above(seen)]
            if found is not None or not above:
                break
            # the branch from below ends somewhere past the jump, the one from above before it
            lowest, farthest = (choice(above, key=lambda seen: seen.lam) for choice in (min, max))
            below = self._bracket().below
            if (
                below.lam >= farthest.lam
            ):  # where KLDs fall again, the last that was seen is far off
                below = self.zero
            ends = (below, farthest) if policy is _from_below else (self.zero, lowest)
            self.seen = [*ends, *self._failed()]
            found = self._closed_in(policy, range_of_lam)
        if found is None:
            raise unreachable(self.fits.options, self.target, self.all, self.low, self.growth)
        return found

    def _cold_again(self, range_of_lam: tuple[float, float]) -> Fit | None:
        """Search with cold fits to ``tol``: loose or warm ones may fail or jump where these do not.

        It begins where the search has ended. Where cold fits cannot start, warm ones go on.
        """
        below, above, failed = self._bracket()
        end = above or failed or below
        self.tol, self.seen = self.fits.options.tol, [self.zero]
        return self._tried(end.lam, None) or self._closed_in(self._cold, range_of_lam)

    @property
    def _unbegun(self) -> Seen | None:
        """The cold fit that could not begin, at the smallest lam."""
        return _lowest(seen for seen in self.all if seen.fit.unbegun)

    def _cold(self, bracket: _Bracket, lam: float) -> ClassGaussians | None:
        unbegun = self._unbegun
        return None if unbegun is None or lam < unbegun.lam else _from_below(bracket, lam)

    def _failed(self) -> list[Seen]:
        return [seen for seen in self.seen if not seen.usable]

    def _tried(self, lam: float, start: ClassGaussians | None) -> Fit | None:
        """Fit at ``lam``, loosely and then to ``tol`` if that is close enough."""
        seen = self._at(lam, start)
        if self._hit(seen) and self.tol != self.fits.options.tol and not seen.fit.stopped:
            self.tol = self.fits.options.tol
            self.seen.remove(seen)
            seen = self._at(lam, seen.gaussians)
        return seen.fit if self._hit(seen) or seen.fit.stopped else None

    def _at(self, lam: float, start: ClassGaussians | None) -> Seen:
        exact = self.tol == self.fits.options.tol
        try:
            fit = self.fits.at(lam, start, self.tol)
        except InvalidInputError as error:
            # the data are fine, as lam = 0 has shown: the Gaussians, or those before, are not
            if start is None and not isinstance(error, OutOfRangeError | OutOfScaleError):
                raise
            dtype = str(self.fits.like.dtype).removeprefix("torch.")
            fit = Fit(lam, None, error=error, dtype=dtype, cold=start is None)
        seen = measured(fit, self.target, self.fits, exact=exact)
        self.seen.append(seen)
        self.all.append(seen)
        return seen

    def _hit(self, seen: Seen) -> bool:
        return seen.usable and self.low <= seen.kld <= self.high

    def _is_above(self, seen: Seen) -> bool:
        return seen.usable and seen.kld > self.high

    def _bracket(self) -> _Bracket:
        above = _lowest(filter(self._is_above, self.seen))
        limit = math.inf if above is None else above.lam
        unmet = (s for s in self.seen if s.usable and s.kld < self.low and s.lam < limit)
        below = max(unmet, key=lambda seen: seen.lam)
        barred = (s for s in self.seen if not s.usable and s.lam > below.lam)
        if below.lam > 0.0:  # warm starts do not fail where cold ones cannot begin
            barred = (s for s in barred if not s.fit.unbegun)
        failed = _lowest(barred)
        return _Bracket(below, above if failed is None or failed.lam > limit else None, failed)

    def _closed_in(self, policy: _Policy, range_of_lam: tuple[float, float]) -> Fit | None:
        """Narrow the bracket until a fit in it hits the target; None if it closes first."""
        smallest, largest = range_of_lam
        for count in range(1, _MAX_CLIMB):
            climbs = self._unbegun is not None
            if count >= _MAX_FITS and not climbs:
                return None
            bracket = self._bracket()
            lam = self._next_lam(bracket, halve=count % _HALVE == 0)
            if climbs:
                smallest = min(smallest, _MODERATE)
            if bracket.closed or not smallest <= lam <= largest:
                return None
            found = self._tried(lam, policy(bracket, lam))
            if found is not None:
                return found
        return None

    def _next_lam(self, bracket: _Bracket, *, halve: bool) -> float:
        below, above, failed = bracket
        if above is not None and below.lam > 0.0:
            part = 0.5 if halve else self.growth.part(below.kld, above.kld)
            return below.lam * math.pow(above.lam / below.lam, part)
        if above is not None:
            return above.lam * self.growth.shrinkage(above.kld)
        if below.lam == 0.0:
            assert failed is not None  # the first fit was neither
            if failed.fit.unbegun and failed.lam > self.growth.step**2:
                return math.sqrt(failed.lam)
            return failed.lam / self.growth.step
        lam = below.lam * self.growth.factor(below.kld, self._earlier(below))
        return lam if failed is None else min(lam, math.sqrt(below.lam) * math.sqrt(failed.lam))

    def _earlier(self, below: Seen) -> tuple[float, float] | None:
        """Say by what factor lam grew to ``below`` from the fit before, and the KLD there."""
        before = [seen for seen in self.seen if seen.usable and 0.0 < seen.lam < below.lam]
        if not before:
            return None
        last = max(before, key=lambda seen: seen.lam)
        return below.lam / last.lam, last.kld


def _lowest(seen: Iterable[Seen]) -> Seen | None:
    return min(seen, key=lambda one: one.lam, default=None)
