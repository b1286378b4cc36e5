"""Open sets: how unknown a row is to Gaussians, and from which score on to reject."""

from fpigauss.open_set._background import background_of
from fpigauss.open_set._methods import (
    Evidence,
    Method,
    check_method,
    finished,
)
from fpigauss.open_set._score import l2_normalize, open_set_score
from fpigauss.open_set._threshold import held_out_threshold, open_set_threshold

__all__ = [
    "Evidence",
    "Method",
    "background_of",
    "check_method",
    "finished",
    "held_out_threshold",
    "l2_normalize",
    "open_set_score",
    "open_set_threshold",
]
