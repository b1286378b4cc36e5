"""Latent augmentation: moves within a class along its principal axes, and through a flow."""

import math
import pickle
from itertools import pairwise

import pytest
import torch
from coupling import coupling_model
from torch.utils.data import DataLoader, TensorDataset

from fpigauss import InvalidInputError
from fpigauss_torch import (
    ClassFlow,
    LatentAugmentation,
    LatentGaussians,
    PrincipalAxes,
    class_preservation,
    mix_within_class,
    noise_along_axes,
)
from fpigauss_torch.priors import GradientGaussians

N_CLASSES, DIM, N_AXES = 3, 5, 2
FAMILIES = [
    (covariance, tied)
    for covariance in ("diagonal", "dense", "isotropic")
    for tied in (False, True)
]
MOVES = [mix_within_class, noise_along_axes]
#: Rounding of a few sums and products of numbers of the size of 10, in float64.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def latents(n=60, seed=0, n_classes=N_CLASSES, dim=DIM, dtype=torch.float64):
    """Overlapping classes with correlated axes of different scales."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(n_classes, (n,), generator=generator)
    mixing = torch.randn(n_classes, dim, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    z = (mixing[y] @ noise[:, :, None])[:, :, 0] + 2.0 * y[:, None]
    return z.to(dtype), y


def fitted(covariance="diagonal", tied=False, *, n_classes=N_CLASSES, dim=DIM):
    z, y = latents(400, seed=1, n_classes=n_classes, dim=dim)
    gaussians = LatentGaussians(n_classes, dim, covariance, tied)
    gaussians.fit_(z, y, 1.0)
    return gaussians


def matrices(gaussians):
    """Return the covariance of every class, (K, d, d)."""
    core = gaussians.class_gaussians()
    own = core.covariances
    if core.tied:
        own = own.expand(gaussians.n_classes, *own.shape)
    if core.covariance == "isotropic":
        own = own[:, None].expand(-1, gaussians.dim)
    return own if own.ndim == 3 else torch.diag_embed(own)


def projections(gaussians, n_axes):
    """Compute projections (K, d, d) onto the axes of largest variance, and all variances."""
    variances, vectors = torch.linalg.eigh(matrices(gaussians))
    top = vectors[:, :, -n_axes:]
    return top @ top.mT, variances.flip(1)


# -- the axes ------------------------------------------------------------------------------


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
def test_axes_are_those_of_the_largest_variances(covariance, tied):
    gaussians = fitted(covariance, tied)
    expected, variances = projections(gaussians, N_AXES)
    axes = PrincipalAxes.of(gaussians, N_AXES)
    labels = torch.arange(N_CLASSES).repeat_interleave(DIM)
    identity = torch.eye(DIM, dtype=torch.float64).repeat(N_CLASSES, 1)
    got = axes.project(identity, labels).reshape(N_CLASSES, DIM, DIM)
    if covariance == "isotropic":  # all axes are equal: the first ones are taken
        first = torch.diag((torch.arange(DIM) < N_AXES).double())
        expected = first.expand_as(expected)
    # eigenvectors of variances that differ by tens of percent move by some eps
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    scales = axes.scales.expand(N_CLASSES, N_AXES)
    torch.testing.assert_close(scales, variances[:, :N_AXES].sqrt(), rtol=1e-9, atol=1e-9)


def test_axes_of_gaussians_of_the_core():
    gaussians = fitted("dense")
    z, y = latents()
    for core in (gaussians.class_gaussians(), _as_numpy(gaussians.class_gaussians())):
        moved = mix_within_class(z, y, core, n_axes=2, seed=0)
        torch.testing.assert_close(moved, mix_within_class(z, y, gaussians, n_axes=2, seed=0))


def _as_numpy(core):
    return type(core)(core.means.numpy(), core.covariances.numpy(), covariance="dense")


def test_prepared_axes_give_the_same_moves():
    gaussians = fitted("dense")
    z, y = latents()
    axes = PrincipalAxes.of(gaussians, N_AXES)
    for move in MOVES:
        torch.testing.assert_close(
            move(z, y, axes, seed=0), move(z, y, gaussians, n_axes=N_AXES, seed=0), rtol=0, atol=0
        )


def test_many_axes_of_many_classes_take_little_memory():
    axes = PrincipalAxes.of(LatentGaussians(100, 3072, covariance="diagonal", tied=False), 64)
    assert axes.scales.untyped_storage().nbytes() + axes.axes.untyped_storage().nbytes() < 2**18
    dense = PrincipalAxes.of(LatentGaussians(2, 64, "dense", tied=False), 2)
    assert dense.axes.untyped_storage().nbytes() == 2 * 64 * 2 * 8


# -- both moves ----------------------------------------------------------------------------


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
def test_moves_stay_in_the_span_and_strength_zero_is_the_identity(move, covariance, tied):
    gaussians = fitted(covariance, tied)
    z, y = latents()
    assert torch.equal(move(z, y, gaussians, strength=0.0, n_axes=N_AXES, seed=0), z)
    step = move(z, y, gaussians, strength=1.0, n_axes=N_AXES, seed=0) - z
    axes = PrincipalAxes.of(gaussians, N_AXES)
    torch.testing.assert_close(axes.project(step, y), step, **CLOSE)
    assert (step.abs().amax(1) > 0).all()
    everywhere = move(z, y, gaussians, strength=1.0, seed=0) - z
    assert torch.linalg.matrix_rank(everywhere[y == 0]) == DIM  # all axes by default


@pytest.mark.parametrize("move", MOVES)
def test_seeds(move):
    gaussians = fitted()
    z, y = latents()
    first = move(z, y, gaussians, seed=3)
    assert torch.equal(first, move(z, y, gaussians, seed=3))
    assert torch.equal(first, move(z, y, gaussians, seed=torch.Generator().manual_seed(3)))
    assert not torch.equal(first, move(z, y, gaussians, seed=4))
    torch.manual_seed(5)
    fresh = move(z, y, gaussians)
    assert not torch.equal(fresh, move(z, y, gaussians))
    torch.manual_seed(5)
    assert torch.equal(fresh, move(z, y, gaussians))


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("n_axes", [None, N_AXES])
def test_new_names_of_the_classes_change_nothing(move, n_axes):
    gaussians = fitted()
    z, y = latents()
    order = torch.tensor([2, 0, 1])  # the new class k is the old class order[k]
    core = gaussians.class_gaussians()
    renamed = LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False).assign_(
        type(core)(core.means[order], core.covariances[order])
    )
    torch.testing.assert_close(
        move(z, order.argsort()[y], renamed, n_axes=n_axes, seed=0),
        move(z, y, gaussians, n_axes=n_axes, seed=0),
        rtol=0,
        atol=0,
    )


def test_mixing_turns_with_the_latent_space():
    gaussians = fitted("dense")
    z, y = latents()
    generator = torch.Generator().manual_seed(2)
    turn, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator, dtype=torch.float64))
    core = gaussians.class_gaussians()
    covariances = turn @ core.covariances @ turn.mT
    turned = LatentGaussians(N_CLASSES, DIM, "dense", tied=False).assign_(
        type(core)(core.means @ turn.mT, (covariances + covariances.mT) / 2.0, covariance="dense")
    )
    for n_axes in (1, 2, None):
        torch.testing.assert_close(
            mix_within_class(z @ turn.mT, y, turned, n_axes=n_axes, seed=0),
            mix_within_class(z, y, gaussians, n_axes=n_axes, seed=0) @ turn.mT,
            rtol=1e-9,  # the tolerance of the axes
            atol=1e-9,
        )


def test_mixing_follows_an_order_of_the_coordinates():
    gaussians = fitted()
    z, y = latents()
    order = torch.tensor([3, 1, 4, 0, 2])
    core = gaussians.class_gaussians()
    ordered = LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False).assign_(
        type(core)(core.means[:, order], core.covariances[:, order])
    )
    got = mix_within_class(z[:, order], y, ordered, n_axes=N_AXES, seed=0)
    expected = mix_within_class(z, y, gaussians, n_axes=N_AXES, seed=0)[:, order]
    assert torch.equal(got, expected)


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_and_autocast(move, dtype):
    gaussians = fitted("dense")
    z, y = latents(dtype=dtype)
    expected = move(z.double(), y, gaussians, n_axes=N_AXES, seed=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = move(z, y, gaussians, n_axes=N_AXES, seed=0)
    assert moved.dtype == dtype
    eps = torch.finfo(dtype).eps
    # one rounding of the result in its dtype, and some in float32, of numbers of the size of 10
    difference = (moved.double() - expected).abs()
    assert (difference <= eps * expected.abs() + 100 * torch.finfo(torch.float32).eps).all()


@pytest.mark.parametrize("move", MOVES)
def test_gradients_reach_the_latents(move):
    gaussians = fitted("dense")
    z, y = latents(12)
    z.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: move(z, y, gaussians, n_axes=N_AXES, seed=0), (z,), raise_exception=True
    )


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("n_axes", [None, N_AXES])
def test_priors_that_are_trained_are_not_trained_by_it(move, n_axes):
    prior = GradientGaussians(N_CLASSES, DIM, lam=1.0)
    assert any(parameter.requires_grad for parameter in prior.parameters())
    z, y = latents(dtype=torch.float32)
    moved = move(z, y, prior, n_axes=n_axes, seed=0)
    assert not moved.requires_grad and moved.dtype == z.dtype
    assert ((moved != z).sum(1) == (n_axes or DIM)).all()


@pytest.mark.parametrize("move", MOVES)
def test_unlabeled_rows_stay(move):
    gaussians = fitted("dense")
    z, y = latents()
    y[::2] = -1
    moved = move(z, y, gaussians, n_axes=N_AXES, seed=0)
    assert torch.equal(moved[::2], z[::2])
    assert (moved != z)[1::2].any(1).all()


@pytest.mark.parametrize("move", MOVES)
def test_empty_batches(move):
    empty, labels = torch.zeros(0, DIM), torch.zeros(0, dtype=torch.int64)
    for n_axes in (None, N_AXES):
        assert move(empty, labels, fitted("dense"), n_axes=n_axes).shape == (0, DIM)


# -- mixing --------------------------------------------------------------------------------


def test_every_other_row_of_the_class_is_the_partner_of_one():
    y = torch.tensor([0, 1, 0, 2, 0, 1, 0, 0, -1])
    z = torch.arange(9.0)[:, None]
    seen = torch.zeros(9, 9)
    for seed in range(200):
        # z' = z + w (partner - z), and w is the same for latents and for their squares
        both = torch.cat([z, z * z], 1)
        step = mix_within_class(
            both,
            y,
            LatentGaussians(N_CLASSES, 2, covariance="diagonal", tied=False),
            strength=1.0,
            seed=seed,
        )
        step = (step - both).double()
        # (p^2 - z^2) / (p - z) = p + z
        moved = step[:, 0] != 0
        partner = torch.where(moved, step[:, 1] / step[:, 0] - z[:, 0], z[:, 0].double())
        partner = partner.round().long()
        assert torch.equal(y[partner], y)
        assert torch.equal(partner.sort().values, torch.arange(9))  # each is the partner of one
        assert torch.equal(
            partner == torch.arange(9), torch.tensor([0, 0, 0, 1, 0, 0, 0, 0, 1]) > 0
        )
        seen[torch.arange(9), partner] += 1
    # uniform over the 4 others of class 0: each 50 +- 6.1 of 200, tested within 4 deviations
    of_first = seen[y == 0][:, y == 0]
    off_diagonal = of_first[~torch.eye(5, dtype=torch.bool)]
    assert (off_diagonal - 50.0).abs().max() < 4 * math.sqrt(200 * 0.25 * 0.75)


def test_mixed_rows_lie_on_segments():
    gaussians = fitted("dense")
    z, y = latents()
    strength = 0.7
    mixed = mix_within_class(z, y, gaussians, strength=strength, seed=0)
    # on a segment between rows a and b: |a - m| + |m - b| = |a - b|; for one b, at most 0.7 along
    to_others = torch.cdist(mixed, z)
    gone = (mixed - z).norm(dim=1)
    whole = torch.cdist(z, z)
    gap = (gone[:, None] + to_others - whole).abs() + 1e9 * (y[:, None] != y)
    gap.fill_diagonal_(1e9)
    nearest = gap.min(1)
    # cdist multiplies matrices: sqrt(eps) of a length of the size of 10
    assert nearest.values.max() < 1e-6
    share = gone / whole.gather(1, nearest.indices[:, None])[:, 0]
    assert share.max() <= strength + 1e-6
    assert share.max() > 0.6 and share.min() < 0.1  # uniform: 60 draws


def test_mixing_keeps_means_and_shrinks_variances_as_stated():
    strength, n_rows = 0.6, 40_000
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n_rows) % 2
    z = torch.randn(n_rows, 3, generator=generator) * torch.tensor([3.0, 1.0, 2.0]) + y[:, None]
    gaussians = LatentGaussians(2, 3, covariance="diagonal", tied=False)
    gaussians.fit_(z, y, 0.0)
    mixed = mix_within_class(z, y, gaussians, strength=strength, n_axes=2, seed=1)
    assert torch.equal(mixed[:, 1], z[:, 1])
    axes = [0, 2]
    shrunk = 1.0 - strength + 2.0 * strength**2 / 3.0
    for code in range(2):
        before, after = z[y == code][:, axes], mixed[y == code][:, axes]
        # n = 20000: 4 standard errors of a mean and of a variance
        tolerance = 4.0 * before.std(0) / math.sqrt(n_rows / 2)
        assert ((after.mean(0) - before.mean(0)).abs() < tolerance).all()
        ratio = after.var(0) / before.var(0)
        assert ((ratio / shrunk - 1.0).abs() < 4.0 * math.sqrt(2.0 / (n_rows / 2))).all()


@pytest.mark.parametrize("n_axes", [None, N_AXES])
@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
def test_partners_can_come_from_elsewhere(covariance, tied, n_axes):
    gaussians = fitted(covariance, tied)
    z, y = latents(30)
    partners = torch.randn(30, DIM, generator=torch.Generator().manual_seed(3), dtype=z.dtype)
    y[:3] = -1
    options = {"partners": partners, "strength": 0.7, "n_axes": n_axes, "seed": 0}
    mixed = mix_within_class(z, y, gaussians, **options)
    whole = partners - z
    if n_axes is not None:
        whole = PrincipalAxes.of(gaussians, n_axes).project(whole, y.clamp_min(0))
    share = (mixed - z).norm(dim=1) / whole.norm(dim=1)
    assert torch.equal(mixed[:3], z[:3])
    torch.testing.assert_close((mixed - z)[3:], (share[:, None] * whole)[3:], **CLOSE)
    assert share.max() <= 0.7 + 1e-12 and share.max() > 0.5 and share[3:].min() < 0.2  # 27 draws
    alone = mix_within_class(z[3:4], y[3:4], gaussians, partners=partners[3:4], strength=0.7)
    assert not torch.equal(alone, z[3:4])


# -- noise ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("covariance", "tied"), FAMILIES)
@pytest.mark.parametrize("n_axes", [None, N_AXES])
def test_noise_has_the_covariance_of_the_class_on_its_axes(covariance, tied, n_axes):
    gaussians = fitted(covariance, tied)
    strength, n_rows = 0.3, 20_000
    labels = torch.arange(N_CLASSES).repeat_interleave(n_rows)
    z = torch.zeros(N_CLASSES * n_rows, DIM, dtype=torch.float64)
    noise = noise_along_axes(z, labels, gaussians, strength=strength, n_axes=n_axes, seed=0)
    noise = noise.reshape(N_CLASSES, n_rows, DIM)
    onto = PrincipalAxes.of(gaussians, n_axes or DIM)
    expected = torch.stack(
        [onto.project(m, torch.full((DIM,), k)) for k, m in enumerate(matrices(gaussians))]
    )
    expected = strength**2 * expected
    got = noise.mT @ noise / n_rows
    # an entry's standard error is at most sqrt(2/n) of the largest variance: 1%
    error = (got - expected).abs().amax((1, 2))
    largest = expected.abs().amax((1, 2))
    assert (error < 5.0 * math.sqrt(2.0 / n_rows) * largest).all()
    assert (noise.mean(1).norm(dim=1) < 5.0 * (largest * DIM / n_rows).sqrt()).all()


# -- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": -0.1}, "strength is -0.1"),
        ({"strength": math.nan}, "strength is NaN"),
        ({"strength": "1"}, "strength is '1'"),
        ({"n_axes": 0}, "n_axes is 0; pass an int from 1 to 5"),
        ({"n_axes": DIM + 1}, "n_axes is 6"),
        ({"n_axes": True}, "n_axes is True"),
        ({"labels": torch.tensor([0, 1, N_CLASSES])}, "labels is 3 in row 2"),
        ({"labels": torch.tensor([0, 1])}, "give one label per row"),
        ({"labels": torch.zeros(3)}, "dtype torch.float32"),
        ({"z": torch.zeros(3, DIM + 1)}, r"\(N, 5\) is needed"),
        ({"gaussians": "dense"}, "gaussians is a str"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments_of_moves(move, change, message):
    arguments = {
        "z": torch.zeros(3, DIM),
        "labels": torch.tensor([0, 1, 2]),
        "gaussians": LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
    }
    with pytest.raises(InvalidInputError, match=message):
        move(**(arguments | change))


def test_mixing_goes_no_farther_than_the_partner_and_prepared_axes_keep_their_number():
    gaussians = LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
    z, y = torch.zeros(3, DIM), torch.tensor([0, 1, 2])
    with pytest.raises(InvalidInputError, match="pass a number from 0 to 1"):
        mix_within_class(z, y, gaussians, strength=1.5)
    with pytest.raises(InvalidInputError, match="2 axes were prepared"):
        mix_within_class(z, y, PrincipalAxes.of(gaussians, 2), n_axes=3)


@pytest.mark.parametrize(
    ("partners", "message"),
    [
        ("others", "partners cannot be converted .*; pass a tensor or an array like z"),
        (torch.zeros(2, DIM), r"float32 \(2, 5\) on cpu, z is torch\.float32 \(3, 5\) on cpu"),
        (torch.zeros(3, DIM).double(), r"partners is torch\.float64"),
        (torch.zeros(3, DIM, device="meta"), "on meta, z"),
    ],
)
def test_partners_that_do_not_match(partners, message):
    z, y = torch.zeros(3, DIM), torch.tensor([0, 1, 2])
    with pytest.raises(InvalidInputError, match=message):
        mix_within_class(
            z,
            y,
            LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
            partners=partners,
        )


# -- through a flow ------------------------------------------------------------------------


def trained(covariance="diagonal", **of_flow):
    """A flow with Gaussians fitted to its latents, and samples."""
    model = coupling_model(N_CLASSES, DIM, covariance, **of_flow)
    x, y = latents(200, dtype=torch.float32)
    with torch.no_grad():
        model.gaussians.fit_(model.encode(x)[0], y, 1.0)
    return model, x, y


@pytest.mark.parametrize("method", ["mix", "noise"])
def test_an_affine_flow_augments_as_its_latents_do(method):
    scale, shift = 4.0, 1.0  # exact in floating point: a power of two
    affine = (
        lambda x: (scale * (x - shift), x.new_full(x.shape[:1], DIM * math.log(scale))),
        lambda z: z / scale + shift,
    )
    gaussians = fitted("dense")
    z, y = latents()
    model = ClassFlow(None, gaussians, codec=affine)
    x = model.codec.decode(model.encode(z)[0])  # shapes are known, and x is exactly encoded
    x, labels = LatentAugmentation(model, method=method, n_axes=2, seed=0)(x, y)
    move = mix_within_class if method == "mix" else noise_along_axes
    generator = torch.Generator().manual_seed(0)
    expected = move(scale * (z - shift), y, gaussians, n_axes=2, seed=generator) / scale + shift
    torch.testing.assert_close(x, expected, **CLOSE)
    assert labels is y


@pytest.mark.parametrize("method", ["mix", "noise"])
def test_augmented_samples_have_the_moved_latents(method):
    model, x, y = trained("dense")
    move = mix_within_class if method == "mix" else noise_along_axes
    augmented, _ = LatentAugmentation(model, method=method, strength=0.4, seed=5)(x, y)
    with torch.no_grad():
        z, got = model.encode(x)[0], model.encode(augmented)[0]
    generator = torch.Generator().manual_seed(5)
    expected = move(z, y, model.gaussians, strength=0.4, seed=generator)
    # a round trip through two couplings in float32
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["mix", "noise"])
def test_samples_whose_latents_stay_are_returned_as_they_came(method):
    model, x, y = trained()
    assert torch.equal(LatentAugmentation(model, method=method, strength=0.0)(x, y)[0], x)
    y = torch.where(torch.arange(len(y)) % 2 == 0, y, -1)
    augmented, _ = LatentAugmentation(model, method=method)(x, y)
    assert torch.equal(augmented[1::2], x[1::2])
    assert (augmented != x)[::2].any(1).all()


def test_a_sample_alone_in_its_class_is_returned_as_it_came():
    model, x, _ = trained()
    y = torch.tensor([0, 1, 0])
    augmented, _ = LatentAugmentation(model)(x[:3], y)
    assert torch.equal(augmented[1], x[1]) and not torch.equal(augmented[0], x[0])


def test_samples_are_mixed_with_the_partners_that_are_given():
    model, x, _ = trained()
    y, partners = torch.tensor([0, 1, 2]), x[3:6]
    augment = LatentAugmentation(model, strength=1.0, seed=0)
    augmented, _ = augment(x[:3], y, partners)
    with torch.no_grad():
        z, toward, got = (model.encode(part)[0] for part in (x[:3], partners, augmented))
    generator = torch.Generator().manual_seed(0)
    options = {"partners": toward, "strength": 1.0, "seed": generator}
    expected = mix_within_class(z, y, model.gaussians, **options)
    # a round trip through two couplings in float32
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert not (augmented == x[:3]).all(1).any()
    with pytest.raises(InvalidInputError, match=r"x is torch\.float32 \(3, 5\)"):
        augment(x[:3], y, partners[:2])
    with pytest.raises(InvalidInputError, match="method is 'noise'; leave them out"):
        LatentAugmentation(model, method="noise")(x[:3], y, partners)


def test_images_keep_their_shape_and_labels_may_be_a_list():
    flat = (lambda x: (x.flatten(1), x.new_zeros(x.shape[0])), lambda z: z.reshape(-1, 2, 3, 4))
    model = ClassFlow(None, LatentGaussians(2, 24, covariance="diagonal", tied=False), codec=flat)
    x = torch.randn(4, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    augmented, labels = LatentAugmentation(model, method="noise")(x, [0, 1, -1, 0])
    assert augmented.shape == x.shape and labels == [0, 1, -1, 0]
    assert torch.equal(augmented[2], x[2]) and not torch.equal(augmented[0], x[0])


def test_batches_differ_and_a_seed_repeats_them():
    model, x, y = trained()
    first, second = (LatentAugmentation(model, seed=0) for _ in range(2))
    batches = [first(x, y)[0] for _ in range(3)]
    assert all(not torch.equal(a, b) for a, b in pairwise(batches))
    assert all(torch.equal(batch, second(x, y)[0]) for batch in batches)
    assert not torch.equal(batches[0], LatentAugmentation(model, seed=1)(x, y)[0])


def test_modes_gradients_and_autocast_are_left_as_they_were():
    model, x, y = trained()
    dropout = torch.nn.Dropout(0.9)
    model.codec.module.inner[0] = torch.nn.Sequential(model.codec.module.inner[0], dropout)
    model.train()
    model.codec.module.outer.eval()
    modes = [part.training for part in model.modules()]
    augment = LatentAugmentation(model, strength=1e-3, seed=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        augmented, _ = augment(x, y)
    assert [part.training for part in model.modules()] == modes
    assert not augmented.requires_grad and augmented.dtype == x.dtype
    # dropout between encode and decode, or bfloat16's 8 bits, would show at this strength
    model.eval()
    torch.testing.assert_close(augmented, LatentAugmentation(model, strength=1e-3, seed=0)(x, y)[0])


def test_refitted_gaussians_are_noticed():
    model, x, y = trained("dense")
    augment = LatentAugmentation(model, n_axes=1, seed=0)
    augment(x, y)
    assert augment._gaussians() is augment._gaussians()  # prepared once
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    model.gaussians.fit_(z * torch.tensor([1.0, 1.0, 9.0, 1.0, 1.0]), y, 0.0)
    axes = augment._gaussians().axes[:, :, 0].abs()
    assert (axes.argmax(1) == 2).all() and axes[:, 2].min() > 0.9
    model.gaussians.load_state_dict(
        LatentGaussians(N_CLASSES, DIM, "dense", tied=False).state_dict()
    )
    assert augment._gaussians().scales.max() == 1.0


def test_pickled_it_goes_on_alike():
    model, x, y = trained("dense")
    augment = LatentAugmentation(model, n_axes=2, seed=0)
    augment(x, y)
    again = pickle.loads(pickle.dumps(augment))
    torch.testing.assert_close(again(x, y)[0], augment(x, y)[0], rtol=0, atol=0)


def test_as_a_collate_fn():
    model, x, y = trained()
    loader = DataLoader(
        TensorDataset(x, y), batch_size=50, collate_fn=LatentAugmentation(model, seed=0).collate
    )
    got = list(loader)
    augment = LatentAugmentation(model, seed=0)
    for (batch, labels), start in zip(got, range(0, 200, 50), strict=True):
        rows = slice(start, start + 50)
        assert torch.equal(labels, y[rows])
        assert torch.equal(batch, augment(x[rows], y[rows])[0])


def test_workers_and_epochs_differ_and_a_seed_repeats_them():
    model, x, _ = trained()
    same = x[:1].expand(8, -1).contiguous()  # batches differ only in their noise
    data = TensorDataset(same, torch.zeros(8, dtype=torch.int64))

    def epochs():
        loader = DataLoader(
            data,
            batch_size=2,
            num_workers=2,
            collate_fn=LatentAugmentation(model, method="noise", seed=0).collate,
            generator=torch.Generator().manual_seed(7),
        )
        return [torch.cat([x for x, _ in loader]) for _ in range(2)]

    first, second = epochs()
    rows = torch.cat([first, second])
    assert len(rows.unique(dim=0)) == 16
    again = epochs()
    assert torch.equal(again[0], first) and torch.equal(again[1], second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": torch.nn.Linear(2, 2)}, "model is, or wraps, a Linear; pass a ClassFlow"),
        ({"method": "cutmix"}, 'method is \'cutmix\'; pass "mix" or "noise"'),
        ({"strength": 1.5}, "strength is 1.5; pass a number from 0 to 1"),
        ({"method": "noise", "strength": math.inf}, "strength is inf"),
        ({"n_axes": DIM + 1}, "n_axes is 6"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": torch.Generator()}, "pass an int"),
    ],
)
def test_bad_arguments_of_the_augmentation(change, message):
    arguments = {"model": coupling_model(N_CLASSES, DIM)} | change
    with pytest.raises(InvalidInputError, match=message):
        LatentAugmentation(**arguments)


def test_bad_batches():
    model, x, y = trained()
    augment = LatentAugmentation(model)
    with pytest.raises(InvalidInputError, match=r"x is a torch\.int64"):
        augment(x.long(), y)
    with pytest.raises(InvalidInputError, match=r"labels has shape \(2,\)"):
        augment(x, y[:2])
    with pytest.raises(InvalidInputError, match=r"dtype torch\.float32"):
        augment(x, torch.rand(200, 3))


# -- class preservation --------------------------------------------------------------------


def test_preservation_is_high_for_separated_classes_and_falls_with_noise():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(600) % N_CLASSES
    # nearest means 7 standard deviations apart
    x = torch.randn(600, DIM, generator=generator) + 5.0 * torch.eye(DIM)[y]
    model = coupling_model(N_CLASSES, DIM)
    with torch.no_grad():
        model.gaussians.fit_(model.encode(x)[0], y, 0.0)

    def kept(**options):
        augmented, _ = LatentAugmentation(model, seed=0, **options)(x, y)
        return class_preservation(model, x, augmented, y)

    noisy = [kept(method="noise", strength=strength) for strength in (0.0, 0.5, 1.5, 4.0)]
    assert noisy[0] == 1.0 and noisy[1] > 0.9
    assert all(a > b + 0.05 for a, b in pairwise(noisy[1:]))  # standard errors are below 0.02
    # w (z' - z) has 2/3 of the variance of the class where w goes up to 1: as much as this noise
    as_far = kept(method="noise", strength=math.sqrt(2.0 / 3.0))
    assert kept(strength=1.0) > 0.95 > as_far


def test_preservation_counts_what_was_right_before():
    class Judge:
        def predict(self, x):
            return x[:, 0].long()

    x = torch.tensor([[0.0], [1.0], [1.0], [2.0], [0.0]])
    y = torch.tensor([0, 1, 1, 1, -1])  # three correct, one wrong, one unlabeled
    augmented = torch.tensor([[0.0], [0.0], [1.0], [1.0], [0.0]])
    assert class_preservation(Judge(), x, augmented, y) == pytest.approx(2.0 / 3.0)
    with pytest.raises(InvalidInputError, match="no sample of x is classified as y says"):
        class_preservation(Judge(), x, augmented, torch.full((5,), -1))
    with pytest.raises(InvalidInputError, match=r"augmented has shape \(2, 1\)"):
        class_preservation(Judge(), x, augmented[:2], y)
    with pytest.raises(InvalidInputError, match="give one label per row"):
        class_preservation(Judge(), x, augmented, y[:2])
