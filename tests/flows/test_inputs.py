"""What fpigauss_torch takes for samples, latents, labels and numbers, and what it tells."""

import math
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import torch
from coupling import Coupling, coupling_model

from fpigauss import InvalidInputError
from fpigauss_torch import (
    ClassFlow,
    FixedPointSchedule,
    LatentAugmentation,
    LatentGaussians,
    PrincipalAxes,
    as_base,
    calibrate_temperature,
    class_preservation,
    gather_statistics,
    mix_within_class,
    noise_along_axes,
    refit_,
    rejection_score,
    rejection_threshold,
    typicality_score,
)
from fpigauss_torch.priors import (
    DataGaussians,
    GradientGaussians,
    LearnedMeans,
    RandomMeans,
    SymmetricKLMeans,
    information_bottleneck_loss,
)

N_CLASSES, DIM = 3, 4


def batch(n=30, dtype=torch.float32):
    y = torch.arange(n) % N_CLASSES
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, DIM, generator=generator, dtype=dtype) + 2.0 * y[:, None], y


def fitted(dtype=torch.float32):
    model = coupling_model(N_CLASSES, DIM, dtype=dtype)
    x, y = batch(dtype=dtype)
    refit_(model, [(x, y)], 1.0)
    return model


def pd_rows(x):
    return pd.DataFrame(x.numpy(), index=range(5, len(x) + 5))


def of_some_misclassified():
    return -8.0 * (1.0 - torch.eye(N_CLASSES)[batch()[1] * (torch.arange(30) < 20)])


# -- labels --------------------------------------------------------------------------------

OF_LABELS = OrderedDict(
    log_prob=lambda model, x, y: model.log_prob(x, y),
    forward=lambda model, x, y: model(x, y),
    bits_per_dim=lambda model, x, y: model.bits_per_dim(x, y),
    latents=lambda model, x, y: model.gaussians.log_prob(x, y),
    sample=lambda model, x, y: model.sample(y),
    fit=lambda model, x, y: model.gaussians.fit_(x, y, 1.0),
    refit=lambda model, x, y: refit_(model, [(x, y)], 1.0),
    gather=lambda model, x, y: gather_statistics(model, [(x, y)]),
    schedule=lambda model, x, y: FixedPointSchedule(1.0).step(model, [(x, y)], 0),
    init=lambda model, x, y: LearnedMeans(N_CLASSES, DIM).init_(x, y),
    mix=lambda model, x, y: mix_within_class(x, y, model.gaussians),
    noise=lambda model, x, y: noise_along_axes(x, y, model.gaussians),
    augment=lambda model, x, y: LatentAugmentation(model)(x, y),
    preserve=lambda model, x, y: class_preservation(model, x, x, y),
    calibrate=lambda model, x, y: calibrate_temperature(of_some_misclassified(), y),
    bottleneck=lambda model, x, y: information_bottleneck_loss(model, x, y, 1.0),
)


@pytest.mark.parametrize("call", OF_LABELS.values(), ids=OF_LABELS)
def test_a_column_of_labels_is_to_be_flattened(call):
    # argmax over one column would make every label 0
    model, (x, y) = fitted(), batch()
    with pytest.raises(InvalidInputError, match=r"(y|labels)\.ravel\(\)") as caught:
        call(model, x, y[:, None])
    assert "argmax" not in str(caught.value)
    call(model, x, y[:, None].ravel())


def test_other_matrices_of_labels():
    model, (x, y) = fitted(), batch()
    one_hot = torch.eye(N_CLASSES, dtype=torch.int64)[y]
    for call in (OF_LABELS["log_prob"], OF_LABELS["fit"]):
        with pytest.raises(InvalidInputError, match=r"(y|labels)\.argmax\(1\) of one-hot rows"):
            call(model, x, one_hot)
        with pytest.raises(InvalidInputError, match=r"\.ravel\(\)\.long\(\)"):
            call(model, x, y[:, None].float())
    assert model.log_prob(x, one_hot.float()).isfinite().all()  # weights of the classes
    alone = LatentGaussians(1, DIM, covariance="diagonal", tied=False)
    assert alone.log_prob(x, torch.ones(30, 1)).shape == (30,)  # weights of one class
    with pytest.raises(InvalidInputError, match=r"labels\.ravel\(\)"):
        alone.log_prob(x, torch.zeros(30, 1, dtype=torch.int64))


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y.tolist(),
        lambda y: y.numpy().astype(np.uint16),
        lambda y: y.numpy().astype(">i4"),
        lambda y: y.numpy()[::-1].copy()[::-1],
        lambda y: pd.Series(y.numpy(), index=np.arange(len(y))[::-1]),
        lambda y: pd.Series(y.numpy()).astype("Int64"),
        lambda y: [np.int64(label) for label in y],
    ],
)
def test_labels_of_other_libraries(convert):
    model, (x, y) = fitted(), batch()
    assert torch.equal(model.log_prob(x, convert(y)), model.log_prob(x, y))


@pytest.mark.parametrize("call", OF_LABELS.values(), ids=OF_LABELS)
@pytest.mark.parametrize("faulty", [1.5, math.nan, math.inf, 1.0 + 1.0j])
def test_no_remedy_makes_labels_of_what_is_none(call, faulty):
    # long() would make 1 of them, a class, or a number that is none
    model, (x, y) = fitted(), batch()
    labels = y.to(torch.complex64 if isinstance(faulty, complex) else torch.float32)
    labels[4] = faulty
    for given in (labels, labels.numpy(), pd.Series(labels.numpy(), index=np.arange(30) + 5)):
        with pytest.raises(InvalidInputError) as caught:
            call(model, x, given)
        assert "in row 4" in str(caught.value)
        assert "drop the row or encode" in str(caught.value)
        assert "long" not in str(caught.value)


def test_missing_labels_of_pandas_are_to_be_dropped():
    model, (x, y) = fitted(), batch()
    labels = pd.Series(y.numpy()).astype("Int64")
    labels[7] = pd.NA
    with pytest.raises(InvalidInputError, match=r"labels is nan in row 7, .*; drop the row"):
        model.log_prob(x, labels)
    with pytest.raises(InvalidInputError, match=r"labels is 0\.5 in row 0, .*drop the row"):
        model.log_prob(x, torch.full((30, 1), 0.5))


def test_calibration_ignores_an_index():
    y, index = batch()[1], np.arange(30)[::-1] + 5
    expected = calibrate_temperature(of_some_misclassified(), y)
    given = pd.DataFrame(of_some_misclassified().numpy(), index=index)
    assert calibrate_temperature(given, pd.Series(y.numpy(), index=index)) == expected
    priors = pd.Series(np.full(N_CLASSES, 1.0 / N_CLASSES), index=[7, 8, 9])
    assert calibrate_temperature(given, y, priors=priors) == pytest.approx(expected)
    assert rejection_threshold(pd.Series([3.0, 1.0, 2.0, 10.0], index=[9, 8, 7, 6]), 0.25) == 3.0


@pytest.mark.parametrize(
    "values",
    [
        np.array([["a", "b"]]),
        np.array([[None, 1.0]], dtype=object),
        pd.DataFrame({"a": ["x"], "b": [1.0]}),
        "scores",
        [[1.0, 2.0], [3.0]],
    ],
)
def test_what_is_not_numbers_is_told(values):
    with pytest.raises(InvalidInputError, match="class_log_prob cannot be converted"):
        calibrate_temperature(values, [0])
    with pytest.raises(InvalidInputError, match="scores"):
        rejection_threshold(values, 0.25)


def test_labels_that_cannot_be_written_to():
    model, (x, y) = fitted(), batch()
    labels = y.numpy().copy()
    labels.setflags(write=False)
    assert torch.equal(model.log_prob(x, labels), model.log_prob(x, y))


# -- integers ------------------------------------------------------------------------------

INTEGERS = [np.int64, np.uint8, np.array, torch.tensor]


@pytest.mark.parametrize("integer", INTEGERS)
def test_integers_of_every_library(integer):
    for prior in (
        LatentGaussians(integer(3), integer(4), "dense", tied=False),
        RandomMeans(integer(3), integer(4), seed=integer(0)),
        LearnedMeans(integer(3), integer(4)),
        GradientGaussians(integer(3), integer(4), integer(1)),
        SymmetricKLMeans(integer(3), integer(4), integer(1)),
    ):
        assert (type(prior.n_classes), type(prior.dim)) == (int, int)
        assert prior.means.shape == (3, 4)
        expected = prior.sample(5, seed=7)
        assert torch.equal(prior.sample(integer(5), seed=integer(7)), expected)
    model, (x, y) = fitted(), batch()
    axes = PrincipalAxes.of(model.gaussians, integer(2))
    assert (axes.n_axes, axes.scales.shape[1]) == (2, 2)
    augment = LatentAugmentation(model, n_axes=integer(2), seed=integer(3), strength=integer(1))
    same = LatentAugmentation(model, n_axes=2, seed=3, strength=1.0)
    assert torch.equal(augment(x, y)[0], same(x, y)[0])
    expected = mix_within_class(x, y, model.gaussians, n_axes=2, seed=3)
    moved = mix_within_class(x, y, model.gaussians, n_axes=integer(2), seed=integer(3))
    assert torch.equal(moved, expected)
    assert as_base(model.gaussians, "torch", shape=[integer(2), integer(2)]).shape == (2, 2)
    expected = model.bits_per_dim(x, y, levels=16)
    assert torch.equal(model.bits_per_dim(x, y, levels=integer(16)), expected)


def test_what_is_not_an_integer():
    model = fitted()
    for value in (2.0, True, np.float64(2.0), np.True_, torch.tensor(True), "2", None, [2]):
        with pytest.raises(InvalidInputError, match="n_classes is"):
            LatentGaussians(value, 4, covariance="diagonal", tied=False)
        with pytest.raises(InvalidInputError, match="n_axes is"):
            PrincipalAxes.of(model.gaussians, value)
        if value is not None:
            with pytest.raises(InvalidInputError, match="seed is"):
                model.sample([0], seed=value)
    with pytest.raises(InvalidInputError, match="labels is -1"):
        model.gaussians.sample(np.int64(-1))
    with pytest.raises(InvalidInputError, match="seed is"):
        model.gaussians.sample([0], seed=np.uint64(2**63))
    for shape in (4, "22", [2.0, 2], [], [-2, -2]):
        with pytest.raises(InvalidInputError, match="shape is"):
            as_base(model.gaussians, "torch", shape=shape)
    # one label in a list is a label, not a number of draws
    assert model.gaussians.sample(torch.tensor([2])).shape == (1, DIM)
    assert model.gaussians.sample(np.array([2])).shape == (1, DIM)


def test_other_numbers():
    model, (x, y) = fitted(), batch()
    expected = mix_within_class(x, y, model.gaussians, strength=0.5, seed=0)
    for half in (np.float32(0.5), torch.tensor(0.5)):
        moved = mix_within_class(x, y, model.gaussians, strength=half, seed=0)
        assert torch.equal(moved, expected)
        assert rejection_threshold([1.0, 2.0], rate=half) == 1.0
    with pytest.raises(InvalidInputError, match="rate is 'half', not a number"):
        rejection_threshold([1.0, 2.0], rate="half")
    with pytest.raises(InvalidInputError, match="levels is 'all', not a number"):
        model.bits_per_dim(x, levels="all")


# -- samples and latents -------------------------------------------------------------------

OF_SAMPLES = OrderedDict(
    encode=lambda model, x: model.encode(x)[0],
    forward=lambda model, x: model(x),
    log_prob=lambda model, x: model.log_prob(x),
    class_log_prob=lambda model, x: model.class_log_prob(x),
    bits_per_dim=lambda model, x: model.bits_per_dim(x),
    predict=lambda model, x: model.predict(x),
    predict_proba=lambda model, x: model.predict_proba(x),
    rejection=rejection_score,
    typicality=typicality_score,
)
of_samples = pytest.mark.parametrize("call", OF_SAMPLES.values(), ids=OF_SAMPLES)


@of_samples
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_are_taken_in_the_dtype_of_the_flow(call, dtype):
    model, (x, _) = fitted(dtype), batch(dtype=dtype)
    expected = call(model, x)
    frame = pd.DataFrame(x.numpy())
    for given in (x.double(), x.numpy(), x.double().numpy(), x.numpy().astype(">f8"), frame):
        found = call(model, given)
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    torch.testing.assert_close(call(model, x.tolist()), expected)
    whole = x.round()
    assert torch.equal(call(model, whole.int().tolist()), call(model, whole))


def test_gradients_flow_to_samples_of_another_dtype():
    model, (x, y) = fitted(), batch()
    wide = x.double().requires_grad_()
    model(wide, y).sum().backward()
    narrow = x.clone().requires_grad_()
    model(narrow, y).sum().backward()
    torch.testing.assert_close(wide.grad.float(), narrow.grad)


def test_under_autocast_the_samples_of_the_caller_stay_as_they_are():
    seen = []

    class Noted(Coupling):
        def forward(self, x):
            seen.append(x.dtype)
            return super().forward(x)

    flow = Noted(DIM)
    model = ClassFlow(
        flow,
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
        codec=(flow, flow.inverse),
    )
    x, _ = batch()
    with torch.autocast("cpu", torch.bfloat16):
        model(x.bfloat16()), model(x), model(x.double())
    model(x.bfloat16())
    assert seen == [torch.bfloat16, torch.float32, torch.float32, torch.float32]


def test_flows_without_a_dtype_of_their_own_take_every_dtype():
    same = (lambda x: (x, x.new_zeros(len(x))), lambda z: z)
    model = ClassFlow(
        None, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=same
    )
    x, _ = batch(dtype=torch.float64)
    assert model(x).dtype == model(x.numpy()).dtype == torch.float64
    mixed = torch.nn.ModuleList([Coupling(DIM), Coupling(DIM, dtype=torch.float64)])
    codec = (lambda x: mixed[1](x.double()), lambda z: mixed[1].inverse(z))
    assert (
        ClassFlow(
            mixed, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=codec
        )(x).dtype
        == x.dtype
    )


@pytest.mark.filterwarnings("ignore:the Gaussians have not been fitted:RuntimeWarning")
@of_samples
def test_one_sample_is_told_from_several(call):
    model, (x, _) = fitted(), batch()
    for row in (x[0], x[0].numpy(), x[0].tolist(), x[0, :3]):
        with pytest.raises(InvalidInputError, match=r"x has shape \(\d,\); pass samples .*x\[None"):
            call(model, row)
    with pytest.raises(InvalidInputError, match=r"x has shape \(\)"):
        call(model, torch.tensor(1.0))
    assert call(model, x[0][None]).shape[0] == 1
    image = (lambda x: (x.flatten(1), x.new_zeros(len(x))), lambda z: z)
    images = ClassFlow(
        None, LatentGaussians(N_CLASSES, 12, covariance="diagonal", tied=False), codec=image
    )
    assert call(images, torch.zeros(2, 3, 2, 2)).shape[0] == 2
    with pytest.raises(InvalidInputError, match=r"x has shape \(3, 2, 2\); pass samples"):
        call(images, torch.zeros(3, 2, 2))


@of_samples
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integers_are_not_samples_unless_the_flow_takes_them(call, dtype):
    model = fitted()
    x = torch.ones(5, DIM, dtype=dtype)
    for given in (x, x.numpy()):
        with pytest.raises(InvalidInputError, match=f"x has dtype {dtype}.*scaled as in training"):
            call(model, given)

    class Dequantizing(Coupling):
        def forward(self, x):
            return super().forward(x.float() / 255.0)

    flow = Dequantizing(DIM)
    takes = ClassFlow(flow, model.gaussians, codec=(flow, flow.inverse))
    assert call(takes, x).shape[0] == 5


def test_an_error_of_the_flow_about_fine_samples_stays_as_it_is():
    def encode(x):
        raise RuntimeError("of its own")

    model = ClassFlow(
        None,
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
        codec=(encode, lambda z: z),
    )
    with pytest.raises(RuntimeError, match="of its own"):
        model(batch()[0])


def test_latents_of_other_libraries():
    gaussians, (z, y) = fitted().gaussians, batch()
    for call in (gaussians.log_prob, gaussians.class_log_prob, gaussians.predict_proba):
        assert torch.equal(call(z.numpy()), call(z))
        torch.testing.assert_close(call(z.tolist()), call(z))
        assert torch.equal(call(z.round().int().tolist()), call(z.round()))
    assert torch.equal(gaussians.predict(z.numpy()), gaussians.predict(z))
    expected = (
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
        .fit_(z, y, 1.0)
        .gaussians.means
    )
    found = (
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False)
        .fit_(z.numpy(), y.numpy(), 1.0)
        .gaussians.means
    )
    assert torch.equal(found, expected)
    moved = mix_within_class(z.numpy(), y.numpy(), gaussians, seed=0)
    assert torch.equal(moved, mix_within_class(z, y, gaussians, seed=0))
    for given, message in [
        (z[0], r"z has shape \(4,\).*pass z\[None\] for one row"),
        (z.long(), r"z has dtype torch.int64"),
        (np.array([["a"] * DIM]), "z cannot be converted to a tensor"),
        ([[1.0], [1.0, 2.0]], "z cannot be converted to a tensor"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            gaussians.predict(given)


def test_rows_without_a_density_are_told_by_their_place_in_the_whole():
    gaussians, (z, _) = fitted().gaussians, batch()
    z[20:22] = math.nan
    with pytest.warns(RuntimeWarning, match=r"z is not finite in row 20 \(2 such rows\)"):
        codes = gaussians.predict(z, memory_limit=1000)
    assert codes[20] == codes[21] == 0


@pytest.mark.parametrize("encoded", [False, True], ids=["new", "used"])
def test_images_for_a_flow_of_vectors(encoded):
    model = coupling_model(N_CLASSES, 16)
    x = torch.zeros(3, 1, 4, 4)
    if encoded:
        model.encode(x.flatten(1))
    with pytest.raises(InvalidInputError, match=r"flatten each sample: x\.flatten\(1\)") as caught:
        model.log_prob(x)
    assert "x has shape (3, 1, 4, 4), and the flow fails (" in str(caught.value)
    with pytest.raises(InvalidInputError, match=r"batch 0: .*flatten each sample"):
        refit_(model, [(x, torch.arange(3))], 1.0)


def test_vectors_for_a_flow_of_images():
    turned = torch.nn.Conv2d(1, 1, 1)
    codec = (lambda x: (turned(x), x.new_zeros(len(x))), lambda z: z)
    model = ClassFlow(turned, LatentGaussians(N_CLASSES, 16), codec=codec)
    with pytest.raises(RuntimeError, match="conv2d"):  # nothing is known of the flow yet
        model.log_prob(torch.zeros(3, 16))
    model.encode(torch.zeros(3, 1, 4, 4))
    with pytest.raises(InvalidInputError, match=r"\(3, 16\), and the flow fails .*images for"):
        model.log_prob(torch.zeros(3, 16))


# -- augmentation --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["mix", "noise"])
@pytest.mark.parametrize("convert", [lambda x: x.numpy(), lambda x: x.tolist(), pd_rows])
def test_augmentation_of_arrays(method, convert):
    model, (x, y) = fitted(), batch()
    options = {"method": method, "seed": 0}
    expected, _ = LatentAugmentation(model, **options)(x, y)
    labels = y.numpy()
    found, same = LatentAugmentation(model, **options)(convert(x), labels)
    assert torch.equal(found, expected)
    assert same is labels
    if method == "mix":
        expected, _ = LatentAugmentation(model, seed=0)(x, y, x.flip(0))
        found, _ = LatentAugmentation(model, seed=0)(convert(x), y, convert(x.flip(0)))
        assert torch.equal(found, expected)
        moved = mix_within_class(
            convert(x), y, model.gaussians, partners=convert(x.flip(0)), seed=0
        )
        again = mix_within_class(x, y, model.gaussians, partners=x.flip(0), seed=0)
        assert torch.equal(moved, again)


def test_augmentation_names_what_is_no_array():
    model, (x, y) = fitted(), batch()
    augment = LatentAugmentation(model)
    with pytest.raises(InvalidInputError, match="x cannot be converted to a tensor"):
        augment("samples", y)
    with pytest.raises(InvalidInputError, match=r"x is a torch\.int64"):
        augment(np.zeros((30, DIM), dtype=np.int64), y)
    with pytest.raises(InvalidInputError, match="partners cannot be converted to a tensor"):
        augment(x, y, np.array([["a"]]))
    assert augment(x.double().numpy(), y)[0].dtype == torch.float64


@pytest.mark.parametrize(
    ("dim", "shape", "remedy"),
    [
        (4, (4,), r"z\[None\] for one row"),
        (4, (30,), "are z and y swapped"),
        (1, (30,), r"pass z\[:, None\]"),
        (4, (30, 2, 2), "flatten each sample's latents"),
    ],
)
def test_latents_of_another_shape(dim, shape, remedy):
    gaussians = LatentGaussians(N_CLASSES, dim)
    with pytest.raises(InvalidInputError, match=rf"\(N, {dim}\) is needed; .*{remedy}"):
        gaussians.fit_(torch.zeros(shape), batch()[1], 1.0)


@pytest.mark.parametrize("kind", [LatentGaussians, DataGaussians, RandomMeans, LearnedMeans])
def test_a_missing_size_is_told_under_the_name_of_the_prior(kind):
    with pytest.raises(TypeError, match=rf"^{kind.__name__}\.__init__\(\) missing .*'dim'"):
        kind(10)


@pytest.mark.parametrize("count", [2**62, 10**30])
def test_more_draws_than_any_memory_has(count):
    model = fitted()
    for call in (model.sample, model.gaussians.sample):
        with pytest.raises(InvalidInputError, match=r"labels is .* in no memory; draw fewer"):
            call(count)
