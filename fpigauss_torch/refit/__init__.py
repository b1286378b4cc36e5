"""Refits of a flow's class Gaussians from a data loader, and the schedule of refits."""

from fpigauss_torch.refit._refit import gather_statistics, refit_
from fpigauss_torch.refit._schedule import FixedPointSchedule

__all__ = ["FixedPointSchedule", "gather_statistics", "refit_"]
