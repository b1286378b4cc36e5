"""The arguments of a fit: names become objects, once, at the border."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from fpigauss._errors import InvalidInputError
from fpigauss._validation import (
    check_choice,
    check_nonnegative,
    check_positive,
    check_positive_integer,
    check_shrinkage,
    check_whole,
)
from fpigauss.covariance import CovarianceFamily, Diagonal, resolve_family
from fpigauss.equations import (
    Equations,
    PrintedEquations,
    ReleasedEquations,
    resolve_equations,
)
from fpigauss.gaussians import ClassGaussians
from fpigauss.repulsion import check_pi
from fpigauss.result import FixedPointResult
from fpigauss.solvers import Solver, resolve_solver

__all__ = ["Callback", "Options"]

#: Called once an accepted step; stops the fit by raising StopIteration.
Callback = Callable[[FixedPointResult], object]


@dataclass(frozen=True)
class Options:
    """The arguments of ``solve_fixed_point``, checked."""

    lam: float
    family: CovarianceFamily
    updates_means: bool
    updates_covariances: bool
    init: str | ClassGaussians
    pi: Any
    alpha: float
    equations: Equations
    solver: Solver
    max_iter: int
    tol: float
    shrinkage: float | str
    memory_limit: int
    progress: bool
    callback: Callback | None

    @classmethod
    def checked(
        cls,
        lam: object,
        *,
        covariance: object,
        tied: object,
        update: object,
        init: object,
        pi: object,
        alpha: object,
        equations: object,
        solver: object,
        max_iter: object,
        tol: object,
        shrinkage: object,
        memory_limit: object,
        progress: object,
        callback: Callback | None,
    ) -> Self:
        """The arguments as objects; the first that cannot be used raises InvalidInputError."""
        update = check_choice(update, "update", ("both", "means", "covariances"))
        if not isinstance(init, ClassGaussians):
            init = check_choice(init, "init", ("data", "identity"), or_else="a ClassGaussians")
        if callback is not None and not callable(callback):
            raise InvalidInputError(f"callback is {callback!r}; pass a function of one argument")
        check_pi(pi)
        reading = resolve_equations(equations)
        options = cls(
            lam=check_nonnegative(lam, "lam"),
            family=resolve_family(covariance, tied),
            updates_means=update != "covariances",
            updates_covariances=update != "means",
            init=init,
            pi=pi,
            alpha=check_positive(alpha, "alpha"),
            equations=reading,
            solver=resolve_solver(solver, reading),
            max_iter=check_whole(max_iter, "max_iter"),
            tol=check_nonnegative(tol, "tol"),
            shrinkage=check_shrinkage(shrinkage),
            memory_limit=check_positive_integer(memory_limit, "memory_limit"),
            progress=bool(progress),
            callback=callback,
        )
        options._check_reading()
        return options

    def _check_reading(self) -> None:
        """The other readings were written for fewer families and choices of pi."""
        if isinstance(self.equations, PrintedEquations) and self.family.tied:
            raise InvalidInputError(
                'equations is "printed", which has no tied covariances; '
                'pass tied=False, or equations="stationary"'
            )
        if isinstance(self.equations, ReleasedEquations):
            if type(self.family) is not Diagonal or self.family.tied:
                raise InvalidInputError(
                    'equations is "released", which has only per-class diagonal covariances; '
                    'pass covariance="diagonal" and tied=False, or equations="stationary"'
                )
            if self.pi != "forward":
                raise InvalidInputError(
                    f'pi is {self.pi!r}, but equations="released" has only pi="forward"; '
                    'pass that, or equations="stationary"'
                )
