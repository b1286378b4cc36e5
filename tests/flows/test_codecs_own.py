"""Codecs that users write for flows of their own, and pairs of functions."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, Codec, FunctionCodec, LatentGaussians, register_codec

N_CLASSES, DIM = 3, 4


def samples(n=8, *shape, seed=0):
    return torch.randn(n, *(shape or (DIM,)), generator=torch.Generator().manual_seed(seed))


class Doubling(nn.Module):
    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(2.0)))

    def encode(self, x):
        return x * self.log_scale.exp(), self.log_scale.expand(x.shape[0]) * x[0].numel()

    def decode(self, z):
        return z * (-self.log_scale).exp()


class Methods:
    """What users write who do not know of Codec."""

    def __init__(self, scale=2.0):
        self.scale = scale

    def encode(self, x):
        return x * self.scale, x.new_full(x.shape[:1], math.log(self.scale) * x[0].numel())

    def decode(self, z):
        return z / self.scale


@pytest.mark.parametrize("codec", [Methods(), Doubling(), [Methods().encode, Methods().decode]])
def test_an_object_with_the_two_methods_is_a_codec(codec):
    model = ClassFlow(
        None, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=codec
    )
    x = samples()
    torch.testing.assert_close(model.log_prob(x), Normal(0.0, 0.5).log_prob(x).sum(1))
    torch.testing.assert_close(model.sample(5, seed=0), model.sample(5, seed=0))
    torch.testing.assert_close(model.decode(model.encode(x)[0]), x)
    copied = copy.deepcopy(model)
    torch.testing.assert_close(copied(x), model(x))
    fresh = ClassFlow(
        None,
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
        codec=copy.deepcopy(codec),
    )
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh.sample(5, seed=0), model.sample(5, seed=0))


def test_what_is_trained_of_an_object_and_a_flow_is_registered_once():
    class Around(nn.Module):
        def __init__(self, flow):
            super().__init__()
            self.flow = flow
            self.shift = nn.Parameter(torch.zeros(()))

        def encode(self, x):
            return self.flow.encode(x + self.shift)

        def decode(self, z):
            return self.flow.decode(z) - self.shift

    flow = Doubling()
    for codec, n_parameters in [(Around(flow), 2), (flow, 1), (Doubling(), 2), (Methods(), 1)]:
        model = ClassFlow(
            flow, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=codec
        )
        assert model.flow is flow
        assert len(list(model.parameters())) == n_parameters
        assert len(model.codec.state_dict()) == n_parameters + 1  # the shapes
    copied = copy.deepcopy(
        ClassFlow(
            flow,
            LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
            codec=Around(flow),
        )
    )
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1.0)
    x = samples()
    expected = (x + 1.0) * 2.0 * math.e  # by the parameters of the copy, all of them
    torch.testing.assert_close(copied.encode(x)[0], expected)


def test_what_cannot_be_a_codec_is_told_what_it_lacks():
    class Encodes:
        def encode(self, x):
            return x, x.new_zeros(len(x))

    for codec, message in [
        (Encodes(), "codec is a Encodes without decode"),
        (3, "codec is a int without encode and decode"),
        (Methods().encode, "codec is a method without encode and decode"),
        (Methods, "codec is the class Methods, which is not a Codec; pass an object of it"),
        ((Methods().encode,), r"codec is \(.*or two functions"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            ClassFlow(
                None,
                LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
                codec=codec,
            )


def test_a_codec_for_a_flow_of_ones_own():
    class Own(Doubling):
        pass

    @register_codec
    class OwnCodec(Codec):
        flow_types = (f"{Own.__module__}.{Own.__qualname__}",)

        def __init__(self, flow):
            super().__init__(flow)
            self.scaling = flow

        def encode(self, x):
            z, logdet = self.scaling.encode(x)
            return self.flattened([z[:, :1], z[:, 1:]]), logdet

        def decode(self, z):
            return self.scaling.decode(torch.cat(self.unflattened(z), 1))

    class Derived(Own):  # found by its base class
        pass

    model = ClassFlow(Derived(), LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False))
    assert type(model.codec) is OwnCodec
    x = samples()
    normal = Normal(0.0, 0.5).log_prob(x).sum(1)
    torch.testing.assert_close(model.log_prob(x), normal)
    torch.testing.assert_close(model.decode(model.encode(x)[0]), x)


def test_registering_needs_types():
    class Nameless(Codec):
        pass

    with pytest.raises(InvalidInputError, match="flow_types is empty; name the"):
        register_codec(Nameless)


def test_a_codec_is_registered_as_a_class():
    with pytest.raises(
        InvalidInputError, match=r"^codec is an object, a FunctionCodec; pass the c"
    ):
        register_codec(FunctionCodec(None, lambda x: (x, torch.zeros(len(x))), lambda z: z))


def test_functions_of_images_go_back_to_their_shape():
    flow = Doubling()
    model = ClassFlow(
        flow,
        LatentGaussians(N_CLASSES, 12, covariance="diagonal", tied=False),
        codec=(flow.encode, flow.decode),
    )
    x = samples(5, 3, 2, 2)
    torch.testing.assert_close(model.log_prob(x), Normal(0.0, 0.5).log_prob(x).flatten(1).sum(1))
    assert model.sample([0, 2], seed=0).shape == (2, 3, 2, 2)
    assert dict(model.named_parameters()).keys() == {"codec.module.log_scale"}


def test_functions_must_give_a_log_determinant_a_sample():
    flow = Doubling()
    column = (lambda x: (flow.encode(x)[0], x.new_zeros(len(x), 1)), flow.decode)
    model = ClassFlow(
        flow, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=column
    )
    with pytest.raises(InvalidInputError, match=r"logdet of shape \(8, 1\) for 8 samples"):
        model(samples())
    flat = (lambda x: (x.flatten(1), x.new_zeros(())), lambda z: z)  # of images: not their shape
    model = ClassFlow(None, LatentGaussians(N_CLASSES, DIM), codec=flat)
    with pytest.raises(InvalidInputError, match=r"^codec gives z of shape \(8, 4\) and logdet"):
        model(samples(8, 1, 2, 2))


def test_methods_are_copied_with_their_flow_and_closures_are_refused():
    flow = Doubling()
    model = ClassFlow(
        flow,
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
        codec=(flow.encode, flow.decode),
    )
    duplicate = copy.deepcopy(model)
    x = samples()
    expected = model(x).detach()
    with torch.no_grad():
        flow.log_scale.zero_()
    torch.testing.assert_close(duplicate(x).detach(), expected)
    assert duplicate.flow is duplicate.codec.module is not flow

    closures = (lambda x: flow.encode(x), lambda z: flow.decode(z))
    model = ClassFlow(
        flow, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=closures
    )
    with pytest.raises(InvalidInputError, match="might still use the original flow"):
        copy.deepcopy(model)
    copy.deepcopy(
        ClassFlow(
            None, LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False), codec=closures
        )
    )


class TwoLatents(Codec):
    """Halves of a vector of six, one of them as a matrix (1, 3)."""

    def encode(self, x):
        return self.flattened([x[:, None, :3], x[:, 3:]]), x.new_zeros(x.shape[0])

    def decode(self, z):
        first, second = self.unflattened(z)
        return torch.cat([first[:, 0], second], 1)


def test_several_latents_are_flattened_and_restored_within_one_graph():
    model = ClassFlow(
        None, LatentGaussians(3, 6, covariance="diagonal", tied=False), codec=TwoLatents
    )
    x, y = torch.arange(24.0).reshape(4, 6), torch.tensor([0, 1, 2, 0])
    expected = model(x, y)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, y), expected)
    assert model.codec.shapes == [(1, 3), (3,)]
    decode = torch.compile(model.decode, fullgraph=True, backend="aot_eager")
    assert torch.equal(decode(model.encode(x)[0]), x)
