"""Layers of the matrix-exponential flow, with their inverses and log-determinants."""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from fpigauss import InvalidInputError
from torch import Tensor, nn
from torch.nn import functional

from nfpi.flows.base import Shape
from nfpi.flows.matrix_exp import exp_action, squashed, trace
from nfpi.flows.nets import ResidualNet

__all__ = ["MATRICES", "ActNorm", "MatrixExpConv", "MatrixExpCoupling"]

#: A coupling's matrices are full up to this many channels, and of this rank beyond.
_LARGEST_FULL, _RANK = 24, 3

#: Bounds the norm of a coupling's matrix: scales lie between exp(-2) and exp(2).
_BOUND = 2.0

#: A deviation per pixel from fewer images than this says nothing of other batches.
_FEWEST = 8


class ActNorm(nn.Module):
    """softplus(raw_scale) x + shift, elementwise; standardizes the first batch.

    Elements that hardly vary in the first batch, as at the border of centered images, are divided
    by at least a tenth of their channel's usual deviation: in other batches they may vary.

    Parameters
    ----------
    shape : tuple of int
        (C, H, W).
    """

    def __init__(self, shape: Shape) -> None:
        """Start at the identity."""
        super().__init__()
        self.raw_scale = nn.Parameter(_inverse_softplus(torch.ones(shape)))
        self.shift = nn.Parameter(torch.zeros(shape))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set scale and shift from a batch of 8 images or more."""
        if len(x) < _FEWEST:
            raise InvalidInputError(
                f"the first batch is of size {len(x)}, and ActNorm takes a mean and a deviation "
                f"per pixel from it; encode at least {_FEWEST} images first "
                "(training.init_images in a config)"
            )
        std, mean = torch.std_mean(x, 0, correction=0)
        usual = std.square().mean((1, 2), keepdim=True).sqrt()
        scale = 1.0 / std.maximum(0.1 * usual).clamp(min=1e-6)
        self.raw_scale.copy_(_inverse_softplus(scale))
        self.shift.copy_(-mean * scale)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift (N, C, H, W); log abs(det) is the same for all."""
        scale = functional.softplus(self.raw_scale)
        return x * scale + self.shift, scale.log().sum()

    def decode(self, z: Tensor) -> Tensor:
        """Invert ``encode``."""
        return (z - self.shift) / functional.softplus(self.raw_scale)


def _inverse_softplus(scale: Tensor) -> Tensor:
    return scale + torch.log(-torch.expm1(-scale))


class MatrixExpConv(nn.Module):
    """An invertible 1x1 convolution by exp(M), with log-determinant tr M per pixel.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int) -> None:
        """Start at a random rotation."""
        super().__init__()
        self.log_matrix = nn.Parameter(log_rotation(channels).to(torch.get_default_dtype()))

    def _convolved(self, x: Tensor, sign: float) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # rounding would break the inverse
            matrix = torch.linalg.matrix_exp(sign * self.log_matrix)
            return functional.conv2d(x, matrix[:, :, None, None])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the channels of (N, C, H, W); log abs(det) is the same for all."""
        return self._convolved(x, 1.0), self.log_matrix.trace() * (x.shape[2] * x.shape[3])

    def decode(self, z: Tensor) -> Tensor:
        """Invert ``encode``."""
        return self._convolved(z, -1.0)


def log_rotation(n: int) -> Tensor:
    """Draw a skew-symmetric M in float64 whose exp(M) is a random rotation in n dimensions."""
    q, r = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
    q = q * r.diagonal().sign()
    if torch.linalg.det(q) < 0:
        q[:, 0] = -q[:, 0]
    # orthogonal matrices are normal: the logarithm has their eigenvectors, and i times the angles
    angles, vectors = torch.linalg.eig(q)
    logarithm = (vectors * (1j * angles.angle()) @ torch.linalg.inv(vectors)).real
    skew: Tensor = (logarithm - logarithm.T) / 2.0
    return skew


class BoundedMatrix(nn.Module):
    """Squashes a network's matrices to a Frobenius norm below 2; small ones hardly change.

    Parameters
    ----------
    shapes : sequence of (int, int)
        Shapes of the factors of S, one or two.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        """Start a factor of low rank away from zero."""
        super().__init__()
        self._each = _BOUND ** (1.0 / len(shapes))
        if len(shapes) == 1:
            self.register_parameter("left", None)
        else:
            # S = A B starts at A 0: if both were zero, neither would ever have a gradient
            self.left = nn.Parameter(torch.randn(shapes[0]) / shapes[0][0] ** 0.5)

    def forward(self, raw: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the factors of S, each (N, I, J, H, W)."""
        factors = list(raw)
        if self.left is not None:
            factors[0] = factors[0] + self.left[:, :, None, None]
        return tuple(squashed(factor, self._each) for factor in factors)

    def bound(self) -> float:
        """Bound the norm of S: scales lie between exp(-2) and exp(2)."""
        return _BOUND


class ReleasedMatrix(nn.Module):
    """The matrices of the authors' code: rescale tanh(scale raw + shift) + reshift, elementwise.

    The four numbers are trained. They start at 1/n, 1/8, 0 and 0, so that S = raw / (8 n) where raw
    is small; n is the number of channels that S acts on. The norm of S has no fixed bound.

    Parameters
    ----------
    shapes : sequence of (int, int)
        Shapes of the factors of S, one or two.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        """Start the four numbers."""
        super().__init__()
        self.sizes = [rows * columns for rows, columns in shapes]
        self.rescale = nn.Parameter(torch.full((1,), 1.0 / shapes[0][0]))
        self.scale = nn.Parameter(torch.full((1,), 1.0 / 8.0))
        self.shift = nn.Parameter(torch.zeros(1))
        self.reshift = nn.Parameter(torch.zeros(1))

    def forward(self, raw: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the factors of S, each (N, I, J, H, W)."""
        # a product of two zeros would never have a gradient
        start = 0.0 if len(self.sizes) == 1 else 1e-8
        return tuple(
            self.rescale * torch.tanh(self.scale * part + self.shift) + (self.reshift + start)
            for part in raw
        )

    def bound(self) -> float:
        """Bound the norm of S by the four numbers as they are now."""
        largest = float((self.rescale.abs() + self.reshift.abs()).detach()) + 1e-8
        bound: float = math.prod(largest * size**0.5 for size in self.sizes)
        return bound


#: Kinds of a coupling's matrices.
MATRICES: dict[str, type[BoundedMatrix | ReleasedMatrix]] = {
    "bounded": BoundedMatrix,
    "released": ReleasedMatrix,
}


class MatrixExpCoupling(nn.Module):
    """y1 = x1, y2 = exp(S(x1)) x2 + t(x1) at every pixel; the log-determinant is the sum of tr S.

    S is a full matrix, or of rank 3 if there are many channels.

    Parameters
    ----------
    channels : int
        Channels of x, an even number.
    hidden : int
        Channels of the network's residual blocks, and their number.
    n_blocks : int
    matrix : {"bounded", "released"}
        How S follows from the network's outputs.
    """

    def __init__(self, channels: int, hidden: int, n_blocks: int, matrix: str = "bounded") -> None:
        """Start at the identity."""
        super().__init__()
        if matrix not in MATRICES:
            raise InvalidInputError(f"matrix is {matrix!r}; pass one of {', '.join(MATRICES)}")
        self.n_kept = channels // 2
        if self.n_kept <= _LARGEST_FULL:
            self.shapes = [(self.n_kept, self.n_kept)]
        else:
            self.shapes = [(self.n_kept, _RANK), (_RANK, self.n_kept)]
        self.matrix = MATRICES[matrix](self.shapes)
        n_out = self.n_kept + sum(i * j for i, j in self.shapes)
        self.net = ResidualNet(self.n_kept, hidden, n_out, n_blocks)

    def _matrices_and_shift(self, kept: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the factors of S, each (N, I, J, H, W), and t (N, n_kept, H, W)."""
        out = self.net(kept).to(kept.dtype)
        shift, *raw = out.split([self.n_kept, *(i * j for i, j in self.shapes)], 1)
        parts = [
            rearrange(part, "n (i j) h w -> n i j h w", i=i, j=j)
            for part, (i, j) in zip(raw, self.shapes, strict=True)
        ]
        return self.matrix(parts), shift

    def initialize(self, x: Tensor) -> None:
        """Set the network from a batch."""
        self.net.initialize(x[:, : self.n_kept])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, channels, H, W), and the log-determinant (N,)."""
        kept, changed = x.chunk(2, 1)
        factors, shift = self._matrices_and_shift(kept)
        changed = exp_action(factors, changed, self.matrix.bound()) + shift
        return torch.cat([kept, changed], 1), trace(factors)

    def decode(self, z: Tensor) -> Tensor:
        """Invert ``encode``."""
        kept, changed = z.chunk(2, 1)
        factors, shift = self._matrices_and_shift(kept)
        bound = self.matrix.bound()
        return torch.cat([kept, exp_action(factors, changed - shift, bound, -1.0)], 1)
