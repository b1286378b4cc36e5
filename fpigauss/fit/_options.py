"""The options of a fit, each declared once: name, type, default, documentation and check."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, Self, TypeAlias

import numpy as np

from fpigauss._array.checks import (
    check_choice,
    check_flag,
    check_nonnegative,
    check_positive,
    check_positive_integer,
    check_takes_one,
    check_whole,
)
from fpigauss._array.labels import as_classes, listed
from fpigauss._array.typing import Labels, Mask, PiFunction
from fpigauss.covariance import (
    CovarianceFamily,
    FamilyName,
    ShrinkageName,
    check_shrinkage,
    resolve_family,
)
from fpigauss.equations import Equations, EquationsName, resolve_equations
from fpigauss.errors import InvalidInputError, UnknownOptionError
from fpigauss.gaussians import ClassGaussians, gaussians_to_pass
from fpigauss.repulsion import PiName, Repulsion, resolve_repulsion
from fpigauss.result import FixedPointResult
from fpigauss.solvers import Solver, SolverName, resolve_solver

__all__ = [
    "Callback",
    "FrozenLabels",
    "InitName",
    "Options",
    "Strategies",
    "UpdateName",
    "check_option_names",
]

#: Called after every accepted step; stops the fit by raising StopIteration.
Callback: TypeAlias = Callable[[FixedPointResult], object]

UpdateName: TypeAlias = Literal["both", "means", "covariances"]
InitName: TypeAlias = Literal["data", "identity"]

#: Labels of classes: integers or strings.
FrozenLabels: TypeAlias = Sequence[int | str] | Labels


@dataclass(frozen=True)
class Strategies:
    """The objects that the names among the options stand for."""

    family: CovarianceFamily
    repulsion: Repulsion
    equations: Equations
    solver: Solver


# -- the checks of single options: each returns the value ----------------------------------


def _check_lam(value: object, name: str) -> float | None:
    return None if value is None else check_nonnegative(value, name)


def _check_update(value: object, name: str) -> str:
    return check_choice(value, name, ("both", "means", "covariances"))


def _check_init(value: object, name: str) -> object:
    if isinstance(value, ClassGaussians):
        return value
    return check_choice(value, name, ("data", "identity"), or_else=gaussians_to_pass(value))


def _check_frozen(value: Any, name: str) -> tuple[int | str, ...]:
    """Check labels, and take them as a sorted tuple."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        value = value if hasattr(value, "dtype") else list(value)
        return tuple(as_classes(value, name).tolist()) if len(value) > 0 else ()
    raise InvalidInputError(f"{name} is {value!r}; pass a sequence of labels")


def _check_pi(value: object, name: str) -> object:
    """Check a number, and take it as a float; names, functions and objects are resolved later."""
    if isinstance(value, str):  # strings of numpy have __float__
        return value
    if hasattr(value, "__float__") and not getattr(value, "ndim", 0) and not callable(value):
        return check_positive(value, name)
    return value


def _check_progress(value: object, name: str) -> bool:
    return bool(value)


def _check_callback(value: object, name: str) -> object:
    if value is not None and not callable(value):
        raise InvalidInputError(f"{name} is {value!r}; pass a function of one argument")
    if value is not None:
        check_takes_one(value, name, "pass a function of one argument, the result so far")
    return value


def _check_comparable(strategies: Strategies, n_init: int) -> None:
    """Raise if results of several starts cannot be compared: L is not one function."""
    if not strategies.equations.exact:
        raise InvalidInputError(
            f"n_init is {n_init}, but fixed points of the {strategies.equations.name} equations do "
            'not minimize the objective; pass n_init=1, or equations="stationary"'
        )
    if not strategies.repulsion.has_potential:
        raise InvalidInputError(
            f"n_init is {n_init}, but objectives do not compare where pi depends on the Gaussians; "
            'pass n_init=1, or pi="forward", "initial" or a number'
        )


def _resolved_later(value: object, name: str) -> object:
    """Return the value: it is checked later, together with others."""
    return value


def option(
    default: Any,
    doc: str,
    check: Callable[[object, str], Any] = _resolved_later,
    *,
    command: str | None = "",
) -> Any:
    """Declare an option: its default, documentation and check; its annotation names its values.

    ``command`` is the documentation on the command line where that differs, or None if the option
    does not exist there.
    """
    return field(default=default, metadata={"doc": doc, "check": check, "command": command})


class _OfInit:
    """The signature that a class has by its own ``__init__``, although ``__new__`` takes all."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        signature = inspect.signature(owner.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])


@dataclass(frozen=True, repr=False)
class Options:
    """The options of a fit, checked on construction."""

    __signature__ = _OfInit()

    lam: float | None = option(
        None,
        "The weight of the repulsion, >= 0. At 0 the answer is the class means and covariances.",
        _check_lam,
    )
    _: KW_ONLY
    covariance: FamilyName | CovarianceFamily = option("diagonal", "The covariance family.")
    tied: bool = option(
        False,
        "One covariance shared by all classes. Tied families have a minimum for every ``lam``; "
        'per-class ones with ``pi="forward"`` have one below ``critical_lam``.',
        check_flag,
    )
    update: UpdateName = option(
        "both", "What is updated; the rest stays as initialized.", _check_update
    )
    init: InitName | ClassGaussians = option(
        "data",
        "Class means with class covariances, or with identity covariances; or, as a warm start, "
        "Gaussians of the same family, dimension and classes.",
        _check_init,
        command="Class means with class covariances, or with identity covariances; or, as a warm "
        "start, a file of Gaussians of the same family, dimension and classes.",
    )
    pi: PiName | float | PiFunction | Repulsion = option(
        "forward",
        "pi_KLD: each pair's own divergence (Eq. 9), the mean of all (Eq. 10), that mean at the "
        "initial Gaussians, a positive number, or a function of the (K, K) matrix of divergences "
        "that returns a positive number or (K, K) matrix.",
        _check_pi,
        command="pi_KLD: each pair's own divergence (Eq. 9), the mean of all (Eq. 10), that mean "
        "at the initial Gaussians, or a positive number.",
    )
    alpha: float = option(1.0, "The scale of pi, > 0.", check_positive)
    equations: EquationsName | Equations = option(
        "stationary",
        "The paper's equations: exact, as printed, or as in the authors' code.",
    )
    solver: SolverName | Solver = option(
        "auto",
        '"auto" is "accelerated" for the stationary equations and "picard" for the others.',
    )
    max_iter: int = option(
        1000,
        "The largest number of evaluations (passes over all pairs of classes), not counting the "
        "one at the start.",
        check_whole,
    )
    tol: float = option(
        1e-6,
        "The residual to reach (see ``FixedPointResult``); the forces on every covariance must "
        "also balance, to ``100 tol``. 0 asks for ``max_iter`` evaluations, fewer where no step "
        "improves beyond rounding.",
        check_nonnegative,
    )
    shrinkage: float | ShrinkageName = option(
        0.0,
        "Shrink each class covariance toward its own scaled identity first, by a part in [0, 1].",
        check_shrinkage,
    )
    frozen: FrozenLabels = option(
        (),
        "Labels of classes whose Gaussians, those of ``init``, are kept exactly while the others "
        "are fitted. They need no samples, and ``init`` may lack the others, which then start from "
        "the data. A shared covariance is still updated, to that of the samples, except with "
        '``update="means"``.',
        _check_frozen,
        command="The label of a class whose Gaussian, that of ``init=FILE``, is kept exactly while "
        "the others are fitted; repeat it for more classes, or pass all for those of the file. "
        "They need no samples, and the file may lack the others, which then start from the data. "
        "A shared covariance is still updated, except with ``update=means``.",
    )
    n_init: int = option(
        1,
        "The number of starts: the first is ``init``, the others have its means permuted or moved "
        "and its covariances scaled, the same ones in every fit. The result with the smallest "
        "objective is kept, of those that have converged if there are any. ``max_iter`` holds for "
        "each start.",
        check_positive_integer,
    )
    memory_limit: int = option(
        2**30,
        "The largest number of bytes for the pairwise part, and again for the solver's history.",
        check_positive_integer,
    )
    progress: bool = option(False, "Show a progress bar.", _check_progress, command=None)
    callback: Callback | None = option(
        None,
        'Called with a FixedPointResult of status "running" after every accepted step; stops the '
        "fit by raising StopIteration.",
        _check_callback,
        command=None,
    )

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Refuse what is not an option, by a message that names the nearest one."""
        check_option_names(options, known=list(inspect.signature(cls.__init__).parameters)[1:])
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Check each option, then their combination."""
        for declared in fields(self):
            check = declared.metadata.get("check")
            if check is not None:  # a subclass may have fields of its own
                value = check(getattr(self, declared.name), declared.name)
                object.__setattr__(self, declared.name, value)
        strategies = self.strategies
        strategies.equations.check_family(strategies.family)
        strategies.equations.check_repulsion(strategies.repulsion, self.pi)
        if self.n_init > 1:
            _check_comparable(strategies, self.n_init)
        if isinstance(self.init, ClassGaussians):
            _check_held(self.frozen, self.init)

    @cached_property
    def strategies(self) -> Strategies:
        """What the names among the options stand for."""
        equations = resolve_equations(self.equations)
        return Strategies(
            family=resolve_family(self.covariance, self.tied),
            repulsion=resolve_repulsion(self.pi),
            equations=equations,
            solver=resolve_solver(self.solver, equations),
        )

    def __repr__(self) -> str:
        """Show the options that are not at their defaults."""
        given = [
            f"{declared.name}={getattr(self, declared.name)!r}"
            for declared in fields(self)
            if declared.repr and getattr(self, declared.name) != declared.default
        ]
        return f"{type(self).__name__}({', '.join(given)})"

    @property
    def updates_means(self) -> bool:
        """Whether the means are updated."""
        return self.update != "covariances"

    @property
    def updates_covariances(self) -> bool:
        """Whether the covariances are updated."""
        return self.update != "means"

    def check_start(self) -> None:
        """Raise if classes are frozen, and there are no Gaussians of them to start from.

        Whoever puts in ``init`` after construction needs this check before the work.
        """
        if self.frozen and not isinstance(self.init, ClassGaussians):
            raise InvalidInputError(
                f'frozen is {self.frozen!r}, but init is "{self.init}"; pass as init the '
                "ClassGaussians that hold these classes"
            )

    def held_in(self, gaussians: ClassGaussians) -> Mask | None:
        """Mark the frozen ones of the classes of Gaussians (K,); None if there are none."""
        return np.isin(gaussians.classes, self.frozen) if self.frozen else None


def _check_held(frozen: Iterable[int | str], init: ClassGaussians) -> None:
    """Raise for the first of the frozen classes that ``init`` does not have."""
    held = set(init.classes.tolist())
    for label in frozen:
        if label not in held:
            raise InvalidInputError(
                f"frozen has the class {label!r}, but init has only {listed(init.classes)}; "
                "pass Gaussians that have it, or leave it out of frozen"
            )


#: How far apart classes should be, by the names that one call or another has for it.
_TARGETS = ("separation", "min_kld", "max_overlap", "per_dim")


def check_option_names(
    names: Iterable[Any], known: Iterable[str] | None = None, *, of: str = "a fit"
) -> None:
    """Raise UnknownOptionError for the first keyword that is not an option of a fit."""
    options = [declared.name for declared in fields(Options)] if known is None else list(known)
    for name in names:
        if name not in options:
            remedy = _remedy(str(name), options)
            raise UnknownOptionError(f"{name} is not an option of {of}; {remedy}")


def _remedy(name: str, options: list[str]) -> str:
    """Say what to pass instead of an option that is not among ``options``."""
    begun = [option for option in options if name.startswith(option)]  # tolerance, say
    nearest = begun or difflib.get_close_matches(name, [*options, *_TARGETS], n=1)
    if not nearest:
        return f"pass one of {', '.join(options)}"
    if nearest[0] in options:
        return f"did you mean {nearest[0]}?"
    for distance in ("min_kld", "separation"):
        if distance in options:
            return f"pass {distance}=, the smallest KLD between classes, in nats"
    return (
        "pass min_kld= to fit_separated, or separation= to an estimator or a refit; "
        "they find the lam for a distance"
    )
