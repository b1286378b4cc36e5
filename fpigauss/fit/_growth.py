"""How the separation grows with lam, to choose the lam to try next."""

import math
from dataclasses import dataclass, replace
from typing import Any

from fpigauss.fit._balance import log_balance
from fpigauss.fit._options import Options

__all__ = ["LARGEST_LAM", "Growth"]

#: Any larger lam may overflow in a fit.
LARGEST_LAM = 1e307

#: The largest step in lam from one warm start to the next, and where the repulsion is bounded.
_STEP, _BOUNDED_STEP = 10.0, 1e3
#: The smallest step, and the parts of a bracket that a secant may take.
_SMALLEST_STEP = 1.02
_PARTS = (0.05, 0.95)
#: Slopes of log lam over log growth that are believed.
_SLOPES = (0.2, 5.0)
#: The part of lam* to try first: a local minimum may survive past it, but need not.
_BELOW_CRITICAL = 0.9
#: The smallest and the largest exponent of a guess.
_EXPONENTS = (-600.0, 690.0)
#: By what factor another alpha has to lower lam to be named, as a logarithm.
_GENTLER = math.log(100.0)


@dataclass(frozen=True)
class Growth:
    """The law by which lam moves classes from where the data are: lam ~ balance(D) - balance(D_0).

    It holds up to a factor that changes slowly, and which the fits that were made tell.
    """

    options: Options
    pi: Any
    n_classes: int
    dim: int
    #: The smallest KLD at lam = 0, and the one to aim at.
    start: float
    aim: float

    @property
    def step(self) -> float:
        """The largest factor between two lam."""
        return _BOUNDED_STEP if self.options.strategies.repulsion.bounded else _STEP

    def balance(self, kld: float) -> float:
        """Compute the log lam that puts all pairs ``kld`` nats apart, data aside."""
        return log_balance(self.options, self.pi, self.n_classes, kld)

    def at(self, kld: float) -> float:
        """Compute the log lam for a smallest KLD, up to a constant; NaN if that is not known."""
        before, after = self.balance(self.start), self.balance(kld)
        if not before < after < math.inf:
            return math.nan
        return after + math.log(-math.expm1(before - after))

    @property
    def critical_lam(self) -> float:
        """The lam below which a minimum is certain; NaN if none is known."""
        options = self.options
        if not options.updates_covariances:
            return math.inf
        return options.strategies.repulsion.critical_lam(
            options.strategies.family, self.n_classes, self.dim, options.alpha
        )

    @property
    def too_large(self) -> bool:
        """Whether the lam for the KLD to aim at, data aside, is beyond floating-point numbers."""
        return self.balance(self.aim) > math.log(LARGEST_LAM)

    @property
    def gentler_alpha(self) -> float | None:
        """The alpha whose lam for the KLD to aim at is the smallest; None if it helps little.

        The force at a KLD of D is the largest where alpha pi is D, and where pi moves with the
        Gaussians, where alpha is 1. That is for tied families, and where covariances stay.
        """
        if self.options.updates_covariances and not self.options.strategies.family.tied:
            return None
        fixed = isinstance(self.pi, float) and self.options.strategies.repulsion.has_potential
        alpha = self.aim / self.pi if fixed else 1.0
        alpha = float(f"{alpha:.2g}")
        if not 0.0 < alpha < math.inf:
            return None
        there = log_balance(replace(self.options, alpha=alpha), self.pi, self.n_classes, self.aim)
        helps = there < self.balance(self.aim) - _GENTLER and there <= math.log(LARGEST_LAM)
        return alpha if helps else None

    def first(self, reached: float | None) -> float:
        """Guess the lam for the KLD to aim at; ``reached`` is that of Gaussians to start from."""
        least, most = _EXPONENTS
        largest = max(min(self.balance(self.aim), most), least)
        if reached is not None and not self.options.strategies.repulsion.bounded:
            # a fit does not walk to a lam that is far past a warm start
            largest = min(largest, math.log(self.step) + self.balance(max(1.0, reached)))
        lam = math.exp(_within(self.at(self.aim), least, largest, otherwise=largest))
        return _BELOW_CRITICAL * self.critical_lam if lam > self.critical_lam else lam

    def factor(self, kld: float, earlier: tuple[float, float] | None) -> float:
        """Say by what factor lam should grow from where ``kld`` is reached.

        ``earlier`` is by what factor it grew last, and the KLD before that.
        """
        slope, here = 1.0, self.at(kld)
        if earlier is not None:
            grown, before = earlier
            slope = _within((here - self.at(before)) / math.log(grown), *_SLOPES, otherwise=1.0)
        exponent = (self.at(self.aim) - here) / slope
        largest = math.log(self.step)
        return math.exp(_within(exponent, math.log(_SMALLEST_STEP), largest, otherwise=largest))

    def part(self, below: float, above: float) -> float:
        """Say what part of a bracket in log lam to take, from the KLDs at its ends."""
        low, high = self.at(below), self.at(above)
        part = (self.at(self.aim) - low) / (high - low)
        return _within(part, *_PARTS, otherwise=0.5) if 0.0 < part < 1.0 else 0.5

    def shrinkage(self, above: float) -> float:
        """Say to what part of a lam beyond the target to go, when the data are all there is below.

        ``above`` is the KLD there.
        """
        exponent = self.at(self.aim) - self.at(above)
        return math.exp(_within(exponent, math.log(0.01), math.log(0.98), otherwise=math.log(0.1)))


def _within(x: float, low: float, high: float, *, otherwise: float) -> float:
    """Clip a number, and replace NaN."""
    return otherwise if math.isnan(x) else min(max(x, low), high)
