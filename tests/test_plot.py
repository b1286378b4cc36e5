"""The pictures: what is drawn where, for few classes and for many, and what is refused."""

import itertools
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import EllipseCollection
from matplotlib.legend import Legend
from matplotlib.text import Text
from numpy.testing import assert_allclose, assert_array_equal
from problems import quiet
from scipy.stats import chi2
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fpigauss import (
    ClassGaussians,
    InvalidInputError,
    fit_fixed_point,
    fit_separated,
    lam_path,
    pairwise_kld,
)
from fpigauss.gaussians import discriminant_axes, projected
from fpigauss.plot import GaussiansDisplay, HistoryDisplay, KLDDisplay, PathDisplay
from fpigauss.plot._style import _ALIKE, colors_apart
from fpigauss.sklearn import FixedPointGaussianClassifier

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _closes_its_figures():
    yield
    plt.close("all")


def spread(n_classes, dim, covariance="diagonal", seed=0):
    rng = np.random.default_rng(seed)
    shape = {"diagonal": (n_classes, dim), "isotropic": (n_classes,)}
    if covariance == "dense":
        root = rng.normal(size=(n_classes, dim, dim))
        covariances = root @ root.mT + 0.1 * np.eye(dim)
    else:
        covariances = rng.uniform(0.2, 2.0, size=shape[covariance])
    return ClassGaussians(3 * rng.normal(size=(n_classes, dim)), covariances, covariance=covariance)


@given(st.integers(2, 6), st.integers(2, 5), st.sampled_from(["diagonal", "dense", "isotropic"]))
def test_axes_whiten_the_mean_covariance(n_classes, dim, covariance):
    gaussians = spread(n_classes, dim, covariance)
    axes = discriminant_axes(gaussians)
    assert axes.shape == (dim, min(n_classes - 1, dim))
    within = projected(gaussians, axes).covariances.mean(axis=0)
    assert_allclose(within, np.eye(axes.shape[1]), atol=1e-10)
    apart = projected(gaussians, axes).means.var(axis=0)
    assert (np.diff(apart) <= 1e-9).all()  # the furthest first


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
def test_ellipses_hold_what_they_say(covariance):
    gaussians = spread(3, 2, covariance)
    display = GaussiansDisplay.from_gaussians(gaussians)
    inner, outer = (c for c in display.ax_.collections if isinstance(c, EllipseCollection))
    for mass, drawn in ((0.5, inner), (0.95, outer)):
        for code in range(3):
            width, height = drawn.get_widths()[code], drawn.get_heights()[code]
            angle = np.radians(drawn.get_angles()[code])
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            root = turn @ np.diag([width / 2, height / 2])
            expected = chi2.ppf(mass, 2) * display.covariances[code]
            assert_allclose(root @ root.T, expected, rtol=1e-9, atol=1e-12)
    assert_allclose(inner.get_offsets(), gaussians.means)
    z = gaussians.sample(np.zeros(4000, int), seed=1)
    density = gaussians.class_log_prob(z)[:, 0]
    at_mean = gaussians.class_log_prob(gaussians.means)[0, 0]
    inside = np.mean(2 * (at_mean - density) <= chi2.ppf(0.5, 2))
    assert abs(inside - 0.5) < 0.04  # five standard errors


def test_all_ellipses_are_in_view():
    display = GaussiansDisplay.from_gaussians(spread(30, 2))
    (low, high), (bottom, top) = display.ax_.get_xlim(), display.ax_.get_ylim()
    reach = np.sqrt(chi2.ppf(0.95, 2) * np.diagonal(display.covariances, axis1=1, axis2=2))
    assert (display.means - reach > [low, bottom]).all()
    assert (display.means + reach < [high, top]).all()


@pytest.mark.parametrize(("n_classes", "n_shown"), [(10, 2), (100, 1)])
def test_many_classes_have_one_ellipse_and_a_label_each(n_classes, n_shown):
    gaussians = spread(n_classes, 4)
    display = GaussiansDisplay.from_gaussians(gaussians)
    ellipses = [c for c in display.ax_.collections if isinstance(c, EllipseCollection)]
    assert len(ellipses) == n_shown
    assert [text.get_text() for text in display.ax_.texts] == [str(k) for k in range(n_classes)]
    assert not GaussiansDisplay.from_gaussians(gaussians, labeled=False).ax_.texts


def test_two_classes_in_many_dimensions_get_a_plane():
    X, y = load_breast_cancer(return_X_y=True)
    result = fit_fixed_point(X, y, 0.0, covariance="dense")
    display = GaussiansDisplay.from_estimator(result, X, y)
    assert_allclose(display.covariances.mean(axis=0), np.eye(2), atol=1e-6)
    assert display.axis_names == ("discriminant axis 1", "across axis 1")  # LDA has one axis


def test_samples_lie_with_their_classes():
    X, y = load_wine(return_X_y=True)
    names = np.array(["a", "b", "c"])[y]
    classifier = FixedPointGaussianClassifier(covariance="dense", tied=True).fit(X, names)
    display = GaussiansDisplay.from_estimator(classifier, X, names)
    for code, label in enumerate("abc"):
        mean = display.points[display.labels == label].mean(axis=0)
        assert_allclose(mean, display.means[code], rtol=1e-7)
    many = np.repeat(X, 100, axis=0)
    assert len(GaussiansDisplay.from_estimator(classifier, many).points) <= 5000


@pytest.mark.parametrize("given_axes", [False, True])
@pytest.mark.parametrize("n_classes", [10, 20, 100])
def test_long_names_stay_within_axes_that_they_do_not_shrink(n_classes, given_axes):
    names = [f"species number {k:03d}" for k in range(n_classes)]
    gaussians = replace(spread(n_classes, 2), classes=names)
    ax = plt.subplots(1, 2, figsize=(12, 6))[1][0] if given_axes else None
    display = GaussiansDisplay.from_gaussians(gaussians, ax=ax)
    before = display.ax_.get_window_extent()
    display.figure_.savefig(BytesIO())
    frame = display.ax_.get_window_extent()
    assert_allclose(frame.get_points(), before.get_points(), atol=1.0)
    if ax is None:
        assert frame.width > 0.8 * display.figure_.bbox.width
    texts = display.ax_.texts
    assert len(texts) == n_classes if n_classes < 100 else 50 < len(texts) <= n_classes
    assert all(len(text.get_text()) <= 16 and not text.get_in_layout() for text in texts)
    assert {text.get_text()[-3:] for text in texts} <= {name[-3:] for name in names}
    boxes = [Text.get_window_extent(text) for text in texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    for box in boxes:
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1


def test_labels_of_a_hundred_classes_stay_in_their_panel():
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
    gaussians = spread(100, 2)
    GaussiansDisplay.from_gaussians(gaussians, ax=left)
    KLDDisplay.from_gaussians(gaussians, ax=right)
    figure.canvas.draw()
    frame = left.get_window_extent()
    boxes = [Text.get_window_extent(text) for text in left.texts]
    assert len(boxes) > 90
    assert all(frame.contains(*box.min) and frame.contains(*box.max) for box in boxes)
    for labels in (right.get_xticklabels(), right.get_yticklabels()):
        assert 10 < len(labels) < 100
        assert all(label.get_fontsize() >= 6.0 for label in labels)
        boxes = [label.get_window_extent() for label in labels]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


@pytest.mark.parametrize("names", [["$a_b", "$x^2$", "a_{x}$"], ["a\nb", "c\td", "e"]])
def test_names_are_written_as_they_are(names):
    gaussians = replace(spread(3, 2), classes=names)
    first, second = GaussiansDisplay.from_gaussians(gaussians), KLDDisplay.from_gaussians(gaussians)
    first.figure_.canvas.draw()
    second.figure_.canvas.draw()
    expected = [" ".join(name.split()) for name in names]
    assert [text.get_text() for text in first.ax_.texts] == expected
    ticks = [*second.ax_.get_xticklabels(), *second.ax_.get_yticklabels()]
    assert {text.get_text() for text in ticks} == set(expected)
    assert not any(text.get_parse_math() for text in [*first.ax_.texts, *ticks])


@pytest.mark.parametrize("names", [["setosa", "versicolor", "virginica"], ["malignant", "benign"]])
def test_a_heat_map_is_drawn_whole(names):
    gaussians = replace(spread(len(names), 3), classes=sorted(names))
    display = KLDDisplay.from_gaussians(gaussians)
    display.figure_.canvas.draw()
    page = display.figure_.bbox
    (bar,) = display.ax_.child_axes
    for text in (display.ax_.yaxis.label, display.ax_.xaxis.label, bar.yaxis.label):
        box = text.get_window_extent()
        assert page.contains(*box.min) and page.contains(*box.max)


@pytest.mark.parametrize(("n_classes", "explained"), [(3, ["50%", "95%"]), (30, ["50%"])])
def test_ellipses_are_explained(n_classes, explained):
    _, ax = plt.subplots()
    ax.plot([0.0], [0.0], label="mine")
    mine = ax.legend()
    display = GaussiansDisplay.from_gaussians(spread(n_classes, 2), ax=ax)
    assert ax.get_legend() is mine
    (legend,) = [artist for artist in display.ax_.artists if isinstance(artist, Legend)]
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{p} of a class" for p in explained
    ]
    box = legend.get_window_extent()
    assert not any(Text.get_window_extent(text).overlaps(box) for text in ax.texts)


def test_pipelines_and_searches_are_drawn():
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), PCA(4), FixedPointGaussianClassifier(lam=1.0))
    pipeline.fit(X, y)
    points = pipeline[:-1].transform(X)
    expected = GaussiansDisplay.from_gaussians(pipeline[-1].gaussians_, points, y)
    search = GridSearchCV(pipeline, {"pca__n_components": [4]}, cv=2).fit(X, y)
    bare = GridSearchCV(pipeline[-1], {"lam": [1.0]}, cv=2).fit(points, y)
    for estimator, rows in ((pipeline, X), (search, X), (bare, points), (pipeline[2:], points)):
        display = GaussiansDisplay.from_estimator(estimator, rows, y)
        assert_allclose(np.abs(display.points), np.abs(expected.points), rtol=1e-6, atol=1e-6)
        assert_allclose(
            KLDDisplay.from_estimator(estimator).kld, pairwise_kld(pipeline[-1].gaussians_)
        )
        assert len(HistoryDisplay.from_estimator(estimator).axes_) == 3


def test_what_has_class_gaussians_is_drawn():
    gaussians = spread(3, 2)
    latent = SimpleNamespace(class_gaussians=lambda: gaussians)
    for passed in (gaussians, latent, SimpleNamespace(gaussians=latent)):
        assert_allclose(GaussiansDisplay.from_gaussians(passed).means, gaussians.means)
        assert_allclose(KLDDisplay.from_gaussians(passed).kld, pairwise_kld(gaussians))


def test_neighbors_differ_in_color():
    points = np.stack(np.meshgrid(range(10), range(10)), axis=-1).reshape(-1, 2)
    colors = np.asarray(colors_apart(points)).reshape(10, 10)
    assert np.mean(colors[:, 1:] != colors[:, :-1]) > 0.9
    assert np.mean(colors[1:] != colors[:-1]) > 0.9


def test_neighbors_among_ten_classes_differ_in_color():
    X, y = load_digits(return_X_y=True)
    result = fit_fixed_point(X, y, 0.0, covariance="dense", shrinkage=0.1)
    means = GaussiansDisplay.from_estimator(result).means
    colors = np.asarray(colors_apart(means))
    distances = np.linalg.norm(means[:, None] - means, axis=-1)
    nearest = np.argsort(distances, axis=1)[:, 1:4]
    assert len(set(colors)) == 7
    assert (colors[nearest] != colors[:, None]).all()
    alike = {frozenset(pair) for pair in _ALIKE}
    pairs = zip(colors, colors[nearest[:, 0]], strict=True)
    assert not any(frozenset(pair) in alike for pair in pairs)


@pytest.mark.parametrize("points", [np.zeros((1, 2)), np.zeros((3, 2)), np.zeros((9, 2))])
def test_equal_points_can_be_colored(points):
    assert len(set(colors_apart(points))) == min(len(points), 7)


@pytest.mark.parametrize("n_classes", [10, 100])
def test_labels_do_not_hide_one_another(n_classes):
    rng = np.random.default_rng(0)
    means = rng.normal(size=(n_classes, 2)) / 3.0  # within the ellipses of one another
    means[:3] = 0.0
    gaussians = ClassGaussians(means, np.ones(n_classes), covariance="isotropic")
    display = GaussiansDisplay.from_gaussians(gaussians)
    display.figure_.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in display.ax_.texts]  # without the lines
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert_allclose([text.xy for text in display.ax_.texts], means)


def test_the_color_bar_is_as_high_as_the_map():
    display = KLDDisplay.from_gaussians(spread(10, 3))
    display.figure_.canvas.draw()
    beside = display.ax_.child_axes[0].get_window_extent()
    shown = display.ax_.get_window_extent()
    assert_allclose([beside.y0, beside.y1], [shown.y0, shown.y1], atol=1.0)


def test_similar_classes_are_next_to_each_other():
    means = np.array([0.0, 50.0, 1.0, 51.0, 100.0, 52.0])[:, None]
    gaussians = ClassGaussians(means, np.ones((6, 1)), classes=list("abcdef"))
    display = KLDDisplay.from_gaussians(gaussians)
    order = means[display.order_, 0]
    assert_array_equal(np.sort(order), order if order[0] < order[-1] else order[::-1])
    shown = np.asarray(display.ax_.images[0].get_array())
    expected = pairwise_kld(gaussians)[np.ix_(display.order_, display.order_)]
    off = ~np.eye(6, dtype=bool)
    assert_allclose(shown[off], expected[off])


@pytest.mark.parametrize("n_classes", [2, 10, 100])
def test_every_class_is_named_on_both_sides(n_classes):
    display = KLDDisplay.from_gaussians(spread(n_classes, 3))
    names = [str(code) for code in display.order_]
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == names
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == names
    display.figure_.canvas.draw()
    boxes = [label.get_window_extent() for label in display.ax_.get_yticklabels()]
    assert all(a.y1 >= b.y0 and a.y0 >= b.y1 - 1 for a, b in itertools.pairwise(boxes))


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e300, 1.7e308])
@pytest.mark.parametrize("everywhere", [False, True])
def test_divergences_beyond_the_colors(value, everywhere):
    gaussians = spread(5, 2)
    kld = pairwise_kld(gaussians)
    where = np.ones((5, 5), bool) if everywhere else np.eye(5, k=1, dtype=bool)
    kld[where & ~np.eye(5, dtype=bool)] = value
    display = KLDDisplay(kld, gaussians.classes).plot()
    display.figure_.canvas.draw()
    assert sorted(display.order_) == list(range(5))
    (bar,) = display.ax_.child_axes
    assert (bar.get_title() == "\N{INFINITY}") == np.isinf(value)
    if np.isinf(value):
        infinite = np.ma.masked_invalid(display.ax_.images[1].get_array())
        assert_array_equal(~infinite.mask, np.isinf(kld[np.ix_(display.order_, display.order_)]))


def test_an_infinite_divergence_orders_the_others():
    means = np.array([0.0, 50.0, 1.0, 51.0])[:, None]
    kld = pairwise_kld(ClassGaussians(means, np.ones((4, 1))))
    kld[kld > 100.0] = np.inf
    order = KLDDisplay(kld, np.arange(4)).plot().order_
    assert {frozenset(order[:2].tolist()), frozenset(order[2:].tolist())} == {
        frozenset({0, 2}),
        frozenset({1, 3}),
    }


def test_equal_divergences_can_be_drawn():
    gaussians = ClassGaussians([[0.0], [1.0]], [[1.0], [1.0]])
    KLDDisplay.from_gaussians(gaussians).figure_.canvas.draw()


def test_history():
    X, y = load_wine(return_X_y=True)
    result = fit_fixed_point(X, y, 10.0, tied=True)
    display = HistoryDisplay.from_result(result)
    line = display.axes_[1].lines[0]
    assert_allclose(line.get_ydata(), result.history["residual"][line.get_xdata().astype(int)])
    _, panels = plt.subplots(3)
    assert HistoryDisplay.from_result(result, ax=panels).axes_ == list(panels)
    classifier = FixedPointGaussianClassifier(lam=1.0).fit(X, y)
    HistoryDisplay.from_estimator(classifier).figure_.canvas.draw()


@pytest.mark.parametrize(
    "options", [{"min_kld": 50.0}, {"max_overlap": 1e-4}, {"min_kld": 0.1}, {"per_dim": 2.0}]
)
def test_history_of_a_separation_is_its_search_and_its_last_fit(options):
    X, y = load_wine(return_X_y=True)
    separated = fit_separated(X, y, **options)
    display = HistoryDisplay.from_result(separated)
    assert display.history is separated.result.history
    search, *panels = display.axes_
    n_fits = len(separated.path)
    assert len(panels) == 3
    assert panels[0].get_title().startswith(f"fit {n_fits} of {n_fits}")
    assert f"{n_fits} fits, {separated.n_iter} evaluations" in search.get_title()
    target, joined, _, last = search.lines[:4]
    assert_allclose(target.get_ydata(), next(iter(options.values())))
    assert_allclose(joined.get_ydata(), [trial.value for trial in separated.path])
    tried = [trial.lam for trial in separated.path]
    assert_allclose(joined.get_xdata()[1:], tried[1:])  # lam = 0 has a place of its own
    assert_allclose(last.get_ydata(), separated.value)
    display.figure_.canvas.draw()
    _, given = plt.subplots(4)
    assert HistoryDisplay.from_result(separated, ax=given).axes_ == list(given)
    with pytest.raises(InvalidInputError, match="pass 4, for search, objective"):
        HistoryDisplay.from_result(separated, ax=given[:3])


def test_a_search_with_fits_that_ran_away():
    X, y = load_wine(return_X_y=True)
    with quiet():
        separated = fit_separated(X, y, min_kld=22.0, tied=False)
    failed = [t.lam for t in separated.path if t.status in ("unbounded", "diverged")]
    search = HistoryDisplay.from_result(separated).axes_[0]
    dotted = [line.get_xdata()[0] for line in search.lines if line.get_linestyle() == ":"]
    assert_allclose(dotted, failed)


def test_a_fit_that_starts_at_its_end_has_no_empty_panels():
    X, y = load_wine(return_X_y=True)
    display = HistoryDisplay.from_result(fit_fixed_point(X, y, 0.0))
    display.figure_.canvas.draw()
    assert [len(panel.lines[0].get_xdata()) for panel in display.axes_] == [1, 1, 1]
    low, high = display.axes_[-1].get_xlim()
    assert [tick for tick in display.axes_[-1].get_xticks() if low <= tick <= high] == [0.0]


def test_one_step_and_no_finite_residual_can_be_drawn():
    X, y = load_wine(return_X_y=True)
    for equations in ("stationary", "released"):
        result = fit_fixed_point(X, y, 0.0, equations=equations, max_iter=1, tol=0.0)
        HistoryDisplay.from_result(result).figure_.canvas.draw()


def path_of(lams, *, validation=True, **options):
    X, y = load_wine(return_X_y=True)
    held_out = (X[::2], y[::2]) if validation else None
    return lam_path(X, y, lams, validation=held_out, **{"tied": True, **options})


def test_a_path_is_drawn_as_it_is():
    path = path_of([0.0, 1.0, 10.0, 100.0])
    display = path.plot()
    assert isinstance(display, PathDisplay)
    assert display.path is path
    klds, likelihood, scores, loss = display.axes_
    smallest, without, median, _ = klds.lines[:4]
    assert_allclose(smallest.get_xdata(), path.lam[1:])
    assert_allclose(smallest.get_ydata(), path.smallest_kld[1:])
    assert_allclose(median.get_ydata(), path.median_kld[1:])
    assert_allclose(likelihood.lines[0].get_ydata(), path.likelihood[1:])
    assert_allclose(scores.lines[0].get_ydata(), path.accuracy[1:])
    assert_allclose(scores.lines[2].get_ydata(), path.ece[1:])
    assert_allclose(loss.lines[0].get_ydata(), path.nll[1:])
    # lam = 0 has a place of its own at the left, named, and no line leads there
    (place,) = without.get_xdata()
    assert_allclose(without.get_ydata(), path.smallest_kld[:1])
    assert place < 1.0
    named = dict(
        zip(loss.get_xticks(), (t.get_text() for t in loss.get_xticklabels()), strict=True)
    )
    assert named[place] == "0"
    assert all(float(text) == at for at, text in named.items() if at != place)
    display.figure_.canvas.draw()


def test_losses_that_are_zero_in_practice_lie_at_the_end_of_the_axis():
    z = np.random.default_rng(0).normal(size=(60, 2)) + 30.0 * (np.arange(60) % 3)[:, None]
    y = np.arange(60) % 3
    path = lam_path(z, y, [0.0, 1.0, 10.0], validation=(z, y), tied=True)
    assert path.nll.max() < 1e-6
    loss = path.plot().axes_[-1]
    assert_allclose(loss.lines[0].get_ydata(), 1e-6)
    assert loss.get_ylim()[0] > 1e-8


@pytest.mark.parametrize(
    "lams", [[0.0], [3.0], [3.0, 3.5], [0.0, 3.0], np.geomspace(1e-3, 1e4, 8), [0.0, 0.0, 2.0]]
)
def test_few_and_many_lams_can_be_drawn(lams):
    path = path_of(lams, validation=False)
    display = PathDisplay.from_path(path)
    assert len(display.axes_) == 2
    for panel in display.axes_:
        low, high = panel.get_xlim()
        assert panel.get_xticks().size >= 1
        assert all(low <= tick <= high for tick in panel.get_xticks())
    display.figure_.canvas.draw()


def test_fits_that_ran_away_are_marked_and_not_drawn():
    with quiet():
        path = path_of([0.0, 1.0, 1e3], tied=False)
    assert path.status[-1] == "unbounded"
    for panel in path.plot().axes_:
        assert all(np.isfinite(line.get_ydata()).sum() <= 2 for line in panel.lines[:1])
        (marked,) = [line for line in panel.lines if line.get_linestyle() == ":"]
        assert_allclose(marked.get_xdata(), 1e3)


def test_a_path_on_given_axes():
    path = path_of([1.0, 2.0], validation=False)
    _, panels = plt.subplots(2)
    assert path.plot(ax=panels).axes_ == list(panels)
    with pytest.raises(InvalidInputError, match="ax holds 1 axes; pass 2"):
        path.plot(ax=plt.gca())


@pytest.mark.parametrize("kind", ["a number", "a figure", "polar", "3d"])
def test_axes_that_cannot_be_drawn_in_are_refused(kind):
    figure = plt.figure()
    made = {"a number": lambda: 3, "a figure": lambda: figure}
    ax = made.get(kind, lambda: figure.add_subplot(projection=kind))()
    said = {"a number": "ax is 3", "a figure": "ax is a Figure"}.get(kind, f'projection "{kind}"')
    gaussians, path = spread(3, 2), path_of([1.0, 2.0], validation=False)
    result = fit_fixed_point(*load_wine(return_X_y=True), 1.0, tied=True)
    for draw in (
        lambda: GaussiansDisplay.from_gaussians(gaussians, ax=ax),
        lambda: KLDDisplay.from_gaussians(gaussians, ax=ax),
        lambda: HistoryDisplay.from_result(result, ax=[ax] * 3),
        lambda: path.plot(ax=[ax] * 2),
    ):
        with pytest.raises(InvalidInputError, match=said):
            draw()


def test_given_axes_are_used():
    _, ax = plt.subplots()
    assert GaussiansDisplay.from_gaussians(spread(3, 2), ax=ax).ax_ is ax
    assert KLDDisplay.from_gaussians(spread(3, 2), ax=ax).ax_ is ax


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda g: GaussiansDisplay.from_gaussians(spread(3, 1)), "one dimension"),
        (lambda g: GaussiansDisplay.from_gaussians("g"), "str"),
        (lambda g: GaussiansDisplay.from_gaussians(g, y=[0]), "without z"),
        (lambda g: GaussiansDisplay.from_gaussians(g, np.zeros((2, 5))), "5"),
        (lambda g: GaussiansDisplay.from_gaussians(g, np.zeros((2, 2)), [0]), "1 label"),
        (lambda g: GaussiansDisplay.from_gaussians(g, np.zeros((2, 2)), [0, 9]), "label 9"),
        (lambda g: GaussiansDisplay.from_estimator(3), "gaussians_"),
        (
            lambda g: GaussiansDisplay.from_estimator(make_pipeline(StandardScaler())),
            "Pipeline, without gaussians_",
        ),
        (
            lambda g: KLDDisplay.from_estimator(
                GridSearchCV(FixedPointGaussianClassifier(), {"lam": [1.0]})
            ),
            "GridSearchCV, without gaussians_",
        ),
        (lambda g: KLDDisplay.from_gaussians(ClassGaussians([[0.0]], [[1.0]])), "one class"),
        (lambda g: KLDDisplay.from_gaussians("g"), "ClassGaussians"),
        (lambda g: HistoryDisplay.from_result(g), "fit_fixed_point"),
        (lambda g: PathDisplay.from_path(g), "lam_path"),
        (
            lambda g: HistoryDisplay.from_result(
                fit_fixed_point([[0.0], [1.0], [2.0], [4.0]], [0, 0, 1, 1], 1.0, tied=True),
                ax=plt.gca(),
            ),
            "pass 3",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, message):
    with pytest.raises(InvalidInputError, match=message):
        draw(spread(3, 2))
