"""Records: whole or not there at all, readable anywhere."""

import json
import os
import platform

import numpy as np
import pytest
import torch
from fpigauss import InvalidInputError, Status

from nfpi import records
from nfpi.records import environment, read_records, write_record


def test_there_and_back(tmp_path):
    record = {
        "key": "a1b2",
        "config": {"data": {"source": "digits", "size": None}},
        "metrics": {"nf_acc": np.float32(0.5), "counts": np.arange(3), "nll": torch.tensor(2.5)},
        "history": ({"epoch": 0, "status": Status.CONVERGED}, {"epoch": 1, "status": None}),
        "seconds": 1.25,
    }
    path = write_record(tmp_path / "new" / "folder", record)
    assert path == tmp_path / "new" / "folder" / "a1b2.json"
    assert read_records(path.parent) == [
        {
            "key": "a1b2",
            "config": {"data": {"source": "digits", "size": None}},
            "metrics": {"nf_acc": 0.5, "counts": [0, 1, 2], "nll": 2.5},
            "history": [{"epoch": 0, "status": "converged"}, {"epoch": 1, "status": None}],
            "seconds": 1.25,
        }
    ]


def test_records_are_sorted_and_replaced(tmp_path):
    for key, seconds in (("b", 1), ("a", 2), ("b", 3)):
        write_record(tmp_path, {"key": key, "seconds": seconds})
    assert read_records(tmp_path) == [{"key": "a", "seconds": 2}, {"key": "b", "seconds": 3}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]
    assert read_records(tmp_path / "nowhere") == []


def test_numbers_that_json_does_not_have(tmp_path):
    path = write_record(tmp_path, {"key": "a", "nll": float("nan"), "all": [np.inf, -1.0]})
    strict = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert strict == {"key": "a", "nll": None, "all": [None, -1.0]}


@pytest.mark.parametrize("key", [None, "", "../a", "a/b", ".hidden", "a b", 3])
def test_bad_keys(tmp_path, key):
    with pytest.raises(InvalidInputError, match="key"):
        write_record(tmp_path / "new", {"key": key})
    assert not (tmp_path / "new").exists()


def test_values_that_are_no_figures(tmp_path):
    with pytest.raises(InvalidInputError, match=r'record\["metrics"\]\["x"\]\[1\] is a object'):
        write_record(tmp_path / "new", {"key": "a", "metrics": {"x": [1, object()]}})
    with pytest.raises(InvalidInputError, match="has the key 3"):
        write_record(tmp_path / "new", {"key": "a", "metrics": {3: 1}})
    assert not (tmp_path / "new").exists()


def test_a_write_that_breaks_off_leaves_the_old_record(tmp_path, monkeypatch):
    write_record(tmp_path, {"key": "a", "seconds": 1})

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_record(tmp_path, {"key": "a", "seconds": 2})
    assert read_records(tmp_path) == [{"key": "a", "seconds": 1}]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_a_killed_writer_left_is_no_record(tmp_path):
    write_record(tmp_path, {"key": "a", "seconds": 1})
    (tmp_path / ".a.x1.json").write_text('{"key": "a", "sec')
    assert read_records(tmp_path) == [{"key": "a", "seconds": 1}]


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
def test_others_may_read_records(tmp_path):
    assert write_record(tmp_path, {"key": "a"}).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"key": "a"', r"a\.json is damaged"),
        ("", r"a\.json is damaged"),
        ("[]", 'is not a record: its "key" should be .a.'),
        ('{"key": "b"}', "is not a record"),
    ],
)
def test_damaged_records(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_records(tmp_path)


def test_environment(tmp_path, monkeypatch):
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["revision"] is None or len(found["revision"].rstrip("+")) == 40
    write_record(tmp_path, {"key": "a", "environment": found})  # all of it is plain
    monkeypatch.setenv("PATH", "")
    assert environment()["revision"] is None  # without git
