"""Refits of a flow's class Gaussians from a data loader, and the schedule of refits."""

from fpigauss.interface import renamed
from fpigauss_torch.refit._refit import gather_statistics, refit_
from fpigauss_torch.refit._schedule import SEPARATION, FixedPointSchedule

__all__ = ["SEPARATION", "FixedPointSchedule", "gather_statistics", "refit_"]

__getattr__ = renamed(
    __name__,
    {
        "check_loader": "fpigauss_torch.refit._checks:check_loader",
        "coincide": "fpigauss_torch.refit._checks:coincide",
        "flow_of": "fpigauss_torch.refit._checks:flow_of",
    },
)
