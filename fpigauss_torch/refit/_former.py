"""Former names and options of the schedule, which go in the next release."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from fpigauss import FixedPoint, FixedPointResult, InvalidInputError
from fpigauss.interface import RefitOptions, warn_user
from fpigauss_torch._support import Refit

__all__ = ["SINGLE", "FormerSchedule", "set_twice"]

#: One step of the fixed point, from the Gaussians as they are.
SINGLE: RefitOptions = {"solver": "picard", "max_iter": 1, "tol": 0.0}


class FormerSchedule:
    """What a schedule does with former ``options``, under former names, and in former pickles."""

    lam: float | Callable[[int], float] | None
    single_iteration: bool
    options: Mapping[str, Any]
    fit: FixedPoint | None
    accept: Collection[str]
    init: Literal["current"] | None
    force: Callable[..., FixedPointResult]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Adopt a ``force`` that a subclass defines under its former name."""
        super().__init_subclass__(**kwargs)
        if "refit_" in vars(cls) and "force" not in vars(cls):
            warn_user(
                f"{cls.__name__}.refit_ overrides FixedPointSchedule.force under its former name, "
                "which goes in the next release; rename it to force",
                DeprecationWarning,
            )
            cls.force = vars(cls)["refit_"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled schedule, also one from when ``options`` was all there was."""
        self.__dict__.update({"separation": None, **state})
        if "fit" not in state:
            options = state.get("options", {})
            object.__setattr__(self, "options", {})
            self._take_options(options)
            self.__post_init__()

    def __post_init__(self) -> None:
        """Check the fields."""
        raise NotImplementedError

    def refit_(self, *args: Any, **kwargs: Any) -> FixedPointResult:
        """Do what ``force`` does; the former name, deprecated."""
        warn_user(
            "FixedPointSchedule.refit_ has been renamed, and its old name goes in the next "
            "release; call FixedPointSchedule.force",
            DeprecationWarning,
        )
        if type(self).refit_ is FormerSchedule.refit_:
            return self.force(*args, **kwargs)
        # called by what overrides it, which is force too
        original: Any = next(c for c in type(self).__mro__ if FormerSchedule in c.__bases__)
        result: FixedPointResult = original.force(self, *args, **kwargs)
        return result

    def _check_options(self) -> None:
        """Check ``options``, and take them if there are any."""
        if not isinstance(self.options, Mapping):
            raise InvalidInputError(
                f"options is a {type(self.options).__name__}; pass fit=FixedPoint(...)"
            )
        if self.options:
            warn_user(
                "FixedPointSchedule(options=...) goes in the next release; pass "
                "fit=FixedPoint(...), accept=... and init=...",
                DeprecationWarning,
            )
            self._take_options(self.options)

    def _take_options(self, given: Mapping[str, Any]) -> None:
        """Turn former options into a fit."""
        options = dict(given)
        for name in options:
            if not isinstance(name, str):
                raise InvalidInputError(f"options contains the key {name!r}; pass names of options")
            if name == "lam":
                raise InvalidInputError("options contains 'lam'; pass it to the schedule instead")
            if name in ("copies", "device", "prepare", "max_batches", "progress"):
                raise InvalidInputError(f"options contains {name!r}; pass it to step() instead")
        for name in (*SINGLE, "init"):
            if self.single_iteration and name in options:
                raise set_twice(name)
        object.__setattr__(self, "accept", options.pop("accept", self.accept))
        init = options.pop("init", None)
        refit = Refit.checked(None, self.fit, options, init)
        object.__setattr__(self, "init", "current" if refit.from_current else self.init)
        object.__setattr__(self, "fit", refit.fit)
        object.__setattr__(self, "options", {})


def set_twice(name: str) -> InvalidInputError:
    """Return the error for an option that ``single_iteration`` sets."""
    return InvalidInputError(
        f"fit has {name!r}, which single_iteration sets; leave out one of them"
    )
