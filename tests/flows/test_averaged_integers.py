"""Averages that round the integers among a flow's buffers, such as permutations, are told of."""

import warnings

import pytest
import torch
from coupling import coupling_model
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

from fpigauss_torch import refit_, rejection_score

N_CLASSES, DIM = 3, 4
Y = torch.arange(60) % N_CLASSES
Z = torch.randn(60, DIM, generator=torch.Generator().manual_seed(0)) + 2.0 * Y[:, None]


def model_with(values):
    model = coupling_model(N_CLASSES, DIM)
    model.codec.register_buffer("permutation", values)
    model.codec.register_buffer("num_batches_tracked", torch.tensor(63))
    refit_(model, [(Z, Y)], 1.0)
    return model


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99, 0.999, 0.9999])
def test_it_is_told_where_an_average_changes_them(decay, multi):
    made = {"multi_avg_fn": get_ema_multi_avg_fn} if multi else {"avg_fn": get_ema_avg_fn}
    options = {name: make(decay) for name, make in made.items()}
    model = model_with(torch.arange(64).flip(0))
    averaged = AveragedModel(model, use_buffers=True, **options)
    for _ in range(10):
        averaged.update_parameters(model)
    broken = not torch.equal(averaged.module.codec.permutation, model.codec.permutation)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refit_(model, [(Z, Y)], 0.0, copies=[averaged])
        rejection_score(averaged, Z)
    told = [
        w for w in caught if "averages the flow's integers (codec.permutation)" in str(w.message)
    ]
    assert len(told) == 2 * broken
    assert {warning.filename for warning in told} <= {__file__}


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (torch.arange(64), {"use_buffers": False, "avg_fn": get_ema_avg_fn(0.9)}),
        (torch.arange(64), {"use_buffers": True}),  # SWA's mean of equal integers is that integer
        (torch.arange(64) > 3, {"use_buffers": True, "avg_fn": get_ema_avg_fn(0.9)}),
        (torch.arange(64.0), {"use_buffers": True, "avg_fn": get_ema_avg_fn(0.9)}),
    ],
)
def test_nothing_is_told_where_they_stay(values, options):
    averaged = AveragedModel(model_with(values), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rejection_score(averaged, Z)
