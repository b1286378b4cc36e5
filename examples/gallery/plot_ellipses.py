"""
Which classes are close? Ellipses and KLD maps
==============================================

Ten classes have 45 pairs, and one number per fit hides most of them. Two pictures show which
digits are close, and which of the pairs repulsion moves.
"""

# %%
# All digits in 16 principal components: without repulsion, and with the closest two classes at
# least 50 nats apart.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from fpigauss import fit_fixed_point, fit_separated, pairwise_kld
from fpigauss.plot import GaussiansDisplay, KLDDisplay

x, y = load_digits(return_X_y=True)
z = PCA(16, random_state=0).fit_transform(x)
fits = {
    "no repulsion": fit_fixed_point(z, y, 0.0, covariance="dense", tied=True).gaussians,
    "50 nats": fit_separated(z, y, min_kld=50.0, covariance="dense").gaussians,
}

# %%
# Ellipses
# --------
#
# In the plane of the two axes that tell the classes apart best; half of a class lies within the
# solid ellipse, 95 % within the dashed one. Rows are drawn where they are: only Gaussians move.

figure, panels = plt.subplots(2, 1, figsize=(5.5, 10.5), layout="constrained")
for panel, (name, gaussians) in zip(panels, fits.items(), strict=True):
    GaussiansDisplay.from_gaussians(gaussians, z, y, ax=panel)
    panel.set_title(name)

# %%
# Maps of the KLD
# ---------------
#
# Similar classes are put next to each other.

figure, panels = plt.subplots(2, 1, figsize=(5.5, 9.4), layout="compressed")
for panel, (name, gaussians) in zip(panels, fits.items(), strict=True):
    KLDDisplay.from_gaussians(gaussians, ax=panel)
    panel.set_title(name)

# %%

klds = {name: pairwise_kld(gaussians) for name, gaussians in fits.items()}
upper = np.triu_indices(10, 1)
for name, kld in klds.items():
    order = np.argsort(kld[upper])
    closest = [f"{upper[0][i]} and {upper[1][i]} ({kld[upper][i]:.1f})" for i in order[:3]]
    print(
        f"{name}: closest {', '.join(closest)}; median {np.median(kld[upper]):.1f}, "
        f"largest {kld[upper].max():.1f}"
    )
growth = klds["50 nats"][upper] / klds["no repulsion"][upper]
print(f"grown {growth.max():.1f} times at most, {growth.min():.1f} at least")

# %%
# Answer
# ------
#
# *1 and 8 are the closest digits, 6.0 nats, then 8 and 9 (8.1) and 3 and 9 (9.5).* To put 1 and 8
# 50 nats apart, all pairs had to move: none grew less than 5.7 times, and the median went from
# 18.4 to 200 nats. One shared covariance is the reason: repulsion shrinks it, and that moves every
# pair. The order of the three closest pairs stayed. Both pictures take an estimator or a pipeline
# too (:doc:`/scikit_learn`).
