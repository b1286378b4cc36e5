"""Sparse arrays are refused by name, with the call that makes them dense."""

import numpy as np
import pytest
import scipy.sparse

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    InvalidInputError,
    fit_fixed_point,
    geometric_mean,
)

X = np.random.default_rng(0).random((20, 3))
Y = np.arange(20) % 2
FORMATS = ["csr", "csc", "coo", "bsr", "dok", "lil", "dia"]


def gaussians(like=X):
    return ClassGaussians([[0.0] * 3, [1.0] * 3], np.ones((2, 3))).to(like)


def assert_refused(z, remedy, like=X):
    for name, call in {
        "z": lambda: fit_fixed_point(z, Y, 1.0),
        "z ": lambda: ClassStatistics.from_samples(z, Y),
        " z": lambda: ClassStatistics.from_batches([(z, Y)]),
        "means": lambda: ClassGaussians(z, X + 1.0),
        "z is": lambda: gaussians(like).predict(z),
        "y": lambda: ClassStatistics.from_samples(X, z),
        "sample_weight": lambda: ClassStatistics.from_samples(X, Y, sample_weight=z),
        "A": lambda: geometric_mean(z, z),
    }.items():
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert name.strip() in str(caught.value)
        assert remedy in str(caught.value)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["array", "matrix"])
def test_scipy(form, kind):
    assert_refused(getattr(scipy.sparse, f"{form}_{kind}")(X), "toarray()")


def test_torch(torch):
    dense = torch.tensor(X)
    assert_refused(dense.to_sparse(), "to_dense()", dense)


@pytest.mark.filterwarnings("ignore:Sparse CS:UserWarning")  # torch's own, at the first of them
@pytest.mark.parametrize("layout", ["to_sparse_csr", "to_sparse_csc"])
def test_compressed_torch(torch, layout):
    with pytest.raises(InvalidInputError, match=r"to_dense\(\)"):
        fit_fixed_point(getattr(torch.tensor(X), layout)(), Y, 1.0)
