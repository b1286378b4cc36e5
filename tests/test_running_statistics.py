"""Statistics of a stream in which earlier batches count for less."""

import numpy as np
import pytest
from helpers import blobs, to_numpy

from fpigauss import ClassStatistics, InvalidInputError, RunningStatistics, solve_fixed_point

DECAY = 0.7
KINDS = ["diagonal", "dense"]


def batches(n=5):
    return [blobs(3, 2, 8, seed=seed, offset=float(seed)) for seed in range(n)]


def statistics(**options):
    return ClassStatistics.from_samples(*batches(1)[0], **options)


def in_one(stream, covariance, decay=DECAY):
    """All rows at once, each with the weight that its age leaves."""
    z = np.concatenate([z for z, _ in stream])
    y = np.concatenate([y for _, y in stream])
    ages = np.repeat(np.arange(len(stream))[::-1], [len(y) for _, y in stream])
    return ClassStatistics.from_samples(z, y, covariance=covariance, sample_weight=decay**ages)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.classes, expected.classes)
    for name in ("counts", "means", "covariances"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12)


@pytest.mark.parametrize("covariance", KINDS)
@pytest.mark.parametrize("decay", [DECAY, 1.0])
def test_rows_count_by_the_age_of_their_batch_from_the_first_on(covariance, decay):
    stream = batches()
    running = RunningStatistics(decay, covariance)
    for n, (z, y) in enumerate(stream, start=1):
        running = running.update(z, y)
        assert_same(running.statistics, in_one(stream[:n], covariance, decay))
    assert solve_fixed_point(running.statistics, 1.0, tied=True).converged


def test_weights_multiply():
    z, y = batches(1)[0]
    weight = np.random.default_rng(0).uniform(0.5, 2.0, size=len(y))
    running = RunningStatistics(DECAY).update(z, y, weight).update(z, y)
    expected = ClassStatistics.from_samples(
        np.tile(z, (2, 1)), np.tile(y, 2), sample_weight=np.append(DECAY * weight, 0 * y + 1.0)
    )
    assert_same(running.statistics, expected)


def test_a_missing_class_keeps_its_moments():
    z, y = batches(1)[0]
    before = RunningStatistics(DECAY, classes=[0, 1, 2]).update(z, y)
    after = before.update(z[y > 0], y[y > 0]).statistics
    assert after.counts[0] == pytest.approx(DECAY * before.statistics.counts[0])
    np.testing.assert_allclose(after.means[0], before.statistics.means[0])
    with pytest.raises(InvalidInputError, match="not among the classes"):
        before.update(z, y + 7)


@pytest.mark.parametrize("covariance", KINDS)
def test_moments_outlive_counts_that_underflow(covariance):
    z, y = batches(1)[0]
    first = RunningStatistics(1e-200, covariance, classes=[0, 1, 2]).update(z, y)
    last = first.update(z[y > 0], y[y > 0]).update(z[y > 0], y[y > 0]).statistics
    assert last.counts[0] == 0.0
    np.testing.assert_allclose(last.means[0], first.statistics.means[0])
    np.testing.assert_allclose(last.covariances[0], first.statistics.covariances[0])


@pytest.mark.parametrize("covariance", KINDS)
def test_streams_of_equal_age_merge(covariance):
    stream, halves = batches(), []
    for half in (0, 1):
        running = RunningStatistics(DECAY, covariance)
        for z, y in stream:
            running = running.update(z[half::2], y[half::2])
        halves.append(running)
    assert_same(halves[0].merge(halves[1]).statistics, in_one(stream, covariance))
    empty = RunningStatistics(DECAY, covariance)
    assert empty.merge(halves[0]) is halves[0] and halves[0].merge(empty) is halves[0]


@pytest.mark.parametrize("name", ["running.npz", "running.safetensors"])
@pytest.mark.parametrize("classes", [None, [0, 1, 2]])
def test_they_are_saved_and_go_on(tmp_path, name, classes):
    (z, y), (z_next, y_next) = batches(2)
    running = RunningStatistics(DECAY, "dense", classes).update(z, y)
    running.save(tmp_path / name)
    again = RunningStatistics.load(tmp_path / name)
    assert repr(again) == repr(running)
    first, second = (r.update(z_next, y_next) for r in (running, again))
    assert_same(second.statistics, first.statistics)
    if classes is not None:
        with pytest.raises(InvalidInputError, match="not among the classes"):
            again.update(z, y + 7)
    with pytest.raises(InvalidInputError, match="RunningStatistics"):
        ClassStatistics.load(tmp_path / name)


def test_in_every_namespace(xp):
    z, y = batches(1)[0]
    running = RunningStatistics(DECAY)
    for _ in range(2):
        running = running.update(xp.asarray(z), y)
    assert type(running.statistics.means) is type(xp.asarray(z))
    np.testing.assert_allclose(to_numpy(running.statistics.counts), 8 * (1.0 + DECAY))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decay": 0.0}, r"decay is 0; pass a number in \(0, 1\]"),
        ({"decay": 1.5}, "decay is 1.5"),
        ({"decay": "slow"}, "decay"),
        ({"covariance": "isotropic"}, "covariance"),
        ({"classes": [1, 1]}, "classes"),
        ({"statistics": 3}, "statistics is a int; pass a ClassStatistics"),
        (
            {"statistics": statistics(), "covariance": "dense"},
            "statistics has diagonal covariances, but covariance is 'dense'",
        ),
        (
            {"statistics": statistics(), "classes": [0, 1, 2, 3]},
            "statistics has the classes 0, 1, 2, but classes has 0, 1, 2, 3",
        ),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(InvalidInputError, match=message):
        RunningStatistics(**({"decay": DECAY} | change))


def test_given_statistics_have_the_classes_that_were_named():
    z, y = batches(1)[0]
    for running in (
        RunningStatistics(DECAY, classes=[0, 1, 2], statistics=statistics()),
        RunningStatistics(DECAY, statistics=statistics(classes=[0, 1, 2])),
    ):
        assert running.classes.tolist() == [0, 1, 2]
        with pytest.raises(InvalidInputError, match="not among the classes"):
            running.update(z, y + 7)


def test_an_empty_stream_that_names_the_classes_keeps_them_in_a_merge():
    open_one = RunningStatistics(DECAY, statistics=statistics())
    empty = RunningStatistics(DECAY, classes=[0, 1, 2])
    closed = RunningStatistics(DECAY, statistics=statistics(classes=[0, 1, 2]))
    for merged in (empty.merge(open_one), open_one.merge(empty), open_one.merge(closed)):
        assert merged.classes.tolist() == [0, 1, 2] and merged.statistics.closed


def test_what_does_not_go_together(tmp_path):
    z, y = batches(1)[0]
    running = RunningStatistics(DECAY).update(z, y)
    with pytest.raises(InvalidInputError, match="merge statistics of one decay"):
        running.merge(RunningStatistics(0.5))
    with pytest.raises(InvalidInputError, match="make both with the same covariance="):
        running.merge(RunningStatistics(DECAY, "dense"))
    named = (RunningStatistics(DECAY, classes=classes) for classes in ([0, 1, 2], [0, 1]))
    with pytest.raises(InvalidInputError, match="make both with the same classes="):
        next(named).merge(next(named))
    with pytest.raises(InvalidInputError, match="statistics has the classes 0, 1, 2, but"):
        running.merge(RunningStatistics(DECAY, classes=[0, 1]))
    with pytest.raises(InvalidInputError, match="pass a RunningStatistics"):
        running.merge(running.statistics)
    with pytest.raises(InvalidInputError, match="before the first batch"):
        RunningStatistics(DECAY).save(tmp_path / "empty.npz")
