"""A fit: its options, declared once, the start, and the calls."""

from fpigauss.fit._calls import fit_fixed_point, solve_fixed_point
from fpigauss.fit._fixed_point import FixedPoint
from fpigauss.fit._gradient import FixedPointGradient
from fpigauss.fit._lam_path import lam_path
from fpigauss.fit._path import LamPath
from fpigauss.fit._search import Trial
from fpigauss.fit._separated import SeparatedResult, fit_separated, solve_separated
from fpigauss.fit._typed_options import EstimatorOptions, FixedPointOptions, RefitOptions

__all__ = [
    "EstimatorOptions",
    "FixedPoint",
    "FixedPointGradient",
    "FixedPointOptions",
    "LamPath",
    "RefitOptions",
    "SeparatedResult",
    "Trial",
    "fit_fixed_point",
    "fit_separated",
    "lam_path",
    "solve_fixed_point",
    "solve_separated",
]
