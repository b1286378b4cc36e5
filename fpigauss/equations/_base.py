"""What the fit asks of a set of equations."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from fpigauss.covariance import CovarianceFamily
from fpigauss.equations._problem import Evaluation, Point, Problem
from fpigauss.errors import InvalidInputError
from fpigauss.repulsion import Repulsion

__all__ = ["Equations"]


@dataclass(frozen=True, eq=False)
class Equations(ABC):
    """A set of fixed-point equations: an update and an objective at every point."""

    #: The name in messages.
    name: ClassVar[str]
    #: Whether fixed points are the stationary points of Eq. 4, in any frame: evaluations then
    #: carry a ``Descent``, the gradients that a solver descends by.
    exact: ClassVar[bool] = False
    #: Whether class variances are divided by N_y - 1, at the start and in every update.
    unbiased: ClassVar[bool] = False
    #: Whether the iteration runs away where the objective has no minimum.
    runs_away: ClassVar[bool] = True

    def check_family(self, family: CovarianceFamily) -> None:
        """Raise InvalidInputError if the equations do not hold for ``family``."""
        return  # they hold for every family

    def holds_for(self, family: CovarianceFamily) -> bool:
        """Say whether the equations hold for ``family``."""
        try:
            self.check_family(family)
        except InvalidInputError:
            return False
        return True

    def check_repulsion(self, repulsion: Repulsion, pi: Any) -> None:
        """Raise InvalidInputError if the equations do not hold for ``repulsion``, from ``pi=``."""
        return  # and for every pi

    @abstractmethod
    def evaluate(
        self, problem: Problem, point: Point, departure: Evaluation | None = None
    ) -> Evaluation:
        """Evaluate update, objective and residual at ``point``, reached from ``departure``."""

    def imbalance(self, problem: Problem, evaluation: Evaluation) -> float:
        """Measure the forces that do not cancel, relative to those there are; 0 if not exact."""
        return 0.0
