"""Nothing depends on where the process makes tensors by default.

The default is the meta device here, whose tensors have no values: whoever makes one without saying
where, as code for one device would, cannot go on with it. Tensors of the user lie on the CPU. Where
there is a GPU, it is another default.
"""

import numpy as np
import pytest
import torch
from coupling import coupling_model

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    InvalidInputError,
    RunningStatistics,
    fit_fixed_point,
    fit_separated,
    geometric_mean,
    lam_path,
    open_set_score,
    pairwise_kld,
    pairwise_overlap,
)
from fpigauss_torch import (
    FixedPointSchedule,
    LatentAugmentation,
    LatentGaussians,
    PrincipalAxes,
    add_class,
    calibrate_temperature,
    class_preservation,
    fixed_point_layer,
    gather_statistics,
    mix_within_class,
    noise_along_axes,
    refit_,
    rejection_score,
    rejection_threshold,
    typicality_score,
)
from fpigauss_torch.priors import (
    DataGaussians,
    GradientGaussians,
    LearnedMeans,
    RandomMeans,
    SymmetricKLMeans,
)

K, D = 3, 4
Y = torch.arange(60) % K
UNIT = torch.eye(D)
X = torch.randn(60, D, generator=torch.Generator().manual_seed(0)) + 3.0 * Y[:, None]
SHARES = [0.2, 0.3, 0.5]
STATISTICS = ClassStatistics.from_samples(X.double().numpy(), Y.numpy())
ARRAYS = fit_fixed_point(X.double().numpy(), Y.numpy(), 1.0).gaussians
TENSORS = fit_fixed_point(X.double(), Y, 1.0).gaussians


@pytest.fixture(
    params=[
        "meta",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.cuda,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
            ],
        ),
    ]
)
def default(request):
    """The device that tensors are made on by default."""
    return request.param


@pytest.fixture
def model():
    model = coupling_model(K, D, covariance="isotropic", tied=True)
    refit_(model, [(X, Y)], lam=5.0)
    return model


CORE = {
    "a fit": lambda: fit_fixed_point(X, Y.tolist(), 1.0, sample_weight=[1.0] * 60),
    "a dense fit": lambda: fit_fixed_point(X, Y, 5.0, covariance="dense", tied=True, pi="mean"),
    "frozen classes": lambda: fit_fixed_point(X.double(), Y, 1.0, frozen=[0], init=TENSORS),
    "a callable pi": lambda: fit_fixed_point(X, Y, 1.0, pi=lambda kld: kld.mean()),
    "a separation": lambda: fit_separated(X, Y, min_kld=5.0),
    "a path": lambda: lam_path(X, Y, [0.0, 1.0], tied=True, validation=(X, Y)),
    "a gradient": lambda: fit_fixed_point(X, Y, 1.0).vjp(X[:K], X[:K]),
    "densities": lambda: TENSORS.class_log_prob(X),
    "densities of labels": lambda: TENSORS.log_prob(X, Y.tolist()),
    "the mixture": lambda: TENSORS.log_prob(X, priors=SHARES),
    "shares": lambda: TENSORS.predict_proba(X, priors="counts"),
    "labels": lambda: TENSORS.predict(X),
    "distances": lambda: TENSORS.mahalanobis(X),
    "draws": lambda: TENSORS.sample([0, 1], seed=0),
    "a conversion": lambda: ARRAYS.to(X).to(X.double()),
    "divergences": lambda: (pairwise_kld(TENSORS), pairwise_overlap(TENSORS)),
    "a geometric mean": lambda: geometric_mean(X.T @ X + UNIT, UNIT),
    "statistics": lambda: ClassStatistics.from_batches([(X, Y)]).update(X, Y).merge(STATISTICS),
    "a memory": lambda: RunningStatistics(0.9).update(X, Y).update(X, Y),
    "relative distances": lambda: open_set_score(
        TENSORS, X, method="relative_mahalanobis", background=STATISTICS
    ),
    "the layer": lambda: scalar(fixed_point_layer(leaf(), Y.tolist(), 1.0, sample_weight=[1] * 60)),
    "the layer with a memory": lambda: scalar(
        fixed_point_layer(leaf(), Y, 1.0, memory=RunningStatistics(0.9, statistics=STATISTICS))
    ),
}


def leaf():
    return X.clone().requires_grad_()


def scalar(fit):
    fit.means.sum().backward()


@pytest.mark.parametrize("call", CORE.values(), ids=CORE)
def test_the_core(call, default):
    with torch.device(default):
        call()


FLOWS = {
    "the loss of lists": lambda m: m(X.tolist(), Y.tolist()),
    "the loss of arrays": lambda m: m(X.numpy(), Y.numpy()),
    "the mixture": lambda m: m(X, priors=SHARES),
    "labels": lambda m: m.predict(X, priors="counts"),
    "shares": lambda m: m.predict_proba(X, priors=SHARES),
    "draws": lambda m: m.sample([0, 1], seed=0),
    "draws of the mixture": lambda m: (m.sample(4), m.sample(4, seed=0)),
    "a refit": lambda m: refit_(m, [(X.numpy(), Y.numpy())], separation=5.0),
    "a schedule": lambda m: FixedPointSchedule(5.0, warm_up=1).step(m, [(X, Y)], 0),
    "statistics": lambda m: gather_statistics(m, [(X, Y)]),
    "a fit": lambda m: m.gaussians.fit_(X, Y.tolist(), 1.0, sample_weight=[1.0] * 60),
    "a fit of statistics": lambda m: m.gaussians.solve_(STATISTICS, 1.0),
    "Gaussians of tensors": lambda m: LatentGaussians.from_class_gaussians(TENSORS),
    "scores": lambda m: rejection_threshold(rejection_score(m, X.numpy()), 0.1),
    "relative distances": lambda m: rejection_score(
        m, X, method="relative_mahalanobis", background=STATISTICS
    ),
    "typicality": lambda m: typicality_score(m, X),
    "a temperature": lambda m: calibrate_temperature(m.class_log_prob(X), Y),
    "a temperature of arrays": lambda m: calibrate_temperature(
        m.class_log_prob(X).detach().numpy(), Y.tolist(), priors=SHARES
    ),
    "a new class": lambda m: add_class(m.gaussians, STATISTICS, X[:20].numpy() + 9, lam=5.0),
    "mixed rows": lambda m: mix_within_class(X, Y.tolist(), m.gaussians),
    "moved rows": lambda m: noise_along_axes(X, Y, m.gaussians, strength=0.1),
    "axes": lambda m: PrincipalAxes.of(TENSORS, 2),
    "augmentation": lambda m: LatentAugmentation(m, method="noise", seed=0)(X, Y.tolist()),
    "what augmentation preserves": lambda m: class_preservation(m, X, X, Y.tolist()),
}


@pytest.mark.parametrize("call", FLOWS.values(), ids=FLOWS)
def test_flows(model, call, default):
    with torch.device(default):
        call(model)


@pytest.mark.parametrize("kind", [LearnedMeans, RandomMeans, DataGaussians])
def test_priors(kind, default):
    _start(kind(K, D), default)


@pytest.mark.parametrize(("kind", "lam"), [(GradientGaussians, 1.0), (SymmetricKLMeans, 0.1)])
def test_priors_that_repel(kind, lam, default):
    _start(kind(K, D, lam), default)


def _start(prior, default):
    with torch.device(default):
        for name, given in {"init_": (X.numpy(), Y.tolist()), "init_from_": (STATISTICS,)}.items():
            getattr(prior, name, lambda *_: None)(*given)
        getattr(prior, "penalty", lambda: None)()
        assert prior.class_log_prob(X).isfinite().all()
        assert prior.sample([0, 1], seed=0).isfinite().all()
        assert prior.class_gaussians().dim == D


def test_an_estimator(default):
    pytest.importorskip("skorch", reason="skorch is not installed: pip install fpigauss[skorch]")
    from fpigauss_torch.sklearn import FlowClassifier

    with torch.device(default):
        flow = FlowClassifier(max_epochs=2, hidden_features=(8,), transforms=1, random_state=0)
        shares = flow.fit(X.numpy(), Y.numpy()).predict_proba(X.numpy())
    expected = flow.fit(X.numpy(), Y.numpy()).predict_proba(X.numpy())
    np.testing.assert_array_equal(shares, expected)


META = X.to("meta")


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: fit_fixed_point(META, Y, 1.0), "z"),
        (lambda: fit_fixed_point(X, Y.to("meta"), 1.0), "y"),
        (lambda: fit_fixed_point(X, Y, 1.0, sample_weight=META[:, 0]), "sample_weight"),
        (lambda: TENSORS.predict(META), "z"),
        (lambda: TENSORS.to(META), "like"),
        (lambda: ClassGaussians(META[:K], torch.ones(K, D)), "means"),
    ],
)
def test_what_has_no_values_is_told(call, name):
    with pytest.raises(InvalidInputError, match=f"^{name} is on the meta device, without values"):
        call()


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_a_model_without_values_is_told(model, method):
    with pytest.raises(InvalidInputError, match="the Gaussians are on the meta device"):
        getattr(model.to("meta"), method)(META)
