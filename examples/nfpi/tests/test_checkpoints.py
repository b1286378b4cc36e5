"""Checkpoints: whole or not at all, and only for the run that wrote them."""

import os
from pathlib import Path

import pytest
import torch
from fpigauss import InvalidInputError

from nfpi.checkpoints import identity, load_checkpoint, save_checkpoint, write_atomically
from nfpi.config import from_dict
from nfpi.data import ImageSet

CONFIG = from_dict({"gaussians": {"lam": 10.0}, "training": {"epochs": 3}})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Save a checkpoint of CONFIG."""
    path = tmp_path / "checkpoint.pt"
    state = {"weights": torch.arange(3.0), "history": [{"epoch": 0, "fit": "converged"}], "x": None}
    save_checkpoint(path, CONFIG, state)
    return path


def test_what_was_saved_is_loaded(path):
    state = load_checkpoint(path, CONFIG)
    assert torch.equal(state["weights"], torch.arange(3.0))
    assert state["history"] == [{"epoch": 0, "fit": "converged"}]
    assert state["x"] is None
    assert list(path.parent.iterdir()) == [path]  # nothing temporary is left


def test_another_config_is_refused_with_the_settings_that_differ(path):
    other = from_dict({"gaussians": {"lam": 20.0}, "training": {"epochs": 3}})
    with pytest.raises(InvalidInputError, match=r"gaussians\.lam was 10\.0, is 20\.0; give"):
        load_checkpoint(path, other)


def test_many_differences_are_counted(path):
    other = from_dict(
        {"gaussians": {"lam": 20.0, "alpha": 2.0}, "training": {"epochs": 4, "lr": 1.0, "seed": 1}}
    )
    with pytest.raises(InvalidInputError, match="and 2 more"):
        load_checkpoint(path, other)


def test_what_is_measured_afterwards_may_differ(path):
    other = from_dict(
        {
            "gaussians": {"lam": 10.0},
            "training": {"epochs": 3},
            "evaluation": {"cnn": True},
        }
    )
    assert "weights" in load_checkpoint(path, other)


def images(gray=0, last=1):
    """Make four pictures of two classes."""
    labels = torch.tensor([0, 1, 0, last])
    return ImageSet(torch.full((4, 1, 2, 2), gray, dtype=torch.uint8), labels, 2, "gray")


def test_what_tells_images_apart():
    found = identity(images())
    assert (found["shape"], found["n_classes"]) == ([4, 1, 2, 2], 2)
    assert identity(images()) == found
    assert identity(images(gray=1)) != found
    assert identity(images(last=0)) != found


def test_a_checkpoint_of_other_images_is_refused(path):
    save_checkpoint(path, CONFIG, {"x": 1}, identity(images()))
    assert load_checkpoint(path, CONFIG, identity(images())) == {"x": 1}
    with pytest.raises(
        InvalidInputError, match=r"belongs to other images: fingerprint was \d+, is \d+;"
    ):
        load_checkpoint(path, CONFIG, identity(images(gray=1)))


def test_a_checkpoint_that_does_not_say_its_images_goes_with_any(path):
    content = torch.load(path, weights_only=True)
    del content["data"]  # as files of earlier versions are
    torch.save(content, path)
    assert "weights" in load_checkpoint(path, CONFIG, identity(images()))


@pytest.mark.parametrize("kept", [0, 10, 200, -20])
def test_a_truncated_checkpoint_is_refused(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InvalidInputError, match=r"checkpoint\.pt' cannot be read .* delete it"):
        load_checkpoint(path, CONFIG)


@pytest.mark.parametrize("content", [{"a": 1}, torch.zeros(2)])
def test_a_file_of_something_else_is_refused(path, content):
    torch.save(content, path)
    with pytest.raises(InvalidInputError, match="is not a checkpoint of train_flow"):
        load_checkpoint(path, CONFIG)


class _Planted:
    """Runs a command where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("planted",)


def test_code_in_a_file_is_not_run(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": _Planted()}, path)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_checkpoint(path, CONFIG)
    assert not Path("planted").exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("old")

    def half(at: Path) -> None:
        at.write_text("new, but")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
