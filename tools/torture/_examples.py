"""Examples of hypothesis as trials: drawn anew for each number, and not shrunk unless asked."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from hypothesis.strategies import SearchStrategy

__all__ = ["examples", "run_states"]

#: Whether examples are shrunk, which takes long and is not bounded.
SHRINK = False

Test = Callable[..., None]


def _settings(n: int, **more: Any) -> settings:
    return settings(
        max_examples=n,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
        **more,
    )


def examples(**strategies: SearchStrategy[Any]) -> Callable[[Test], Callable[[int, int], None]]:
    """Make of a test what runs it on ``n`` examples, drawn for a number."""

    def decorated(test: Test) -> Callable[[int, int], None]:
        def run(number: int, n: int) -> None:
            seed(number)(_settings(n)(given(**strategies)(test)))()

        return run

    return decorated


def run_states(states: type[RuleBasedStateMachine], number: int, n: int, steps: int) -> None:
    """Run a state machine ``n`` times, each for ``steps`` at most."""
    run_state_machine_as_test(
        seed(number)(states), settings=_settings(n, stateful_step_count=steps)
    )
