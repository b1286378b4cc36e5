"""Flows over separated class Gaussians as an estimator of scikit-learn.

It needs the extra ``skorch``, which brings zuko and scikit-learn along. ``import
fpigauss_torch`` leaves this package out: write
``from fpigauss_torch.sklearn import FlowClassifier``.
"""

try:
    import sklearn  # noqa: F401
    import skorch  # noqa: F401
    import zuko  # noqa: F401
except ImportError as error:
    raise ImportError(
        'fpigauss_torch.sklearn needs scikit-learn, skorch and zuko: pip install "fpigauss[skorch]"'
    ) from error

from fpigauss_torch.sklearn._flow_classifier import FlowClassifier

__all__ = ["FlowClassifier"]
