"""The hot paths on an accelerator, beside the same machine's CPU.

Each row is timed in turns on the CPU (numpy), on the CPU (torch) and on the accelerator (torch),
in float64. The floor is what the work needs at least: the matrix products of an evaluation, or one
read of the latents, on the accelerator. Results on the accelerator are compared with numpy's.

Run ``python -m benchmarks.devices [--device cuda] [--out FOLDER]`` where there is one.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import _report, means_only
from benchmarks._measure import duration, one_evaluation
from fpigauss import ClassGaussians, ClassStatistics, fit_fixed_point, solve_fixed_point

ROUNDS = 9
SECONDS = 12.0

Functions = dict[str, Callable[[], Any]]


def timed(functions: Functions, device: str) -> dict[str, list[float]]:
    """Time the functions in turns; each is waited for."""
    for function in functions.values():
        function()
        torch.accelerator.synchronize()
    rounds: dict[str, list[float]] = {name: [] for name in functions}
    began = time.perf_counter()
    while len(rounds["numpy"]) < ROUNDS and time.perf_counter() - began < SECONDS:
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if name not in ("numpy", "torch"):
                torch.accelerator.synchronize()
            rounds[name].append(time.perf_counter() - started)
    return rounds


def on(statistics_: ClassStatistics, device: str) -> ClassStatistics:
    """Bring statistics to a device, as torch tensors."""
    columns = (statistics_.counts, statistics_.means, statistics_.covariances)
    moved = (torch.asarray(np.asarray(x), device=device) for x in columns)
    return ClassStatistics(*moved, classes=statistics_.classes)


def everywhere(make: Callable[[Any], Callable[[], Any]], inputs: Any, device: str) -> Functions:
    """Prepare the same work for the inputs of numpy, of torch, and of the device."""
    places = {"numpy": inputs, "torch": _moved(inputs, "cpu"), device: _moved(inputs, device)}
    return {name: make(place) for name, place in places.items()}


def _moved(inputs: Any, device: str) -> Any:
    if isinstance(inputs, ClassStatistics):
        return on(inputs, device)
    return torch.asarray(inputs, device=device)


def diagonal(n_classes: int, dim: int) -> ClassStatistics:
    rng = np.random.default_rng(0)
    return ClassStatistics(
        counts=np.full(n_classes, 50.0),
        means=rng.standard_normal((n_classes, dim)),
        covariances=rng.uniform(0.5, 2.0, size=(n_classes, dim)),
        classes=np.arange(n_classes),
    )


def products(n_classes: int, dim: int, n_products: int, device: str) -> Callable[[], Any]:
    """Prepare products of (K, K) by (K, d)."""
    x = torch.randn(n_classes, dim, dtype=torch.float64, device=device)
    w = torch.rand(n_classes, n_classes, dtype=torch.float64, device=device)
    return lambda: [w @ x for _ in range(n_products)]


def cases(device: str) -> list[tuple[str, Functions, Callable[[], Any]]]:
    """List what is measured, with its floor on the device."""
    found = []
    statistics_ = diagonal(100, 3072)
    for name, options in {
        "released": {"equations": "released", "alpha": 10.0},
        "stationary": {},
    }.items():

        def evaluation(s: ClassStatistics, options: Any = options) -> Callable[[], Any]:
            return one_evaluation(s, 1.0, **options)

        found.append(
            (
                f"evaluation, {name}, K=100, d=3072",
                everywhere(evaluation, statistics_, device),
                products(100, 3072, 6, device),
            )
        )
    large, lam = means_only.problem(1000, 12288)

    def means(s: ClassStatistics) -> Callable[[], Any]:
        return one_evaluation(s, lam, solver="guarded", **means_only.OPTIONS)

    found.append(
        (
            "evaluation, means only, K=1000, d=12288",
            everywhere(means, large, device),
            products(1000, 12288, 3, device),
        )
    )
    medium, lam_medium = means_only.problem(200, 2048)

    def fit(s: ClassStatistics) -> Callable[[], Any]:
        return lambda: solve_fixed_point(s, lam_medium, max_iter=40, tol=0.0, **means_only.OPTIONS)

    found.append(
        (
            "accelerated fit of means, K=200, d=2048, 40 evaluations",
            everywhere(fit, medium, device),
            products(200, 2048, 3 * 40, device),
        )
    )
    rng = np.random.default_rng(0)
    z = rng.standard_normal((50_000, 3072), dtype=np.float32)
    on_device = torch.asarray(z, device=device)
    for n_classes in (10, 100, 1000):
        y = rng.integers(n_classes, size=len(z))

        def gathered(z: Any, y: Any = y) -> Callable[[], Any]:
            return lambda: ClassStatistics.from_samples(z, y)

        found.append(
            (
                f"statistics, N=50,000, d=3072, K={n_classes}, float32",
                everywhere(gathered, z, device),
                on_device.sum,
            )
        )
    latents = rng.standard_normal((10_000, 256))
    gaussians = {
        name: ClassGaussians(x, 1.0 + 0.0 * x)
        for name, x in _all(rng.standard_normal((100, 256)), device).items()
    }
    placed = _all(latents, device)
    found.append(
        (
            "class_log_prob, N=10,000, K=100, d=256",
            {name: _densities(gaussians[name], placed[name]) for name in placed},
            lambda: (
                placed[device] @ gaussians[device].means.T,
                (placed[device] ** 2) @ gaussians[device].means.T,
            ),
        )
    )
    small_y = np.arange(500) % 5
    small = rng.standard_normal((500, 4)) + 2.0 * rng.standard_normal((5, 4))[small_y]

    def small_fit(z: Any) -> Callable[[], Any]:
        return lambda: fit_fixed_point(z, small_y, 5.0)

    found.append(
        (
            "a whole fit, 500 x 4, K=5",
            everywhere(small_fit, small, device),
            products(5, 4, 6, device),
        )
    )
    return found


def _all(x: np.ndarray, device: str) -> dict[str, Any]:
    return {"numpy": x, "torch": torch.asarray(x), device: torch.asarray(x, device=device)}


def _densities(gaussians: ClassGaussians, z: Any) -> Callable[[], Any]:
    return lambda: gaussians.class_log_prob(z)


def reads_per_iteration(device: str) -> float:
    """Count how often an iteration of a fit waits for the device."""
    statistics_ = on(diagonal(20, 64), device)

    def spent(max_iter: int) -> int:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                solve_fixed_point(statistics_, 1.0, max_iter=max_iter, tol=0.0)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchronizing CUDA" in str(warning.message) for warning in caught)

    return (spent(8) - spent(3)) / 5


def agreement(device: str) -> float:
    """Return the largest difference from numpy's results, relative to their sizes."""
    largest = 0.0
    for options in ({}, {"tied": True}, {"covariance": "dense"}, {"pi": "mean"}):
        rng = np.random.default_rng(1)
        y = np.arange(600) % 6
        z = rng.standard_normal((600, 5)) + rng.standard_normal((6, 5))[y]
        here = fit_fixed_point(z, y, 5.0, **options)
        there = fit_fixed_point(torch.asarray(z, device=device), y, 5.0, **options)
        for name in ("means", "covariances"):
            ours, theirs = (
                getattr(here.gaussians, name),
                getattr(there.gaussians, name).cpu().numpy(),
            )
            largest = max(largest, float(np.abs(theirs - ours).max() / np.abs(ours).max()))
    return largest


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.devices", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    device = arguments.device
    name = torch.cuda.get_device_name() if device == "cuda" else device
    lines = [
        f"## On an accelerator: {name}",
        "",
        *[f"- {line}" for line in _report.description()],
        "- Medians of rounds in turns, in float64 unless said. The floor, on the accelerator, is",
        "  the products of the evaluation, or one sum over the latents.",
        "",
        f"| what | numpy | torch, CPU | {name} | CPU (numpy) to it | floor | to its floor |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, functions, floor in cases(device):
        times = timed({**functions, "floor": floor}, device)
        middle = {key: statistics.median(values) for key, values in times.items()}

        def ratio(slow: str, fast: str, times: dict[str, list[float]] = times) -> float:
            return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))

        cells = [duration(middle[key]) for key in ("numpy", "torch", device)]
        cells += [f"{ratio('numpy', device):.2g} x", duration(middle["floor"])]
        lines.append(f"| {case} | {' | '.join(cells)} | {ratio(device, 'floor'):.3g} x |")
        print(lines[-1], flush=True)
    if device == "cuda":
        lines += [
            "",
            f"An iteration of a fit waits for the device {reads_per_iteration(device):.2g} times.",
        ]
    difference = f"{agreement(device):.1g} of the largest number"
    lines += [f"Fitted Gaussians differ from numpy's by at most {difference}."]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "devices.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines[-2:]))


if __name__ == "__main__":
    main()
