"""Class Gaussians under a flow: densities, refits and training steps, in float32 on tensors."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import normflows
import torch
from torch import Tensor

from benchmarks._measure import (
    MIB,
    Bar,
    Row,
    Table,
    duration,
    in_new_process,
    paired,
    peak_resident,
)
from fpigauss_torch import ClassFlow, LatentGaussians, refit_

NOTE = """
class_log_prob is compared with the broadcast ((z[:, None] - means)^2 / variances).sum(-1); memory
is what a process of its own held at most beyond what it held before the call. The flow is a Glow
of normflows for 3x16x16 images (two levels, four steps each, 64 channels; 1 x 1 convolutions and
affine couplings). Its refit (K=10, 4,096 images) is compared with an encode pass over the same
batches, and a training step (batches of 64: forward, backward, Adam) with the same step on a
standard-normal base, log N(z; 0, I). The two kinds of step take turns. The paper's flow, of matrix
exponentials, is compared likewise: the preset mef16 of the examples, for 1x16x16 images.
"""


def run(full: bool, out: Path) -> Table:
    """Run the comparison."""
    rows = [*densities(512, 100, 3072), *conv_flow(), matrix_exp_step()]
    return Table("Class Gaussians under a flow", __doc__ + NOTE, rows)


def gaussians_for(n_classes: int, dim: int) -> LatentGaussians:
    """Fit Gaussians to overlapping classes."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(4 * n_classes) % n_classes
    means = torch.randn(n_classes, dim, generator=generator)
    z = torch.randn(len(y), dim, generator=generator) + means[y]
    gaussians = LatentGaussians(n_classes, dim, covariance="diagonal", tied=False)
    gaussians.fit_(z, y, 0.0)
    return gaussians


def broadcast(gaussians: LatentGaussians, z: Tensor) -> Tensor:
    """Compute log-densities through a (B, K, D) array."""
    means, variances = gaussians.means.to(z.dtype), gaussians.covariances.to(z.dtype)
    squared = (z[:, None, :] - means) ** 2 / variances
    return -0.5 * (squared.sum(-1) + (2.0 * math.pi * variances).log().sum(-1))


def extra_resident(n_rows: int, n_classes: int, dim: int, ours: bool) -> int:
    """Measure the bytes that one call adds to the most that a process ever held."""
    gaussians = LatentGaussians(
        n_classes, dim, covariance="diagonal", tied=False
    )  # nothing before the call may need more than it
    z = torch.randn(n_rows, dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        gaussians.class_log_prob(z[:8])  # libraries load what they need
        before = peak_resident()
        _ = gaussians.class_log_prob(z) if ours else broadcast(gaussians, z)
    return peak_resident() - before


def densities(n_rows: int, n_classes: int, dim: int) -> list[Row]:
    """Measure time and memory of class_log_prob."""
    gaussians = gaussians_for(n_classes, dim)
    z = torch.randn(n_rows, dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        times = paired(
            {
                "ours": lambda: gaussians.class_log_prob(z),
                "broadcast": lambda: broadcast(gaussians, z),
            }
        )
        exact = gaussians.class_log_prob(z.double())
        errors = [
            float(((f - exact) / exact).abs().max())
            for f in (gaussians.class_log_prob(z), broadcast(gaussians, z))
        ]
    memory = [
        in_new_process(extra_resident, n_rows, n_classes, dim, ours) / MIB for ours in (True, False)
    ]
    size = f"B={n_rows}, K={n_classes}, D={dim}"
    return [
        Row(
            f"class_log_prob, {size}: faster than (B, K, D)",
            duration(times.median("ours")),
            f"(B, K, D): {duration(times.median('broadcast'))}",
            times.ratio("broadcast", "ours"),
            bar=Bar(20.0, at_least=True),
        ),
        Row(
            f"class_log_prob, {size}: memory, of (B, K, D)'s",
            f"{memory[0]:.0f} MiB",
            f"(B, K, D): {memory[1]:,.0f} MiB",
            memory[0] / memory[1],
            bar=Bar(0.1),
        ),
        Row(
            f"class_log_prob, {size}: relative error",
            f"{errors[0]:.1e}",
            f"(B, K, D): {errors[1]:.1e}",
            errors[0],
            "",
        ),
    ]


def glow(channels: int, size: int, levels: int, steps: int, hidden: int) -> Any:
    """Build a multi-scale Glow of normflows."""
    bases, merges, flows = [], [], []
    for level in range(levels):
        c, s = channels * 2 ** (levels + 1 - level), size // 2 ** (levels - level)
        shape = (c, s, s) if level == 0 else (c // 2, s, s)
        flows.append(
            [
                *(
                    normflows.flows.GlowBlock(c, hidden, scale=True, scale_map="sigmoid")
                    for _ in range(steps)
                ),
                normflows.flows.Squeeze(),
            ]
        )
        if level > 0:
            merges.append(normflows.flows.Merge())
        bases.append(normflows.distributions.DiagGaussian(shape, trainable=False))
    return normflows.MultiscaleFlow(bases, flows, merges)


def conv_flow() -> list[Row]:
    """Compare a refit with its encode pass, and a training step with one without classes."""
    torch.manual_seed(0)
    n_classes, dim = 10, 3 * 16 * 16
    model = ClassFlow(
        glow(3, 16, 2, 4, 64), LatentGaussians(n_classes, dim, covariance="diagonal", tied=False)
    )
    x = torch.rand(4096, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    y = torch.arange(4096) % n_classes
    batches = list(zip(x.split(64), y.split(64), strict=True))
    model(x[:64])  # data-dependent layers start from a batch
    model.eval()

    def encode() -> None:
        with torch.no_grad():
            for images, _ in batches:
                model.encode(images)

    refits = paired(
        {"refit": lambda: refit_(model, batches, 1.0), "encode": encode}, rounds=5, seconds=30.0
    )
    return [
        Row(
            "refit of a Glow, N=4,096: time, of its encode pass's",
            duration(refits.median("refit")),
            f"encode: {duration(refits.median('encode'))}",
            refits.ratio("refit", "encode"),
            bar=Bar(1.1),
        ),
        training_step("a Glow", model, x[:64], y[:64]),
    ]


def matrix_exp_step() -> Row:
    """Time a training step of the examples' flow of matrix exponentials."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "nfpi" / "src"))
    from nfpi.flows import make_flow

    torch.manual_seed(0)
    model = ClassFlow(
        make_flow("mef16", (1, 16, 16)),
        LatentGaussians(10, 16 * 16, covariance="diagonal", tied=False),
    )
    x = torch.rand(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    y = torch.arange(64) % 10
    model(x, y)  # data-dependent layers start from a batch
    model.gaussians.fit_(model.encode(x)[0].detach(), y, 1.0)
    return training_step("the paper's flow (mef16)", model, x, y)


def training_step(flow: str, model: ClassFlow, x: Tensor, y: Tensor) -> Row:
    """Compare a training step with one of the same flow without classes."""
    model.train()
    dim = model.gaussians.dim
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def step(loss: Any) -> None:
        optimizer.zero_grad()
        loss().mean().backward()
        optimizer.step()

    def standard_normal() -> Tensor:
        z, logdet = model.encode(x)
        return 0.5 * (z.square().sum(1) + dim * math.log(2.0 * math.pi)) - logdet

    steps = paired(
        {
            "classes": lambda: step(lambda: model(x, y)),
            "standard normal": lambda: step(standard_normal),
        },
        rounds=25,
        seconds=40.0,
    )
    return Row(
        f"training step of {flow}: time, of a standard-normal base's",
        duration(steps.median("classes")),
        f"standard normal: {duration(steps.median('standard normal'))}",
        steps.ratio("classes", "standard normal"),
        bar=Bar(1.05),
    )
