"""Learning lam and finding rows of influence, on small problems, and the script around them."""

import json

import numpy as np
import pytest

from nfpi.influence import influence
from nfpi.latent_problems import Latents, digits
from nfpi.learned_lam import Trials, compared


@pytest.fixture(scope="module")
def latents():
    rng = np.random.default_rng(3)
    y = np.arange(400) % 3
    z = rng.normal(size=(400, 2)) + np.array([[1.5, 0.0], [0.0, 2.5], [0.0, 0.0]])[y]
    # tails that are lighter than a Gaussian's: sharper posteriors than the fitted ones are right
    z = np.clip(z, -1.0, 3.0)
    return Latents("toy", z[::2], y[::2], z[1::2], y[1::2])


@pytest.mark.parametrize("calibrated", [False, True])
def test_lam_is_learned_in_few_fits_as_well_as_on_the_grid(latents, calibrated):
    found = compared(latents, calibrated=calibrated, tied=True)
    assert found.learned.log_loss <= found.grid_best[1] + 1e-5
    assert len(found.trials) < len(found.grid_lam) / 2


@pytest.mark.parametrize("calibrated", [False, True])
def test_slopes_are_those_of_the_log_loss(latents, calibrated):
    trials = Trials(latents, 1e-2, {"tied": True, "tol": 1e-12}, calibrated=calibrated)
    slope = trials.slope(3.0)
    for at in (2.99, 3.01):
        trials.slope(at)
    low, high = trials.done[2.99].log_loss, trials.done[3.01].log_loss
    assert slope == pytest.approx((high - low) / 0.02, rel=1e-3)


def test_influence_predicts_deletion(latents):
    found = influence(latents, 20, lam=3.0, tied=True)
    for one in found.values():
        assert one.rank_correlation > 0.95
        assert len(one.predicted) == len(latents.z)
    assert found["smallest_kld"].slope == pytest.approx(1.0, abs=0.1)
    assert found["mean"].slope == pytest.approx(1.0, abs=0.1)


def test_digits_keep_their_images():
    latents = digits(100, dim=4)
    assert latents.z.shape == (100, 4)
    assert latents.images.shape == (100, 8, 8)
    assert len(latents.z_held) == 1697


def test_the_script_writes_record_table_and_picture(fit_gradients, tmp_path, monkeypatch, latents):
    monkeypatch.setattr(fit_gradients, "N_DELETED", 4)
    monkeypatch.setattr(fit_gradients, "digits", lambda: digits(200, dim=4))
    np.savez(tmp_path / "embedding.npz", z=latents.z, y=latents.y)
    arguments = ["influence", "--embedding", str(tmp_path / "embedding.npz")]
    fits = {"tied diagonal": {"lam": 3.0, "tied": True}}
    monkeypatch.setattr(fit_gradients, "FITS", fits)
    assert fit_gradients.main([*arguments, "--results", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "influence.json").read_text())
    assert len(record["findings"]) == 6
    assert "does not hold" in (text := (tmp_path / "out/tables/influence.md").read_text()) or (
        "**holds**" in text
    )
    assert (tmp_path / "out/figures/influence.png").stat().st_size > 10_000
