"""Stack random layers of each flow library over class Gaussians, train a little, and look.

Latents decode to what they were encoded from, log-determinants are those of the Jacobian, and
samples are finite or said not to be, before ten steps of training and after.
"""

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tools.torture._runner import Fault, Machine

__all__ = ["LAYERS", "MACHINE"]

_CLASSES, _STEPS, _HIDDEN = 3, 10, 8
Layer = Callable[[int], Any]


def _mlp(n_in: int, n_out: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(n_in, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, n_out))


def _normflows() -> dict[str, Layer]:
    import normflows as nf
    import torch

    flows = nf.flows

    def mask(dim: int) -> Any:
        return (torch.arange(dim) % 2).float()

    return {
        "AffineCouplingBlock": lambda d: flows.AffineCouplingBlock(
            _mlp((d + 1) // 2, 2 * (d // 2)), scale_map=random.choice(["exp", "sigmoid"])
        ),
        "MaskedAffineFlow": lambda d: flows.MaskedAffineFlow(mask(d), _mlp(d, d), _mlp(d, d)),
        "ActNorm": lambda d: flows.ActNorm((d,)),
        "AffineConstFlow": lambda d: flows.AffineConstFlow((d,)),
        "Permute": lambda d: flows.Permute(d, mode=random.choice(["swap", "shuffle"])),
        "LULinearPermute": flows.LULinearPermute,
        "InvertibleAffine": lambda d: flows.InvertibleAffine(d, use_lu=False),
        "CoupledSpline": lambda d: flows.CoupledRationalQuadraticSpline(d, 1, _HIDDEN),
        "AutoregressiveSpline": lambda d: flows.AutoregressiveRationalQuadraticSpline(
            d, 1, _HIDDEN
        ),
        "MaskedAutoregressive": lambda d: flows.MaskedAffineAutoregressive(
            d, _HIDDEN, num_blocks=1
        ),
    }


def _nflows() -> dict[str, Layer]:
    import torch
    from nflows import transforms as T
    from nflows.nn.nets import ResidualNet

    def net(n_in: int, n_out: int) -> Any:
        return ResidualNet(n_in, n_out, hidden_features=_HIDDEN, num_blocks=1)

    def mask(d: int) -> Any:
        return torch.arange(d) % 2

    autoregressive = {"hidden_features": _HIDDEN, "num_blocks": 1}
    return {
        "Affine": lambda d: T.AffineCouplingTransform(mask(d), net),
        "Additive": lambda d: T.AdditiveCouplingTransform(mask(d), net),
        "RQSpline": lambda d: T.PiecewiseRationalQuadraticCouplingTransform(
            mask(d), net, tails="linear", tail_bound=3.0
        ),
        "MAF": lambda d: T.MaskedAffineAutoregressiveTransform(d, **autoregressive),
        "LULinear": T.LULinear,
        "QRLinear": lambda d: T.QRLinear(d, num_householder=2),
        "SVDLinear": lambda d: T.SVDLinear(d, num_householder=2),
        "HouseholderSequence": lambda d: T.HouseholderSequence(d, 2),
        "RandomPermutation": T.RandomPermutation,
        "ReversePermutation": T.ReversePermutation,
        "ActNorm": T.ActNorm,
        "LeakyReLU": lambda d: T.LeakyReLU(),
        "LogTanh": lambda d: T.LogTanh(),
    }


def _zuko() -> dict[str, Layer]:
    from zuko.flows import (
        ElementWiseTransform,
        GeneralCouplingTransform,
        MaskedAutoregressiveTransform,
        UnconditionalTransform,
    )
    from zuko.transforms import (
        MonotonicRQSTransform,
        PermutationTransform,
        RotationTransform,
        SoftclipTransform,
    )

    hidden = {"hidden_features": (_HIDDEN,)}
    spline = {"univariate": MonotonicRQSTransform, "shapes": [(8,), (8,), (7,)]}

    def rotation(d: int) -> Any:
        import torch

        return UnconditionalTransform(RotationTransform, torch.randn(d, d))

    def permutation(d: int) -> Any:
        import torch

        return UnconditionalTransform(PermutationTransform, torch.randperm(d), buffer=True)

    return {
        "MAF": lambda d: MaskedAutoregressiveTransform(d, **hidden),
        "Coupling": lambda d: GeneralCouplingTransform(d, **hidden),
        "NSF": lambda d: MaskedAutoregressiveTransform(d, **spline, **hidden),
        "CouplingNSF": lambda d: GeneralCouplingTransform(d, **spline, **hidden),
        "ElementWise": ElementWiseTransform,
        "Rotation": rotation,
        "Permutation": permutation,
        "Softclip": lambda d: UnconditionalTransform(SoftclipTransform, bound=20.0),
    }


def _freia() -> dict[str, Layer]:
    from FrEIA import modules as M

    net = {"subnet_constructor": _mlp}
    return {
        "AllInOneBlock": lambda d: (M.AllInOneBlock, net),
        "soft permutation": lambda d: (M.AllInOneBlock, net | {"permute_soft": True}),
        "GLOWCouplingBlock": lambda d: (M.GLOWCouplingBlock, net),
        "RNVPCouplingBlock": lambda d: (M.RNVPCouplingBlock, net),
        "NICECouplingBlock": lambda d: (M.NICECouplingBlock, net),
        "GINCouplingBlock": lambda d: (M.GINCouplingBlock, net),
        "AffineCouplingOneSided": lambda d: (M.AffineCouplingOneSided, net),
        "PermuteRandom": lambda d: (M.PermuteRandom, {}),
        "HouseholderPerm": lambda d: (M.HouseholderPerm, {"n_reflections": 2}),
        # not OrthogonalTransform: training leaves the orthogonal matrices, and its log-determinant
        # stays zero until the correction after 256 steps
        "ActNorm": lambda d: (M.ActNorm, {}),
    }


def _torch() -> dict[str, Layer]:
    import torch
    from flow_builders import TorchCoupling
    from torch import nn
    from torch.distributions import transforms as T

    return {
        "coupling": lambda d: TorchCoupling(d, flip=random.random() < 0.5),
        "affine": lambda d: T.AffineTransform(
            nn.Parameter(torch.randn(d)), nn.Parameter(0.5 + torch.rand(d))
        ),
        "triangular": lambda d: T.AffineTransform(0.0, 2.0),
        "compose": lambda d: T.ComposeTransform([TorchCoupling(d), T.AffineTransform(1.0, -1.0)]),
    }


def _pyro() -> dict[str, Layer]:
    import torch
    from pyro.distributions import transforms as T

    return {
        "affine_coupling": lambda d: T.affine_coupling(d, hidden_dims=[_HIDDEN]),
        "spline_coupling": lambda d: T.spline_coupling(d, hidden_dims=[_HIDDEN], count_bins=4),
        "affine_autoregressive": lambda d: T.affine_autoregressive(d, hidden_dims=[2 * d]),
        "spline": lambda d: T.spline(d, count_bins=4),
        "permute": lambda d: T.permute(d, torch.randperm(d)),
        "batchnorm": T.batchnorm,
        "householder": lambda d: T.householder(d, count_transforms=2),
        # by default eight terms of the power series, which are too few for their own inverse
        "matrix_exponential": lambda d: T.matrix_exponential(d, iterations=40),
        "leaky_relu": lambda d: T.leaky_relu(),
    }


LAYERS: dict[str, Callable[[], dict[str, Layer]]] = {
    "normflows": _normflows,
    "nflows": _nflows,
    "zuko": _zuko,
    "freia": _freia,
    "torch": _torch,
    "pyro": _pyro,
}


def _flow(library: str, layers: list[Layer], dim: int) -> Any:
    import torch

    if library == "normflows":
        import normflows as nf

        base = nf.distributions.DiagGaussian(dim, trainable=False)
        return nf.NormalizingFlow(base, [layer(dim) for layer in layers])
    if library == "nflows":
        from nflows.distributions import StandardNormal
        from nflows.flows import Flow
        from nflows.transforms import CompositeTransform

        return Flow(CompositeTransform([layer(dim) for layer in layers]), StandardNormal([dim]))
    if library == "zuko":
        from zuko.distributions import DiagNormal
        from zuko.flows import Flow as ZukoFlow
        from zuko.flows import UnconditionalDistribution

        base = UnconditionalDistribution(DiagNormal, torch.zeros(dim), torch.ones(dim), buffer=True)
        return ZukoFlow([layer(dim) for layer in layers], base)
    if library == "freia":
        from FrEIA.framework import SequenceINN

        flow = SequenceINN(dim)
        for module, options in (layer(dim) for layer in layers):
            flow.append(module, **options)
        return flow
    from torch.distributions import Independent, Normal, TransformedDistribution

    base = Independent(Normal(torch.zeros(dim), torch.ones(dim)), 1)
    transforms = [layer(dim) for layer in layers]
    if library == "pyro":
        from pyro.distributions import TransformedDistribution as OfPyro

        return OfPyro(base, transforms)
    return TransformedDistribution(base, transforms)


def _check(model: Any, x: Any, when: str) -> None:
    """Hold a flow against its own inverse and its Jacobian."""
    import torch

    model.eval()
    with torch.no_grad():
        z, log_det = model.encode(x)
        if not bool(z.isfinite().all() and log_det.isfinite().all()):
            raise Fault(f"{when}, encoded latents are not finite")
        back = model.decode(z)
    jacobian = torch.autograd.functional.jacobian(lambda rows: model.encode(rows)[0].sum(0), x)
    wanted = torch.linalg.slogdet(jacobian.permute(1, 0, 2)).logabsdet
    condition = torch.linalg.cond(jacobian.permute(1, 0, 2)).max()
    near = 1e-9 * float(condition) * (1.0 + float(x.abs().max()))
    if not bool((log_det - wanted).abs().max() < 1e-6 + near):
        raise Fault(f"{when}, log-determinants are off by {float((log_det - wanted).abs().max())}")
    # splines of some libraries solve quadratics, to the square root of the rounding
    if not bool((back - x).abs().max() < 1e-5 + near):
        raise Fault(f"{when}, the round trip is off by {float((back - x).abs().max())}")


def _samples(model: Any) -> None:
    """Draw; what is not finite has to be said."""
    from fpigauss import InvalidInputError

    labels = list(range(_CLASSES)) * 10
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            drawn = model.sample(labels, seed=0)
        except InvalidInputError:
            return
    if not bool(drawn.isfinite().all()) and not caught:
        raise Fault("samples are not finite, and nothing says so")


def _trained(model: Any, x: Any, y: Any) -> None:
    """Train for some steps."""
    import torch

    parameters = [each for each in model.parameters() if each.requires_grad]
    model.train()
    if not parameters:
        return
    optimizer = torch.optim.Adam(parameters, 1e-2)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        loss = model(x, y).mean()
        if not bool(loss.isfinite()):
            raise Fault(f"the loss is {float(loss)}")
        loss.backward()
        optimizer.step()


def _tried(draw: random.Random, flow: Any, dim: int) -> None:
    """Look at a flow before training and after."""
    import torch

    from fpigauss import UnreachableSeparationError
    from fpigauss_torch import ClassFlow, LatentGaussians, refit_

    family = draw.choice(("isotropic", "diagonal", "dense")), draw.random() < 0.5
    model = ClassFlow(flow, LatentGaussians(_CLASSES, dim, *family)).double()
    y = torch.arange(20 * _CLASSES) % _CLASSES
    x = torch.randn(len(y), dim) + y[:, None]
    model.train()
    model(x, y) if draw.random() < 0.5 else model.encode(x)  # layers that take their first batch
    _check(model, x, "at first")
    with contextlib.suppress(UnreachableSeparationError):
        target: dict[str, Any] = draw.choice(({"lam": 0.0}, {"lam": 0.3}, {"separation": 20.0}))
        refit_(model, [(x, y), (x, y)], **target)
    _samples(model)
    _trained(model, x, y)
    _check(model, x, "after training")
    _samples(model)
    shares = model.predict_proba(x)
    if not bool(((shares.sum(1) - 1.0).abs() < 1e-6).all()):
        raise Fault("shares do not sum to one")


def trial(number: int, _: Path) -> Iterator[str]:
    """Train a stack of one to four layers."""
    import torch

    draw = random.Random(number)
    random.seed(number)
    torch.manual_seed(number)
    torch.set_default_dtype(torch.float64)  # layers that allocate without a dtype
    library = list(LAYERS)[number % len(LAYERS)]
    known = LAYERS[library]()
    names = [draw.choice(list(known)) for _ in range(draw.choice((1, 2, 3, 4)))]
    dim = draw.choice((2, 3, 4, 6))
    try:
        _tried(draw, _flow(library, [known[name] for name in names], dim), dim)
    except Exception as error:
        error.add_note(f"{library}: {', '.join(names)}; d = {dim}")
        raise
    yield library


MACHINE = Machine(
    what="a random stack of layers of one of six libraries is trained for ten steps",
    trial=trial,
    quick=12,
    full=3000,
    imports=("fpigauss_torch", "normflows", "nflows", "zuko", "FrEIA.framework", "pyro"),
    batch=30,
    seconds=30.0,
)
