"""The Python code of README.md and of the pages in docs/ runs, and gives what they say."""

import re
import warnings
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

import fpigauss
import fpigauss.plot
import fpigauss.sklearn
from fpigauss import fit_fixed_point, pairwise_kld
from tools import docs_pages

ROOT = Path(__file__).parents[1]
MARKDOWN = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
RST = re.compile(r"^ *\.\. code-block:: python\n\n((?:^ +.*\n|^\n)+)", flags=re.MULTILINE)
_API_PAGES = ("api.rst", "api_sklearn.rst", "api_torch.rst")
N_CLASSES, DIM = 10, 64  # of the page on flows


def run(page, pattern, namespace):
    """Run all blocks of a page, one after the other, in one namespace."""
    blocks = pattern.findall((ROOT / page).read_text(encoding="utf-8"))
    assert blocks, f"{page} shows no Python code"
    for number, block in enumerate(blocks, start=1):
        exec(compile(dedent(block), f"{page}, block {number}", "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, where the blocks save their files."""
    monkeypatch.chdir(tmp_path)


def test_every_page_with_code_is_run():
    pages = {path.name for path in (ROOT / "docs").glob("*.rst") if RST.search(path.read_text())}
    # that of jax is run by test_jax.py
    names = (
        "coming_from",
        "coming_from_nfpi",
        "errata",
        "extending",
        "files",
        "flows",
        "gradients",
    )
    names += ("index", "jax", "lightning", "minima", "quickstart", "scikit_learn", "separation")
    names += ("theory", "jobs_few", "jobs_later", "jobs_reject")
    assert pages == {f"{name}.rst" for name in names}


def test_every_public_name_has_a_page():
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("imblearn", reason="imbalanced-learn is not installed")
    pytest.importorskip("skorch", reason="skorch is not installed")
    import fpigauss_torch
    from fpigauss_torch import imblearn, priors, sklearn

    listed = re.compile(r"^   (?:\w+\.)?(\w+)$", flags=re.MULTILINE)
    pages = [(ROOT / "docs" / name).read_text() for name in _API_PAGES]
    names = {*fpigauss.__all__, *fpigauss_torch.__all__, *priors.__all__}
    names |= {*fpigauss.plot.__all__, *fpigauss.sklearn.__all__}
    names |= {*sklearn.__all__, *imblearn.__all__}
    names -= {"__version__", "LEARNING_RATE_POLICIES"}
    assert names - {name for page in pages for name in listed.findall(page)} == set()


def test_readme():
    pytest.importorskip("torch", reason="torch is not installed")
    run("README.md", MARKDOWN, {"__name__": "readme"})


def test_scikit_learn():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    pytest.importorskip("imblearn", reason="imbalanced-learn is not installed")
    pytest.importorskip("skorch", reason="skorch is not installed")
    names = run("docs/scikit_learn.rst", RST, {"__name__": "scikit_learn"})
    best = names["search"].best_params_
    prefix = "fixedpointgaussianclassifier__"
    assert best == {f"{prefix}covariance": "dense", f"{prefix}separation": None}
    assert names["search"].best_estimator_.score(names["X_test"], names["y_test"]) > 0.9
    assert Path("wine.joblib").exists()
    assert names["whole"].statistics_.counts.sum() == len(names["y_train"])
    assert (-names["pipeline"].score_samples(names["foreign"]) > names["threshold"]).all()
    known, foreign = names["shares_rejected"](
        names["search"].best_estimator_, names["X"], names["y"], 1
    )
    assert known < 0.2
    assert foreign > 0.9


def test_files():
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    names = run("docs/files.rst", RST, {"__name__": "files"})
    assert (names["labels"] == names["y"]).mean() > 0.5
    assert names["statistics"].counts.sum() == len(names["y"])
    assert names["apart"].gaussians.n_classes == 1000
    assert (names["found"] == "none").mean() < 0.2
    others = names["more"].means[names["more"].classes != "class 1000"]
    np.testing.assert_array_equal(others, names["apart"].gaussians.means)
    assert names["on_device"].means.shape == (1001, 64)
    np.testing.assert_allclose(names["merged"].means, names["of_all"].means, rtol=1e-10)


def test_first_screen():
    apart = run("docs/index.rst", RST, {})["apart"]
    assert 25.0 <= fpigauss.smallest_kld(apart.gaussians) <= 26.3


def test_theory():
    names = run("docs/theory.rst", RST, {})
    # Central differences of an L of about 10, with steps of 1e-5, carry 1e-10.
    assert max(map(abs, names["of_means"] + names["of_variances"])) < 1e-8


def test_minima():
    names = run("docs/minima.rst", RST, {})
    assert names["mean_kld"](names["tied"]) == pytest.approx(names["exact"], rel=1e-6)
    assert names["on_saddle"].converged
    assert names["beside"].converged
    assert names["beside"].objective < names["on_saddle"].objective - 0.3


def test_errata():
    names = run("docs/errata.rst", RST, {})
    assert abs(names["one"].means - names["step"][0]).max() < 1e-13
    assert abs(names["one"].means - names["other"][0]).max() > 1e-3
    assert names["agree"] < 1e-12
    balanced, lacks_a, lacks_b = (
        names["imbalance"](squares, factor)
        for squares, factor in (
            (names["squares"], names["v"][:, None]),
            (np.zeros((3, 3)), names["v"][:, None]),
            (names["squares"], names["v"]),
        )
    )
    assert balanced < 1e-8
    assert min(lacks_a, lacks_b) > 0.05
    assert names["plus"] == pytest.approx(1.0, abs=1e-3)
    assert names["minus"] > 10.0
    np.testing.assert_allclose(
        names["at_zero"].covariances ** 3, names["data"].covariances * 200 / 199, rtol=1e-8
    )


def test_coming_from():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    names = run("docs/coming_from.rst", RST, {})
    assert names["rejected"].mean() > 0.9
    assert fpigauss.smallest_kld(names["apart"]) >= 50.0


def test_coming_from_nfpi():
    pytest.importorskip("torch", reason="torch is not installed")
    names = run("docs/coming_from_nfpi.rst", RST, {})
    result = names["result"]
    assert result.n_iter == names["n_iter"]
    np.testing.assert_allclose(result.gaussians.means, names["mu"], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(result.gaussians.covariances, names["var"], rtol=1e-10)
    assert names["refit"].n_iter == result.n_iter
    never = {"interval_mu": [-1, -1], "interval_sigma": [-1, -1]}
    y, z = names["y"], names["z"]
    of_data = names["moved"](names["fpi_info"] | never).fit(z, y).gaussians
    np.testing.assert_allclose(of_data.covariances, names["data_var"] * 79 / 80, rtol=1e-12)


def test_every_message_says_what_to_do():
    """What the page of messages lists, with the remedy that a message itself leaves out."""
    listed = docs_pages.messages()
    assert len(listed) > 400
    assert [message.what for message in listed if not message.remedy] == []


def test_kld_in_other_units():
    """The table of the page on separation: tied Gaussians that far apart, in other units."""
    page = (ROOT / "docs" / "separation.rst").read_text(encoding="utf-8")
    rows = ("KLD, in nats ", "standard deviations apart ", "overlap  ")
    lines = {row: line for line in page.splitlines() for row in rows if line.startswith(row)}
    klds, distances, overlaps = ([float(n) for n in lines[row][25:].split()] for row in rows)
    for kld, distance, overlap in zip(klds, distances, overlaps, strict=True):
        exact = fpigauss.ClassGaussians([[0.0], [np.sqrt(2.0 * kld)]], [1.0], tied=True)
        assert fpigauss.smallest_kld(exact) == pytest.approx(kld)
        assert np.sqrt(2.0 * kld) == pytest.approx(distance, rel=0.05)
        between = fpigauss.pairwise_overlap(exact)[0, 1]
        assert between == pytest.approx(overlap, rel=0.07)


def test_quickstart():
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("zarr", reason="zarr is not installed")
    z = np.random.default_rng(1).normal(size=(2000, 8))
    np.save("latents.npy", z)
    da.from_array(z, chunks=(500, 8)).to_zarr("latents.zarr")

    def loader():
        yield z[:100], np.arange(100) % 5
        raise KeyboardInterrupt

    encoder = torch.nn.Sequential()
    encoder.features, encoder.head = torch.nn.Linear(8, 6), torch.nn.Linear(6, 5)
    data = [(torch.tensor(z[:500], dtype=torch.float32), torch.arange(500) % 5)]
    given = {"loader": loader(), "torch": torch, "encoder": encoder, "data": data}
    namespace = run("docs/quickstart.rst", RST, given)
    assert namespace["merged"].counts.sum() == 2000
    assert namespace["features"].means.shape == (5, 6)
    assert Path("so_far.npz").exists()
    assert namespace["result"].converged
    assert namespace["together"].n_classes == namespace["federated"].n_classes == 5
    assert namespace["new"].gaussians.classes.tolist() == [0, 1, 2, 3, 4]
    for held in (namespace["new"].gaussians, namespace["same"].gaussians):
        np.testing.assert_array_equal(held.means[:3], namespace["old"].means)


def test_separation(capsys):
    namespace = run("docs/separation.rst", RST, {})
    printed = capsys.readouterr().out
    assert 50.0 <= namespace["separated"].value <= 52.5
    assert namespace["separated"].lam == pytest.approx(233.0, abs=1.0)
    assert "the best is 5.881 nats at lam=16.7485" in printed, printed
    assert len(namespace["path"]) == 34
    assert namespace["best"] is namespace["path"].gaussians[0]  # lam=0
    later = namespace["later"].gaussians
    assert later.classes.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(later.means[:5], namespace["separated"].gaussians.means)
    assert namespace["later"].lam > 0.0


def test_jobs_reject():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    zuko = pytest.importorskip("zuko", reason="zuko is not installed")
    torch.manual_seed(0)
    y = torch.arange(400) % 8
    x = torch.randn(400, 196) + 3.0 * torch.nn.functional.one_hot(y, 196)
    namespace = {
        "flow": zuko.flows.NICE(196, transforms=2, hidden_features=(8,)),
        "loader": [(x[:100], y[:100]), (x[100:200], y[100:200])],
        "x_held_out": x[200:],
        "x_new": 3.0 * torch.randn(50, 196),
    }
    names = run("docs/jobs_reject.rst", RST, namespace)
    assert names["unknown"].all()


def test_jobs_later():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    zuko = pytest.importorskip("zuko", reason="zuko is not installed")
    torch.manual_seed(0)
    y = torch.arange(400) % 5
    x = torch.randn(400, 6) + 6.0 * torch.nn.functional.one_hot(y, 6)
    old = y < 4
    namespace = {
        "flow": zuko.flows.NICE(6, transforms=2, hidden_features=(8,)),
        "n_classes": 4,
        "dim": 6,
        "loader": [(x[old], y[old])],
        "x_new": x[~old],
        "z_old": x[old],
        "y_old": y[old],
        "y_new": y[~old],
    }
    names = run("docs/jobs_later.rst", RST, namespace)
    gaussians, statistics = names["model"].gaussians, names["statistics"]
    assert gaussians.n_classes == len(statistics.counts) == 5
    torch.testing.assert_close(statistics.means[4], names["z_new"].double().mean(0))
    assert fpigauss.smallest_kld(gaussians.class_gaussians()) >= 199.9


def test_jobs_few():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    pytest.importorskip("imblearn", reason="imbalanced-learn is not installed")
    pytest.importorskip("skorch", reason="skorch is not installed")
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [100, 5])
    X = rng.normal(size=(105, 4)) + 3.0 * y[:, None]
    names = run("docs/jobs_few.rst", RST, {"X": X, "y": y, "X_new": X[-5:]})
    assert np.bincount(names["y_even"]).tolist() == [100, 100]
    assert (names["forest"].predict(X[-5:]) == 1).all()


def test_flows():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nflows = pytest.importorskip("nflows", reason="nflows is not installed")
    flows = pytest.importorskip("nflows.flows", reason="nflows is not installed")
    transforms = pytest.importorskip("nflows.transforms", reason="nflows is not installed")
    zuko = pytest.importorskip("zuko", reason="zuko is not installed")
    assert nflows.flows is flows  # so that the page can say nflows.flows

    class Own(torch.nn.Linear):
        def encode(self, x):
            return self(x), self.weight.slogdet().logabsdet.expand(len(x))

        def decode(self, z):
            return torch.linalg.solve(self.weight, (z - self.bias).T).T

    class Patches(torch.nn.Linear):
        def forward(self, x):
            z = super().forward(x).unflatten(1, (2, DIM // 2))
            return z, [z], (self.weight.slogdet().logabsdet / DIM).expand(len(x))

        def reverse(self, z):
            return torch.linalg.solve(self.weight, (z.flatten(1) - self.bias).T).T

    def images(n):
        y = torch.arange(n) % N_CLASSES
        return torch.randn(n, DIM) + y[:, None], y

    torch.manual_seed(0)
    x, y = images(200)
    x_held_out, y_held_out = images(100)
    namespace = {
        "nflows": nflows,
        "flow": zuko.flows.NICE(DIM, transforms=2, hidden_features=(8,)),
        "own": Own(DIM, DIM),
        "tarflow": Patches(DIM, DIM),
        "transform": transforms.PointwiseAffineTransform(0.5, 2.0),
        "loader": [(x[:100], y[:100]), (x[100:], y[100:])],
        "x": x,
        "y": y,
        "x_held_out": x_held_out,
        "y_held_out": y_held_out,
        "x_of_new_class": torch.randn(100, DIM) - 3.0,
    }
    namespace = run("docs/flows.rst", RST, namespace)
    assert Path("model.pt").exists()
    assert namespace["extended"].gaussians.n_classes == N_CLASSES + 1
    assert namespace["x_new"].shape == namespace["x"].shape


def test_lightning():
    pytest.importorskip("lightning", reason="lightning is not installed")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        # Lightning's advice on machines with more cores, and a torch class that it uses
        warnings.filterwarnings("ignore", "The '\\w+' does not have many workers")
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
        namespace = run("docs/lightning.rst", RST, {"__name__": "on_lightning"})
    accuracy = float(namespace["trainer"].callback_metrics["accuracy"])
    assert accuracy == pytest.approx(0.96, abs=0.02)


def test_gradients():
    pytest.importorskip("torch", reason="torch is not installed")
    names = run("docs/gradients.rst", RST, {"__name__": "gradients"})
    assert names["fit"].converged
    assert all(bool((p.grad != 0.0).any()) for p in names["encoder"].parameters())
    assert names["lam"].grad.item() != 0.0
    assert names["gradient"].lam > 0.0
    nearest = np.argsort(names["of_weights"])[:5]
    assert set(names["y"][nearest]) <= {0, 1}


def test_extending():
    pytest.importorskip("torch", reason="torch is not installed")
    namespace = run("docs/extending.rst", RST, {"__name__": "extending"})
    assert namespace["stronger"].converged
    assert namespace["result"].gaussians.covariances.shape == (4,)
    assert namespace["samples"].shape == (2, 5)
    prior = namespace["model"].gaussians
    assert prior.radius.grad is not None
    density = prior.to("meta").density()  # on a device that is not the default one
    assert {density.means.device, density.inverse.device, density.log_det.device} == {
        prior.radius.device
    }


def test_a_rare_class_and_its_priors():
    rng = np.random.default_rng(0)
    rng.integers(0, 5, size=2000), rng.normal(size=(2000, 8)), rng.normal(size=(5, 8))
    rare = (rng.random(2000) < 0.05).astype(int)
    rows = rng.normal(size=(2000, 4)) + 0.8 * rare[:, None]
    gaussians = fit_fixed_point(rows, rare, lam=0.0, tied=True).gaussians
    assert gaussians.predict(rows).mean() == pytest.approx(0.26, abs=0.015)
    assert gaussians.predict(rows, priors="counts").mean() == pytest.approx(0.003, abs=0.002)


# README.md and docs/quickstart.rst, to the digits that they show.
@pytest.mark.parametrize(
    ("lam", "smallest", "accuracy", "loss"),
    [(0.0, 1.8, 0.72, 0.72), (100.0, 25.0, 0.70, 2.1), (1000.0, 197.0, 0.65, 19.0)],
)
def test_repulsion_on_data_that_stay(lam, smallest, accuracy, loss):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, size=2000)
    z = rng.normal(size=(2000, 8)) + rng.normal(size=(5, 8))[y]
    result = fit_fixed_point(z, y, lam, tied=True)
    kld = pairwise_kld(result.gaussians)
    true = result.gaussians.predict_proba(z)[np.arange(2000), y]
    assert kld[kld > 0].min() == pytest.approx(smallest, rel=0.03)
    assert np.mean(result.gaussians.predict(z) == y) == pytest.approx(accuracy, abs=0.006)
    assert -np.log(true).mean() == pytest.approx(loss, rel=0.03)
