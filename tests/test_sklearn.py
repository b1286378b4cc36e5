"""The estimators of scikit-learn."""
from sklearn.utils.estimator_checks import parametrize_with_checks
from fpigauss.sklearn import FixedPointGaussianClassifier


@parametrize_with_checks([FixedPointGaussianClassifier(), FixedPointGaussianClassifier(covariance="dense",tied=True,shrinkage=0.1,features="discriminant")])
def test_keeps_the_conventions(estimator, check):
    check(estimator)
