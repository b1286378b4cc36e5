"""Jax with its float64, and without, as it is by default: results in jax, digits of float64."""

import doctest
import functools
import inspect
import re
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from helpers import FAMILIES, FAMILY_IDS, blobs, full_covariances, random_covariances

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    InvalidInputError,
    fit_fixed_point,
    geometric_mean,
    open_set_score,
    pairwise_kld,
    pairwise_overlap,
    smallest_kld,
    solve_fixed_point,
)
from fpigauss._array.namespaces import precise, working_dtype

LAM = 3.0


@pytest.fixture(scope="module", params=[False, True], ids=["float32 only", "x64"])
def jnp(request):
    jax = pytest.importorskip("jax", reason="jax is not installed: pip install -e . --group test")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param)
    yield jax.numpy
    jax.config.update("jax_enable_x64", before)


def latents():
    z, y = blobs()
    return z.astype(np.float32), y


def in_jax(x):
    return type(x).__module__.partition(".")[0] in ("jax", "jaxlib")


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_fits_are_those_of_numpy(jnp, covariance, tied):
    z, y = latents()
    options = {"covariance": covariance, "tied": tied}
    expected = fit_fixed_point(z, y, LAM, **options)
    found = fit_fixed_point(jnp.asarray(z), jnp.asarray(y), LAM, **options)
    assert found.converged and expected.converged
    assert abs(found.n_iter - expected.n_iter) <= 1
    assert found.objective == pytest.approx(expected.objective, rel=1e-12)
    for name in ("means", "covariances"):
        value = getattr(found.gaussians, name)
        assert in_jax(value) and value.dtype == jnp.float32
        # rounded once: eps of float32 is 1.2e-7
        np.testing.assert_allclose(value, getattr(expected.gaussians, name), rtol=2e-7, atol=1e-7)


@pytest.mark.parametrize("pi", ["mean", "initial", lambda kld: kld.mean()])
def test_every_pi(jnp, pi):
    z, y = latents()
    expected = fit_fixed_point(z, y, LAM, tied=True, pi=pi)
    found = fit_fixed_point(jnp.asarray(z), y, LAM, tied=True, pi=pi)
    assert found.status == expected.status == "converged"
    assert found.pi == pytest.approx(expected.pi, rel=1e-6)
    whole = fit_fixed_point(jnp.asarray(z), y, LAM, tied=True, pi=lambda kld: 1.0 + kld)
    assert in_jax(whole.pi) and whole.pi.shape == (4, 4)


def test_statistics_keep_float64(jnp):
    z, y = latents()
    halves = [(jnp.asarray(z[::2]), y[::2]), (jnp.asarray(z[1::2]), y[1::2])]
    expected = ClassStatistics.from_samples(z.astype(np.float64), y)
    weights = jnp.ones(len(y))
    for found in (
        ClassStatistics.from_samples(jnp.asarray(z), y),
        ClassStatistics.from_samples(jnp.asarray(z), y, sample_weight=weights),
        ClassStatistics.from_batches(halves),
        ClassStatistics.from_samples(*halves[0]).update(*halves[1]),
    ):
        assert str(found.means.dtype) == "float64"
        np.testing.assert_allclose(found.covariances, expected.covariances, rtol=1e-12)
        assert solve_fixed_point(found, LAM, tied=True).converged


def test_densities_samples_and_divergences(jnp):
    z, y = latents()
    expected = fit_fixed_point(z, y, LAM).gaussians
    gaussians = fit_fixed_point(jnp.asarray(z), y, LAM).gaussians
    rows = jnp.asarray(z)
    for name in ("class_log_prob", "log_prob", "predict_proba"):
        found = getattr(gaussians, name)(rows)
        assert in_jax(found) and found.dtype == jnp.float32
        # eps of float32 times squared distances of some thousands
        np.testing.assert_allclose(found, getattr(expected, name)(z), rtol=1e-4, atol=1e-3)
    assert in_jax(gaussians.predict(rows))
    np.testing.assert_array_equal(gaussians.predict(rows), expected.predict(z))
    np.testing.assert_allclose(gaussians.log_prob(rows, y), expected.log_prob(z, y), rtol=1e-4)
    drawn = gaussians.sample(y, seed=0)
    assert in_jax(drawn)
    np.testing.assert_allclose(drawn, expected.sample(y, seed=0), rtol=1e-5, atol=1e-5)
    divergences = pairwise_kld(gaussians)
    assert in_jax(divergences) and divergences.dtype == jnp.float32
    np.testing.assert_allclose(divergences, pairwise_kld(expected), rtol=1e-5)


def test_conversions_files_and_warm_starts(jnp, tmp_path):
    z, y = latents()
    numpy_ones = fit_fixed_point(z, y, LAM, covariance="dense").gaussians
    gaussians = numpy_ones.to(jnp.zeros(1, dtype=jnp.float32))
    assert in_jax(gaussians.means) and in_jax(gaussians.covariances)
    back = gaussians.to(np.zeros(1))
    np.testing.assert_array_equal(back.covariances, np.asarray(gaussians.covariances))
    gaussians.save(tmp_path / "jax.npz")
    np.testing.assert_array_equal(ClassGaussians.load(tmp_path / "jax.npz").means, gaussians.means)
    for init in (gaussians, numpy_ones):
        warm = fit_fixed_point(jnp.asarray(z), y, LAM, covariance="dense", init=init)
        assert warm.converged and in_jax(warm.gaussians.means)
        assert warm.n_iter <= 3


def test_geometric_means(jnp):
    root = np.random.default_rng(0).normal(size=(4, 4))
    a = (root @ root.T + np.eye(4)).astype(np.float32)
    b = np.diag([1.0, 2.0, 3.0, 1e-3]).astype(np.float32)
    found = geometric_mean(jnp.asarray(a), jnp.asarray(b))
    assert in_jax(found) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, geometric_mean(a, b), rtol=1e-6, atol=1e-7)


def test_labels_of_64_bits_stay_what_they_are(jnp):
    z, y = latents()
    labels = 2**40 + y.astype(np.int64)
    gaussians = fit_fixed_point(jnp.asarray(z), labels, LAM).gaussians
    found = np.asarray(gaussians.predict(jnp.asarray(z)))
    assert set(found.tolist()) <= set(labels.tolist())
    assert np.mean(found == labels) > 0.5


def test_what_float64_is_follows_the_option(jnp):
    jax = pytest.importorskip("jax", reason="jax is not installed: pip install -e . --group test")
    x = jnp.zeros(2, dtype=jnp.float32)
    before = jax.config.jax_enable_x64
    for on in (True, False, True):
        jax.config.update("jax_enable_x64", on)
        assert (precise(x) is x) == on
        assert working_dtype(x) == (jnp.float64 if on else jnp.float32)
    jax.config.update("jax_enable_x64", before)


# -- inside jit, grad and vmap --------------------------------------------------------------


#: What is computed of Gaussians and latents: nothing of it needs values before it runs.
FUNCTIONS = {
    "class_log_prob": lambda gaussians, z: gaussians.class_log_prob(z),
    "log_prob": lambda gaussians, z: gaussians.log_prob(z),
    "log_prob with priors": lambda gaussians, z: gaussians.log_prob(z, priors="counts"),
    "predict": lambda gaussians, z: gaussians.predict(z),
    "predict_proba": lambda gaussians, z: gaussians.predict_proba(z, priors=[0.1, 0.2, 0.3, 0.4]),
    "mahalanobis": lambda gaussians, z: gaussians.mahalanobis(z),
    "kld": lambda gaussians, z: pairwise_kld(gaussians),
    **{
        method: lambda gaussians, z, method=method: open_set_score(gaussians, z, method=method)
        for method in ("likelihood", "mahalanobis", "typicality", "entropy")
    },
}


def near_and_far(jnp, covariance, tied):
    """Gaussians, of which two nearly coincide, in jax and in numpy, and latents, some at a mean."""
    rng = np.random.default_rng(0)
    dtype = jnp.zeros(1).dtype
    means = 100.0 * rng.standard_normal((4, 3))
    means[1] = means[0] + 1e-3
    covariances = random_covariances(rng, 4, 3, covariance, tied).astype(dtype)
    means, z = means.astype(dtype), rng.standard_normal((8, 3))
    z[:2], z[2:] = means[:2] + 0.01, means[2] + 3.0 * z[2:]
    options = {"covariance": covariance, "tied": tied, "classes": [2, 3, 5, 7]}
    ours = ClassGaussians(
        jnp.asarray(means), jnp.asarray(covariances), counts=[1, 2, 3, 4], **options
    )
    wide = means.astype(np.float64), covariances.astype(np.float64)
    z = z.astype(dtype)
    return ours, jnp.asarray(z), ClassGaussians(*wide, counts=[1, 2, 3, 4], **options), z


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_compiled_functions_lose_no_digits(jnp, covariance, tied):
    """Entries that cancel are recomputed in a compiled function too, where nobody can count them.

    Products would leave eps times 1e4 to 1e6 of distances of 1e-4 to 1e-6. Means are of 100 and
    float32 knows them to 1e-5, offsets of 1e-3 to 1 per cent: squares and divergences to some.
    """
    import jax

    gaussians, z, expected, rows = near_and_far(jnp, covariance, tied)
    wide = z.dtype == np.float64
    for name, function in FUNCTIONS.items():
        wanted = function(expected, rows.astype(np.float64))
        as_argument = jax.jit(function)(gaussians, z)
        as_constant = jax.jit(functools.partial(function, gaussians))(z)
        eager = function(gaussians, z)
        tolerance = {"rtol": 1e-9, "atol": 1e-12} if wide else {"rtol": 1e-3, "atol": 1e-3}
        for found in (as_argument, as_constant, eager):
            assert in_jax(found), name
            np.testing.assert_allclose(found, wanted, **tolerance, err_msg=name)


def test_divergences_of_near_classes_in_a_compiled_function(jnp):
    """Offsets that float32 holds exactly, so that its divergences are right to its rounding."""
    import jax

    means = np.asarray([[64.0, 0.0], [64.0 + 2**-10, 0.0], [-64.0, 32.0]], dtype=np.float32)
    ones = np.ones_like(means)
    exact = pairwise_kld(ClassGaussians(means.astype(float), ones.astype(float)))
    found = jax.jit(lambda m, v: pairwise_kld(ClassGaussians(m, v)))(jnp.asarray(means), ones)
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    assert found[0, 1] == pytest.approx(2.0**-21, rel=1e-6)


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_derivatives_are_those_of_torch(jnp, torch, covariance, tied):
    import jax

    gaussians, z, expected, rows = near_and_far(jnp, covariance, tied)

    def loss(means, covariances, z, xp):
        made = ClassGaussians(means, covariances, covariance=covariance, tied=tied)
        squares = xp.sum(xp.sqrt(1.0 + made.mahalanobis(z)))
        return squares - 1e-3 * xp.sum(made.log_prob(z)) + 1e-3 * xp.sum(pairwise_kld(made))

    given = [gaussians.means, gaussians.covariances, z]
    found = jax.jit(jax.grad(functools.partial(loss, xp=jnp), argnums=(0, 1, 2)))(*given)
    inputs = [
        torch.tensor(np.array(x, dtype=np.float64), requires_grad=True)
        for x in (expected.means, expected.covariances, rows)
    ]
    wanted = torch.autograd.grad(loss(*inputs, torch), inputs)
    wide = z.dtype == np.float64
    for ours, theirs in zip(found, wanted, strict=True):
        size = float(theirs.abs().max())
        assert np.isfinite(np.asarray(ours)).all()
        np.testing.assert_allclose(
            ours, theirs, rtol=1e-8 if wide else 5e-3, atol=(1e-9 if wide else 5e-3) * size
        )


def test_rows_one_by_one(jnp):
    import jax

    gaussians, z, expected, rows = near_and_far(jnp, "diagonal", False)
    for name in ("class_log_prob", "mahalanobis", "predict_proba"):
        function = getattr(gaussians, name)
        found = jax.jit(jax.vmap(lambda row, function=function: function(row[None, :])[0]))(z)
        wanted = getattr(expected, name)(rows.astype(np.float64))
        tolerance = 1e-9 if z.dtype == np.float64 else 1e-3
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
    slope = jax.vmap(jax.grad(lambda row: gaussians.log_prob(row[None, :])[0]))(z)
    at_once = jax.grad(lambda z: gaussians.log_prob(z).sum())(z)
    np.testing.assert_allclose(slope, at_once, rtol=1e-4, atol=1e-5)


def test_ranks_that_are_not_promoted(jnp):
    import jax

    z, y = blobs(n_classes=3)
    with jax.numpy_rank_promotion("raise"):
        for covariance, tied in FAMILIES:
            gaussians = fit_fixed_point(
                jnp.asarray(z), jnp.asarray(y), 1.0, covariance=covariance, tied=tied
            ).gaussians
            rows = jnp.asarray(z)
            assert gaussians.predict_proba(rows, priors="counts").shape == (len(z), 3)
            assert gaussians.log_prob(rows).shape == gaussians.log_prob(rows, y).shape == (len(z),)
            for method in ("likelihood", "mahalanobis", "typicality", "entropy"):
                assert open_set_score(gaussians, rows, method=method).shape == (len(z),)
            assert pairwise_kld(gaussians).shape == pairwise_overlap(gaussians).shape == (3, 3)
            assert jax.jit(gaussians.class_log_prob)(rows).shape == (len(z), 3)


def test_labels_without_values(jnp):
    import jax

    gaussians, z, expected, rows = near_and_far(jnp, "dense", False)
    y = np.asarray([2, 3, 5, 7, 5, 5, 2, 4])  # 4 is not a class
    found = np.asarray(jax.jit(gaussians.log_prob)(z, jnp.asarray(y)))
    wanted = expected.log_prob(rows[:-1].astype(np.float64), y[:-1])
    np.testing.assert_allclose(found[:-1], wanted, rtol=1e-4)
    assert np.isnan(found[-1])
    with pytest.raises(InvalidInputError, match=r"labels has 3 entries for 8 rows of z"):
        jax.jit(gaussians.log_prob)(z, jnp.asarray([2, 3, 5]))
    named = ClassGaussians(
        gaussians.means, gaussians.covariances, covariance="dense", classes=[*"abcd"]
    )
    with pytest.raises(InvalidInputError, match="the classes are strings; inside"):
        jax.jit(named.log_prob)(z, jnp.asarray(y))
    with pytest.raises(InvalidInputError, match="inside a transformation of jax"):
        jax.jit(named.predict)(z)


def test_trees_with_other_leaves_can_be_shown(jnp):
    import jax

    gaussians = fit_fixed_point(*latents(), LAM).gaussians
    for leaf in (None, np.dtype("f4"), True, object()):
        shown = repr(jax.tree.map(lambda _, leaf=leaf: leaf, gaussians))
        assert shown.startswith("ClassGaussians(n_classes=")
        assert "dim=?" in shown
    stacked = jax.tree.map(lambda x: np.stack([x, x]), gaussians)
    assert repr(stacked) == repr(gaussians)


def test_they_are_a_pytree(jnp):
    import jax

    gaussians, z, _, _ = near_and_far(jnp, "diagonal", False)
    leaves, structure = jax.tree.flatten(gaussians)
    assert len(leaves) == 3
    back = jax.tree.unflatten(structure, leaves)
    assert back.means is gaussians.means and back.counts is gaussians.counts
    np.testing.assert_array_equal(back.classes, [2, 3, 5, 7])
    assert back.family == gaussians.family and repr(back) == repr(gaussians)
    other = ClassGaussians(gaussians.means, gaussians.covariances)  # other classes, no counts
    assert jax.tree.structure(other) != structure
    paths = [
        jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(gaussians)
    ]
    assert paths == [".means", ".covariances", ".counts"]

    compiled = []

    @jax.jit
    def shifted(gaussians):
        compiled.append(gaussians)
        return jax.tree.map(lambda x: x + 1, gaussians)

    moved = shifted(shifted(gaussians))
    assert isinstance(moved, ClassGaussians) and len(compiled) == 1
    np.testing.assert_allclose(moved.means, gaussians.means + 2, rtol=1e-6)

    batch = jax.vmap(lambda shift: ClassGaussians(gaussians.means + shift, gaussians.covariances))(
        jnp.arange(5.0)
    )
    assert batch.means.shape == (5, 4, 3)
    scores = jax.vmap(lambda one: one.log_prob(z))(batch)
    np.testing.assert_allclose(scores[0], other.log_prob(z), rtol=1e-5)
    slopes = jax.grad(lambda one: one.log_prob(z).sum())(other)
    assert isinstance(slopes, ClassGaussians) and slopes.means.shape == (4, 3)


def test_what_needs_values_says_so(jnp, tmp_path):
    import jax

    z, y = latents()
    z = jnp.asarray(z)
    gaussians = fit_fixed_point(z, y, LAM).gaussians
    for call in (
        lambda z: fit_fixed_point(z, y, LAM).gaussians.means,
        lambda z: ClassStatistics.from_samples(z, y).means,
        lambda z: smallest_kld(ClassGaussians(z[:3], z[3:6] ** 2)),
        lambda z: ClassGaussians(z[:3], z[3:6] ** 2).save(tmp_path / "none.npz"),
        lambda z: gaussians.sample(jnp.astype(z[:, 0], int)),
    ):
        with pytest.raises(InvalidInputError, match="inside a transformation of jax"):
            jax.jit(call)(z)
    # shapes are known
    with pytest.raises(InvalidInputError, match=r"z has shape \(3,\)"):
        jax.vmap(gaussians.log_prob)(z)
    with pytest.raises(InvalidInputError, match="covariances has shape"):
        jax.jit(lambda z: ClassGaussians(z, z[:, :1]).means)(z)
    # and values of what is not transformed
    with pytest.raises(InvalidInputError, match="priors sum to"):
        jax.jit(lambda z: gaussians.predict_proba(z, priors=[0.5, 0.1, 0.1, 0.1]))(z)


def test_fits_are_solved_by_numpy(jnp):
    z, y = latents()
    statistics = ClassStatistics.from_samples(z, y)
    kinds = []

    def pi(kld):
        kinds.append(type(kld))
        return kld.mean()

    given = jnp.asarray(statistics.means)
    ours = ClassStatistics(statistics.counts, given, statistics.covariances, statistics.classes)
    expected = solve_fixed_point(statistics, LAM, tied=True, pi=pi)
    found = solve_fixed_point(ours, LAM, tied=True, pi=pi)
    assert set(kinds) == {np.ndarray}
    assert in_jax(found.gaussians.means) == in_jax(ours.means)
    np.testing.assert_allclose(found.gaussians.means, expected.gaussians.means, rtol=1e-5)


# -- under a flow of flowjax -----------------------------------------------------------------


@pytest.fixture(scope="module")
def flowjax(jnp):
    return pytest.importorskip(
        "flowjax", reason="flowjax is not installed: pip install fpigauss[jax]"
    )


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES, ids=FAMILY_IDS)
def test_a_base_of_flowjax(jnp, flowjax, covariance, tied):
    import jax

    from fpigauss.jax import as_base

    z, y = latents()
    y = np.asarray([-1, 4, 7, 9])[y]
    gaussians = fit_fixed_point(z, y, LAM, covariance=covariance, tied=tied).gaussians
    base = as_base(gaussians)
    assert base.shape == (3,) and base.cond_shape == ()
    wide = z.astype(np.float64)
    tolerance = {"rtol": 1e-9} if jnp.zeros(1).dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(
        base.log_prob(z, y), gaussians.to(wide).log_prob(wide, y), **tolerance
    )
    assert np.isnan(base.log_prob(z[0], 5))
    mixture = as_base(gaussians, conditional=False)
    assert mixture.cond_shape is None
    np.testing.assert_allclose(mixture.log_prob(z), gaussians.to(wide).log_prob(wide), **tolerance)

    drawn = np.asarray(base.sample(jax.random.key(0), (4000,), condition=jnp.asarray([4, 9])))
    assert drawn.shape == (4000, 2, 3)
    full = full_covariances(gaussians.covariances, 4, 3, covariance, tied)
    for place, k in enumerate([1, 3]):
        sample, spread = drawn[:, place], np.sqrt(np.diagonal(full[k]))
        # six standard errors of means and of (co)variances of 4000 draws
        offset = np.abs(sample.mean(0) - gaussians.means[k]) / spread
        assert offset.max() < 6 / np.sqrt(4000)
        error = np.abs(np.cov(sample.T) - full[k]) / np.outer(spread, spread)
        assert error.max() < 6 * np.sqrt(2 / 4000)
    mixed = np.asarray(mixture.sample(jax.random.key(1), (4000,)))
    counts = np.unique(np.asarray(gaussians.predict(mixed.astype(z.dtype))), return_counts=True)[1]
    assert len(counts) == 4


def test_flows_over_it(jnp, flowjax):
    import equinox as eqx
    import jax
    from flowjax.bijections import Affine
    from flowjax.distributions import Transformed
    from flowjax.flows import coupling_flow
    from flowjax.train import fit_to_data

    from fpigauss.jax import as_base, without_context

    z, y = latents()
    names = np.asarray([*"abcd"])[y]
    base = as_base(fit_fixed_point(z, names, LAM, tied=True).gaussians)  # positions are the labels
    bare = coupling_flow(jax.random.key(0), base_dist=base, flow_layers=2, nn_width=8)
    with pytest.raises((TypeError, ValueError)):  # each layer appends the label to its inputs
        bare.log_prob(z, y)
    flow = without_context(bare)
    before = flow.log_prob(z, y).mean()
    trained, _ = fit_to_data(
        jax.random.key(1), flow, (z, y), max_epochs=5, batch_size=32, show_progress=False
    )
    assert trained.log_prob(z, y).mean() > before
    for old, new in zip(jax.tree.leaves(base), jax.tree.leaves(trained.base_dist), strict=True):
        np.testing.assert_array_equal(old, new)  # only the bijection is trained
    x = trained.sample(jax.random.key(2), condition=jnp.asarray([0, 3]))
    found = jax.vmap(trained.bijection.transform)(jax.vmap(trained.bijection.inverse)(x))
    np.testing.assert_allclose(found, x, rtol=1e-3, atol=1e-3)
    slopes = eqx.filter_grad(lambda flow: flow.log_prob(z, y).mean())(flow)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slopes.base_dist))
    assert np.isneginf(flow.log_prob(z[0], 9))  # a class that does not exist

    assert without_context(Affine(jnp.ones(3))).cond_shape is None
    mixture = as_base(ClassGaussians(z[:2], z[:2] ** 2), conditional=False)
    conditional = coupling_flow(jax.random.key(0), base_dist=mixture, cond_dim=2, flow_layers=1)
    with pytest.raises(InvalidInputError, match=r"flow needs a condition of shape \(2,\)"):
        without_context(conditional.bijection)
    with pytest.raises(InvalidInputError, match="flow is a _Base; pass a bijection"):
        without_context(base)
    with pytest.raises(
        InvalidInputError, match="gaussians is a Transformed; pass a ClassGaussians"
    ):
        as_base(Transformed(base, Affine(jnp.ones(3))))
    large = ClassGaussians([[0.0], [1.0]], [1.0], tied=True, classes=[0, 2**24 + 1])
    with pytest.raises(InvalidInputError, match=r"class 16777217, which float32 does not tell"):
        as_base(large)


def test_documentation_of_the_module(flowjax):
    import fpigauss.jax

    failed, run = doctest.testmod(fpigauss.jax, optionflags=doctest.ELLIPSIS)
    assert run > 0 and failed == 0


def test_the_page(jnp, flowjax):
    page = (Path(__file__).parents[1] / "docs" / "jax.rst").read_text(encoding="utf-8")
    code = re.findall(r"^\.\. code-block:: python\n\n((?:^ +.*\n|^\n)+)", page, flags=re.MULTILINE)
    found = {}
    for block in code:
        exec(compile(dedent(block), "docs/jax.rst", "exec"), found)
    assert len(code) == 3
    assert 20.0 <= smallest_kld(found["gaussians"]) <= 21.0
    assert found["slope"].shape == (3, 2) and found["each"].shape == (150, 3)
    assert np.isfinite(found["slope"]).all()
    assert found["samples"].shape == (3, 2) and in_jax(found["labels"])


def test_public_names(flowjax):
    import fpigauss.jax

    assert set(fpigauss.jax.__all__) == {"as_base", "without_context"}
    assert list(inspect.signature(fpigauss.jax.as_base).parameters) == ["gaussians", "conditional"]
    assert list(inspect.signature(fpigauss.jax.without_context).parameters) == ["flow"]
