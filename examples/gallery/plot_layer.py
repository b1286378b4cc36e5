"""
Can an encoder learn through the fit?
=====================================

`fpigauss_torch.fixed_point_layer` fits Gaussians to what an encoder gives, and lets gradients
pass. Does an encoder that is trained through the fit tell digits apart?
"""

# %%
# Digits, half of them held out, and an encoder to two dimensions, so that there is something to
# see. Needs ``pip install ".[torch,examples]"``.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fpigauss import RunningStatistics
from fpigauss.plot import GaussiansDisplay
from fpigauss_torch import fixed_point_layer

torch.manual_seed(0)
torch.set_num_threads(1)
x, y = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(
    torch.tensor(x, dtype=torch.float32) / 16.0, torch.tensor(y), stratify=y, random_state=0
)
encoder = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))


def accuracy(gaussians):
    """Classify held-out digits by their latents."""
    with torch.no_grad():
        return (gaussians.predict(encoder(x_test)) == y_test).double().mean()


# %%
# Train through the fit
# ---------------------
#
# Each batch is fitted together with what is remembered of those before, and the loss is the
# cross-entropy of the posterior of the fitted Gaussians. It is not Eq. 4, whose gradient does not
# see how the Gaussians move.


def fitted(z, labels, memory):
    """Fit a batch; all options are those of a fit."""
    return fixed_point_layer(z, labels, 1.0, tied=True, memory=memory)


memory = RunningStatistics(decay=0.9, classes=range(10))
memory = fitted(encoder(x), y, memory).memory  # no class is missing from now on
optimizer = torch.optim.Adam(encoder.parameters(), 1e-2)
losses = []
before = None
for epoch in range(8):
    for rows in torch.randperm(len(x)).split(128):
        fit = fitted(encoder(x[rows]), y[rows], memory)
        if before is None:
            before = fit.gaussians
            print(f"untrained: accuracy {accuracy(before):.3f}")
            z_before = encoder(x_test).detach()
        logits = fit.gaussians.class_log_prob(encoder(x[rows]))
        loss = torch.nn.functional.cross_entropy(logits, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        memory = fit.memory
        losses.append(loss.item())
    if epoch % 2:
        print(f"epoch {epoch + 1}: loss {losses[-1]:.2f}, accuracy {accuracy(fit.gaussians):.3f}")

# %%
# The latents of held-out digits before and after, with the Gaussians.

figure, panels = plt.subplots(2, 1, figsize=(5.5, 10.5), layout="constrained")
with torch.no_grad():
    for panel, name, held, z in (
        (panels[0], "untrained", before, z_before),
        (panels[1], "trained through the fit", fit.gaussians, encoder(x_test)),
    ):
        GaussiansDisplay.from_gaussians(
            held.to(z.detach().numpy()), z.numpy(), y_test.numpy(), ax=panel
        )
        panel.set_title(name)

# %%
# Answer
# ------
#
# *Yes.* In two dimensions, the accuracy on held-out digits goes from .32 to .87 in eight epochs.
# The backward pass solves one linear system at the fixed point, whatever the number of iterations.
# Whether it pays is another question: beside flows that were trained toward Gaussians fitted once,
# flows trained through the layer were less accurate at equal time and likelihood
# (:doc:`/gradients`).
