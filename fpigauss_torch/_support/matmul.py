"""Products of matrices that keep the digits of their dtype.

``torch.set_float32_matmul_precision`` lets products of float32 matrices be rounded to ten bits, or
to seven. That does for the layers of a flow. Densities are differences of products that are far
larger than themselves, and lose tenths of a nat: theirs are in float64 then.
"""

import torch
from torch import Tensor

from fpigauss.interface import torch_rounds_products

__all__ = ["addmm", "matmul"]

#: A graph of ``torch.compile`` is compiled anew where ``torch.set_float32_matmul_precision``
#: changes. For the newer ``torch.backends.*.fp32_precision`` torch has no guard: it stays as it is.
_rounds_products = torch.compiler.assume_constant_result(torch_rounds_products)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """Compute ``x @ y`` in all digits of the dtype."""
    if not _is_rounded(x):
        return x @ y
    return (x.double() @ y.double()).to(x.dtype)


def addmm(addend: Tensor, x: Tensor, y: Tensor, alpha: float = 1.0) -> Tensor:
    """Compute ``addend + alpha * x @ y`` in all digits of the dtype."""
    if not _is_rounded(x):
        return torch.addmm(addend, x, y, alpha=alpha)
    return torch.addmm(addend.double(), x.double(), y.double(), alpha=alpha).to(x.dtype)


def _is_rounded(x: Tensor) -> bool:
    return x.dtype == torch.float32 and _rounds_products(x.device.type)
