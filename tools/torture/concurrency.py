"""Run fits in threads and processes, interrupt them, and see what is left changed.

Fits that run at once are bit for bit those that run alone. Whatever is called, and however it ends,
the settings of the process stay as they were: floating-point flags, default dtype, umask, numbers
of threads, random states, warning filters, signal handlers. An interrupt is prompt, and leaves no
half-changed object.
"""

import multiprocessing
import os
import random
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tools.torture._runner import Fault, Machine

__all__ = ["MACHINE", "settings_now"]

_FAMILIES = [(name, tied) for name in ("isotropic", "diagonal", "dense") for tied in (True, False)]
#: Seconds from a signal to its exception, on a machine that does other things too.
_PROMPT = 3.0


def settings_now() -> dict[str, Any]:
    """Return what a call may not change for the rest of the process."""
    import torch

    umask = os.umask(0o022)
    os.umask(umask)
    return {
        "errstate": np.geterr(),
        "errcall": np.geterrcall(),
        "print options": repr(np.get_printoptions()),
        "numpy random": np.random.get_state(legacy=False)["state"]["key"].tobytes(),  # noqa: NPY002
        "random": random.getstate(),
        "torch random": torch.random.get_rng_state().numpy().tobytes(),
        "default dtype": torch.get_default_dtype(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch threads": torch.get_num_threads(),
        "umask": umask,
        "folder": str(Path.cwd()),
        "filters": list(warnings.filters),
        "handlers": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "environment": dict(os.environ),
        "threads": threading.active_count(),
        "precision": torch.get_float32_matmul_precision(),
    }


def _unchanged(call: Callable[[], object], what: str) -> None:
    before = settings_now()
    try:
        call()
    finally:
        after = settings_now()
        changed = [name for name in before if before[name] != after[name]]
        if changed:
            raise Fault(f"{what} changed {changed}")


def _problem(seed: int) -> Callable[[], Any]:
    """Return a fit of random data with random options."""
    from fpigauss import fit_fixed_point, fit_separated

    rng = np.random.default_rng(seed)
    y = np.arange(120) % int(rng.integers(2, 6))
    z: Any = rng.standard_normal((120, int(rng.integers(1, 6)))) + y[:, None]
    covariance, tied = _FAMILIES[seed % len(_FAMILIES)]
    options: dict[str, Any] = {"covariance": covariance, "tied": tied, "max_iter": 200}
    if seed % 5 == 0:
        import torch

        z = torch.asarray(z).float()
    if tied and seed % 3 == 0:
        return lambda: fit_separated(z, y, min_kld=20.0, **options)
    lam = float(rng.choice([0.0, 0.5, 2.0]))
    return lambda: fit_fixed_point(z, y, lam, **options)


def _numbers(result: Any) -> bytes:
    gaussians = result.gaussians
    parts = (np.asarray(gaussians.means), np.asarray(gaussians.covariances))
    return b"".join(part.tobytes() for part in parts)


def _in_threads(draw: random.Random) -> str:
    """Run fits at once, in threads that switch often."""
    import sys

    problems = [_problem(draw.randrange(10**6)) for _ in range(8)]
    alone = [_numbers(problem()) for problem in problems]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = [_numbers(result) for result in pool.map(lambda p: p(), problems)]
    finally:
        sys.setswitchinterval(before)
    if found != alone:
        raise Fault("fits in threads are not those in a row")
    return "threads"


def _one_fit(seed: int) -> bytes:
    return _numbers(_problem(seed)())


def _in_processes(draw: random.Random) -> str:
    """Run fits at once, in forks of a process that has run some."""
    seeds = [draw.randrange(10**6) for _ in range(6)]
    alone = [_one_fit(seed) for seed in seeds]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(_one_fit, seeds).get(timeout=120)
    if found != alone:
        raise Fault("fits in processes are not those in a row")
    return "processes"


def _shared_module(draw: random.Random) -> str:
    """Compute densities in threads, of a module whose factors are made at the first use."""
    import torch

    from fpigauss_torch import LatentGaussians

    covariance, tied = draw.choice(_FAMILIES)
    module = LatentGaussians(4, 3, covariance, tied)
    y = torch.arange(80) % 4
    z = torch.asarray(np.random.default_rng(draw.randrange(10**6)).standard_normal((80, 3)))
    z = z + y[:, None]
    module.fit_(z, y, 0.5)
    wanted = module.class_log_prob(z)
    module.covariances.mul_(1.0)  # as new: the factors have to be made again
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: module.class_log_prob(z), range(8)))
    if not all(torch.equal(one, wanted) for one in found):
        raise Fault("densities in threads differ")
    return "a module in threads"


def _calls(folder: Path) -> dict[str, Callable[[], object]]:
    """Return calls of all kinds, some of which fail."""
    import torch

    from fpigauss import ClassGaussians, ClassStatistics, fit_fixed_point, open_latents
    from fpigauss.sklearn import FixedPointGaussianClassifier
    from fpigauss_torch import LatentGaussians, fixed_point_layer
    from fpigauss_torch.sklearn import FlowClassifier

    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    z = rng.standard_normal((60, 2)) + 2.0 * y[:, None]
    np.savez(folder / "data.npz", z=z, y=y)
    gaussians = fit_fixed_point(z, y, 1.0, tied=True).gaussians
    module = LatentGaussians.from_class_gaussians(gaussians)
    leaf = torch.asarray(z).requires_grad_()

    def raising(_: Any) -> None:
        raise RuntimeError("from a callback")

    def saved() -> object:
        gaussians.save(folder / "g.npz")
        return ClassGaussians.load(folder / "g.npz")

    return {
        "a fit": lambda: fit_fixed_point(z, y, 1.0),
        "a fit to NaN": lambda: fit_fixed_point(z * np.nan, y, 1.0),
        "a fit that overflows": lambda: fit_fixed_point(z * 1e200, y, 1.0),
        "a callback": lambda: fit_fixed_point(z, y, 1.0, callback=raising),
        "starts": lambda: fit_fixed_point(z, y, 1.0, n_init=3),
        "samples": lambda: gaussians.sample([0, 1], seed=3),
        "samples of a module": lambda: module.sample([0, 1], seed=3),
        "a file": saved,
        "latents": lambda: ClassStatistics.from_batches(open_latents(folder / "data.npz")),
        "a classifier": lambda: FixedPointGaussianClassifier(separation=9.0).fit(z, y),
        "a flow": lambda: FlowClassifier(
            max_epochs=1, transforms=1, hidden_features=(4,), random_state=0
        ).fit(z, y),
        "a layer": lambda: fixed_point_layer(leaf, y, 1.0, tied=True).means.sum().backward(),
        "a refit": lambda: module.fit_(torch.asarray(z), torch.asarray(y), separation=9.0),
        "a refused refit": lambda: module.fit_(torch.asarray(z), torch.asarray(y), -1.0),
    }


def _settings_stay(draw: random.Random) -> str:
    """Call something, under unusual settings, and compare them afterwards."""
    import torch

    with tempfile.TemporaryDirectory() as place:
        calls = _calls(Path(place))
        name = draw.choice(list(calls))
        dtype, umask = torch.get_default_dtype(), os.umask(draw.choice((0o022, 0o077, 0o000)))
        torch.set_default_dtype(draw.choice((torch.float32, torch.float64)))
        try:
            with np.errstate(all=draw.choice(("warn", "raise", "ignore"))):
                _unchanged(lambda: _tolerant(calls[name]), name)
        finally:
            torch.set_default_dtype(dtype)
            os.umask(umask)
    return f"settings after {name}"


def _tolerant(call: Callable[[], object]) -> None:
    from fpigauss import InvalidInputError

    try:
        call()
    except (InvalidInputError, RuntimeError):
        return


class _Interrupt:
    """Send SIGINT to this process after some time, and know when."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.sent = seconds, 0.0

    def __enter__(self) -> "_Interrupt":
        def handler(number: int, frame: object) -> None:
            self.sent = time.monotonic()
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            raise KeyboardInterrupt

        self.before = signal.signal(signal.SIGALRM, handler)
        self.start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, self.before)

    def late(self) -> float:
        """Return the seconds since the signal was due."""
        return time.monotonic() - self.start - self.seconds


def _long_calls(folder: Path, module: Any) -> dict[str, Callable[[], object]]:
    """Return calls that take seconds."""
    import torch

    from fpigauss import ClassStatistics, fit_separated, lam_path, solve_fixed_point

    rng = np.random.default_rng(0)
    y = np.arange(4000) % 40
    z = rng.standard_normal((4000, 24)) + y[:, None] / 8.0
    statistics = ClassStatistics.from_samples(z, y, covariance="dense")
    batches = [(z, y)] * 400
    options: dict[str, Any] = {"covariance": "dense", "tol": 0.0, "max_iter": 400}

    def saves() -> None:
        for _ in range(1000):
            statistics.save(folder / "s.npz")

    rows, labels = torch.asarray(z), torch.asarray(y)
    return {
        "a fit": lambda: solve_fixed_point(statistics, 10.0, **options),
        "a search": lambda: fit_separated(z, y, min_kld=50.0, **options),
        "a path": lambda: lam_path(z, y, tied=True, validation=(z, y)),
        "batches": lambda: ClassStatistics.from_batches(batches, covariance="dense"),
        "a refit": lambda: [module.fit_(rows, labels, float(lam)) for lam in range(400)],
        "saves": saves,
    }


def _interrupted(draw: random.Random) -> str:
    """Interrupt a long call at any moment."""
    import torch

    from fpigauss import ClassStatistics
    from fpigauss_torch import LatentGaussians

    module = LatentGaussians(40, 24, *draw.choice([("diagonal", True), ("dense", False)]))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        calls = _long_calls(folder, module)
        name = draw.choice(list(calls))
        before = settings_now()
        interrupt = _Interrupt(draw.uniform(0.001, 1.0))
        try:
            with interrupt:
                calls[name]()
        except KeyboardInterrupt:
            late = interrupt.late()
            if late > _PROMPT:
                raise Fault(f"{name} was interrupted {late:.1f} s late") from None
        after = settings_now()
        changed = [key for key in before if before[key] != after[key]]
        if changed:
            raise Fault(f"{name}, interrupted, changed {changed}")
        left = {path.name for path in folder.iterdir()}
        if any(one.startswith(".") for one in left):
            raise Fault(f"{left} are left")
        if "s.npz" in left:
            ClassStatistics.load(folder / "s.npz")
    z = torch.asarray(np.random.default_rng(1).standard_normal((5, 24)))
    torch.testing.assert_close(
        module.class_log_prob(z),
        module.class_gaussians().class_log_prob(z),
        rtol=1e-8,
        atol=1e-8,
    )
    return f"{name}, interrupted"


_WAYS = (_in_threads, _in_processes, _shared_module, _settings_stay, _interrupted, _interrupted)


def trial(number: int, _: Path) -> Iterator[str]:
    """Try one of the ways."""
    yield _WAYS[number % len(_WAYS)](random.Random(number))


MACHINE = Machine(
    what="fits in threads or processes, interrupted, or under other settings",
    trial=trial,
    quick=24,
    full=1500,
    imports=("fpigauss_torch", "fpigauss.sklearn", "fpigauss_torch.sklearn", "skorch", "zuko"),
    batch=12,
    seconds=60.0,
)
