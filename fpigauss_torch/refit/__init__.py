"""Refits of a flow's class Gaussians from a data loader, in one process or many, and when."""

from fpigauss_torch.refit._refit import gather_statistics, refit_
from fpigauss_torch.refit._schedule import FixedPointSchedule

__all__ = ["FixedPointSchedule", "gather_statistics", "refit_"]
