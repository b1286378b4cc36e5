"""What the examples share: digits in a form that a flow can fit, a report, and a picture."""

import argparse
import math

import matplotlib

matplotlib.use("Agg")  # the picture goes to a file

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset

from fpigauss_torch import FixedPointSchedule, class_preservation


def arguments(doc, name, epochs, noise=None):
    """Parse the command line of an example, with --noise if there is a default for it."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "--epochs", type=int, default=epochs, help="of training (default: %(default)s)"
    )
    parser.add_argument(
        "--out", default=f"{name}.png", help="where the picture goes (default: %(default)s)"
    )
    if noise is not None:
        parser.add_argument(
            "--noise",
            type=float,
            default=noise,
            help="the standard deviation of noise on the pixels, in gray levels; 0 for none "
            "(default: %(default)s)",
        )
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the flows are small: threads would only wait for each other
    return parser.parse_args()


class Digits:
    """Scikit-learn's 1,797 digits of 8x8 pixels in 17 gray levels, four fifths to train on.

    A flow needs a density: noise within a gray level, new in every batch, makes the pixels
    continuous. ``noise`` is the standard deviation, in gray levels, of Gaussian noise in addition.
    Then every pixel is standardized.
    """

    def __init__(self, batch_size=64, noise=0.0):
        """Split the data, and measure mean and scale of every pixel."""
        gray, y = load_digits(return_X_y=True)
        gray, y = torch.tensor(gray, dtype=torch.float32), torch.tensor(y)
        train, test = train_test_split(range(len(y)), test_size=0.2, stratify=y, random_state=0)
        self.mean = gray[train].mean(0) + 0.5
        self.noise = noise
        self.scale = (gray[train].var(0) + 1.0 / 12.0 + noise**2).sqrt()
        self.loader = DataLoader(
            TensorDataset(gray[train], y[train]), batch_size, shuffle=True, collate_fn=self._collate
        )
        self.clean_test = self._dequantized(gray[test])
        self.x_test, self.y_test = self._noisy(self.clean_test), y[test]

    def _dequantized(self, gray):
        return (gray + torch.rand_like(gray) - self.mean) / self.scale

    def _noisy(self, x):
        return x + self.noise / self.scale * torch.randn_like(x) if self.noise else x

    def _collate(self, samples):
        gray, y = (torch.stack(parts) for parts in zip(*samples, strict=True))
        return self._noisy(self._dequantized(gray)), y

    def report(self, model, when):
        """Print bits per held-out pixel and nats, in gray levels; the accuracy once there is one.

        Before the first fit all classes have the same Gaussian: any of the ten is as likely.
        """
        model.eval()
        with torch.no_grad():
            bits = model.bits_per_dim(self.x_test, self.y_test).mean() + self.scale.log2().mean()
        nats = bits * math.log(2.0) * self.scale.numel()
        told = f"{bits:.2f} bits/dim, {nats:.1f} nats on held-out digits"
        if not model.gaussians.coincide:
            accuracy = (model.predict(self.x_test) == self.y_test).float().mean()
            told = f"accuracy {accuracy:.3f}, {told}"
        model.train()
        print(f"{when}: {told}")

    def picture(self, model, augment, path, denoise=None):
        """Draw per class eight samples, and three held-out digits, each with its augmentation.

        With ``denoise``, a function of samples and labels, the second four samples are the first
        four without their noise.
        """
        model.eval()
        labels = torch.arange(10).repeat_interleave(4 if denoise else 8)
        temperature = 1.0 if denoise else 0.7  # at others the noise is not the training images'
        samples = model.sample(labels, temperature=temperature, seed=0)
        if denoise is not None:
            both = torch.stack([samples, denoise(samples, labels)])
            samples = rearrange(both, "two (k n) pixel -> (k two n) pixel", k=10)
        augmented, _ = augment(self.x_test, self.y_test)
        kept = class_preservation(model, self.x_test, augmented, self.y_test)
        print(f"augmented: {kept:.3f} of the digits that were recognized keep their class")
        first = torch.stack([(self.y_test == k).nonzero()[:3, 0] for k in range(10)])
        pairs = torch.stack([self.x_test[first], augmented[first]], 2)  # (10, 3, 2, 64)
        of_classes = [
            rearrange(samples, "(k n) pixel -> k n pixel", k=10),
            rearrange(pairs, "k n two pixel -> k (n two) pixel"),
        ]
        gray = torch.cat(of_classes, 1) * self.scale + self.mean
        gray = rearrange(gray, "k n (h w) -> k n h w", h=8)  # (10, 14, 8, 8)
        tiles = torch.nn.functional.pad(gray, (1, 1, 1, 1))  # (10, 14, 10, 10)
        figure, axis = plt.subplots(figsize=(7, 5.4), layout="constrained")
        canvas = rearrange(tiles, "k n h w -> (k h) (n w)")
        axis.imshow(canvas, cmap="gray_r", vmin=0, vmax=17)
        for left in (40, 80, 100, 120) if denoise else (80, 100, 120):
            axis.axvline(left - 0.5, color="C0", linewidth=2 if left == 80 else 0.5)
        captions = {109.5: "held-out digits, each augmented"}
        if denoise:
            captions |= {19.5: "samples of each class", 59.5: "the same, denoised"}
        else:
            captions |= {39.5: "samples of each class"}
        axis.set(yticks=[])
        axis.set_xticks(list(captions), labels=list(captions.values()))
        axis.tick_params(length=0)
        figure.savefig(path, dpi=150)
        print(f"wrote {path}")


def train(model, loader, epochs, rate, *, clip=None, lam=None):
    """Train a flow toward Gaussians that are refitted before epochs 0 and 1; return the losses."""
    schedule = FixedPointSchedule(lam)
    optimizer = torch.optim.Adam(model.parameters())
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, epochs=epochs, steps_per_epoch=len(loader)
    )
    losses = []
    for epoch in range(epochs):
        schedule.step(model, loader, epoch)
        for x, y in loader:
            optimizer.zero_grad()
            loss = model(x, y).mean()
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            rates.step()
            losses.append(loss.item())
    return losses
