"""The command line of compare.py, on committed records."""

import pytest

CURVE = ("1000", "10000", "30000", "100000")


def figures(text):
    """Return the printed intervals by metric."""
    rows = (line.split() for line in text.splitlines())
    return {row[0]: (row[1], " ".join(row[2:4]), int(row[4])) for row in rows}


def test_two_settings_and_two_curves_give_the_committed_verdicts(compare, capsys):
    assert compare.main(["even", "fashion-exact", "fashion-gd-linear"]) == 0
    assert figures(capsys.readouterr().out)["nf_acc"] == ("-0.0028", "[-0.0032, -0.0024]", 3)
    curves = [",".join(f"fashion-{name}-{lam}" for lam in CURVE) for name in ("exact", "released")]
    assert compare.main(["even", *curves]) == 0
    found = figures(capsys.readouterr().out)
    assert found["nf_acc"] == ("+0.0023", "[+0.0008, +0.0038]", 3)
    assert "nll" not in found  # that is what is equal
    claims = (compare.HERE / "results" / "even" / "tables" / "claims.md").read_text()
    for difference in ("-0.0028 [-0.00323, -0.00237]", "+0.0023"):
        assert difference in claims


def test_one_setting_gives_its_means(compare, capsys):
    assert compare.main(["even", "fashion-exact-10000"]) == 0
    mean, _, seeds = figures(capsys.readouterr().out)["nf_acc"]
    assert (mean, seeds) == ("+0.8953", 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["fashion-nothing"], "'fashion-nothing' is not a setting of the grid even"),
        (["fashion-exact,"], "'' is not a setting of the grid even"),
        (["fashion-exact", "fashion-exact-1000,fashion-exact-10000"], "compared with a curve"),
        (["fashion-exact-1000,fashion-exact-10000"], "compared with a curve"),
        (["mnist-exact", "mnist-released-30000"], "no seed has what is compared"),
    ],
)
def test_what_cannot_be_compared(compare, settings, message, capsys):
    assert compare.main(["even", *settings]) == 2
    assert message in capsys.readouterr().err
