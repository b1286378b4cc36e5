"""
What does a whole flow look like? With zuko
===========================================

From data to a classifier with a density, in one page: a spline flow of zuko over ten separated
Gaussians, and the same flow over Gaussians of the data. What does the separation change?
"""

# %%
# Digits with uniform noise within a gray level, standardized; a fifth is held out.

import matplotlib.pyplot as plt
import torch
import zuko
from _digits import Digits, train

from fpigauss import smallest_kld
from fpigauss.plot import GaussiansDisplay
from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentGaussians

torch.manual_seed(0)
torch.set_num_threads(1)
digits = Digits(batch_size=128)

# %%
# The model and the loop
# ----------------------
#
# Three lines make the model. The schedule refits the Gaussians before the first two epochs and
# pushes them 150 nats apart; after that the flow moves each class to its own.

flow = zuko.flows.NSF(64, transforms=3, passes=2, randperm=True, hidden_features=(128,))
model = ClassFlow(flow, LatentGaussians(n_classes=10, dim=64))

EPOCHS = 8
schedule = FixedPointSchedule()
optimizer = torch.optim.Adam(model.parameters())
rates = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, 5e-3, epochs=EPOCHS, steps_per_epoch=len(digits.loader)
)
for epoch in range(EPOCHS):
    schedule.step(model, digits.loader, epoch)
    for x, y in digits.loader:
        optimizer.zero_grad()
        model(x, y).mean().backward()  # the negative log-likelihood, in nats
        optimizer.step()
        rates.step()

print(f"{smallest_kld(model.gaussians.class_gaussians()):.0f} nats apart")
digits.report(model, "separated")

# %%
# Without repulsion
# -----------------
#
# The same flow and the same loop, with ``lam = 0``: Gaussians of the data.

torch.manual_seed(0)
flow = zuko.flows.NSF(64, transforms=3, passes=2, randperm=True, hidden_features=(128,))
plain = ClassFlow(flow, LatentGaussians(n_classes=10, dim=64))
train(plain, digits.loader, EPOCHS, 5e-3, lam=0.0)
print(f"{smallest_kld(plain.gaussians.class_gaussians()):.0f} nats apart")
digits.report(plain, "of the data")

# %%
# Latents of held-out digits, in the plane that tells the Gaussians apart best.

figure, panels = plt.subplots(2, 1, figsize=(5.5, 10.5), layout="constrained")
for panel, name, held in ((panels[0], "of the data", plain), (panels[1], "separated", model)):
    with torch.no_grad():
        z, _ = held.encode(digits.x_test)
    GaussiansDisplay.from_gaussians(held, z, digits.y_test, ax=panel)
    panel.set_title(name)

# %%
# Answer
# ------
#
# *Twenty lines, and a classifier that also has a density.* With its classes 154 nats apart, the
# flow classifies .96 of the held-out digits, at 117 nats; over Gaussians of the data, 12 nats
# apart, it is .96 too, at 99 nats. So here the separation costs some likelihood, and one run sees
# no gain in accuracy. Where classes are harder to tell apart, the gain is plain: on Fashion-MNIST
# .900 beside .844, with five seeds (:doc:`/paper`). The plane of the latents shows what it does in
# any case: each class has a place of its own.
