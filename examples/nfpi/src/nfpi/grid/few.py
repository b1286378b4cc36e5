"""Build the grid "few": classes of a few rows, and classes of uneven size."""

from collections.abc import Iterable, Sequence
from typing import Any

from nfpi.grid.claims import Claim, Side
from nfpi.grid.collect import Collector
from nfpi.grid.model import Column, Grid, Table
from nfpi.grid.settings import DATA_TIED, TIED, Config, small_flow

__all__ = ["few_grid", "images_grid"]

_SEEDS, _MORE_SEEDS, _TUNING_SEED = (0, 1, 2), (0, 1, 2, 3, 4), 100

_COUNTS = (5, 10, 20, 50)
#: Nats between the two closest classes of a flow's Gaussians.
_SEPARATION = 200.0
#: The spread of random means, the best of three by NF-Acc in a pilot of larger flows, 62 classes.
_SPREAD = 2.0
#: Nats between the Gaussians that the over-sampler "apart" draws from.
_APART = 20.0

_NOTE = (
    "Rows are drawn by the seed; all test images judge. Images are 14x14, digits 8x8. "
    "Budget: 10 minutes of one core."
)
_FEW_NOTE = (
    "Accuracy after so many rows per class. Gaussians have one covariance for all classes, without "
    "shrinkage (one variance), shrunk by a tenth (diagonal) or by OAS (dense). Cross-validation "
    "(five folds of the rows) chooses among no repulsion and 1.5, 3 and 10 times the separation of "
    "the data. Logistic regression and support vectors have the defaults of scikit-learn, on "
    "standardized columns."
)
_STEPS_NOTE = (
    "Flows (fully connected couplings) and CNN train for as many steps at every number of rows, "
    "{}, chosen for Fashion-MNIST from two numbers in a trial with another seed."
)
_UNEVEN_NOTE = (
    "Half of the classes, drawn by the seed, have 5 rows, the others 500; rows are 32 principal "
    "components. Mean recalls of all classes (balanced accuracy), of the rare and of the common "
    "ones. Samplers draw until all classes are as large as the largest; classifiers have the "
    "defaults of scikit-learn, the forest 200 trees. Gaussians classify with equal priors."
)

#: What learns rows: keys of ``nfpi.few.METHODS``.
_STATIC = ("data_iso", "apart_iso", "data_diag", "apart_diag", "data_dense", "lda")
_PLAIN = ("logistic", "svm")

_METHODS = {
    "data_iso": "Gaussians of the data, one variance (nearest mean)",
    "apart_iso": "Gaussians, one variance: separation by cross-validation",
    "data_diag": "Gaussians of the data, tied diagonal",
    "apart_diag": "Gaussians, tied diagonal: separation by cross-validation",
    "data_dense": "Gaussians of the data, tied dense, OAS",
    "apart_dense": "Gaussians, tied dense, OAS: separation by cross-validation",
    "lda": "shrunk LDA of scikit-learn",
    "logistic": "logistic regression",
    "svm": "support vectors, RBF",
    "cnn": "small CNN",
}
_FLOWS: dict[str, tuple[str, Config]] = {
    "apart": ("flow, separated Gaussians (200 nats)", {
        "scheme": "fixed_point", "separation": _SEPARATION, **TIED,
    }),
    "data": ("flow, Gaussians of the data", DATA_TIED),
    "random": ("flow, random means", {"scheme": "random_means", "scale": _SPREAD}),
}  # fmt: skip

_SAMPLERS = {
    "none": "nothing",
    "weights": "class weights",
    "random": "rows repeated",
    "smote": "SMOTE",
    "data": "samples of the data's Gaussians, tied dense",
    "apart": f"samples of Gaussians {_APART:g} nats apart, tied dense",
    "flow": "samples of a flow (FlowOverSampler)",
}
#: Where a flow is among what evens classes out: it takes as long as all others together.
_WITH_FLOW = ("fashion",)
_CLASSIFIERS = {"logistic": "logistic regression", "forest": "random forest"}


def few_grid() -> Grid:
    """Build the grid, to be committed before its first run."""
    digits, fashion, glyphs = _FEW_NOTE, _STEPS_NOTE.format(100), _STEPS_NOTE.format(300)
    blank = {
        "digits": _few_table("A few rows: digits", digits, ["digits-apart-above-data"]),
        "fashion": _few_table(
            "A few rows: Fashion-MNIST", f"{_FEW_NOTE} {fashion}",
            ["fashion-apart-above-data", "fashion-flow-above-plain", "fashion-flow-above-data"],
        ),
        "glyphs": _few_table(
            "A few rows: 62 classes of glyphs", f"{_FEW_NOTE} {glyphs}",
            ["glyphs-flow-above-plain", "glyphs-flow-above-data", "glyphs-flow-above-random"],
        ),
        "latents": _few_table(
            "A few rows of new classes, in latents of a flow",
            f"{_FEW_NOTE} Rows are latents of 12 classes of glyphs, drawn by the seed, that the "
            "flow has not seen; it was trained on 200 images of each of the others, toward "
            "Gaussians 200 nats apart.",
            ["latents-apart-above-data"],
        ),
        "uneven_fashion": _uneven_table("Fashion-MNIST", "fashion"),
        "uneven_mnist": _uneven_table("MNIST", "mnist"),
    }  # fmt: skip
    runs = Collector(blank, "", (), _TUNING_SEED)
    every = (*_STATIC, "apart_dense", *_PLAIN)
    _add_rows(runs, "digits", "digits", every, seeds=_MORE_SEEDS, size=None)
    _add_rows(runs, "latents", "glyphs", (*_STATIC, *_PLAIN), seeds=_SEEDS, first=50)
    for mark, dataset, methods, steps in (
        ("fashion", "fashion_mnist", (*_STATIC, *_PLAIN, "cnn"), 100),
        ("glyphs", "glyphs", ("data_iso", "apart_iso", "data_dense", "lda", *_PLAIN, "cnn"), 300),
    ):
        _add_rows(runs, mark, dataset, methods, seeds=_SEEDS, steps=steps)
        _add_flows(runs, mark, dataset, steps)
    for dataset in ("fashion_mnist", "mnist"):
        _add_uneven(runs, dataset.removesuffix("_mnist"), dataset)
    return Grid(
        scale="few",
        note=_NOTE,
        base=small_flow(),
        runs=tuple(runs.runs.values()),
        tables=runs.filled(blank),
        claims=(
            *_claims_of_rows(("digits", "fashion", "latents"), _COUNTS),
            *_claims_of_flows("fashion", "Fashion-MNIST", _COUNTS),
            *_claims_of_flows("glyphs", "glyphs", _COUNTS),
            *_claims_of_uneven("fashion"),
            *_claims_of_uneven("mnist"),
        ),
    )


def images_grid(
    counts: Sequence[int], *, seeds: Sequence[int], steps: int, base: Config, note: str,
    command: str,
) -> Grid:  # fmt: skip
    """Build a grid of one table for images of the user's own.

    Parameters
    ----------
    counts : sequence of int
        Rows per class.
    seeds : sequence of int
    steps : int
        Of flows and CNN.
    base : mapping
        The config shared by all runs.
    note, command : str
        A description, and what makes them, for the table.
    """
    headlines = [f"images-{name}" for name in ("flow-above-plain", "flow-above-data")]
    title, told = "A few rows", f"{_FEW_NOTE} {_STEPS_NOTE.partition(',')[0]}: {steps} steps."
    blank = {"images": _few_table(title, told, headlines, counts)}
    runs = Collector(blank, "", (), _TUNING_SEED)
    methods = (*_STATIC, *_PLAIN, "cnn")
    size = base["data"]["size"]
    _add_rows(runs, "images", "images", methods, seeds=seeds, counts=counts, size=size, steps=steps)
    _add_flows(runs, "images", "images", steps, seeds=seeds, counts=counts)
    return Grid(
        scale="few",
        note=note,
        base=base,
        runs=tuple(runs.runs.values()),
        tables=runs.filled(blank),
        claims=(
            *_claims_of_rows(("images",), counts),
            *_claims_of_flows("images", "these images", counts),
        ),
        command=command,
    )


def _few_table(
    title: str, note: str, headlines: Sequence[str], counts: Sequence[int] = _COUNTS
) -> Table:
    columns = tuple(Column(f"{{}}_acc_{count}", f"{count} rows") for count in counts)
    return Table(title, columns, note=note, headlines=tuple(headlines))


def _uneven_table(name: str, mark: str) -> Table:
    columns = tuple(
        Column(f"{{}}_{metric}", heading)
        for metric, heading in (
            ("acc", "all classes"), ("rare", "rare classes"), ("common", "common classes"),
        )
    )  # fmt: skip
    names = ("apart-above-data", "flow-above-smote", "data-above-smote")
    headlines = tuple(
        f"uneven-{mark}-{name}" for name in names if mark in _WITH_FLOW or "flow" not in name
    )
    return Table(f"Uneven classes, 100:1: {name}", columns, note=_UNEVEN_NOTE, headlines=headlines)


def _add_rows(
    runs: Collector, mark: str, dataset: str, methods: Sequence[str], *, seeds: Sequence[int],
    counts: Sequence[int] = _COUNTS, size: int | None = 14, steps: int = 0, first: int = 0,
) -> None:  # fmt: skip
    """Add what learns from pixels or latents; with ``first``, in latents of a flow."""
    options: dict[str, Any] = {"counts": list(counts), "methods": list(methods)}
    options |= ({"steps": steps} if steps else {}) | ({"first": first} if first else {})
    config: Config = {"data": {"size": size}}
    if first:
        config = {"data": {"limit": 62 * 200}, "gaussians": _FLOWS["apart"][1]}
    for method in methods:
        runs.add(
            mark, _METHODS[method], f"{mark}-rows", config, seeds=seeds, metric=method, kind="few",
            dataset=dataset, options=options,
        )  # fmt: skip


def _add_flows(
    runs: Collector, mark: str, dataset: str, steps: int, *, seeds: Sequence[int] = _SEEDS,
    counts: Sequence[int] = _COUNTS,
) -> None:  # fmt: skip
    for name, (label, gaussians) in _FLOWS.items():
        runs.add(
            mark, label, f"{mark}-{name}", {"gaussians": gaussians}, seeds=seeds, metric="flow",
            kind="few", dataset=dataset,
            options={"counts": list(counts), "methods": ["flow"], "steps": steps},
        )  # fmt: skip


def _add_uneven(runs: Collector, mark: str, dataset: str) -> None:
    """Add what evens classes out, and what needs no evening; the slow flow has fewer seeds."""
    shared: dict[str, Any] = {
        "common": 500, "rare": 5, "dim": 32, "separation": _APART,
        "classifiers": list(_CLASSIFIERS),
    }  # fmt: skip
    quick = [name for name in _SAMPLERS if name != "flow"]
    table = f"uneven_{mark}"

    def add(label: str, metric: str, name: str, **own: Any) -> None:
        runs.add(
            table, label, f"uneven-{mark}{name}", {},
            seeds=_SEEDS if name else _MORE_SEEDS, metric=metric, kind="uneven", dataset=dataset,
            options=shared | own,
        )  # fmt: skip

    methods = ("data_iso", "apart_iso", "data_dense", "apart_dense")
    for method in methods:
        label = _METHODS[method]
        add(label, method, "", methods=list(methods), samplers=quick)
    for kind, classifier in _CLASSIFIERS.items():
        for name, sampler in _SAMPLERS.items():
            if name == "flow" and mark not in _WITH_FLOW:
                continue
            own = {"methods": [], "samplers": ["flow"]} if name == "flow" else {
                "methods": list(methods), "samplers": quick,
            }  # fmt: skip
            label = f"{classifier}: {sampler}"
            add(label, f"{name}_{kind}", "-flow" if name == "flow" else "", **own)


def _claims_of_rows(marks: Sequence[str], counts: Sequence[int]) -> Iterable[Claim]:
    """Claim that repulsion helps Gaussians of rows that stay as they are."""
    for mark in marks:
        families = ("iso", "diag", *(("dense",) if mark == "digits" else ()))
        at = f"{mark}-rows"
        yield Claim(
            f"{mark}-apart-above-data",
            f"Gaussians classify a few rows ({mark}) better with a separation chosen by "
            "cross-validation than without, in every family and number",
            "greater",
            tuple(
                (Side(at, f"apart_{family}_acc_{count}"), Side(at, f"data_{family}_acc_{count}"))
                for family in families
                for count in counts
            ),
        )


def _claims_of_flows(mark: str, name: str, counts: Sequence[int]) -> Iterable[Claim]:
    """Claim that a flow toward separated Gaussians is better than others, and than no flow."""

    def against(setting: str, method: str) -> tuple[tuple[Side, Side], ...]:
        return tuple(
            (
                Side(f"{mark}-apart", f"flow_acc_{count}"),
                Side(f"{mark}-{setting}", f"{method}_acc_{count}"),
            )
            for count in counts
        )

    yield Claim(
        f"{mark}-flow-above-plain",
        f"A flow toward separated Gaussians classifies a few rows ({name}) better than shrunk LDA "
        "of pixels, and than a small CNN, at every number",
        "greater",
        (*against("rows", "lda"), *against("rows", "cnn")),
    )
    for other, rival in (("data", "Gaussians of the data"), ("random", "random means")):
        yield Claim(
            f"{mark}-flow-above-{other}",
            f"A flow toward separated Gaussians classifies a few rows ({name}) better than one "
            f"toward {rival}, at every number",
            "greater",
            against(other, "flow"),
        )


def _claims_of_uneven(mark: str) -> Iterable[Claim]:
    """Claim what evens classes out better than SMOTE and class weights."""

    def claim(name: str, text: str, *pairs: tuple[str, str], of: str = "") -> Claim:
        return Claim(
            f"uneven-{mark}-{name}", text, "greater",
            tuple(
                (Side(f"uneven-{mark}{of}", f"{left}_acc"), Side(f"uneven-{mark}", f"{right}_acc"))
                for left, right in pairs
            ),
        )  # fmt: skip

    def of_both(left: str, right: str) -> tuple[tuple[str, str], ...]:
        return tuple((f"{left}_{kind}", f"{right}_{kind}") for kind in _CLASSIFIERS)

    yield claim(
        "apart-above-data",
        "Samples of separated Gaussians even classes out better than samples of those of the data, "
        "with both classifiers",
        *of_both("apart", "data"),
    )
    if mark in _WITH_FLOW:
        yield claim(
            "flow-above-smote",
            "Samples of a flow even classes out better than SMOTE, with both classifiers",
            *of_both("flow", "smote"),
            of="-flow",
        )
    yield claim(
        "data-above-smote",
        "Samples of the data's Gaussians even classes out better than SMOTE and than class "
        "weights, with both classifiers",
        *of_both("data", "smote"),
        *of_both("data", "weights"),
    )
    yield claim(
        "gaussians-apart-above-data",
        "Gaussians themselves classify uneven rows better with a separation chosen by "
        "cross-validation than without",
        ("apart_iso", "data_iso"),
        ("apart_dense", "data_dense"),
    )
    yield claim(
        "gaussians-above-smote",
        "Gaussians of the data, tied dense, with equal priors, classify uneven rows better than "
        "either classifier after SMOTE",
        *(("data_dense", f"smote_{kind}") for kind in _CLASSIFIERS),
    )
