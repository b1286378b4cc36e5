"""Class Gaussians on the features of any encoder: separate, reject, sample; a thousand classes too.

    pip install ".[torch,examples]"
    python examples/encoder_latents.py [--epochs 15] [--classes 1000] [--out encoder_latents.png]
        [--folder FOLDER]

A small convolutional network learns the digits 0 to 7 of scikit-learn, and is then frozen; 8 and 9
are unknown to it. Any torch module does in its place: the latents are what one of its layers gives.
The features stay as they are while repulsion moves the Gaussians. With six seeds, 154 to 157 nats
rejected .37 to .63 of the unknown digits, .10 to .22 without repulsion, and .58 to .73 by the
network's largest probability, all at thresholds for 5 % of the known ones; accuracy was .969 to
.986, .965 to .983 and .979 to .990. Samples of Gaussians that have moved lie near fewer different
images, so draw features from those that have not.

The second part fits a thousand classes of 50 vectors each, in a file that is never read whole. Ten
seconds on one core for both.

With --folder, the latents of both parts are kept there as .npy files, and the command line does the
same with them as this script:

    cd FOLDER
    fpigauss fit train.npy train_labels.npy --separation 150 --out digits.npz
    fpigauss predict digits.npz test.npy test_labels.npy --out predicted.csv
    fpigauss score digits.npz unknown.npy --held-out held_out.npy --rate 0.05 --out rejected.csv
    fpigauss fit train.npy train_labels.npy --lam 0 --tied --out near.npz
    fpigauss sample near.npz -n 100 --seed 0 --out features.npy
    fpigauss fit embeddings.npy labels.npy --separation 50 --covariance isotropic --out many.npz
"""

import argparse
import tempfile
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # the picture goes to a file

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fpigauss import (
    ClassStatistics,
    open_set_score,
    open_set_threshold,
    smallest_kld,
    solve_fixed_point,
    solve_separated,
)

KNOWN = 8  # the digits 0 to 7; 8 and 9 are unknown
DIM = 32
RATE = 0.05  # of known rows that may be rejected


# -- an encoder, and its latents -----------------------------------------------------------


class Network(nn.Module):
    """A classifier with a layer ``features`` of 32 numbers before its head."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, DIM),
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(DIM, KNOWN))

    def forward(self, x):
        """Return the logits of the known classes."""
        return self.head(self.features(x))


def trained(loader, epochs):
    """Train a network, and freeze it."""
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


def latents(encoder, layer, loader):
    """Yield what ``layer`` gives for each batch, one row per sample, and the labels.

    The encoder's own output is dropped; it need not be written to give its features.
    """
    caught = []
    hook = layer.register_forward_hook(lambda module, inputs, output: caught.append(output))
    try:
        for x, y in loader:
            with torch.no_grad():  # on a device: encoder(x.to(device))
                encoder(x)
            yield caught.pop().flatten(1), y
    finally:
        hook.remove()


# -- known and unknown digits --------------------------------------------------------------


def digits():
    """Return data sets of known digits to train, hold out and test on, and of unknown ones."""
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16.0
    y = torch.tensor(y)
    known, unknown = (y < KNOWN).nonzero()[:, 0], (y >= KNOWN).nonzero()[:, 0]
    train, rest = train_test_split(known, test_size=0.4, stratify=y[known], random_state=0)
    held_out, test = train_test_split(rest, test_size=0.5, stratify=y[rest], random_state=0)
    parts = {"train": train, "held_out": held_out, "test": test, "unknown": unknown}
    return {name: TensorDataset(x[rows], y[rows]) for name, rows in parts.items()}


def rejected(scores, scores_held_out):
    """Return the share of scores above the threshold of held-out known rows, and the threshold."""
    threshold = open_set_threshold(scores_held_out, rate=RATE)
    return float((scores > threshold).double().mean()), threshold


def encoder_of_digits(epochs, picture, folder):
    """Fit the features of known digits; classify, reject, sample, and save the features."""
    data = digits()
    network = trained(DataLoader(data["train"], 64, shuffle=True), epochs)

    # the statistics of the features, one batch after the other: none is kept
    loader = DataLoader(data["train"], 256)
    statistics = ClassStatistics.from_batches(latents(network, network.features, loader))

    separated = solve_separated(statistics, min_kld=150.0)
    print(f"separation: {separated.message}")
    fits = {
        "separated": separated.gaussians,
        "no repulsion": solve_fixed_point(statistics, lam=0.0, tied=True).gaussians,
    }

    z = {}
    for name, part in data.items():
        batches = latents(network, network.features, DataLoader(part, 256))
        z[name] = torch.cat([rows for rows, _ in batches])
        np.save(folder / f"{name}.npy", z[name])
        np.save(folder / f"{name}_labels.npy", part.tensors[1])
    y_test = data["test"].tensors[1]
    probabilities = {part: network.head(rows).softmax(1) for part, rows in z.items()}
    accuracy = (probabilities["test"].argmax(1) == y_test).double().mean()
    report("the network itself", accuracy, {k: -p.max(1).values for k, p in probabilities.items()})

    scores = {}
    for name, gaussians in fits.items():
        scores[name] = {part: open_set_score(gaussians, rows) for part, rows in z.items()}
        accuracy = (gaussians.predict(z["test"]) == y_test).double().mean()
        report(f"{name}, {smallest_kld(gaussians):.0f} nats", accuracy, scores[name])

    nearest = {}
    for name, gaussians in fits.items():
        nearest[name] = sampled(name, gaussians, network.head, z["train"], data["train"].tensors[1])
    images = data["train"].tensors[0][nearest["no repulsion"]]
    draw(images, scores["separated"], picture)


def sampled(name, gaussians, head, z, y):
    """Draw features of each class; return the rows of the real features that lie nearest to them.

    A decoder of the encoder's features would make images of them, if there is one.
    """
    labels = torch.arange(KNOWN).repeat_interleave(10)
    features = gaussians.to(z).sample(labels, seed=0)  # in float32, as the encoder's are
    nearest = torch.cdist(features, z).argmin(1)
    agree = (y[nearest] == labels).double().mean()
    by_head = (head(features).argmax(1) == labels).double().mean()
    print(f"{name}, {len(labels)} samples: {agree:.3f} lie nearest to an image of their class "
          f"({len(nearest.unique())} different images), {by_head:.3f} have it by the network's "
          "head")  # fmt: skip
    return nearest


def report(name, accuracy, scores):
    """Print how well known digits are classified, and how many of each kind are rejected."""
    known, threshold = rejected(scores["test"], scores["held_out"])
    unknown = float((scores["unknown"] > threshold).double().mean())
    print(f"{name}: accuracy {accuracy:.3f}; rejected {known:.3f} of the known digits, "
          f"{unknown:.3f} of the unknown")  # fmt: skip


def draw(images, scores, path):
    """Draw the images nearest to sampled features, and the scores of known and unknown digits."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    tiles = nn.functional.pad(images[:, 0], (1, 1, 1, 1)).reshape(KNOWN, 10, 10, 10)
    left.imshow(tiles.permute(0, 2, 1, 3).reshape(10 * KNOWN, 100), cmap="gray_r")
    left.set(xticks=[], yticks=[10 * k + 4.5 for k in range(KNOWN)], yticklabels=range(KNOWN))
    left.set_title("the real image nearest to each sampled feature, by class")
    _, threshold = rejected(scores["test"], scores["held_out"])
    both = torch.cat([scores["test"], scores["unknown"]])
    bins = np.linspace(both.min(), both.quantile(0.99), 40)
    for name, label in [("test", "known digits"), ("unknown", "unknown digits")]:
        right.hist(scores[name].numpy(), bins, density=True, alpha=0.6, label=label)
    right.axvline(threshold, color="black", linewidth=1, label="threshold")
    right.set(xlabel="open-set score (-log density), in nats", yticks=[])
    right.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


# -- a thousand classes, on disk -----------------------------------------------------------


def write_embeddings(folder, n_classes, rows_per_class=50, dim=256):
    """Write embeddings.npy (N, d) in float32 and labels.npy (N,), rows in random order."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat(np.arange(n_classes), rows_per_class))
    centers = 0.3 * rng.standard_normal((n_classes, dim))
    z = np.lib.format.open_memmap(
        folder / "embeddings.npy", mode="w+", dtype=np.float32, shape=(len(y), dim)
    )
    for start in range(0, len(y), 4096):
        labels = y[start : start + 4096]
        z[start : start + 4096] = centers[labels] + rng.standard_normal((len(labels), dim))
    z.flush()
    np.save(folder / "labels.npy", y)


def many_classes(folder):
    """Fit the embeddings in a folder, chunk by chunk, and push the classes apart."""
    z = np.load(folder / "embeddings.npy", mmap_mode="r")
    y = np.load(folder / "labels.npy")

    started = time.perf_counter()
    statistics = ClassStatistics.from_samples(z, y)  # a chunk of rows at a time
    gathered = time.perf_counter()
    separated = solve_separated(statistics, min_kld=50.0, covariance="isotropic")
    fitted = time.perf_counter()

    few = slice(0, len(y), 25)
    accuracy = np.mean(separated.gaussians.predict(z[few]) == y[few])
    print(f"{statistics.n_classes} classes, {len(y):,} rows of {z.shape[1]} numbers: statistics in "
          f"{gathered - started:.1f} s, fits in {fitted - gathered:.1f} s")  # fmt: skip
    print(f"separation: {separated.message}; accuracy {accuracy:.3f}")


def main():
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--epochs", type=int, default=15, help="of the encoder's training (default: %(default)s)"
    )
    parser.add_argument(
        "--classes", type=int, default=1000, help="of the second part (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        default="encoder_latents.png",
        help="where the picture goes (default: %(default)s)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="keep the latents here, as .npy files for the command line (default: nowhere)",
    )
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the network is small: threads would only wait for each other

    with tempfile.TemporaryDirectory() as passing:
        folder = options.folder or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        encoder_of_digits(options.epochs, options.out, folder)
        write_embeddings(folder, options.classes)
        many_classes(folder)


if __name__ == "__main__":
    main()
