"""Samples that belong to no class, how confident a posterior may be, and a class added later."""

from fpigauss_torch.open_set._calibration import calibrate_temperature
from fpigauss_torch.open_set._new_class import Extended, add_class
from fpigauss_torch.open_set._rejection import (
    rejection_score,
    rejection_threshold,
    typicality_score,
)

__all__ = [
    "Extended",
    "add_class",
    "calibrate_temperature",
    "rejection_score",
    "rejection_threshold",
    "typicality_score",
]
