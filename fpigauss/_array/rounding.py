"""What rounding leaves: of means, and of products of matrices in a namespace."""

import sys
from typing import Any

import array_api_compat

from fpigauss._array.namespaces import namespace
from fpigauss._array.typing import Array

__all__ = ["rounding_variances", "rounds_products", "torch_rounds_products"]

#: What torch may round the factors of float32 products to, by its name: 10 bits, or 7.
_ROUNDED = ("tf32", "bf16")


def rounding_variances(means: Array) -> Array:
    """Compute the variances that rounding of ``means`` leaves on constants, in their shape."""
    return (8.0 * namespace(means).finfo(means.dtype).eps * means) ** 2


def rounds_products(x: Array) -> bool:
    """Say whether products of ``x``, a matrix of float32, may be rounded to fewer digits.

    torch does so where it is allowed to (``torch.set_float32_matmul_precision``), jax on
    accelerators. Distances between latents and means lose nats by it.
    """
    if array_api_compat.is_torch_array(x):
        return torch_rounds_products(x.device.type)
    # where a traced array will lie is not known
    return array_api_compat.is_jax_array(x) and sys.modules["jax"].default_backend() != "cpu"


def torch_rounds_products(device_type: str) -> bool:
    """Say whether torch may round the products of float32 matrices on such a device."""
    torch: Any = sys.modules["torch"]
    backends = {"cuda": torch.backends.cuda, "cpu": torch.backends.mkldnn}
    backend = backends.get(device_type)
    if backend is None:
        return False
    # before torch 2.9 there is one setting for all devices
    precision = getattr(getattr(backend, "matmul", None), "fp32_precision", None)
    if precision is None:
        return bool(torch.get_float32_matmul_precision() != "highest")
    return precision in _ROUNDED
