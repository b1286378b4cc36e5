"""The checks of the built documentation find what they are for."""

import zlib
from pathlib import Path

import pytest

from tools import inventory
from tools.check_links import broken, broken_in_markdown
from tools.gallery import ORDER, InOrder, faults
from tools.results_pages import write

ROOT = Path(__file__).parents[1]

PAGE = """
.. _sphx_glr_gallery_plot_how.py:

How far is it?
==============

.. image-sg:: /gallery/images/how.png

 .. code-block:: none

    accuracy 0.867 at 12.4 nats

Answer
------

*Not far.* At ``lam = 77``, 87 per cent are right, .87, at 12.5 nats. Others have .111
(:doc:`/paper`).

.. rst-class:: sphx-glr-timing

   **Total running time of the script:** (0 minutes 9.999 seconds)
"""


def test_an_answer_that_is_shown():
    assert faults(PAGE) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("How far is it?", "How far it is.", "the title 'How far it is.' is not a question"),
        ("Answer\n------", "Result\n------", "it has no answer"),
        (".. image-sg::", ".. image::", "it draws nothing"),
        (", .87,", ", .89,", ".89 of its answer is not among what it shows"),
        ("12.5", "13", None),
        ("12.5", "12.7", "12.7 of its answer is not among what it shows"),
    ],
)
def test_faults_of_a_page(old, new, fault):
    assert faults(PAGE.replace(old, new)) == ([] if fault is None else [fault])


def test_every_page_of_the_gallery_has_a_place():
    scripts = [
        path
        for room in ("gallery", "flows")
        for path in (ROOT / "examples" / room).glob("plot_*.py")
    ]
    places = [InOrder("")(path) for path in scripts]
    assert sorted(places) == list(range(len(ORDER)))
    assert InOrder("")("_digits.py") == len(ORDER)


def test_broken_links(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "picture.png").touch()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">a</h1><a href="#top">a</a><a href="#gone">b</a><a href="room/">c</a>'
        '<a href="https://example.org/gone">d</a><img src="picture.png"><img src="gone.png">'
    )
    (tmp_path / "room" / "index.html").write_text(
        '<a href="../index.html#top">a</a><a href="../index.html#gone">b</a><a href="/room/#">c</a>'
    )
    assert list(broken(tmp_path)) == [
        "index.html: #gone has no such anchor",
        "index.html: gone.png does not exist",
        "room/index.html: ../index.html#gone has no such anchor",
    ]


def test_broken_links_of_markdown(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(
        "# The *first* part\n[a](#the-first-part) [b](#gone) [c](README.md) [d](gone.md)\n"
    )
    assert list(broken_in_markdown(page)) == [
        "README.md: #gone is not a heading",
        "README.md: gone.md does not exist",
    ]


def test_results_have_a_page(tmp_path):
    write(tmp_path)
    text = (tmp_path / "results.txt").read_text(encoding="utf-8")
    shown = [path for path in ROOT.glob("examples/nfpi/results/*/*/*") if "tiny" not in path.parts]
    if not shown:
        pytest.skip("the results are not here: a source distribution leaves them out")
    titles = {path.read_text("utf-8").partition("\n")[0] for path in shown if path.suffix == ".md"}
    assert all(f"#{title}\n" in text for title in titles - {"# All runs"})
    figures = [path.relative_to(ROOT).as_posix() for path in shown if path.suffix == ".png"]
    assert figures
    assert [figure for figure in figures if figure not in text] == []


def test_inventories_of_other_packages(tmp_path):
    mapping = inventory.write(ROOT / "docs" / "links.txt", tmp_path)
    address, path = mapping["numpy"]
    assert address == "https://numpy.org/doc/stable/"
    *head, body = Path(path).read_bytes().split(b"\n", maxsplit=4)
    assert head[0] == b"# Sphinx inventory version 2"
    lines = zlib.decompress(body).decode().splitlines()
    page = "reference/generated/numpy.ndarray.html#numpy.ndarray"
    assert f"numpy.ndarray py:class 1 {page} -" in lines
    assert "torch.Tensor" in inventory.names(ROOT / "docs" / "links.txt")
