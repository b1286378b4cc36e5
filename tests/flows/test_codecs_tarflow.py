"""The codec for flows like TarFlow, with a toy that has their traps."""

import copy

import pytest
import torch
from einops import rearrange
from torch import nn

from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, LatentGaussians, TarFlowCodec, codec_for, refit_

N_CLASSES, SIZE, PATCH = 3, 4, 2
DIM = SIZE * SIZE


class Causal(nn.Module):
    """Maps the second of each two neighboring patches given those before; a linear network."""

    def __init__(self, n_patches, patch_dim):
        super().__init__()
        self.net = nn.Linear(n_patches * patch_dim, 2 * patch_dim)

    def after(self, x, t):
        """Return mu and alpha of patch t."""
        seen = torch.zeros_like(x)
        seen[:, :t] = x[:, :t]
        return torch.tanh(self.net(seen.flatten(1))).chunk(2, 1)

    def forward(self, x, y=None):
        z, alphas = [x[:, 0]], []
        for t in range(1, x.shape[1]):
            mu, alpha = self.after(x, t)
            z.append((x[:, t] - mu) * (-alpha).exp())
            alphas.append(alpha)
        z = torch.stack(z, 1)
        return z, -torch.cat(alphas, 1).sum(1) / z[0].numel()  # the mean

    def reverse(self, z, y=None):
        for t in range(1, z.shape[1]):
            mu, alpha = self.after(z, t)
            z[:, t] = z[:, t] * alpha.exp() + mu  # in place
        return z


class Toy(nn.Module):
    """A flow with the interface of TarFlow: mean log-determinants, a reverse in place."""

    def __init__(self, classes=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.blocks = nn.ModuleList(Causal(4, PATCH**2) for _ in range(2))
        self.register_buffer("var", torch.ones(4, PATCH**2))
        self.class_embed = nn.Parameter(torch.zeros(classes, 1, 2)) if classes else None

    def patchify(self, x):
        return rearrange(x, "n c (h a) (w b) -> n (h w) (c a b)", a=PATCH, b=PATCH)

    def unpatchify(self, z):
        return rearrange(z, "n (h w) (c a b) -> n c (h a) (w b)", h=2, a=PATCH, b=PATCH)

    def forward(self, x, y=None):
        z, outputs, logdets = self.patchify(x), [], 0.0
        for block in self.blocks:
            z, logdet = block(z)
            outputs.append(z)
            logdets = logdets + logdet
        return z, outputs, logdets

    def reverse(self, z, y=None):
        z *= self.var.sqrt()
        for block in reversed(self.blocks):
            z = block.reverse(z)
        return self.unpatchify(z)


def images(n=8, seed=0):
    return torch.randn(n, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def model_of(flow, codec=TarFlowCodec):
    return ClassFlow(flow, LatentGaussians(N_CLASSES, DIM), codec=codec).double()


def jacobian_logdet(encode, x):
    jacobian = torch.autograd.functional.jacobian(lambda one: encode(one)[0].flatten(), x)
    return torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel())).logabsdet


def test_log_determinant_is_that_of_the_jacobian():
    model, x = model_of(Toy()), images(3).double()
    _, logdet = model.encode(x)
    exact = torch.stack([jacobian_logdet(model.encode, one[None]) for one in x])
    torch.testing.assert_close(logdet.detach(), exact, rtol=1e-12, atol=1e-12)
    # as it is returned, it is 16 times too small
    torch.testing.assert_close(model.flow(x)[2] * DIM, logdet)
    assert logdet.abs().min() > 0.1


def test_a_flow_that_returns_the_sum_says_so():
    class Summed(Toy):
        def forward(self, x, y=None):
            z, outputs, logdets = super().forward(x)
            return z, outputs, logdets * DIM

    flow, x = Summed(), images(3).double()
    _, logdet = model_of(flow, TarFlowCodec(flow, logdet="sum")).encode(x)
    torch.testing.assert_close(logdet, model_of(Toy()).encode(x)[1])


def test_a_log_determinant_that_all_samples_share():
    class Doubling(Toy):
        def forward(self, x, y=None):
            return 2.0 * self.patchify(x), [], torch.tensor(2.0).log()

    model, x = model_of(Doubling()), images(3).double()
    _, logdet = model.encode(x)
    torch.testing.assert_close(logdet, jacobian_logdet(model.encode, x[:1]).expand(3).float())


def test_decoding_inverts_encoding_and_leaves_the_latents_alone():
    model, x = model_of(Toy()), images().double()
    with torch.no_grad():
        z, _ = model.encode(x)
        before = z.clone()
        back = model.decode(z)
    torch.testing.assert_close(back, x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(z, before, rtol=0, atol=0)
    broken = model.flow.reverse(rearrange(before, "n (t c) -> n t c", t=4))  # writes into it
    assert not torch.equal(before, z)
    torch.testing.assert_close(broken, back)


def test_samples_are_drawn_from_latents_that_stay():
    model, x = model_of(Toy()), images(30).double()
    refit_(model, [(x, torch.arange(30) % N_CLASSES)], separation=20.0)
    first = model.sample([0, 1, 2], seed=0)
    assert first.shape == (3, 1, SIZE, SIZE)
    torch.testing.assert_close(model.sample([0, 1, 2], seed=0), first, rtol=0, atol=0)
    copied = copy.deepcopy(model)
    torch.testing.assert_close(copied.sample([0, 1, 2], seed=0), first, rtol=0, atol=0)
    fresh = model_of(Toy())
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh.sample([0, 1, 2], seed=0), first, rtol=0, atol=0)


def test_the_flow_is_trained():
    model, x = model_of(Toy()), images().double()
    model(x, torch.arange(8) % N_CLASSES).mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_it_compiles_to_one_graph_and_is_built_without_memory():
    model, x = model_of(Toy()), images().double()
    y = torch.arange(8) % N_CLASSES
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, y), model(x, y))
    z = model.encode(x)[0].detach()
    decode = torch.compile(model.codec.decode, backend="eager", fullgraph=True)
    torch.testing.assert_close(decode(z), model.decode(z))
    with torch.device("meta"):
        assert TarFlowCodec(Toy()).model.var.is_meta


def test_it_is_not_chosen_by_itself_but_named():
    with pytest.raises(InvalidInputError, match=r"Toy, which.*pass codec=TarFlowCodec"):
        codec_for(Toy())
    with pytest.raises(InvalidInputError) as error:  # nothing like it
        codec_for(nn.Linear(2, 2))
    assert "TarFlowCodec" not in str(error.value)


def test_what_cannot_be_used_is_refused():
    with pytest.raises(InvalidInputError, match=r"Toy has a class_embed.*without them"):
        model_of(Toy(classes=10))
    flow = Toy()
    flow.var.fill_(2.0)
    with pytest.raises(InvalidInputError, match=r"var, that is not 1.*flow.var.fill_\(1.0\)"):
        model_of(flow)
    flow.var.fill_(1.0)
    model = model_of(flow)
    z = model.encode(images().double())[0]
    flow.var.fill_(2.0)  # from a state
    with pytest.raises(InvalidInputError, match="var, that is not 1"):
        model.decode(z)
    with pytest.raises(InvalidInputError, match=r"flow is a Linear without reverse; pass a module"):
        model_of(nn.Linear(DIM, DIM))
    with pytest.raises(InvalidInputError, match='logdet is \'total\'; pass "mean" or "sum"'):
        TarFlowCodec(Toy(), logdet="total")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda z: (z, torch.zeros(len(z))), r"flow returned 2 parts; forward needs"),
        (lambda z: z, r"flow returned a Tensor; forward needs to return \(z, outputs, logdets\)"),
        (lambda z: (z, [], torch.zeros(len(z), 1)), r"logdet of shape \(8, 1\) for 8 samples"),
        (lambda z: (z, [], torch.zeros(3)), r"logdet of shape \(3,\) for 8 samples"),
    ],
)
def test_what_forward_returns_is_checked(returned, message):
    class Other(Toy):
        def forward(self, x, y=None):
            return returned(self.patchify(x))

    with pytest.raises(InvalidInputError, match=message):
        model_of(Other()).encode(images().double())
