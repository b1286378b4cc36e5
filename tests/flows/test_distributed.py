"""Refits in several processes: gloo, on one machine, spawned once for the whole module."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from flows.distributed_worker import DIM, FITS, LAM, N_CLASSES, OFFSETS, data, model_of

from fpigauss import ClassStatistics, fit_fixed_point
from fpigauss_torch import refit_

TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Return what every process saw, by the number of processes and the rank."""
    folder = tmp_path_factory.mktemp("processes")
    worker = TESTS / "flows" / "distributed_worker.py"
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(worker), str(rank), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(4)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output
    loaded = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(4)]
    return {4: [own[4] for own in loaded], 2: [own[2] for own in loaded[:2]]}


def latents(model):
    with torch.no_grad():
        return model.encode(data()[0])[0]


def assert_all_same(states):
    """Require the same bits in every process."""
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        for name, value in state.items():
            assert torch.equal(value, states[0][name]), name


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize(("covariance", "tied"), FITS)
def test_equals_one_process_and_the_core(seen, world, offset, covariance, tied):
    # latents have spread 1: 1e-9 of it, for means at 1e4, is about seven roundings of those
    own = [process["fits"][covariance, tied, offset] for process in seen[world]]
    assert {result["status"] for result in own} == {"converged"}
    assert_all_same([state for result in own for state in (result["result"], result["model"])])
    x, y = data()
    alone = model_of(covariance, tied, offset)
    refit_(alone, [(x, y)], LAM)
    settings = {"lam": LAM, "covariance": covariance, "tied": tied}
    z = latents(alone)
    references = [
        alone.gaussians,
        fit_fixed_point(z.numpy(), y.numpy(), **settings).gaussians,
        fit_fixed_point(z, y, **settings).gaussians,
    ]
    for reference in references:
        for name, value in own[0]["model"].items():
            expected = np.asarray(getattr(reference, name))
            scale = 1.0 if name == "means" else np.abs(expected).max()
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("world", [2, 4])
def test_a_separation_finds_one_lam(seen, world):
    own = [process["a_separation"] for process in seen[world]]
    assert_all_same(own)
    assert own[0]["lam"] > 0.0
    alone = model_of("isotropic", True)
    result = refit_(alone, [data()], separation=30.0)
    # statistics differ by rounding, lam by what that moves the search
    assert float(own[0]["lam"]) == pytest.approx(result.lam, rel=1e-6)


@pytest.mark.parametrize("world", [2, 4])
def test_statistics_are_exact_far_from_the_origin(seen, world):
    own = [process["statistics"] for process in seen[world]]
    assert_all_same(own)
    z = latents(model_of("dense", False, 1e4))
    expected = ClassStatistics.from_samples(z.numpy(), data()[1].numpy(), covariance="dense")
    np.testing.assert_array_equal(own[0]["counts"], expected.counts)
    # a rounding of 1e4 is 2e-12; of naive sums of squares there, 1e-8
    np.testing.assert_allclose(own[0]["means"], expected.means, rtol=0, atol=1e-11)
    np.testing.assert_allclose(own[0]["covariances"], expected.covariances, rtol=0, atol=1e-11)


def test_the_gaussians_are_those_of_the_first_process(seen):
    own = [process["fits_that_differ"] for process in seen[4]]
    assert [int(result["n_iter"]) for result in own[1:]] == [2, 2, 2]
    assert int(own[0]["n_iter"]) > 2
    assert_all_same([state for result in own for state in (result["model"], result["result"])])
    alone = model_of("diagonal", False)
    refit_(alone, [data()], LAM)
    np.testing.assert_allclose(own[3]["model"]["means"], alone.gaussians.means, rtol=0, atol=1e-9)


def test_a_process_may_have_no_data(seen):
    own = [process["an_empty_shard"] for process in seen[4]]
    assert_all_same(own)
    alone = model_of("diagonal", False)
    refit_(alone, [data()], LAM)
    np.testing.assert_allclose(own[0]["means"], alone.gaussians.means, rtol=0, atol=1e-9)


FAILURES = {
    "nothing_anywhere": (None, "InvalidInputError", "loader gives no labeled sample"),
    "a_latent_that_is_not_finite": (
        1,
        "InvalidInputError",
        "batch 1: the latents contain NaN or infinity in row 3, of class",
    ),
    "a_loader_that_fails": (2, "OSError", "disk gone"),
    "an_option_at_fault": (3, "InvalidInputError", "lam is -1"),
    "an_unbounded_fit": (None, "RefitRejectedError", 'the fit ended "unbounded"'),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_one_process_raises_all_raise(seen, failure):
    at_fault, kind, message = FAILURES[failure]
    for rank, process in enumerate(seen[4]):
        told = process[failure]
        assert told["kept"]
        assert message in told["message"]
        if at_fault in (None, rank):
            assert told["type"] == kind
            assert not told["message"].startswith("rank")
        else:
            assert told["type"] == (kind if kind == "InvalidInputError" else "RuntimeError")
            assert told["message"].startswith(f"rank {at_fault}: ")


def test_no_process_takes_over_what_another_rejects(seen):
    told = [process["a_fit_rejected_by_one"] for process in seen[4]]
    assert all(own["kept"] for own in told)
    assert told[0]["type"] == "RefitRejectedError"
    assert {own["type"] for own in told[1:]} == {"RuntimeError"}
    assert all(own["message"].startswith("rank 0: RefitRejected") for own in told[1:])


@pytest.mark.parametrize(("task", "rank"), [("a_copy_in_one", 1), ("sizes_that_differ", 2)])
def test_models_that_differ_between_processes_are_an_error_in_all(seen, task, rank):
    told = [process[task] for process in seen[4]]
    assert {own["type"] for own in told} == {"InvalidInputError"}
    assert all(own["kept"] for own in told)
    assert all(f"on rank {rank} and" in own["message"] for own in told)


def test_training_in_ddp_gives_one_set_of_gaussians_and_copies(seen):
    own = [process["training"] for process in seen[2]]
    assert_all_same(own)
    assert own[0]["gaussians.means"].shape == (N_CLASSES, DIM)
    assert not torch.equal(own[0]["gaussians.means"], own[0]["copy gaussians.means"])


def test_layers_initialized_by_data_are_those_of_the_first_process(seen):
    own = [process["warm_up"] for process in seen[4]]
    assert_all_same(own)
    torch.testing.assert_close(own[3]["shift"], data()[0][:5].mean(0))


def test_a_flow_in_shards_is_trained_refitted_and_used_as_a_whole_one_is(seen):
    for process in seen[2]:
        results = process["sharded"]
        torch.testing.assert_close(results["shards before"], results["plain before"])
        for name, expected in results["plain"].items():
            torch.testing.assert_close(results["shards"][name], expected)
