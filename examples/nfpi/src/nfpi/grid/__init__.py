"""Grids: the runs of a scale, and the tables and claims made from them.

``scales`` and ``settings`` say what is tried, ``build`` turns them into a grid, ``model`` is the
grid itself and ``files`` its committed form; ``results`` looks up its records, ``claims`` decides,
``tables`` prints.
"""

from nfpi.grid.build import make_grid
from nfpi.grid.claims import Claim, Side
from nfpi.grid.files import read_grid, write_grid
from nfpi.grid.model import Column, Grid, PlannedRun, Row, Table, merged

__all__ = [
    "Claim",
    "Column",
    "Grid",
    "PlannedRun",
    "Row",
    "Side",
    "Table",
    "make_grid",
    "merged",
    "read_grid",
    "write_grid",
]
