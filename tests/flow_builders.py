"""Small real flows of every library, for the tests: a few layers, away from the identity.

Each builder imports its library itself, and draws its weights from ``seed`` without touching
the random state of torch or numpy. Vector flows take ``dim``; multi-scale ones a shape (c, h, w)
with h and w divisible by 4. Where a library has a base of its own, it is the standard normal.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints

HIDDEN = 16


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    numpy_state = np.random.get_state()  # noqa: NPY002 - FrEIA draws its permutations from it
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002


def _builder(build: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(build)
    def seeded(*args: Any, seed: int = 0, **kwargs: Any) -> Any:
        with _seeded(seed):
            return build(*args, **kwargs)

    return seeded


def _mlp(n_in: int, n_out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n_in, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, n_out))


def _convolutions(n_in: int, n_out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(n_in, HIDDEN, 3, padding=1), nn.Tanh(), nn.Conv2d(HIDDEN, n_out, 3, padding=1)
    )


# -- normflows -------------------------------------------------------------------------------


def _normflows_layers(dim: int, n_layers: int) -> list[nn.Module]:
    import normflows as nf

    layers: list[nn.Module] = []
    for _ in range(n_layers):
        widths = [(dim + 1) // 2, HIDDEN, 2 * (dim // 2)]
        layers += [
            nf.flows.AffineCouplingBlock(nf.nets.MLP(widths, init_zeros=False)),
            nf.flows.Permute(dim, mode="swap"),
        ]
    return layers


@_builder
def normflows_realnvp(dim: int, n_layers: int = 2, act_norm: bool = False) -> Any:
    """``NormalizingFlow`` of affine couplings; ``act_norm`` takes its first batch to start from."""
    import normflows as nf

    layers = _normflows_layers(dim, n_layers)
    if act_norm:
        layers.append(nf.flows.ActNorm((dim,)))
    return nf.NormalizingFlow(nf.distributions.DiagGaussian(dim, trainable=False), layers)


@_builder
def normflows_class_cond(dim: int, n_classes: int, n_layers: int = 2) -> Any:
    """``ClassCondFlow`` over normflows' own class Gaussians."""
    import normflows as nf

    base = nf.distributions.ClassCondDiagGaussian(dim, n_classes)
    return nf.ClassCondFlow(base, _normflows_layers(dim, n_layers))


@_builder
def normflows_conditional(dim: int, context: int | None = None) -> Any:
    """``ConditionalNormalizingFlow`` of splines; its layers take a context if it is given."""
    import normflows as nf

    layers = [
        nf.flows.AutoregressiveRationalQuadraticSpline(
            dim, 1, HIDDEN, num_context_channels=context, init_identity=False
        ),
        nf.flows.LULinearPermute(dim),
    ]
    base = nf.distributions.DiagGaussian(dim, trainable=False)
    return nf.ConditionalNormalizingFlow(base, layers)


@_builder
def normflows_multiscale(shape: tuple[int, int, int], n_classes: int | None = None) -> Any:
    """``MultiscaleFlow`` (Glow) of two levels, over class Gaussians where ``n_classes`` is given.

    Its ActNorm layers take their first batch to be initialized, in eval mode too.
    """
    import normflows as nf

    c, h, w = shape
    levels, merges, bases = 2, [], []
    flows = []
    for level in range(levels):
        channels = c * 2 ** (levels + 1 - level)
        # torch warns about the factorization that use_lu=True starts from
        block = nf.flows.GlowBlock(channels, HIDDEN, init_zeros=False, use_lu=False)
        flows.append([block, nf.flows.Squeeze()])
        if level == 0:
            latent = (c * 2 ** (levels + 1), h // 2**levels, w // 2**levels)
        else:
            merges.append(nf.flows.Merge())
            depth = levels - level
            latent = (c * 2**depth, h // 2**depth, w // 2**depth)
        if n_classes is None:
            bases.append(nf.distributions.DiagGaussian(latent, trainable=False))
        else:
            bases.append(nf.distributions.ClassCondDiagGaussian(latent, n_classes))
    return nf.MultiscaleFlow(bases, flows, merges, class_cond=n_classes is not None)


# -- nflows ----------------------------------------------------------------------------------


def _nflows_coupling(n_features: int, create: Callable[[int, int], nn.Module]) -> nn.Module:
    from nflows.transforms import AffineCouplingTransform

    mask = torch.ones(n_features)
    mask[::2] = -1
    return AffineCouplingTransform(mask, create)


@_builder
def nflows_coupling(
    dim: int, n_layers: int = 2, act_norm: bool = False, context: int | None = None
) -> Any:
    """``Flow`` of affine couplings; with ``context``, networks that want one of this width."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.nn.nets import ResidualNet
    from nflows.transforms import ActNorm, CompositeTransform, ReversePermutation

    def create(n_in: int, n_out: int) -> nn.Module:
        return ResidualNet(n_in, n_out, HIDDEN, context_features=context, num_blocks=1)

    layers: list[nn.Module] = [ActNorm(dim)] if act_norm else []
    for _ in range(n_layers):
        layers += [_nflows_coupling(dim, create), ReversePermutation(dim)]
    return Flow(CompositeTransform(layers), StandardNormal([dim]))


@_builder
def nflows_maf(dim: int, context: int | None = None) -> Any:
    """``Flow`` of one masked autoregressive layer, which runs without its context too."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import MaskedAffineAutoregressiveTransform

    layer = MaskedAffineAutoregressiveTransform(dim, HIDDEN, context_features=context)
    return Flow(layer, StandardNormal([dim]))


@_builder
def nflows_multiscale(shape: tuple[int, int, int]) -> Any:
    """``Flow`` of a ``MultiscaleCompositeTransform`` of two levels."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.nn.nets import ConvResidualNet
    from nflows.transforms import (
        CompositeTransform,
        MultiscaleCompositeTransform,
        RandomPermutation,
        SqueezeTransform,
    )

    def create(n_in: int, n_out: int) -> nn.Module:
        return ConvResidualNet(n_in, n_out, HIDDEN, num_blocks=1)

    c, h, w = shape
    transform = MultiscaleCompositeTransform(num_transforms=2)
    hidden: tuple[int, ...] | None = (c, h, w)
    while hidden is not None:
        channels = 4 * hidden[0]
        layers = [SqueezeTransform(), RandomPermutation(channels)]
        level = CompositeTransform([*layers, _nflows_coupling(channels, create)])
        hidden = transform.add_transform(level, (channels, hidden[1] // 2, hidden[2] // 2))
    return Flow(transform, StandardNormal([c * h * w]))


# -- zuko ------------------------------------------------------------------------------------


@_builder
def zuko_maf(dim: int, context: int = 0) -> Any:
    """``MAF`` of two layers."""
    import zuko

    return zuko.flows.MAF(dim, context, transforms=2, hidden_features=(HIDDEN,))


@_builder
def zuko_nsf(dim: int, context: int = 0) -> Any:
    """``NSF`` of two autoregressive spline layers."""
    import zuko

    return zuko.flows.NSF(dim, context, transforms=2, hidden_features=(HIDDEN,), bins=4)


@_builder
def zuko_realnvp(dim: int, context: int = 0) -> Any:
    """``RealNVP`` of two couplings."""
    import zuko

    return zuko.flows.RealNVP(dim, context, transforms=2, hidden_features=(HIDDEN,))


# -- FrEIA -----------------------------------------------------------------------------------


@_builder
def freia_inn(dim: int, n_layers: int = 2, cond: int | None = None) -> Any:
    """``SequenceINN`` of all-in-one blocks; with ``cond``, conditioned on vectors of that width."""
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import AllInOneBlock

    inn = SequenceINN(dim)
    condition = {} if cond is None else {"cond": 0, "cond_shape": (cond,)}
    for _ in range(n_layers):
        inn.append(AllInOneBlock, subnet_constructor=_mlp, **condition)
    return inn


@_builder
def freia_graph(dim: int, cond: int | None = None) -> Any:
    """``GraphINN`` of one coupling, with or without a condition."""
    from FrEIA.framework import ConditionNode, GraphINN, InputNode, Node, OutputNode
    from FrEIA.modules import GLOWCouplingBlock

    start = InputNode(dim)
    conditions = [] if cond is None else [ConditionNode(cond)]
    coupling = Node(
        start, GLOWCouplingBlock, {"subnet_constructor": _mlp}, conditions=conditions or None
    )
    return GraphINN([start, *conditions, coupling, OutputNode(coupling)])


@_builder
def freia_multiscale(shape: tuple[int, int, int]) -> Any:
    """``GraphINN`` with two outputs: half of the channels after the first level, and the rest."""
    from FrEIA.framework import GraphINN, InputNode, Node, OutputNode
    from FrEIA.modules import GLOWCouplingBlock, IRevNetDownsampling, Split

    coupling = {"subnet_constructor": _convolutions}
    start = InputNode(*shape)
    squeezed = Node(start, IRevNetDownsampling, {})
    first = Node(squeezed, GLOWCouplingBlock, coupling)
    split = Node(first, Split, {})
    deeper = Node(split.out1, IRevNetDownsampling, {})
    second = Node(deeper, GLOWCouplingBlock, coupling)
    outputs = [OutputNode(split.out0), OutputNode(second)]
    return GraphINN([start, squeezed, first, split, deeper, second, *outputs])


# -- torch and pyro --------------------------------------------------------------------------


class TorchCoupling(Transform, nn.Module):
    """An affine coupling on torch alone, as users write it; ``flip`` swaps the halves."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, dim: int, flip: bool = False) -> None:
        Transform.__init__(self)
        nn.Module.__init__(self)
        self.kept = dim // 2
        self.flip = flip
        self.net = _mlp(self.kept, 2 * (dim - self.kept))

    def __hash__(self) -> int:
        return id(self)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = x.flip(-1) if self.flip else x
        kept, other = x[..., : self.kept], x[..., self.kept :]
        log_scale, shift = self.net(kept).chunk(2, -1)
        return kept, other, log_scale.tanh(), shift

    def _joined(self, kept: Tensor, other: Tensor) -> Tensor:
        x = torch.cat([kept, other], -1)
        return x.flip(-1) if self.flip else x

    def _call(self, x: Tensor) -> Tensor:
        kept, other, log_scale, shift = self._parts(x)
        return self._joined(kept, other * log_scale.exp() + shift)

    def _inverse(self, y: Tensor) -> Tensor:
        kept, other, log_scale, shift = self._parts(y)
        return self._joined(kept, (other - shift) * (-log_scale).exp())

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self._parts(x)[2].sum(-1)


@_builder
def torch_flow(dim: int) -> Any:
    """``TransformedDistribution`` of torch: two couplings, then a trained elementwise scale."""
    from torch.distributions import AffineTransform, Independent, Normal, TransformedDistribution

    base = Independent(Normal(torch.zeros(dim), torch.ones(dim)), 1)
    affine = AffineTransform(
        nn.Parameter(0.3 * torch.randn(dim)), nn.Parameter(1.0 + 0.3 * torch.rand(dim))
    )
    return TransformedDistribution(
        base, [TorchCoupling(dim), TorchCoupling(dim, flip=True), affine]
    )


@_builder
def pyro_flow(dim: int) -> Any:
    """``TransformedDistribution`` of pyro: couplings, which cache, around a permutation."""
    import pyro.distributions as dist
    from pyro.distributions import transforms as T

    base = dist.Normal(torch.zeros(dim), torch.ones(dim)).to_event(1)
    layers = [
        T.affine_coupling(dim, hidden_dims=[HIDDEN]),
        T.permute(dim, torch.arange(dim).flip(0)),
        T.affine_coupling(dim, hidden_dims=[HIDDEN]),
    ]
    return dist.TransformedDistribution(base, layers)


#: Builders of vector flows by name, each taking ``dim``.
VECTOR_FLOWS: dict[str, Callable[..., Any]] = {
    "normflows": normflows_realnvp,
    "normflows-conditional": normflows_conditional,
    "nflows": nflows_coupling,
    "nflows-maf": nflows_maf,
    "zuko-maf": zuko_maf,
    "zuko-nsf": zuko_nsf,
    "zuko-realnvp": zuko_realnvp,
    "freia": freia_inn,
    "freia-graph": freia_graph,
    "torch": torch_flow,
    "pyro": pyro_flow,
}

#: Builders of multi-scale flows by name, each taking a shape (c, h, w).
MULTISCALE_FLOWS: dict[str, Callable[..., Any]] = {
    "normflows": normflows_multiscale,
    "nflows": nflows_multiscale,
    "freia": freia_multiscale,
}
