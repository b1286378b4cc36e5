"""Use statistics and Gaussians in any order, and hold them against what they ought to be.

``ClassStatistics`` are gathered, updated, merged, weighed, saved, pickled and copied in any order;
afterwards they are those of all rows at once. ``LatentGaussians`` are fitted, loaded, averaged,
cast, copied, pickled and edited in any order; after each step their densities and draws are those
of their means and covariances.
"""

import copy
import io
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tools.torture._examples import run_states
from tools.torture._runner import Machine

__all__ = ["MACHINE", "GaussiansInAnyOrder", "StatisticsInAnyOrder"]

_EXAMPLES, _STEPS = 5, 15
_FAMILIES = [(name, tied) for name in ("isotropic", "diagonal", "dense") for tied in (True, False)]


def _rows(seed: int, n: int, dim: int, offset: float) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, rng.integers(1, 5), size=n)
    weights = rng.choice([0.0, 0.5, 1.0, 3.0], size=n, p=[0.1, 0.2, 0.5, 0.2])
    return offset + rng.standard_normal((n, dim)) * 10 ** rng.uniform(-2, 2), labels, weights


class StatisticsInAnyOrder(RuleBasedStateMachine):
    """Statistics, beside the rows that went into them."""

    @initialize(
        dim=st.integers(1, 4),
        kind=st.sampled_from(["diagonal", "dense"]),
        words=st.booleans(),
        offset=st.sampled_from([0.0, 1e3]),
        namespace=st.sampled_from(["numpy", "torch"]),
        seed=st.integers(0, 2**32 - 1),
    )
    def start(
        self, *, dim: int, kind: str, words: bool, offset: float, namespace: str, seed: int
    ) -> None:
        """Gather the first rows."""
        self.dim, self.kind, self.words, self.offset = dim, kind, words, offset
        self.namespace = namespace
        z, y, w = self.drawn(seed, 12)
        self.parts = [(z, y, w)]
        self.statistics = self.gathered(z, y, w)

    def drawn(self, seed: int, n: int) -> tuple[Any, Any, Any]:
        """Draw rows, of which some class has a weight."""
        z, y, w = _rows(seed, n, self.dim, self.offset)
        w[0] = 1.0
        return z, np.asarray(["ant", "bee", "cat", "dog"])[y] if self.words else y, w

    def latents(self, z: Any) -> Any:
        """Return latents in the namespace."""
        if self.namespace == "torch":
            import torch

            return torch.asarray(z)
        return z

    def gathered(self, z: Any, y: Any, w: Any) -> Any:
        """Gather rows at once, leaving out classes without a weight."""
        from fpigauss import ClassStatistics

        weighed = [label for label in np.unique(y) if w[y == label].sum() > 0]
        kept = np.isin(y, weighed)
        return ClassStatistics.from_samples(
            self.latents(z[kept]), y[kept], covariance=self.kind, sample_weight=w[kept]
        )

    @rule(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 30))
    def update(self, seed: int, n: int) -> None:
        """Add rows."""
        z, y, w = self.drawn(seed, n)
        self.statistics = self.statistics.update(self.latents(z), y, w)
        self.parts.append((z, y, w))

    @rule(seed=st.integers(0, 2**32 - 1), swap=st.booleans())
    def merge(self, seed: int, swap: bool) -> None:
        """Merge with the statistics of other rows."""
        z, y, w = self.drawn(seed, 9)
        other = self.gathered(z, y, w)
        one, two = (other, self.statistics) if swap else (self.statistics, other)
        self.statistics = one.merge(two)
        self.parts.append((z, y, w))

    @rule(seed=st.integers(0, 2**32 - 1))
    def stream(self, seed: int) -> None:
        """Merge with the statistics of batches."""
        from fpigauss import ClassStatistics

        batches = [self.drawn(seed + i, 5) for i in range(3)]
        other = ClassStatistics.from_batches(
            [(self.latents(z), y, w) for z, y, w in batches], covariance=self.kind
        )
        self.statistics = self.statistics.merge(other)
        self.parts += batches

    @rule(ending=st.sampled_from([".npz", ".safetensors"]))
    def store(self, ending: str) -> None:
        """Save and load."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"statistics{ending}")
            self.statistics.save(path)
            self.statistics = type(self.statistics).load(path)
        self.namespace = "numpy"

    @rule()
    def pickled(self) -> None:
        """Pickle and copy."""
        self.statistics = copy.copy(copy.deepcopy(pickle.loads(pickle.dumps(self.statistics))))

    @rule()
    def refused(self) -> None:
        """Pass what cannot be used, which leaves no trace."""
        from fpigauss import InvalidInputError

        for z in (np.full((2, self.dim), np.nan), np.zeros((2, self.dim + 1))):
            try:
                self.statistics.update(self.latents(z), self.parts[0][1][:2])
            except InvalidInputError:
                continue
            raise AssertionError("rows that cannot be used were taken")

    @invariant()
    def they_are_those_of_all_rows(self) -> None:
        """Compare with the moments of all rows, straight from their definition."""
        z, y, w = (np.concatenate(x) for x in zip(*self.parts, strict=True))
        assert sorted(set(y.tolist())) == self.statistics.classes.tolist() or (w == 0).any()
        for k, label in enumerate(self.statistics.classes):
            of_class, weights = z[y == label], w[y == label]
            total = weights.sum()
            assert abs(float(self.statistics.counts[k]) - total) <= 1e-12 * total
            if total == 0:
                continue
            mean = weights @ of_class / total
            centered = of_class - mean
            covariance = (weights[:, None] * centered).T @ centered / total
            size = np.abs(of_class).max() + 1e-300
            np.testing.assert_allclose(self.statistics.means[k], mean, rtol=0, atol=1e-13 * size)
            expected = covariance if self.kind == "dense" else np.diagonal(covariance)
            # one pass that cancels would lose eps * size**2
            scale = np.diagonal(covariance).max() + 1e-13 * size**2 * 1e-3
            np.testing.assert_allclose(
                self.statistics.covariances[k], expected, rtol=0, atol=1e-9 * scale
            )


class GaussiansInAnyOrder(RuleBasedStateMachine):
    """A module of Gaussians, whose densities and draws are those of its buffers."""

    @initialize(
        family=st.sampled_from(_FAMILIES), n_classes=st.integers(2, 4), dim=st.integers(1, 4)
    )
    def start(self, family: tuple[str, bool], n_classes: int, dim: int) -> None:
        """Make a module, and one that averages it."""
        from fpigauss_torch import LatentGaussians

        self.args = (n_classes, dim, *family)
        self.module = LatentGaussians(*self.args)
        self.averaged: Any = None
        self.states = [copy.deepcopy(self.module.state_dict())]

    def latents(self, seed: int) -> tuple[Any, Any]:
        """Draw latents and labels."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        n_classes, dim = self.args[:2]
        y = torch.arange(20 * n_classes) % n_classes
        centers = torch.randn(n_classes, dim, generator=generator)
        return torch.randn(len(y), dim, generator=generator) + 3.0 * centers[y], y

    @rule(
        seed=st.integers(0, 2**31),
        how=st.sampled_from([{"lam": 0.0}, {"lam": 1.0}, {"separation": 10.0}]),
        init=st.sampled_from(["data", "identity", "current"]),
    )
    def fit(self, seed: int, how: dict[str, Any], init: Any) -> None:
        """Refit; a fit that is refused leaves the Gaussians as they were."""
        from fpigauss import InvalidInputError, UnreachableSeparationError
        from fpigauss_torch import RefitRejectedError

        before = copy.deepcopy(self.module.state_dict())
        try:
            self.module.fit_(*self.latents(seed), init=init, **how)
        except (RefitRejectedError, UnreachableSeparationError):
            self.same(before)
        except InvalidInputError:
            # nothing repels classes that coincide, which is refused
            if init != "current" or not self.coincide():
                raise
            self.same(before)

    def coincide(self) -> bool:
        """Return whether two classes have the same Gaussian."""
        from fpigauss import pairwise_kld

        divergences = pairwise_kld(self.module.class_gaussians())
        return bool(divergences.fill_diagonal_(np.inf).min() < 1e-12)

    def same(self, state: dict[str, Any]) -> None:
        """Assert that the state is this one."""
        import torch

        for name, value in self.module.state_dict().items():
            assert torch.equal(value, state[name]), name

    @rule()
    def save_state(self) -> None:
        """Keep the present state."""
        self.states.append(copy.deepcopy(self.module.state_dict()))

    @rule(data=st.data(), cast=st.sampled_from(["none", "float", "half", "bfloat16"]))
    def load_state(self, data: Any, cast: str) -> None:
        """Load a state of before, whole or cast; one that cannot be used changes nothing."""
        from fpigauss import InvalidInputError

        state = data.draw(st.sampled_from(self.states))
        if cast == "none":
            self.module.load_state_dict(state)
            return self.same(state)
        cast_state = {
            name: getattr(value, cast)() if value.is_floating_point() else value
            for name, value in state.items()
        }
        before = copy.deepcopy(self.module.state_dict())
        try:
            self.module.load_state_dict(cast_state)
        except InvalidInputError:
            self.same(before)

    @rule()
    def load_a_bad_state(self) -> None:
        """Load what has no densities, which is refused and changes nothing."""
        from fpigauss import InvalidInputError

        before = copy.deepcopy(self.module.state_dict())
        bad = copy.deepcopy(before)
        bad["covariances"].mul_(-1.0)
        try:
            self.module.load_state_dict(bad)
        except InvalidInputError:
            return self.same(before)
        raise AssertionError("negative covariances were loaded")

    @rule()
    def average(self) -> None:
        """Average, as for moving averages of weights, and go on with the average."""
        from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

        if self.averaged is None:
            self.averaged = AveragedModel(self.module, avg_fn=get_ema_avg_fn(0.5), use_buffers=True)
        self.averaged.update_parameters(self.module)
        self.agrees(self.averaged.module)

    @precondition(lambda self: self.averaged is not None)
    @rule()
    def take_the_average(self) -> None:
        """Go on with a copy of the average."""
        self.module = copy.deepcopy(self.averaged.module)

    @rule(cast=st.sampled_from(["half", "float", "double", "bfloat16"]))
    def cast(self, cast: str) -> None:
        """Cast, which keeps the digits."""
        before = copy.deepcopy(self.module.state_dict())
        self.module = getattr(self.module, cast)()
        self.same(before)

    @rule(way=st.sampled_from(["copy", "deepcopy", "pickle", "torch.save"]))
    def copied(self, way: str) -> None:
        """Go on with a copy."""
        import torch

        if way == "torch.save":
            file = io.BytesIO()
            torch.save(self.module, file)
            file.seek(0)
            self.module = torch.load(file, weights_only=False)
        elif way == "pickle":
            self.module = pickle.loads(pickle.dumps(self.module))
        else:
            self.module = getattr(copy, way)(self.module)

    @rule(way=st.sampled_from(["mul_", "replace", "item", "inference"]), seed=st.integers(0, 99))
    def edit(self, way: str, seed: int) -> None:
        """Edit the buffers in place, or replace them."""
        import torch

        if way == "mul_":
            self.module.covariances.mul_(1.5)
        elif way == "replace":
            self.module.covariances = 0.5 * self.module.covariances
            self.module.means = self.module.means + 1.0
        elif way == "item":
            self.module.means[seed % self.args[0]] += 0.1
        else:
            with torch.inference_mode():
                self.module.fit_(*self.latents(seed), 0.0)
                self.agrees(self.module)

    @rule()
    def through_the_core(self) -> None:
        """Make it a value of the core, and a module again."""
        self.module = type(self.module).from_class_gaussians(self.module.class_gaussians())

    @rule()
    def start_over(self) -> None:
        """Reset."""
        self.module.reset_parameters()

    @rule(forward=st.booleans())
    def backward(self, forward: bool) -> None:
        """Take a gradient with respect to latents."""
        z, y = self.latents(0)
        z.requires_grad_()
        loss = self.module.log_prob(z, y if forward else None)
        loss.sum().backward()
        assert bool(z.grad.isfinite().all())

    def agrees(self, module: Any) -> None:
        """Assert that densities and factors are those of means and covariances."""
        import torch

        core, (z, y) = module.class_gaussians(), self.latents(1)
        z = z.double()
        near: dict[str, Any] = {"rtol": 1e-7, "atol": 1e-7}
        torch.testing.assert_close(module.class_log_prob(z), core.class_log_prob(z), **near)
        torch.testing.assert_close(module.log_prob(z, y), core.log_prob(z, y), **near)
        dim = self.args[1]
        colored = module.color(torch.eye(dim, dtype=z.dtype), torch.ones(dim, dtype=torch.int64))
        own = core.covariances if module.family.tied else core.covariances[1]
        own = torch.diag_embed(own.expand(dim)) if own.ndim < 2 else own
        size = float(own.abs().max())
        torch.testing.assert_close(colored.T @ colored, own, rtol=1e-9, atol=1e-12 * size)
        assert {b.dtype for n, b in module.named_buffers()} == {torch.float64}

    @invariant()
    def densities_are_those_of_the_buffers(self) -> None:
        """Check the module as it is."""
        self.agrees(self.module)


def trial(number: int, _: Path) -> Iterator[str]:
    """Run a few sequences of one of both."""
    states = (StatisticsInAnyOrder, GaussiansInAnyOrder)[number % 2]
    run_states(states, number, _EXAMPLES, _STEPS)
    yield states.__name__


MACHINE = Machine(
    what=f"{_EXAMPLES} sequences of {_STEPS} steps with statistics, or with a module of Gaussians",
    trial=trial,
    quick=12,
    full=1000,
    imports=("fpigauss_torch", "torch.optim.swa_utils", "safetensors.numpy"),
    batch=10,
    seconds=60.0,
)
