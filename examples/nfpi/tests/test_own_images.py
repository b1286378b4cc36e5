"""Scripts on images of one's own: what they write, and what they refuse."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

# normflows, which other modules import, still imports through the package's old names
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:normflows.*")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Write four classes of scikit-learn's digits."""
    x, y = load_digits(n_class=4, return_X_y=True)
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, x=(15 * x).astype(np.uint8).reshape(-1, 8, 8), y=y)
    return path


COMMON = ["--size", "8", "--limit", "200", "--epochs", "2", "--seeds", "2"]


def test_rejection_of_one_class_is_written(reject_unknown, images, tmp_path):
    arguments = [str(images), *COMMON, "--left-out", "3", "--folder", str(tmp_path)]
    assert reject_unknown.main(arguments) == 0
    first, *_ = lines = (tmp_path / "reject.md").read_text().splitlines()
    assert first.startswith("# Rows of no class. By its Mahalanobis distance")
    assert "other data" not in "".join(lines[:6])
    assert "reproduce.py" not in lines[-1] and "reject_unknown.py" in lines[-1]
    assert (tmp_path / "reject.png").stat().st_size > 10_000
    assert (tmp_path / "lams.md").exists() and (tmp_path / "claims.md").exists()


def test_neighbors_are_written(class_neighbors, images, tmp_path):
    arguments = [str(images), *COMMON[:-1], "1", "--folder", str(tmp_path)]
    assert class_neighbors.main(arguments) == 0
    first = (tmp_path / "images.md").read_text().splitlines()[0]
    assert first.startswith("# images.npz. The fixed point keeps resembling classes nearer")
    assert (tmp_path / "images.png").stat().st_size > 10_000


def test_a_class_that_is_not_there_is_refused(reject_unknown, images, tmp_path, capsys):
    arguments = [str(images), "--size", "8", "--left-out", "4", "--folder", str(tmp_path)]
    assert reject_unknown.main(arguments) == 2
    assert "left_out has class 4; the images have classes 0..3" in capsys.readouterr().err
