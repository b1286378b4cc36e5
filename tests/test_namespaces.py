"""Whether a device has float64: asked once, with the answers of a moment not kept."""

import numpy as np
import pytest
import torch
from helpers import asarray_in

from fpigauss import ClassGaussians
from fpigauss._array import namespaces
from fpigauss._array.namespaces import namespace, precise, to_numpy, working_dtype


@pytest.fixture
def asked_anew(monkeypatch):
    monkeypatch.setattr(namespaces, "_FLOAT64", {})


@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
def test_it_is_asked_once(library, asked_anew, monkeypatch):
    """What jax answers is an option, which may change: see test_jax.py."""
    xp = pytest.importorskip(library, reason=f"{library} is not installed")
    x = asarray_in(xp, np.zeros(2, dtype=np.float32))
    float64 = namespace(x).float64
    assert working_dtype(x) == float64
    for name in ("namespace", "device_of"):
        monkeypatch.setattr(namespaces, name, None)  # which would ask again
    assert working_dtype(x) == float64
    assert precise(x) is x


def test_a_failure_is_of_the_moment(asked_anew, monkeypatch):
    x = np.zeros(2, dtype=np.float32)

    class Failing:
        float32, float64 = np.float32, np.float64
        __array_namespace_info__ = staticmethod(namespace(x).__array_namespace_info__)

        @staticmethod
        def zeros(*_, **__):
            raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(namespaces, "namespace", lambda *_: Failing)
        assert working_dtype(x) == np.float32
    assert working_dtype(x) == np.float64


@pytest.mark.parametrize("dtype", [">f4", ">f8", np.longdouble])
def test_types_that_only_numpy_has_are_converted_for_others(dtype):
    means = np.asarray([[0.0, 1.0], [2.0, 3.0]], dtype=dtype)
    gaussians = ClassGaussians(means, np.ones_like(means))
    converted = gaussians.to(torch.zeros(1, dtype=torch.float64))
    assert converted.means.tolist() == means.tolist()
    assert converted.to(means).means.dtype == means.dtype


def test_arrays_that_are_read_only_are_copied_for_others():
    given = np.ones(3)
    given.setflags(write=False)
    found = namespaces.cast_like(given, torch.zeros(1))
    found += 1.0
    assert given.tolist() == [1.0, 1.0, 1.0]


def test_what_torch_has_not_written_out_yet_comes_to_the_host_as_what_it_means():
    negated = torch.ones(3, dtype=torch.complex64).mul(1j).conj().imag
    assert negated.is_neg()
    np.testing.assert_array_equal(to_numpy(negated), [-1.0, -1.0, -1.0])
    np.testing.assert_array_equal(to_numpy(torch._efficientzerotensor((2,))), [0.0, 0.0])
