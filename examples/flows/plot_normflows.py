"""
I have a flow already: what do I change? With normflows
=======================================================

A flow of normflows with its standard normal base has no classes. Which lines turn it into one
that classifies and samples by class?
"""

# %%
# A RealNVP as one writes it with normflows, base included. Digits with uniform noise within a gray
# level, a fifth held out.

import matplotlib.pyplot as plt
import normflows
import torch
from _digits import Digits, train

from fpigauss_torch import ClassFlow, LatentGaussians, as_base

torch.manual_seed(0)
torch.set_num_threads(1)
digits = Digits(batch_size=128)

layers = []
for _ in range(6):
    net = normflows.nets.MLP([32, 128, 128, 64], init_zeros=True)
    layers.append(normflows.flows.AffineCouplingBlock(net, scale_map="sigmoid"))
    layers.append(normflows.flows.Permute(64, mode="shuffle"))
flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(64), layers)

# %%
# Two lines
# ---------
#
# The Gaussians take the place of the base, which is neither used nor trained. `ClassFlow
# <fpigauss_torch.ClassFlow>` finds out by itself which library the flow is of. The loop, in
# ``_digits.py``, is the one of :doc:`plot_zuko`.

model = ClassFlow(flow, LatentGaussians(n_classes=10, dim=64))
losses = train(model, digits.loader, epochs=20, rate=5e-3)
digits.report(model, "trained")

# %%
# To keep the library's own calls, give the flow the Gaussians as its base. Both say the same.

flow.q0 = as_base(model.gaussians, "normflows")
with torch.no_grad():
    latents, log_det = flow.inverse_and_log_det(digits.x_test)
    own = flow.q0.log_prob(latents, digits.y_test) + log_det
    ours = model.log_prob(digits.x_test, digits.y_test)
print(f"densities agree within 1e-3 nats: {bool((own - ours).abs().max() < 1e-3)}")

# %%

figure, (upper, lower) = plt.subplots(
    2, 1, figsize=(5.5, 7), height_ratios=(1, 1.6), layout="constrained"
)
upper.plot(losses, linewidth=0.8)
upper.set(xlabel="step", ylabel="loss, in nats", ylim=(min(losses) - 10, losses[0] + 10))
samples = model.sample(torch.arange(10).repeat_interleave(12), temperature=0.7, seed=0)
gray = (samples * digits.scale + digits.mean).reshape(10, 12, 8, 8)
tiles = torch.nn.functional.pad(gray, (1, 1, 1, 1))
lower.imshow(tiles.permute(0, 2, 1, 3).reshape(100, 120).numpy(), cmap="gray_r", vmin=0, vmax=17)
lower.set_title("twelve samples of each class")
lower.axis("off")

# %%
# Answer
# ------
#
# *The base, and the loss.* Two lines put ten Gaussians where one was, and after 20 epochs the flow
# classifies .98 of the held-out digits, at 119 nats, and draws each class. Its own ``log_prob``
# agrees with that of the model. The other libraries need no more: nflows, FrEIA, pyro and flowjax
# have a script each in ``examples/flows``, and :doc:`/flows` has what to know about them.
