"""
Is a flow worth it on a table? FlowClassifier
=============================================

`fpigauss_torch.sklearn.FlowClassifier` is a flow over separated Gaussians in one call. Beside
estimators that fit in a hundredth of its time, what does a table get from it?
"""

# %%
# Wine: 13 columns and three classes. Half of the rows is held out. Needs ``pip install
# ".[skorch,examples]"``.

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fpigauss.sklearn import FixedPointGaussianClassifier
from fpigauss_torch.sklearn import FlowClassifier

torch.set_num_threads(1)
x, y = load_wine(return_X_y=True)
x, x_test, y, y_test = train_test_split(x, y, test_size=0.5, stratify=y, random_state=0)


def estimators():
    """Return what is compared, none of it tuned."""
    return {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
        "Gaussians": make_pipeline(
            StandardScaler(), FixedPointGaussianClassifier(covariance="dense", shrinkage="oas")
        ),
        "flow": FlowClassifier(max_epochs=30, random_state=0),
    }


# %%
# As a classifier
# ---------------

for name, estimator in estimators().items():
    start = perf_counter()
    proba = estimator.fit(x, y).predict_proba(x_test)
    seconds = perf_counter() - start
    speed = "under a second" if seconds < 1.0 else "seconds"
    print(
        f"{name}: accuracy {np.mean(proba.argmax(1) == y_test):.3f}, log-loss "
        f"{log_loss(y_test, proba):.3f}, {speed}"
    )

# %%
# Rows of an unknown class
# ------------------------
#
# Each class in turn is left out of training. How well do scores tell its rows from held-out rows
# of the known ones (AUROC: 1 is always, .5 is chance)?

areas = {name: [] for name in estimators()}
drawn = None
for left_out in range(3):
    known, foreign = y != left_out, y_test == left_out
    labels = np.searchsorted(np.unique(y[known]), y[known])
    for name, estimator in estimators().items():
        estimator.fit(x[known], labels)
        if name == "logistic regression":
            scores = -estimator.predict_proba(x_test).max(1)
        else:
            scores = -estimator.score_samples(x_test)
        areas[name].append(roc_auc_score(foreign, scores))
    drawn = scores, foreign
for name, area in areas.items():
    print(f"{name}: AUROC {np.mean(area):.3f} (" + ", ".join(f"{a:.3f}" for a in area) + ")")

# %%

scores, foreign = drawn
figure, panel = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
bins = np.linspace(scores.min(), np.quantile(scores, 0.95), 30)
panel.hist(scores[~foreign], bins, alpha=0.6, label="known classes, held out")
panel.hist(scores[foreign], bins, alpha=0.6, label="the class that was left out")
panel.set(xlabel="-log density under the flow, in nats", ylabel="rows")
panel.legend()

# %%
# Answer
# ------
#
# *Not for the accuracy on a table this small.* All three are right on .98 to .99 of the held-out
# wines, and the Gaussians, which fit at once, have the best log-loss, .037 beside .072 of logistic
# regression and .11 of the flow. Rows of an unknown class are found by what has a density: AUROC
# .976 for the Gaussians and .94 for the flow, .817 for the largest posterior of logistic
# regression. A flow is worth trying where classes are not Gaussian: on digits it was more accurate
# than discriminant analysis and logistic regression (:doc:`/scikit_learn`, with intervals).
