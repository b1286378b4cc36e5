"""Fixtures and settings of the whole suite."""

import importlib
import importlib.util
import os
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

# scikit-learn checks arrays of other namespaces only if scipy takes them, which is decided once.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

# The same examples in every run and on every machine; a deadline would only measure the machine.
settings.register_profile(
    "fpigauss",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fpigauss")


def import_namespace(name: str) -> ModuleType:
    """The namespace ``name``, or a skip that says how to install it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        pytest.skip(f"{name} is not installed: pip install -e . --group test")


def is_parity_of_jax(item: pytest.Item) -> bool:
    """Whether a test of every namespace is to run on jax."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return bool(parameters.get("xp") == "jax.numpy")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the tests of jax last, and those of every namespace with two of their parameters.

    Once jax is imported, its threads make every fork unsafe. It compiles each operation for each
    shape anew, so that a test takes seconds: the first and the last parameters have to do.
    """
    kept = {}
    for item in filter(is_parity_of_jax, items):
        name = item.nodeid.partition("[")[0]
        kept[name] = [*kept.get(name, [item])[:1], item]
    left_out = {
        item
        for item in filter(is_parity_of_jax, items)
        if item not in kept[item.nodeid.partition("[")[0]]
    }
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: is_parity_of_jax(item) or "jax" in item.path.name)


#: The namespaces that the library is proved on; cupy where it is installed, since it needs a GPU.
NAMESPACES = ["numpy", "torch", "array_api_strict", "jax.numpy"]
NAMESPACES += ["cupy"] * (importlib.util.find_spec("cupy") is not None)


@pytest.fixture(scope="module", params=NAMESPACES)
def xp(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The array namespaces; jax with its float64. What jax does without it is in test_jax.py."""
    found = import_namespace(request.param)
    if request.param == "cupy" and not found.cuda.is_available():
        pytest.skip("cupy finds no GPU")
    if request.param != "jax.numpy":
        yield found
        return
    config = import_namespace("jax").config
    before = config.jax_enable_x64
    config.update("jax_enable_x64", True)
    yield found
    config.update("jax_enable_x64", before)


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """Torch, for tests that need autograd or its distributions."""
    return import_namespace("torch")
