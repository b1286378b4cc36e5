"""The class Gaussians as an estimator of scikit-learn; needs the extra ``sklearn``.

``import fpigauss`` leaves this package out: write
``from fpigauss.sklearn import FixedPointGaussianClassifier``.
"""

try:
    from sklearn.utils import validation as _validation

    _validation.validate_data  # noqa: B018  # since scikit-learn 1.6
except (ImportError, AttributeError) as error:
    raise ImportError(
        'fpigauss.sklearn needs scikit-learn 1.6 or newer: pip install "fpigauss[sklearn]"'
    ) from error

from fpigauss.sklearn._classifier import FixedPointGaussianClassifier

__all__ = ["FixedPointGaussianClassifier"]
