"""
Which rows hold two classes together?
=====================================

The fitted Gaussians are functions of every row. The gradient through the fit says for each what
its deletion would change, from one fit. Can it be believed?
"""

# %%
# Half of the digits in 16 principal components, 20 nats apart.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from fpigauss import fit_fixed_point, fit_separated, pairwise_kld, smallest_kld

images, labels = load_digits().images[::2], load_digits().target[::2]
z = PCA(16, random_state=0).fit_transform(images.reshape(len(images), -1))
lam = fit_separated(z, labels, min_kld=20.0).lam
fit = fit_fixed_point(z, labels, lam, tied=True, tol=1e-10)
kld = pairwise_kld(fit.gaussians)
first, second = np.argwhere(kld == smallest_kld(fit.gaussians))[0]
print(f"the closest classes are {first} and {second}, {kld[first, second]:.2f} nats apart")

# %%
# One gradient for all rows
# -------------------------
#
# The KLD of two classes that share a diagonal covariance v is the sum of (difference of means)² /
# 2v. Its slopes in the means and in v go into ``vjp``, and what comes back goes on to the weight
# of each row.

difference = fit.gaussians.means[first] - fit.gaussians.means[second]
variances = fit.gaussians.covariances
in_means = np.zeros_like(fit.gaussians.means)
in_means[first], in_means[second] = difference / variances, -difference / variances
in_variances = -(difference**2) / (2.0 * variances**2)
_, in_weights = fit.vjp(means=in_means, covariances=in_variances).of_samples(z, labels)
predicted = -in_weights  # what a deletion would change

# %%
# Delete, and fit again
# ---------------------
#
# The twenty rows of largest influence either way, and twenty at random.

order = np.argsort(predicted)
chosen = np.concatenate(
    [order[:10], order[-10:], np.random.default_rng(0).choice(order[10:-10], 20, replace=False)]
)
found = []
for row in chosen:
    rest = np.arange(len(z)) != row
    again = fit_fixed_point(z[rest], labels[rest], lam, tied=True, tol=1e-10, init=fit.gaussians)
    found.append(pairwise_kld(again.gaussians)[first, second] - kld[first, second])
found = np.array(found)
correlation = np.corrcoef(predicted[chosen], found)[0, 1]
error = abs(predicted[chosen] - found).max() / abs(found).max()
print(f"correlation {correlation:.4f}; largest error {error:.3f} of the largest change")

figure, panel = plt.subplots(figsize=(4.5, 4.2), layout="constrained")
panel.plot(predicted[chosen], found, "o")
panel.axline((0, 0), slope=1, color="gray", linewidth=1)
panel.set(xlabel="predicted change of the KLD, in nats", ylabel="change after deletion")

# %%
# The digits themselves
# ---------------------
#
# In the upper two rows, those without which the two classes would be farther apart; in the lower
# two, those that keep them apart.

figure, panels = plt.subplots(4, 5, figsize=(5.5, 5.2), layout="constrained")
for panel, row in zip(panels.flat, [*order[::-1][:10], *order[:10]], strict=True):
    panel.imshow(images[row], cmap="gray_r")
    panel.set_title(f"{labels[row]}: {predicted[row]:+.2f}", fontsize=10)
    panel.axis("off")
of_pair = np.isin(labels, [first, second])
share = abs(predicted[of_pair]).sum() / abs(predicted).sum()
print(f"{share:.2f} of all influence is that of rows of the two classes")

# %%
# Answer
# ------
#
# *Mostly, but by far not only, their own; and yes.* The closest classes are 3 and 9, 20.7 nats
# apart. Over forty deletions, each with a new fit, predictions and findings correlate by .9998,
# and the worst is off by 4 per cent of the largest change. Rows of the two classes have .59 of the
# influence: the others act through the shared variances, and by repulsion. One ``vjp`` gave all
# 899 numbers. :doc:`/gradients` repeats this on larger data and for other functions of the fit.
