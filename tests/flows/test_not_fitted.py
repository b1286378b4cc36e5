"""Gaussians that were never fitted are told of where they would predict one class for all."""

import copy
import warnings

import pytest
import torch
from coupling import coupling_model

from fpigauss import ClassGaussians
from fpigauss_torch import LatentGaussians, refit_
from fpigauss_torch.priors import DataGaussians, LearnedMeans

N_CLASSES, DIM = 3, 4
Y = torch.arange(60) % N_CLASSES
Z = torch.randn(60, DIM, generator=torch.Generator().manual_seed(0)) + 2.0 * Y[:, None]


def silent(call):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call()


CALLS = {
    "gaussians": lambda: LatentGaussians(N_CLASSES, DIM).predict(Z),
    "gaussians-proba": lambda: LatentGaussians(N_CLASSES, DIM).predict_proba(Z),
    "flow": lambda: coupling_model(N_CLASSES, DIM).predict(Z),
    "flow-proba": lambda: coupling_model(N_CLASSES, DIM).predict_proba(Z),
    "untied": lambda: LatentGaussians(N_CLASSES, DIM, "dense", tied=False).predict(Z),
    "data": lambda: DataGaussians(N_CLASSES, DIM).predict(Z),
}


@pytest.mark.parametrize("call", CALLS)
def test_it_is_told_once_at_the_line_that_predicts(call):
    with pytest.warns(RuntimeWarning, match="not been fitted.*schedule.step") as caught:
        CALLS[call]()
    assert [warning.filename for warning in caught] == [__file__]


def test_not_after_a_fit_nor_a_state_nor_an_assignment():
    model = coupling_model(N_CLASSES, DIM)
    refit_(model, [(Z, Y)], 1.0)
    silent(lambda: model.predict(Z))
    other = coupling_model(N_CLASSES, DIM)
    other.load_state_dict(model.state_dict())
    silent(lambda: other.predict_proba(Z))
    silent(lambda: copy.deepcopy(other).predict(Z))
    assigned = LatentGaussians(N_CLASSES, DIM, "isotropic", tied=False)
    # equal means, but the spreads tell the classes apart
    core = ClassGaussians(
        torch.zeros(3, DIM), torch.tensor([1.0, 2.0, 3.0]), covariance="isotropic"
    )
    assigned.assign_(core)
    silent(lambda: assigned.predict(Z))


def test_not_where_one_class_is_all_there_is():
    silent(lambda: LatentGaussians(1, DIM).predict(Z))


def test_priors_that_are_trained_start_apart():
    silent(lambda: LearnedMeans(N_CLASSES, DIM).predict(Z))


def test_losses_and_samples_are_those_of_the_base_that_they_start_as():
    silent(lambda: coupling_model(N_CLASSES, DIM)(Z, Y))
    silent(lambda: LatentGaussians(N_CLASSES, DIM).sample(5, seed=0))


def test_a_compiled_graph_does_not_look():
    gaussians = LatentGaussians(N_CLASSES, DIM)
    compiled = torch.compile(lambda z: gaussians.predict(z), backend="eager", fullgraph=True)
    assert silent(lambda: compiled(Z)).unique().tolist() == [0]
