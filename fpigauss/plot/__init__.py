"""Pictures of class Gaussians, their divergences and fits; needs the extra ``plot``.

The displays are those of scikit-learn in manner: ``from_...`` computes and draws; the object keeps
what was computed, and its ``plot`` draws it again, on ``ax`` if given. ``import fpigauss`` leaves
this module out.
"""

try:
    import matplotlib as _matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError(
        'fpigauss.plot needs matplotlib 3.8 or newer: pip install "fpigauss[plot]"'
    ) from error

from fpigauss.plot._gaussians import GaussiansDisplay
from fpigauss.plot._history import HistoryDisplay
from fpigauss.plot._kld import KLDDisplay
from fpigauss.plot._path import PathDisplay

__all__ = ["GaussiansDisplay", "HistoryDisplay", "KLDDisplay", "PathDisplay"]
