"""Derivatives of the geometric mean, above all where singular values are equal."""

import numpy as np
import pytest
from helpers import to_numpy

from fpigauss import geometric_mean

EXPONENTS = [0.5, 0.25, 0.0, 1.0, -0.5, 2.0]


def spd(seed, dim=4):
    root = np.random.default_rng(seed).normal(size=(dim, dim))
    return root @ root.T + 0.5 * np.eye(dim)


A = spd(0)
W = spd(1) - 4.0 * spd(2)  # weights of the entries of the mean
ROOT = np.linalg.cholesky(A)
PAIRS = {
    "identities": (np.eye(4), 2.0 * np.eye(4)),
    "equal": (A, A),
    "proportional": (A, 3.0 * A),
    "proportional, far": (A, 100.0 * A),
    "two and two": (A, ROOT @ np.diag([2.0, 2.0, 0.1, 0.1]) @ ROOT.T),
    "three": (A, ROOT @ np.diag([30.0, 0.1, 0.1, 0.1]) @ ROOT.T),
    "nearly equal": (A, ROOT @ np.diag([2.0, 2.0 + 1e-7, 2.0 + 1e-9, 1.0]) @ ROOT.T),
    "distinct": (A, spd(3)),
}


def exact_gradients(a, b, t):
    """The gradients of sum(W * (A #_t B)), by central differences of a plain formula."""

    def value(a, b):
        lower = np.linalg.cholesky(a)
        inner = np.linalg.solve(lower, np.linalg.solve(lower, b).T)
        values, vectors = np.linalg.eigh((inner + inner.T) / 2)
        root = lower @ vectors
        return (W * ((root * values**t) @ root.T)).sum()

    gradients = []
    for which, x in enumerate((a, b)):
        gradient = np.empty_like(x)
        for i in range(4):
            for j in range(4):
                step = np.zeros_like(x)
                size = 1e-5 * np.linalg.eigvalsh(x).min()
                step[i, j] += size / 2
                step[j, i] += size / 2
                pair = [[a + s * step, b] if which == 0 else [a, b + s * step] for s in (1, -1)]
                gradient[i, j] = (value(*pair[0]) - value(*pair[1])) / (2 * size)
        gradients.append(gradient)
    return gradients


def gradients_of(torch, a, b, t):
    pair = [torch.tensor(x, requires_grad=True) for x in (a, b)]
    mean = geometric_mean(*pair, t)
    found = torch.autograd.grad((torch.tensor(W) * mean).sum(), pair)
    return mean, [0.5 * (g + g.T).numpy() for g in found]


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("t", EXPONENTS)
def test_against_differences(torch, name, t):
    a, b = PAIRS[name]
    mean, found = gradients_of(torch, a, b, t)
    # the value is that without a gradient, bit for bit
    assert np.array_equal(
        to_numpy(mean), to_numpy(geometric_mean(torch.tensor(a), torch.tensor(b), t))
    )
    for gradient, expected in zip(found, exact_gradients(a, b, t), strict=True):
        # the differences' own error: 1e-10 of the third derivatives and 1e-11 of the values
        scale = max(np.abs(expected).max(), np.abs(to_numpy(mean)).max() / np.abs(b).max())
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=2e-5 * scale)


def test_known(torch):
    # d tr (A # 2 I) = sqrt(2) / 2 tr dA at A = I
    a = torch.eye(3, dtype=torch.float64, requires_grad=True)
    mean = geometric_mean(a, 2.0 * torch.eye(3, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(mean.trace(), a)
    np.testing.assert_allclose(gradient.numpy(), np.sqrt(0.5) * np.eye(3), atol=1e-15)


@pytest.mark.parametrize("t", [0.5, 0.3])
@pytest.mark.parametrize("c", [3.0, 1.0, 1e-8, 1e8])
def test_proportional_to_all_digits(torch, t, c):
    # A #_t (c A) = c^t A; its derivative along A is (1 - t) c^t A, and along B = c A, t c^t A
    _, (first, second) = gradients_of(torch, A, c * A, t)
    mean = c**t * (W * A).sum()
    assert (first * A).sum() == pytest.approx((1 - t) * mean, rel=1e-12)
    assert (second * c * A).sum() == pytest.approx(t * mean, rel=1e-12)


def test_in_batches_and_float32(torch):
    a = torch.tensor(np.stack([A, np.eye(4), spd(5)]), dtype=torch.float32, requires_grad=True)
    b = torch.tensor(np.stack([A, 2.0 * np.eye(4), spd(6)]), dtype=torch.float32)
    geometric_mean(a, b).diagonal(dim1=-2, dim2=-1).sum().backward()
    for k in range(3):
        one = a[k].detach().double().requires_grad_()
        geometric_mean(one, b[k].double()).trace().backward()
        np.testing.assert_allclose(a.grad[k].numpy(), one.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_functional_gradient(torch):
    a = torch.eye(3, dtype=torch.float64)
    gradient = torch.func.grad(lambda x: geometric_mean(x, 2.0 * a).trace())(a)
    np.testing.assert_allclose(gradient.numpy(), np.sqrt(0.5) * np.eye(3), atol=1e-15)


def test_second_derivatives(torch):
    """They are right where singular values are distinct, and NaN, not wrong, where they are not."""

    def of(a, b):
        a = torch.tensor(a, requires_grad=True)
        (first,) = torch.autograd.grad(
            geometric_mean(a, torch.tensor(b)).trace(), a, create_graph=True
        )
        return torch.autograd.grad((first * first.detach()).sum(), a)[0]

    assert of(A, A).isnan().any()
    found, step = of(A, spd(3)), 1e-5 * np.eye(4)
    first = [gradient_of_trace(torch, A + s * step, spd(3)) for s in (1, 0, -1)]
    expected = ((first[0] - first[2]) / 2e-5 * first[1]).sum()
    assert float(found.trace()) == pytest.approx(expected, rel=1e-6)


def gradient_of_trace(torch, a, b):
    a = torch.tensor(a, requires_grad=True)
    return torch.autograd.grad(geometric_mean(a, torch.tensor(b)).trace(), a)[0].numpy()
