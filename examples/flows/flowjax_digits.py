"""Train a coupling flow of flowjax over one Gaussian per class.

    pip install ".[jax,examples]"
    python examples/flows/flowjax_digits.py [--epochs 20] [--out flowjax_digits.png]

A minute on one core.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
import optax
from flowjax.distributions import Transformed
from flowjax.flows import coupling_flow
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fpigauss import ClassGaussians, fit_separated
from fpigauss.jax import as_base, without_context

matplotlib.use("Agg")  # the picture goes to a file

import matplotlib.pyplot as plt


class Digits:
    """Scikit-learn's 1,797 digits of 8x8 pixels, four fifths to train on, as continuous numbers.

    Noise within a gray level, new in every epoch, makes the pixels continuous. Then every pixel is
    standardized.
    """

    def __init__(self):
        """Split the data, and measure mean and scale of every pixel."""
        gray, y = load_digits(return_X_y=True)
        split = train_test_split(gray, y, test_size=0.2, stratify=y, random_state=0)
        self.gray, gray_test, self.y, self.y_test = split
        self.mean, self.scale = self.gray.mean(0) + 0.5, np.sqrt(self.gray.var(0) + 1.0 / 12.0)
        self.rng = np.random.default_rng(0)
        self.x_test = self.dequantized(gray_test)

    def dequantized(self, gray):
        """Add noise, and standardize."""
        return jnp.asarray((gray + self.rng.random(gray.shape) - self.mean) / self.scale)

    @property
    def n_batches(self):
        """The number of whole batches."""
        return len(self.y) // 64

    def batches(self):
        """Yield the training data once, in new order and with new noise; drop what is left over."""
        order = self.rng.permutation(len(self.y))
        x, y = self.dequantized(self.gray[order]), jnp.asarray(self.y[order])
        for start in range(0, 64 * self.n_batches, 64):
            yield x[start : start + 64], y[start : start + 64]

    def bits_per_dim(self, flow):
        """Compute the bits per held-out pixel, in units of gray levels."""
        nats = negative_log_likelihood(flow, self.x_test, jnp.asarray(self.y_test))
        return float(nats) / (64 * np.log(2.0)) + np.log2(self.scale).mean()


@eqx.filter_jit
def encode(bijection, x):
    """Compute the latents of a batch."""
    return jax.vmap(bijection.inverse)(x)


@eqx.filter_jit
def negative_log_likelihood(flow, x, y):
    """Compute the mean negative log-likelihood of a batch, given its labels, in nats."""
    return -flow.log_prob(x, y).mean()


class Training:
    """A flow and its optimizer."""

    def __init__(self, flow, rate):
        """Begin with the parameters of the bijection; those of the base are not trained."""
        self.flow, self.optimizer = flow, optax.adam(rate)
        self.state = self.optimizer.init(eqx.filter(flow.bijection, eqx.is_inexact_array))

        @eqx.filter_jit
        def step(flow, state, x, y):
            gradient = eqx.filter_grad(negative_log_likelihood)(flow, x, y).bijection
            updates, state = self.optimizer.update(gradient, state)
            return Transformed(flow.base_dist, eqx.apply_updates(flow.bijection, updates)), state

        self._step = step

    def put_under(self, gaussians):
        """Put class Gaussians under the flow as it is."""
        self.flow = Transformed(as_base(gaussians), self.flow.bijection)

    def epoch(self, batches):
        """Take one step per batch."""
        for x, y in batches:
            self.flow, self.state = self._step(self.flow, self.state, x, y)


def picture(flow, digits, path):
    """Draw eight samples per class."""
    labels = jnp.repeat(jnp.arange(10), 8)
    gray = flow.sample(jr.key(1), condition=labels) * digits.scale + digits.mean
    tiles = np.pad(np.reshape(gray, (10, 8, 8, 8)), ((0, 0), (0, 0), (1, 1), (1, 1)))
    figure, axis = plt.subplots(figsize=(4.4, 5.4), layout="constrained")
    canvas = tiles.transpose(0, 2, 1, 3).reshape(100, 80)
    axis.imshow(canvas, cmap="gray_r", vmin=0, vmax=17)
    axis.set(xticks=[], yticks=[], xlabel="samples of each class")
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")


def main():
    """Train a flow, and show what it learned."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, help="of training (default: %(default)s)")
    parser.add_argument(
        "--out", default="flowjax_digits.png", help="where the picture goes (default: %(default)s)"
    )
    options = parser.parse_args()

    digits = Digits()
    same = ClassGaussians(np.zeros((10, 64)), 1.0, covariance="isotropic", tied=True)
    flow = without_context(coupling_flow(jr.key(0), base_dist=as_base(same), nn_width=128))
    training = Training(
        flow, optax.cosine_onecycle_schedule(options.epochs * digits.n_batches, 5e-3)
    )
    print(f"untrained: {digits.bits_per_dim(flow):.2f} bits/dim on held-out digits")

    # two fits of the Gaussians, pushed apart; then the flow moves each class to its own
    x = digits.dequantized(digits.gray)
    for epoch in range(options.epochs):
        if epoch < 2:
            z = encode(training.flow.bijection, x)
            separated = fit_separated(z, digits.y, covariance="isotropic", per_dim=2.0)
            training.put_under(separated.gaussians)
        training.epoch(digits.batches())

    flow = training.flow
    predicted = separated.gaussians.predict(encode(flow.bijection, digits.x_test))
    accuracy = np.mean(np.asarray(predicted) == digits.y_test)
    bits = digits.bits_per_dim(flow)
    print(f"trained: accuracy {accuracy:.3f}, {bits:.2f} bits/dim on held-out digits")
    picture(flow, digits, options.out)


if __name__ == "__main__":
    main()
