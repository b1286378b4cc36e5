"""Every bad input gets an InvalidInputError that names the argument, the place and the remedy.

One table: an id, a call, and what its message must mention. Mentions are whole words or numbers,
in any order and any wording. Where a row or a class is at fault its number or label is among them;
no other number of the case is the same.
"""

import io
import os
import pickle
import re
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from helpers import asarray_in, blobs

from fpigauss import (
    ClassGaussians,
    ClassStatistics,
    InvalidInputError,
    NotPositiveDefiniteError,
    ReleasedEquations,
    UnboundedObjectiveWarning,
    critical_lam,
    fit_fixed_point,
    geometric_mean,
    pairwise_kld,
    solve_fixed_point,
)

ROW = 17  # the row at fault wherever one is
CLASSES = ["ash", "elm", "fir"]
GAUSSIANS = ClassGaussians(np.eye(3, 4), np.ones((3, 4)), classes=CLASSES)


@dataclass(frozen=True)
class Case:
    id: str
    call: object  # (xp) -> anything; xp is used where the case makes sense beyond numpy
    mentions: tuple[str, ...]
    everywhere: bool = False


TABLE: list[Case] = []


def case(id, *mentions, everywhere=False):
    """Add the decorated call to the table."""

    def add(call):
        TABLE.append(Case(id, call, mentions, everywhere))
        return call

    return add


def add(id, call, *mentions):
    """Add a call that takes nothing."""
    TABLE.append(Case(id, lambda xp: call(), mentions))


def good():
    """Three classes of 20 samples each, in two dimensions, with names for labels."""
    z, y = blobs(n_classes=3, dim=2, n_samples=20, seed=1)
    return z, np.array(CLASSES)[y]


def gaussians(**changed):
    arguments = {
        "means": np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]),
        "covariances": np.ones((3, 2)),
        "classes": CLASSES,
        **changed,
    }
    return ClassGaussians(arguments.pop("means"), arguments.pop("covariances"), **arguments)


def statistics(**options):
    return ClassStatistics.from_samples(*good(), **options)


def spoiled(value):
    z, _ = good()
    z = z.astype(np.result_type(z, type(value))) if isinstance(value, complex) else z
    z[ROW, 1] = value
    return z


def fit(z=None, y=None, lam=1.0, **options):
    good_z, good_y = good()
    return fit_fixed_point(good_z if z is None else z, good_y if y is None else y, lam, **options)


def rows_as_objects():
    """The rows of good() in an array of objects, as a column of pandas has them."""
    rows = np.empty(60, dtype=object)
    rows[:] = list(good()[0])
    return rows


# ---- z ----

for value, name in ((np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")):
    case(f"z-{name}", "z", str(ROW), everywhere=True)(
        lambda xp, value=value: fit(asarray_in(xp, spoiled(value)))
    )
    case(f"z-{name}-statistics", "z", str(ROW), everywhere=True)(
        lambda xp, value=value: ClassStatistics.from_samples(
            asarray_in(xp, spoiled(value)), good()[1]
        )
    )
    case(f"z-{name}-prediction", "z", str(ROW), everywhere=True)(
        lambda xp, value=value: (
            gaussians().to(asarray_in(xp, [0.0])).predict(asarray_in(xp, spoiled(value)))
        )
    )
case("z-complex", "z", everywhere=True)(lambda xp: fit(asarray_in(xp, good()[0] + 0j)))
case("z-1d", "z", everywhere=True)(lambda xp: fit(asarray_in(xp, good()[0][:, 0])))
case("z-3d", "z", everywhere=True)(lambda xp: fit(asarray_in(xp, good()[0][None])))
case("z-empty", "z", everywhere=True)(lambda xp: fit(asarray_in(xp, np.zeros((0, 2))), np.zeros(0)))
case("z-y-lengths", "z", "y", "60", "59", everywhere=True)(
    lambda xp: fit(asarray_in(xp, good()[0]), good()[1][:-1])
)
add("z-object", lambda: fit(good()[0].astype(object)), "z")
add("z-strings", lambda: fit(good()[0].astype(str)), "z")
add("z-none", lambda: fit_fixed_point(None, good()[1], 1.0), "z")
add("z-ragged", lambda: fit([[1.0, 2.0], [1.0]], [0, 1]), "z")
add("z-number", lambda: fit(np.array(3.0)), "z", "one row per sample")
add("z-rows-in-objects", lambda: fit(rows_as_objects()), "z", r"numpy.stack\(z\)")
add("z-underflows", lambda: fit(good()[0] * 1e-170), "z", "underflow", "rescale")
add("z-no-dimensions", lambda: fit(np.zeros((60, 0))), "z")
add("z-complex-statistics", lambda: ClassStatistics.from_samples(good()[0] + 0j, good()[1]), "z")
add("z-object-prediction", lambda: gaussians().predict(good()[0].astype(object)), "z")
add("z-complex-density", lambda: gaussians().class_log_prob(good()[0] + 0j), "z")

# ---- y ----


def labels(value):
    y = np.repeat([0.0, 1.0, 2.0], 20)
    y[ROW] = value
    return y


case("y-fractional", "y", str(ROW), everywhere=True)(
    lambda xp: fit(asarray_in(xp, good()[0]), asarray_in(xp, labels(0.5)))
)
case("y-nan", "y", str(ROW), everywhere=True)(
    lambda xp: fit(asarray_in(xp, good()[0]), asarray_in(xp, labels(np.nan)))
)
case("y-2d", "y", everywhere=True)(
    lambda xp: fit(asarray_in(xp, good()[0]), asarray_in(xp, labels(0.0)[:, None]))
)
add("y-inf", lambda: fit(y=labels(np.inf)), "y", str(ROW))
add("y-complex", lambda: fit(y=labels(0.0) + 1j), "y")
add("y-scalar", lambda: fit(y=1), "y")
add("y-mixed-objects", lambda: fit(y=np.array(["ash", 1] * 30, dtype=object)), "y")
add("y-none-among-objects", lambda: fit(y=np.array(["ash", None] * 30, dtype=object)), "y")
add("y-one-class", lambda: fit(y=np.zeros(60, dtype=int)), "two|2", "class|classes")
add(
    "y-one-class-statistics",
    lambda: solve_fixed_point(ClassStatistics.from_samples(good()[0], np.zeros(60)), 1.0),
    "two|2",
    "class|classes",
)

# ---- classes without scatter ----


def lonely():
    """One sample of "elm" only."""
    z, y = good()
    keep = (y != "elm") | (np.cumsum(y == "elm") == 1)
    return z[keep], y[keep]


def flat(*names, dimension=1):
    """No variance of the named classes in one dimension."""
    z, y = good()
    for name in names:
        z[y == name, dimension] = 4.0
    return z, y


def collinear():
    """The samples of "elm" on a slanted line."""
    z, y = good()
    z[y == "elm", 1] = 2.0 * z[y == "elm", 0] + 1.0
    return z, y


def constant(*names):
    z, y = good()
    for name in names:
        z[y == name] = 4.0 + CLASSES.index(name)
    return z, y


def wide(n_samples, dim=10):
    """Ten dimensions, of which n_samples - 1 at most have a variance inside a class."""
    z, y = blobs(n_classes=3, dim=dim, n_samples=n_samples, seed=2)
    return z, np.array(CLASSES)[y]


REMEDY = "shrinkage|tied"


def numbers(n=30):
    """Two classes on a line, as rows of one number."""
    return np.arange(n) / n, np.arange(n) % 2


add("z-of-one-dimension", lambda: fit(*numbers()), "z", r"z\[:, None\]", "swapped")
add("z-and-y-swapped", lambda: fit(numbers()[1], numbers()[0][:, None]), "z", "swapped")
add("z-a-type", lambda: fit(np.float32, numbers()[1]), "z", r"numpy\.float32")
add(
    "sample-weight-a-column",
    lambda: fit(numbers()[0][:, None], numbers()[1], sample_weight=np.ones((30, 1))),
    r"sample_weight\.ravel",
)
add("row-to-predict", lambda: GAUSSIANS.predict(np.zeros(4)), "z", r"z\[None, :\]")
add("images-to-predict", lambda: GAUSSIANS.predict(np.zeros((3, 2, 2))), "z", "flatten")
add("to-a-dtype", lambda: GAUSSIANS.to(np.float32), "like", "array")
add("save-to-a-stream", lambda: GAUSSIANS.save(io.BytesIO()), "path", "BytesIO", "string")
add("load-from-a-stream", lambda: ClassGaussians.load(io.BytesIO()), "path", "BytesIO", "string")
add("statistics-of-a-stream", lambda: ClassStatistics.load(io.BytesIO()), "path", "BytesIO")
add("a-number-of-draws-below-zero", lambda: GAUSSIANS.sample(-1), "labels", "-1")
add("draws-of-a-flag", lambda: GAUSSIANS.sample(True), "labels", "True")
add("draws-of-one-label", lambda: GAUSSIANS.sample("ash"), "labels", r"\['ash'\]")
for family in ("diagonal", "dense", "isotropic"):
    add(
        f"one-sample-{family}",
        lambda family=family: fit(*lonely(), covariance=family),
        "elm",
        REMEDY,
    )
for update in ("both", "means", "covariances"):
    add(
        f"flat-diagonal-{update}",
        lambda update=update: fit(*flat("elm"), update=update),
        "elm",
        REMEDY,
    )
for family in ("diagonal", "dense"):
    add(f"flat-{family}", lambda family=family: fit(*flat("elm"), covariance=family), "elm", REMEDY)
add(
    "flat-statistics",
    lambda: solve_fixed_point(ClassStatistics.from_samples(*flat("elm")), 1.0),
    "elm",
    REMEDY,
)
add("flat-lam-0", lambda: fit(*flat("elm"), lam=0.0), "elm", REMEDY)
add("flat-identity", lambda: fit(*flat("elm"), init="identity"), "elm", REMEDY)
add("flat-printed", lambda: fit(*flat("elm"), equations="printed"), "elm", REMEDY)
add("flat-released", lambda: fit(*flat("elm"), equations="released"), "elm")
add("collinear-dense", lambda: fit(*collinear(), covariance="dense"), "elm", REMEDY)
add("few-samples-dense", lambda: fit(*wide(10), covariance="dense"), "|".join(CLASSES), REMEDY)
add("constant-isotropic", lambda: fit(*constant("elm"), covariance="isotropic"), "elm", REMEDY)
add("flat-tied-diagonal", lambda: fit(*flat(*CLASSES), tied=True), "shrinkage|variance")
add(
    "flat-tied-dense",
    lambda: fit(*flat(*CLASSES), covariance="dense", tied=True),
    "shrinkage|variance",
)
add(
    "few-samples-tied-dense",
    lambda: fit(*wide(4), covariance="dense", tied=True),
    "shrinkage|variance",
)
add(
    "constant-tied-isotropic",
    lambda: fit(*constant(*CLASSES), covariance="isotropic", tied=True),
    "variance",
)

# ---- coincident classes ----


def coincident(*, others=True):
    """Two classes of the same samples, "ash" and "elm", with "fir" and "oak" beside them or not.

    Small integers, a power of two of them: every sum is exact, in any order, and D is 0.
    """
    square = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]] * 2, dtype=float)
    shifts = [[0, 0], [0, 0], [8, 0], [0, 8]] if others else [[0, 0], [0, 0]]
    z = np.concatenate([square + shift for shift in shifts])
    return z, np.repeat(["ash", "elm", "fir", "oak"][: len(shifts)], len(square))


for family in ("diagonal", "dense", "isotropic"):
    for tied in (False, True):
        add(
            f"coincident-{family}{'-tied' * tied}",
            lambda family=family, tied=tied: fit(*coincident(), covariance=family, tied=tied),
            "ash",
            "elm",
        )
add(
    "coincident-identity", lambda: fit(*coincident(), init="identity", update="means"), "ash", "elm"
)
add("coincident-initial", lambda: fit(*coincident(others=False), pi="initial"), "ash", "elm")
add("coincident-mean", lambda: fit(*coincident(others=False), pi="mean"), "ash", "elm")
add("coincident-released", lambda: fit(*coincident(), equations="released"), "ash", "elm")
add(
    "coincident-warm-start",
    lambda: fit(init=gaussians(means=np.array([[0.0, 0.0], [5.0, 0.0], [5.0, 0.0]]))),
    "elm",
    "fir",
)

# ---- numbers ----

for value in (-1.0, np.nan, np.inf, "much", None, [1.0, 2.0], 1j):
    add(f"lam-{value}", lambda value=value: fit(lam=value), "lam")
    add(f"lam-{value}-solve", lambda value=value: solve_fixed_point(statistics(), value), "lam")
for value in (0.0, -1.0, np.nan, np.inf, "much", None):
    add(f"alpha-{value}", lambda value=value: fit(alpha=value), "alpha")
for value in (-1, 1.5, "many", None):
    add(f"max_iter-{value}", lambda value=value: fit(max_iter=value), "max_iter")
for value in (-1e-6, np.nan, "small", None):
    add(f"tol-{value}", lambda value=value: fit(tol=value), "tol")
for value in (-0.1, 1.1, np.nan, "some", None):
    add(f"shrinkage-{value}", lambda value=value: fit(shrinkage=value), "shrinkage")
for value in (0, -1, np.nan, "much", None):
    add(f"memory_limit-{value}", lambda value=value: fit(memory_limit=value), "memory_limit")
add(
    "memory_limit-callable",  # D alone takes 3 * 3 * 8 = 72 bytes
    lambda: fit(pi=np.mean, memory_limit=71),
    "memory_limit",
    "pi",
)
add("callback-not-callable", lambda: fit(callback="print"), "callback")

# ---- pi ----

for value in ("forwards", 0.0, -1.0, np.nan, np.inf, None, 1j):
    add(f"pi-{value}", lambda value=value: fit(pi=value), "pi")


def skewed(divergence, value):
    """Ones, but for one pair."""
    pi = np.ones(divergence.shape)
    pi[0, 2] = value
    return pi


for name, function in {
    "vector": lambda divergence: np.ones(3),
    "larger": lambda divergence: np.ones((4, 4)),
    "negative": lambda divergence: -1.0,
    "zero": lambda divergence: 0.0,
    "nan": lambda divergence: np.nan,
    "inf": lambda divergence: np.inf,
    "nothing": lambda divergence: None,
    "word": lambda divergence: "far",
    "complex": lambda divergence: 1j,
    "negative-entry": lambda divergence: skewed(divergence, -1.0),
    "zero-entry": lambda divergence: skewed(divergence, 0.0),
    "nan-entry": lambda divergence: skewed(divergence, np.nan),
}.items():
    add(f"pi-callable-{name}", lambda function=function: fit(pi=function), "pi")

# ---- names ----

for argument in ("covariance", "update", "init", "equations", "solver"):
    for value in ("unheard-of", 3, None):
        add(
            f"{argument}-{value}",
            lambda argument=argument, value=value: fit(**{argument: value}),
            argument,
        )
    add(
        f"{argument}-unheard-of-solve",
        lambda argument=argument: solve_fixed_point(statistics(), 1.0, **{argument: "unheard-of"}),
        argument,
        "unheard-of",
    )
add("covariance-statistics", lambda: statistics(covariance="isotropic"), "covariance")
add("statistics-not-statistics", lambda: solve_fixed_point(good()[0], 1.0), "statistics")
add(
    "dense-from-diagonal", lambda: solve_fixed_point(statistics(), 1.0, covariance="dense"), "dense"
)
add(
    "tied-dense-from-diagonal",
    lambda: solve_fixed_point(statistics(), 1.0, covariance="dense", tied=True),
    "dense",
)

# ---- equations ----

for name, equations in {"name": "released", "object": ReleasedEquations()}.items():
    for value in ("dense", "isotropic"):
        add(
            f"released-{name}-{value}",
            lambda equations=equations, value=value: fit(equations=equations, covariance=value),
            "released",
            "diagonal",
        )
    add(
        f"released-{name}-tied",
        lambda equations=equations: fit(equations=equations, tied=True),
        "released",
        "tied",
    )
    for value in ("mean", "initial", 2.0, np.mean):
        add(
            f"released-{name}-pi-{value if isinstance(value, (str, float)) else 'callable'}",
            lambda equations=equations, value=value: fit(equations=equations, pi=value),
            "released",
            "pi",
        )
    for value in ("accelerated", "guarded"):
        add(
            f"released-{name}-{value}",
            lambda equations=equations, value=value: fit(equations=equations, solver=value),
            "released",
            "solver",
            "picard",
        )
for value in ("diagonal", "dense", "isotropic"):
    add(
        f"printed-tied-{value}",
        lambda value=value: fit(equations="printed", covariance=value, tied=True),
        "printed",
        "tied",
    )
for value in ("accelerated", "guarded"):
    add(
        f"printed-{value}",
        lambda value=value: fit(equations="printed", solver=value),
        "printed",
        "solver",
        "picard",
    )

# ---- sample_weight ----


def weights(value):
    w = np.ones(60)
    w[ROW] = value
    return w


for value, name in ((-1.0, "negative"), (np.nan, "nan"), (np.inf, "inf")):
    case(f"sample_weight-{name}", "sample_weight", str(ROW), everywhere=True)(
        lambda xp, value=value: fit(
            asarray_in(xp, good()[0]), sample_weight=asarray_in(xp, weights(value))
        )
    )
add("sample_weight-length", lambda: fit(sample_weight=np.ones(59)), "sample_weight", "59", "60")
add("sample_weight-2d", lambda: fit(sample_weight=np.ones((60, 1))), "sample_weight")
add("sample_weight-complex", lambda: fit(sample_weight=np.ones(60) + 1j), "sample_weight")
add("sample_weight-object", lambda: fit(sample_weight=np.array(["a"] * 60)), "sample_weight")
add(
    "sample_weight-nothing-in-a-class",
    lambda: fit(sample_weight=(good()[1] != "elm").astype(float)),
    "sample_weight",
    "elm",
)
add(
    "sample_weight-nothing-at-all",
    lambda: fit(sample_weight=np.zeros(60)),
    "sample_weight",
)
add(
    "sample_weight-update",
    lambda: statistics().update(*good(), sample_weight=weights(-1.0)),
    "sample_weight",
    str(ROW),
)

# ---- classes ----

TWICE = ["ash", "elm", "elm"]
add("classes-twice-from_samples", lambda: statistics(classes=[*CLASSES, "elm"]), "classes", "elm")
add(
    "classes-twice-from_batches",
    lambda: ClassStatistics.from_batches([good()], classes=[*CLASSES, "elm"]),
    "classes",
    "elm",
)
add("classes-twice-gaussians", lambda: gaussians(classes=TWICE), "classes", "elm")
add("classes-unsorted-gaussians", lambda: gaussians(classes=CLASSES[::-1]), "classes")
add("classes-length-gaussians", lambda: gaussians(classes=["ash", "elm"]), "classes", "3")
add("classes-2d", lambda: statistics(classes=[CLASSES]), "classes")
add("classes-fractional", lambda: gaussians(classes=[0.0, 0.5, 1.0]), "classes")
add("label-not-given", lambda: statistics(classes=["ash", "fir"]), "elm", "classes")
add(
    "label-not-given-update",
    lambda: statistics(classes=CLASSES).update(good()[0][:1], ["oak"]),
    "oak",
    "classes",
)
add(
    "class-empty",
    lambda: solve_fixed_point(statistics(classes=[*CLASSES, "oak"]), 1.0),
    "oak",
)

# ---- statistics ----


def built(**changed):
    arguments = {
        "counts": np.full(3, 20.0),
        "means": np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]),
        "covariances": np.ones((3, 2)),
        "classes": np.array(CLASSES),
        **changed,
    }
    return ClassStatistics(**arguments)


def changed(array, index, value):
    array = np.array(array, dtype=float)
    array[index] = value
    return array


EYES = np.tile(np.eye(2), (3, 1, 1))
add("statistics-counts-shape", lambda: built(counts=np.ones(2)), "counts")
add("statistics-counts-negative", lambda: built(counts=np.array([5.0, -5.0, 5.0])), "counts", "elm")
add("statistics-counts-nan", lambda: built(counts=np.array([5.0, np.nan, 5.0])), "counts", "elm")
add("statistics-means-shape", lambda: built(means=np.zeros(3)), "means")
add(
    "statistics-means-nan",
    lambda: built(means=changed(np.zeros((3, 2)), 1, np.nan)),
    "means",
    "elm",
)
add("statistics-means-complex", lambda: built(means=np.zeros((3, 2)) + 1j), "means")
add("statistics-covariances-shape", lambda: built(covariances=np.ones((3, 4))), "covariances")
add("statistics-covariances-1d", lambda: built(covariances=np.ones(3)), "covariances")
add(
    "statistics-variance-negative",
    lambda: built(covariances=changed(np.ones((3, 2)), (1, 0), -1.0)),
    "covariances",
    "elm",
)
add(
    "statistics-covariances-asymmetric",
    lambda: built(covariances=changed(EYES, (1, 0, 1), 0.5)),
    "covariances",
    "elm",
)
add(
    "statistics-covariances-indefinite",
    lambda: built(covariances=changed(changed(EYES, (1, 0, 1), 2.0), (1, 1, 0), 2.0)),
    "covariances has a negative eigenvalue",
    "elm",
)
add(
    "statistics-covariances-nan",
    lambda: built(covariances=changed(EYES, (1, 0, 0), np.nan)),
    "covariances",
    "elm",
)
add("statistics-classes-length", lambda: built(classes=np.array(["ash", "elm"])), "classes")
add("statistics-classes-twice", lambda: built(classes=np.array(TWICE)), "classes", "elm")
add(
    "merge-width",
    lambda: statistics().merge(ClassStatistics.from_samples(*wide(20, dim=5))),
    "2",
    "5",
)
add("merge-kind", lambda: statistics().merge(statistics(covariance="dense")), "diagonal", "dense")
add(
    "merge-names-and-numbers",
    lambda: statistics().merge(ClassStatistics.from_samples(good()[0], np.arange(60) % 3)),
    "classes|labels",
)
add(
    "merge-given-classes",
    lambda: statistics(classes=CLASSES).merge(statistics(classes=[*CLASSES, "oak"])),
    "classes",
)
add("update-width", lambda: statistics().update(np.zeros((2, 5)), ["ash", "elm"]), "z", "2", "5")
add("batches-none", lambda: ClassStatistics.from_batches([]), "batch|batches|iterable")
add("batches-not-pairs", lambda: ClassStatistics.from_batches([(good()[0],)]), "batch|batches")
add("batches-width", lambda: ClassStatistics.from_batches([good(), wide(3)]), "2", "10")

# ---- warm starts ----

add("warm-family", lambda: fit(init=gaussians(covariances=EYES, covariance="dense")), "init")
add("warm-tied", lambda: fit(init=gaussians(covariances=np.ones(2), tied=True)), "init")
add("warm-into-tied", lambda: fit(init=gaussians(), tied=True), "init")
add(
    "warm-n-classes",
    lambda: fit(
        init=ClassGaussians([[0.0, 0.0], [3.0, 0.0]], np.ones((2, 2)), classes=["ash", "elm"])
    ),
    "init",
)
add(
    "warm-dim",
    lambda: fit(init=ClassGaussians(np.eye(3), np.ones((3, 3)), classes=CLASSES)),
    "init",
)
add("warm-classes", lambda: fit(init=gaussians(classes=["ash", "elm", "oak"])), "init", "fir|oak")

# ---- ClassGaussians ----

add("means-1d", lambda: gaussians(means=np.zeros(3)), "means")
add("means-3d", lambda: gaussians(means=np.zeros((3, 2, 1))), "means")
add("means-nan", lambda: gaussians(means=changed(np.eye(3, 2), (1, 0), np.nan)), "means", "elm|1")
add("means-inf", lambda: gaussians(means=changed(np.eye(3, 2), (1, 0), np.inf)), "means", "elm|1")
add("means-complex", lambda: gaussians(means=np.eye(3, 2) + 1j), "means")
add("means-object", lambda: gaussians(means=np.eye(3, 2).astype(object)), "means")
add("covariance-unknown", lambda: gaussians(covariance="full"), "covariance", "full")
add("covariances-complex", lambda: gaussians(covariances=np.ones((3, 2)) + 1j), "covariances")
for family, tied, shape in (
    ("diagonal", False, (3, 3)),
    ("diagonal", False, (2, 2)),
    ("diagonal", False, (2,)),
    ("diagonal", True, (3, 2)),
    ("diagonal", True, (3,)),
    ("dense", False, (3, 2)),
    ("dense", False, (2, 2)),
    ("dense", False, (3, 2, 3)),
    ("dense", True, (3, 2, 2)),
    ("dense", True, (3, 3)),
    ("isotropic", False, (2,)),
    ("isotropic", False, ()),
    ("isotropic", False, (3, 2)),
    ("isotropic", True, (3,)),
    ("isotropic", True, (1,)),
):
    add(
        f"misshapen-{family}{'-tied' * tied}-{'x'.join(map(str, shape))}",
        lambda family=family, tied=tied, shape=shape: gaussians(
            covariances=np.ones(shape), covariance=family, tied=tied
        ),
        "covariances",
    )
INDEFINITE = np.array([[1.0, 2.0], [2.0, 1.0]])
SINGULAR = np.array([[1.0, 1.0], [1.0, 1.0]])
SKEW = np.array([[1.0, 0.5], [0.0, 1.0]])
for name, matrix in (
    ("indefinite", INDEFINITE),
    ("singular", SINGULAR),
    ("asymmetric", SKEW),
    ("nan", np.full((2, 2), np.nan)),
    ("inf", np.diag([1.0, np.inf])),
):
    case(f"{name}-dense", "covariances", "elm|1", everywhere=True)(
        lambda xp, matrix=matrix: ClassGaussians(
            asarray_in(xp, np.zeros((3, 2))),
            asarray_in(xp, changed(EYES, 1, matrix)),
            covariance="dense",
            classes=CLASSES,
        )
    )
    add(
        f"{name}-dense-tied",
        lambda matrix=matrix: gaussians(covariances=matrix, covariance="dense", tied=True),
        "covariances",
    )
for value in (0.0, -1.0, np.nan, np.inf):
    add(
        f"variance-{value}-diagonal",
        lambda value=value: gaussians(covariances=changed(np.ones((3, 2)), (1, 0), value)),
        "covariances",
        "elm|1",
    )
    add(
        f"variance-{value}-isotropic",
        lambda value=value: gaussians(
            covariances=np.array([1.0, value, 1.0]), covariance="isotropic"
        ),
        "covariances",
        "elm|1",
    )
    add(
        f"variance-{value}-tied-diagonal",
        lambda value=value: gaussians(covariances=np.array([1.0, value]), tied=True),
        "covariances",
    )
    add(
        f"variance-{value}-tied-isotropic",
        lambda value=value: gaussians(
            covariances=np.array(value), covariance="isotropic", tied=True
        ),
        "covariances",
    )

# ---- prediction and samples ----

for method in ("class_log_prob", "log_prob", "predict", "predict_proba"):
    case(f"{method}-width", "z", "2", "5", everywhere=True)(
        lambda xp, method=method: getattr(gaussians().to(asarray_in(xp, [0.0])), method)(
            asarray_in(xp, np.zeros((4, 5)))
        )
    )
    add(f"{method}-1d", lambda method=method: getattr(gaussians(), method)(np.zeros(2)), "z")
    add(
        f"{method}-nan",
        lambda method=method: getattr(gaussians(), method)(spoiled(np.nan)),
        "z",
        str(ROW),
    )
add(
    "log_prob-unknown",
    lambda: gaussians().log_prob(np.zeros((2, 2)), ["ash", "oak"]),
    "labels",
    "oak",
)
add("log_prob-length", lambda: gaussians().log_prob(np.zeros((2, 2)), ["ash"]), "labels", "2", "1")
add(
    "log_prob-fractional",
    lambda: gaussians(classes=None).log_prob(np.zeros((1, 2)), [0.5]),
    "labels",
)
add("sample-unknown", lambda: gaussians().sample(["ash", "oak"]), "labels", "oak")
add("sample-unknown-number", lambda: gaussians(classes=None).sample([0, 1, 23]), "labels", "23")
add("sample-numbers-for-names", lambda: gaussians().sample([0, 1]), "labels")
add("sample-2d", lambda: gaussians().sample([["ash"]]), "labels")
for value in (-1.0, np.nan, np.inf, "hot"):
    add(
        f"temperature-{value}",
        lambda value=value: gaussians().sample(["ash"], temperature=value),
        "temperature",
    )

# ---- the functions ----

add("pairwise_kld-not-gaussians", lambda: pairwise_kld(np.eye(2)), "gaussians|ClassGaussians")
add("geometric_mean-vector", lambda: geometric_mean(np.ones(2), np.eye(2)), "A")
add("geometric_mean-not-square", lambda: geometric_mean(np.eye(2), np.ones((2, 3))), "B")
add("geometric_mean-sizes", lambda: geometric_mean(np.eye(2), np.eye(3)), "A", "B")
add(
    "geometric_mean-batches",
    lambda: geometric_mean(np.tile(np.eye(2), (3, 1, 1)), np.tile(np.eye(2), (4, 1, 1))),
    "A",
    "B",
)
for name, matrix in (
    ("indefinite", INDEFINITE),
    ("singular", SINGULAR),
    ("asymmetric", SKEW),
    ("nan", np.full((2, 2), np.nan)),
    ("complex", np.eye(2) + 0j),
    ("object", np.eye(2).astype(object)),
):
    case(f"geometric_mean-{name}-A", "A", everywhere=name != "object")(
        lambda xp, matrix=matrix: geometric_mean(asarray_in(xp, matrix), asarray_in(xp, np.eye(2)))
    )
    add(f"geometric_mean-{name}-B", lambda matrix=matrix: geometric_mean(np.eye(2), matrix), "B")
for value in (np.nan, np.inf, "half", None):
    add(f"t-{value}", lambda value=value: geometric_mean(np.eye(2), np.eye(2), value), "t")
for value in (1, 0, -3, 2.5, "many", None):
    add(f"n_classes-{value}", lambda value=value: critical_lam(value), "n_classes")
for value in (0.0, -1.0, np.nan, "much"):
    add(f"critical_lam-alpha-{value}", lambda value=value: critical_lam(5, value), "alpha")
add("critical_lam-covariance", lambda: critical_lam(5, covariance="full"), "covariance", "full")
add("critical_lam-no-dim", lambda: critical_lam(5, covariance="isotropic"), "dim")
for value in (0, -1, 2.5):
    add(
        f"critical_lam-dim-{value}",
        lambda value=value: critical_lam(5, covariance="isotropic", dim=value),
        "dim",
    )


@pytest.fixture
def unpatient():
    # A case that is let through by mistake should fail as that, not as a warning on its way.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnboundedObjectiveWarning)
        yield


def assert_refused(entry, xp):
    with pytest.raises(InvalidInputError) as caught:
        entry.call(xp)
    assert isinstance(caught.value, ValueError)
    message = str(caught.value)
    for mention in entry.mentions:
        assert re.search(rf"(?<![\w.])(?:{mention})(?!\w)", message), f"{mention!r}: {message}"


def test_ids_are_unique():
    ids = [entry.id for entry in TABLE]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.id)
def test_refused(entry, unpatient):
    assert_refused(entry, np)


@pytest.mark.parametrize(
    "entry", [entry for entry in TABLE if entry.everywhere], ids=lambda entry: entry.id
)
def test_refused_in_every_namespace(entry, xp, unpatient):
    assert_refused(entry, xp)


# ---- files that are not ours ----


def text(path):
    path.write_text("counts, means\n1, 2\n")


def nothing(path):
    path.write_bytes(b"")


def pickled(path):
    path.write_bytes(pickle.dumps({"means": np.eye(2), "covariances": np.ones((2, 2))}))


def foreign_archive(path):
    np.savez(path, z=np.eye(2), y=np.arange(2))


def single_array(path):
    with path.open("wb") as file:
        np.save(file, np.eye(2))


def archive_of_pickles(path):
    names = ("means", "covariances", "counts", "classes")
    np.savez(path, **{name: np.array([{"a": 1}, None], dtype=object) for name in names})


def cut_short(path):
    statistics().save(path)
    path.write_bytes(path.read_bytes()[:-100])


def of_the_other_kind(path, kind):
    (gaussians() if kind is ClassStatistics else statistics()).save(path)


@pytest.mark.parametrize("kind", [ClassStatistics, ClassGaussians], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "write",
    [
        text,
        nothing,
        pickled,
        foreign_archive,
        single_array,
        archive_of_pickles,
        cut_short,
        of_the_other_kind,
    ],
    ids=lambda write: write.__name__,
)
def test_a_file_that_is_not_ours(kind, write, tmp_path):
    path = tmp_path / "file.npz"
    if write is of_the_other_kind:
        write(path, kind)
    else:
        write(path)
    with pytest.raises(InvalidInputError) as caught:
        kind.load(path)
    assert "file.npz" in str(caught.value)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.mark.parametrize("kind", [ClassStatistics, ClassGaussians], ids=lambda kind: kind.__name__)
def test_loading_unpickles_nothing(kind, tmp_path):
    exploded = tmp_path / "exploded"
    plain, archive = tmp_path / "plain.npz", tmp_path / "archive.npz"
    plain.write_bytes(pickle.dumps(Bomb(exploded)))
    names = ("means", "covariances", "counts", "classes")
    np.savez(archive, **{name: np.array([Bomb(exploded)], dtype=object) for name in names})
    for path in (plain, archive):
        with pytest.raises(InvalidInputError):
            kind.load(path)
    assert not exploded.exists()
    with pytest.raises(FileNotFoundError):  # else the case above proves nothing
        pickle.loads(pickle.dumps(Bomb(tmp_path / "no" / "folder")))


# ---- an A that is not positive definite ----

# A broad class, "broad", of 10 standard deviations, and two narrow ones of 0.1 within it. With pi
# "forward" W = exp(-1) / D: the narrow ones are near the broad one (D about 8) and it is far from
# them (D about 1e4), so A v = 1 + c sum_j (W_ij - W_ji) + ... is about 1 - 2 c exp(-1) / 8 for it,
# below zero for c > 11. lam = 777 has c = 777 / 6 = 130.
SIZES = {"slim": 0.1, "broad": 10.0, "narrow": 0.1}


def nested():
    rng = np.random.default_rng(3)
    z = np.concatenate(
        [0.5 * k + s * rng.standard_normal((50, 2)) for k, s in enumerate(SIZES.values())]
    )
    return z, np.repeat(list(SIZES), 50)


def smallest_a(z, y, lam):
    """The smallest entry of A v, or A / v, of the first printed or released step, per class.

    (1 + c sum_j (W_ij - W_ji)) + c sum_j W_ji ((mu_i - mu_j)^2 + v_j) / v_i, from the data's
    moments; DESIGN's Eq. 7 times v_i, which is positive, so that the sign is A's.
    """
    labels = np.unique(y)
    means = np.stack([z[y == label].mean(axis=0) for label in labels])
    v = np.stack([z[y == label].var(axis=0) for label in labels])
    squares = (means[:, None] - means) ** 2
    ratio = v[:, None] / v
    divergence = 0.5 * (ratio - 1 - np.log(ratio) + squares / v).sum(axis=-1)
    w = np.divide(np.exp(-1.0), divergence, out=np.zeros_like(divergence), where=divergence > 0)
    c = lam / (len(labels) * (len(labels) - 1))
    first = 1 + c * (w - w.T).sum(axis=1)
    second = c * np.einsum("ji,ijl->il", w, squares + v) / v
    return dict(zip(labels, (first[:, None] + second).min(axis=1), strict=True))


def test_the_example_does_what_it_should():
    smallest = smallest_a(*nested(), 777.0)
    assert smallest["broad"] < -1
    assert smallest["slim"] > 1
    assert smallest["narrow"] > 1
    assert min(smallest_a(*nested(), 1.0).values()) > 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"equations": "printed"},
        {"equations": "printed", "covariance": "dense"},
        {"equations": "printed", "covariance": "isotropic"},
        {"equations": "printed", "update": "covariances"},
        {"equations": ReleasedEquations(isotropic_mean=False, summed_square=False)},
        {"equations": ReleasedEquations(isotropic_mean=True, summed_square=False)},
        {"equations": "released"},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_a_not_positive_definite(xp, options, unpatient):
    z, y = nested()
    with pytest.raises(NotPositiveDefiniteError) as caught:
        fit_fixed_point(asarray_in(xp, z), y, 777.0, **options)
    message = str(caught.value)
    assert re.search(r"\bbroad\b", message)
    assert re.search(r"\b777\b", message)


@pytest.mark.parametrize("covariance", ["diagonal", "dense", "isotropic"])
def test_the_stationary_equations_take_the_same_problem(covariance, unpatient):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ten steps of a runaway problem; not what is tested
        result = fit_fixed_point(*nested(), 777.0, covariance=covariance, max_iter=10)
    assert np.isfinite(result.gaussians.means).all()
    assert np.isfinite(result.gaussians.covariances).all()


# ---- near misses: inputs that look bad and are not ----


@pytest.mark.parametrize(
    ("data", "options"),
    [
        pytest.param(lonely, {"tied": True}, id="one-sample-tied"),
        pytest.param(lonely, {"shrinkage": 0.0, "tied": True, "covariance": "dense"}, id="dense"),
        pytest.param(lonely, {"init": "identity", "update": "means"}, id="one-sample-means"),
        pytest.param(lambda: flat("elm"), {"shrinkage": 0.1}, id="flat-shrunk"),
        pytest.param(lambda: flat("elm"), {"tied": True}, id="flat-tied"),
        pytest.param(lambda: flat("elm"), {"covariance": "isotropic"}, id="flat-isotropic"),
        pytest.param(
            lambda: flat(*CLASSES), {"init": "identity", "update": "means"}, id="flat-means"
        ),
        pytest.param(collinear, {"covariance": "diagonal"}, id="collinear-diagonal"),
        pytest.param(collinear, {"covariance": "dense", "shrinkage": 0.1}, id="collinear-shrunk"),
        pytest.param(lambda: wide(4), {"covariance": "dense", "shrinkage": "oas"}, id="oas"),
        pytest.param(lambda: wide(5), {"covariance": "dense", "tied": True}, id="few-tied"),
    ],
)
def test_accepted(data, options):
    result = fit_fixed_point(*data(), 1.0, **options)
    assert result.converged
    assert np.isfinite(result.gaussians.means).all()
    assert np.isfinite(result.gaussians.covariances).all()


def test_coincident_classes_without_repulsion():
    assert fit_fixed_point(*coincident(), 0.0).converged


def test_nothing_of_a_sample_is_allowed():
    # a weight of zero leaves a sample out; its class has others
    result = fit_fixed_point(*good(), 0.0, sample_weight=weights(0.0))
    assert result.converged


def test_a_list_of_tensors_with_gradients_is_to_be_stacked(torch):
    z = torch.asarray(good()[0]).requires_grad_()
    fitted = fit_fixed_point(z, good()[1], 1.0).gaussians
    calls = [
        lambda: fit(list(z)),
        lambda: fitted.predict(list(z)),
        lambda: fit(sample_weight=list(z[:, 0] ** 2)),
        lambda: geometric_mean(list(z), list(z)),
    ]
    for call in calls:
        with pytest.raises(
            InvalidInputError, match=r"is a list that numpy .*, pass torch\.stack\("
        ):
            call()
