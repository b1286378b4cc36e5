"""A fit: its options, declared once, the start, and the calls."""

from fpigauss.fit._calls import fit_fixed_point, solve_fixed_point
from fpigauss.fit._fixed_point import FixedPoint
from fpigauss.fit._typed_options import EstimatorOptions, FixedPointOptions, RefitOptions

__all__ = [
    "EstimatorOptions",
    "FixedPoint",
    "FixedPointOptions",
    "RefitOptions",
    "fit_fixed_point",
    "solve_fixed_point",
]
