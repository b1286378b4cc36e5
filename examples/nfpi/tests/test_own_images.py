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


REFUSED = {
    "an epoch too few": (
        "reject_unknown", "images", ["--epochs", "1"], "--epochs is 1",
    ),
    "no epoch for the Gaussians": (
        "class_neighbors", "images", ["--epochs", "1"], "--epochs is 1",
    ),
    "fewer images than classes": ("reject_unknown", "images", ["--limit", "1"], "limit of 1"),
    "images of one pixel": ("reject_unknown", "images", ["--size", "1"], "at least two values"),
    "colors beside gray": (
        "reject_unknown", "images", ["--foreign", "colors"], "same size and channels",
    ),
    "a single class": ("class_neighbors", "alone", [], "has one class"),
    "two classes, in no order": ("class_neighbors", "pair", [], "at least three are needed"),
    "two classes, none for later": ("add_classes", "pair", ["--first", "1"], "at least three are"),
    "further training without epochs": (
        "add_classes", "images", ["--first", "2", "--further", "-1"], "--further is -1",
    ),
    "no steps": ("few_rows", "images", ["--steps", "0"], "--steps is 0"),
    "a class without test images": ("class_neighbors", "untested", [], "class 3 has no test image"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_run_can_use_is_refused_before_any(case, images, tmp_path, capsys, request):
    script, name, options, message = REFUSED[case]
    x, y = (np.load(images)[part] for part in "xy")
    two_of_last = (y < 3) | (np.cumsum(y == 3) < 3)
    paths = {
        "images": (x, y),
        "colors": (np.repeat(x[..., None], 3, -1), y),
        "alone": (x[y == 0], y[y == 0]),
        "pair": (x[y < 2], y[y < 2]),
        "untested": (x[two_of_last], y[two_of_last]),
    }
    for path, (of_x, of_y) in paths.items():
        np.savez(tmp_path / f"{path}.npz", x=of_x, y=of_y)
    options = [str(tmp_path / f"{each}.npz") if each in paths else each for each in options]
    folder = tmp_path / "results"
    given = [str(tmp_path / f"{name}.npz"), "--size", "8", "--seeds", "1", "--folder", str(folder)]
    main = request.getfixturevalue(script).main
    assert main([*given, *options]) == 2
    assert message in capsys.readouterr().err
    assert not folder.exists()


def test_results_of_other_images_are_not_passed_off(reject_unknown, images, tmp_path, capsys):
    options = [*COMMON[:-1], "1", "--left-out", "3", "--folder", str(tmp_path / "results")]
    assert reject_unknown.main([str(images), *options]) == 0
    x, y = (np.load(images)[part] for part in "xy")
    np.savez(tmp_path / "others.npz", x=x[:, ::-1], y=y)
    capsys.readouterr()
    assert reject_unknown.main([str(tmp_path / "others.npz"), *options]) == 2
    assert "not those of the existing records" in capsys.readouterr().err


def test_counts_are_taken_once_and_in_order(few_rows, images, tmp_path):
    options = [
        str(images),
        "--size",
        "8",
        "--steps",
        "2",
        "--seeds",
        "1",
        "--folder",
        str(tmp_path),
    ]
    assert few_rows.main([*options, "--counts", "6", "5", "6"]) == 0
    assert "| runs | 5 rows | 6 rows |" in (tmp_path / "images.md").read_text()


def test_a_class_that_is_not_there_is_refused(reject_unknown, images, tmp_path, capsys):
    arguments = [str(images), "--size", "8", "--left-out", "4", "--folder", str(tmp_path)]
    assert reject_unknown.main(arguments) == 2
    assert "left_out has class 4; the images have classes 0..3" in capsys.readouterr().err


def test_a_panel_whose_runs_all_failed_has_no_legend(add_classes, tmp_path, capsys):
    y = np.arange(120) % 3
    np.savez(tmp_path / "flat.npz", x=np.zeros((120, 8, 8), np.uint8), y=y)
    options = ["--size", "8", "--epochs", "2", "--seeds", "1", "--first", "2", "--further", "1"]
    given = [str(tmp_path / "flat.npz"), *options, "--folder", str(tmp_path)]
    assert add_classes.main(given) == 1  # streaming LDA of pixels without variance
    assert "the samples of each class are all the same" in capsys.readouterr().err
    assert (tmp_path / "images.png").stat().st_size > 10_000
