"""The error where no fit met a target: what was reached, what stands in the way, the remedy."""

import math
from collections.abc import Iterable, Sequence

from fpigauss._array.checks import OutOfRangeError
from fpigauss.errors import UnreachableSeparationError
from fpigauss.fit._growth import Growth
from fpigauss.fit._options import Options
from fpigauss.fit._separation import Separation
from fpigauss.fit._trials import Seen
from fpigauss.result import Status

__all__ = ["unreachable"]

#: A tolerance above this does not tell how far apart the Gaussians will be.
_INEXACT = 1e-2


def unreachable(
    options: Options, target: Separation, seen: Sequence[Seen], low: float, growth: Growth | None
) -> UnreachableSeparationError:
    """Say what fits that converged have reached; ``low`` is the KLD that was asked for.

    ``growth`` is None if there is no fit at lam = 0.
    """
    settled = [one for one in seen if _settled(one, options)]
    best = max((s for s in settled if s.kld < low), key=lambda s: s.kld, default=seen[0])
    if growth is None:
        exact = options.strategies.equations.exact
        remedy = _remedies(options, None) if exact else 'pass equations="stationary"'
        message = f"the equations break down at lam=0, from where a {target} is sought; {remedy}"
    else:
        reason, remedy = _obstacle(options, target, seen, best=best, low=low, growth=growth)
        tried = len({one.lam for one in seen})
        message = f"none of the {tried} lam tried gives a {target}: {reason}; {remedy}"
    error = UnreachableSeparationError(message)
    error.value, error.lam = best.trial.value, best.lam
    error.path = tuple(one.trial for one in seen)
    return error


def _settled(seen: Seen, options: Options) -> bool:
    """Say whether a fit is an answer: it has converged, or with ``tol=0`` run as long as asked."""
    return seen.exact and (seen.usable if options.tol == 0.0 else _converged(seen))


def _converged(seen: Seen) -> bool:
    return seen.trial.status is Status.CONVERGED


def _obstacle(
    options: Options,
    target: Separation,
    seen: Sequence[Seen],
    *,
    best: Seen,
    low: float,
    growth: Growth,
) -> tuple[str, str]:
    """Return what stands in the way, and the remedy."""
    reached = f"the best is {_shown(best, target)}"
    if options.tol > _INEXACT:
        return f"{reached}, and fits stop early at tol={options.tol:g}", "lower tol"
    beyond = _first(s for s in seen if _settled(s, options) and s.kld >= low)
    if beyond is not None:
        reason = f"the fits jump from {_shown(best, target)} to {_shown(beyond, target)}"
        return reason, _remedies(options, growth)
    past = [one for one in seen if one.exact and one.lam > best.lam]
    begun = any(one.usable and one.lam > 0.0 for one in seen)
    failed = _first(one for one in past if not (one.usable or (begun and one.fit.unbegun)))
    if failed is not None:
        ends, remedy = _failure(failed, options, growth)
        return f"{reached}, and {ends}", remedy
    if growth.too_large:
        overflows = f"at alpha={options.alpha:g} the lam that it takes overflows"
        return f"{reached}, and {overflows}", _remedies(options, growth)
    unsettled = [one for one in seen if one.exact and not _settled(one, options)]
    if unsettled:
        ends, remedy = _unsettled(options, unsettled, growth)
        return f"{reached}, and {ends}", remedy
    largest = max(one.lam for one in seen if not one.fit.unbegun)
    return f"{reached}, and lam={largest:.4g} is the largest tried", _remedies(options, growth)


def _failure(failed: Seen, options: Options, growth: Growth) -> tuple[str, str]:
    """Say how a fit failed, and what helps."""
    at, error = f"at lam={failed.lam:.4g}", failed.fit.error
    if error is None:
        return f'fits end "{failed.trial.status}" {at}', _remedies(options, growth)
    if isinstance(error, OutOfRangeError):
        dtype = failed.fit.dtype
        remedy = "ask for less" if dtype == "float64" else "pass float64, or ask for less"
        return f"Gaussians farther apart do not fit {dtype} {at}", remedy
    lost = f"rounding leaves too little of the data beside the repulsion {at}"
    return lost, _remedies(options, growth)


def _unsettled(options: Options, fits: Sequence[Seen], growth: Growth) -> tuple[str, str]:
    """Say how many fits do not converge, and what they need."""
    slow = [one for one in fits if one.trial.status is Status.MAX_ITER]
    stalled = [one for one in fits if one.trial.status is not Status.MAX_ITER]
    told, needed = [], []
    if slow:
        told.append(f"{_plural('end', slow)} at max_iter={options.max_iter}")
    if any(one.lam < growth.critical_lam for one in slow):  # from there on, fits may go on forever
        needed.append("raise max_iter")
    if stalled:
        told.append(f"{_plural('stall', stalled)} above tol={options.tol:g}")
    if any(_residual(one) <= _INEXACT for one in stalled):
        needed.append("raise tol")
    return f"{' and '.join(told)}, not converged", _remedies(options, growth, *needed)


def _residual(seen: Seen) -> float:
    return math.inf if seen.fit.result is None else seen.fit.result.residual


def _plural(verb: str, fits: Sequence[Seen]) -> str:
    return f"1 fit {verb}s" if len(fits) == 1 else f"{len(fits)} fits {verb}"


def _remedies(options: Options, growth: Growth | None, *named: str) -> str:
    """List remedies: those ``named``, options that go farther, an alpha of a smaller lam."""
    listed = list(named)
    strategies = options.strategies
    if options.updates_covariances and not strategies.family.tied:
        others = ' or update="means", which go'
        if not strategies.equations.exact:
            others = ' and equations="stationary", which goes'
        listed.append(f"pass tied=True{others} farther")
    alpha = None if growth is None else growth.gentler_alpha
    if alpha is not None:
        listed.append(f"{'raise' if alpha > options.alpha else 'lower'} alpha to {alpha:g}")
    return ", ".join([*listed, "or ask for less"]) if listed else "ask for less"


def _shown(seen: Seen, target: Separation) -> str:
    return f"{seen.trial.value:.4g}{target.unit} at lam={seen.lam:.6g}"


def _first(seen: Iterable[Seen]) -> Seen | None:
    """Return the fit of the smallest lam."""
    return min(seen, key=lambda one: one.lam, default=None)
