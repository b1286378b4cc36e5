"""Figures are drawn, and refuse what they cannot draw."""

from pathlib import Path

import numpy as np
import pytest
from fpigauss import InvalidInputError

from nfpi.figures import figure1, figure2, load_embedding
from nfpi.grid import read_grid
from nfpi.runner import finished_records
from nfpi.separation_figures import plot_separations

PROJECT = Path(__file__).parents[1]


def test_figures_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    z = 4.0 * np.eye(3)[y, :2] + rng.normal(size=(90, 2))
    figure1(tmp_path / "fig1.png", z, y)
    images = rng.integers(0, 256, (6, 4, 1, 5, 5), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.repeat(np.arange(3), 2))
    figure2(tmp_path / "fig2.png", tmp_path / "images.npz")
    for name in ("fig1.png", "fig2.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_an_embedding_that_is_none_is_refused(tmp_path):
    path = tmp_path / "e.npz"
    with pytest.raises(InvalidInputError, match=r"e\.npz.*is needed"):
        load_embedding(path)
    np.savez(path, z=np.zeros((4, 3)), y=np.zeros(4))
    with pytest.raises(InvalidInputError, match=r"\(4, 3\)"):
        load_embedding(path)


def test_settings_with_missing_runs_are_left_out_of_a_plot(tmp_path):
    grid = read_grid(PROJECT / "grids" / "classes.json")
    records = finished_records(grid, PROJECT / "results" / "classes")
    path = tmp_path / "dims.png"
    assert not plot_separations(path, grid, {}, "dims")
    first_seeds = {name: one for name, one in records.items() if not name.endswith("-s2")}
    assert not plot_separations(path, grid, first_seeds, "dims")
    assert not path.exists()
    assert plot_separations(path, grid, records, "dims")
    assert plot_separations(path, grid, records, "dims")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_legend_lists_no_curve_without_a_point(tmp_path, monkeypatch):
    grid = read_grid(PROJECT / "grids" / "classes.json")
    records = finished_records(grid, PROJECT / "results" / "classes")
    drawn = []
    monkeypatch.setattr(
        "nfpi.separation_figures.save_figure", lambda figure, _: drawn.append(figure)
    )
    small = {name: one for name, one in records.items() if "d64" in name}
    assert plot_separations(tmp_path / "dims.png", grid, small, "dims")
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels and all(label.startswith("8x8: ") for label in labels)
