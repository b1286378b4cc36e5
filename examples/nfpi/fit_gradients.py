"""Use the gradient of a fit: learn lam from held-out latents, and find rows of influence.

    python examples/nfpi/fit_gradients.py lam --data fashion_mnist.npz --embedding tsne_cifar10.npz
    python examples/nfpi/fit_gradients.py influence --embedding tsne_cifar10.npz

Each writes a record, a table with its verdicts, and a picture to results/layer. The rules were
committed before the first call.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nfpi.influence import QUANTITIES, Influence, influence
from nfpi.latent_problems import Latents, digits, embedding, fashion
from nfpi.layer_figures import plot_influence, plot_lam
from nfpi.learned_lam import Comparison, compared
from nfpi.records import environment, write_record
from nfpi.script import exit_status

RESULTS = Path(__file__).resolve().parent / "results" / "layer"

#: Families in which lam is learned.
FAMILIES: dict[str, dict[str, Any]] = {
    "tied isotropic": {"covariance": "isotropic", "tied": True},
    "tied diagonal": {"covariance": "diagonal", "tied": True},
    "diagonal per class": {"covariance": "diagonal", "tied": False},
}

#: The log-loss of held-out rows at temperature 1, and at the temperature that makes it smallest.
LOSSES = ("T = 1", "calibrated")

#: Fits whose rows are deleted: lam and alpha as in Fig. 1, and below lam* for one covariance per
#: class.
FITS: dict[str, dict[str, Any]] = {
    "tied diagonal": {"lam": 300.0, "alpha": 10.0, "covariance": "diagonal", "tied": True},
    "diagonal per class": {"lam": 40.0, "alpha": 10.0, "covariance": "diagonal", "tied": False},
}

#: Nats by which a learned lam may be worse than the grid's best, and still be the same optimum.
SAME = 1e-4
#: The rank correlation that every quantity needs.
CORRELATION = 0.95
N_DELETED = 50

_LAM_RULES = (
    "Rules, fixed before the first call: (1) same optimum: the log-loss of held-out rows at the "
    f"learned lam is at most {SAME:g} nats above the grid's best, in every line. (2) cheaper: in "
    "the median, learning takes at most half as many fits as the grid. The first call had the loss "
    "at temperature 1 alone, and found its optimum at lam = 0 in every line; the loss at the "
    "temperature that makes it smallest was then added, with the same rules and before it was "
    "computed. The grid is the default one of `lam_path`; lam is learned within its range, where "
    "the slope in it is zero. An evaluation is one of the fixed point; that a gradient costs some "
    "more is in the seconds, which are those of a processor."
)
_INFLUENCE_RULES = (
    f"Rule, fixed before the first call: Spearman's rank correlation over {N_DELETED} rows, drawn "
    f"at random with a fixed seed, is at least {CORRELATION:g} in every line. Slope: of the "
    "findings over the predictions. Seconds are those of a processor: for the predictions of all "
    f"rows, and for {N_DELETED} refits (shared by the quantities of a fit)."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an experiment, and return 0; 1 if its input cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("lam", "influence"))
    parser.add_argument("--data", type=Path, help="Fashion-MNIST, for lam")
    parser.add_argument("--embedding", type=Path, required=True, help="an npz file with z and y")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.what == "lam" and options.data is None:
        parser.error("lam needs --data, the path of Fashion-MNIST")
    run = _learn if options.what == "lam" else _delete
    return exit_status("fit_gradients.py", lambda: run(options))


def _learn(options: argparse.Namespace) -> int:
    found: dict[tuple[str, str], Comparison] = {}
    problems = (digits(), fashion(options.data), embedding(options.embedding))
    for loss in LOSSES:
        for latents in problems:
            for family, choice in FAMILIES.items():
                one = compared(latents, calibrated=loss == "calibrated", **choice)
                found[f"{latents.name}, {loss}", family] = one
                print(latents.name, loss, family, one.learned, flush=True)
    _record(options.results, "lam", [
        {"latents": name, "family": family, **asdict(one)} for (name, family), one in found.items()
    ])  # fmt: skip
    _write(options.results / "tables" / "lam.md", _lam_table(found))
    drawn = {key: one for key, one in found.items() if key[0].endswith(LOSSES[1])}
    plot_lam(options.results / "figures" / "lam.png", drawn)
    return 0


def _lam_table(found: dict[tuple[str, str], Comparison]) -> str:
    lines = []
    for (name, family), one in found.items():
        (lam, loss), learned = one.grid_best, one.learned
        lines.append([
            name, family, f"{lam:.3g}", f"{loss:.5f}", f"{learned.lam:.3g}",
            f"{learned.log_loss:.5f}", f"{learned.log_loss - loss:+.1e}",
            f"{len(one.grid_lam)} / {len(one.trials)}",
            f"{one.grid_n_iter} / {sum(trial.n_iter for trial in one.trials)}",
            f"{one.grid_seconds:.2f} / {one.seconds:.2f}",
        ])  # fmt: skip
    above = [one.learned.log_loss - one.grid_best[1] for one in found.values()]
    ratios = [len(one.trials) / len(one.grid_lam) for one in found.values()]
    same, n_same = max(above) <= SAME, sum(each <= SAME for each in above)
    ratio = float(np.median(ratios))
    verdicts = [
        f"- same optimum: **{_says(same)}** ({n_same} of {len(above)} lines)",
        f"- cheaper: **{_says(ratio <= 0.5)}** (median {ratio:.2f} of the grid's fits)",
    ]
    headings = [
        "latents, loss", "family", "grid's lam", "log-loss", "learned lam", "log-loss",
        "difference", "fits: grid / learned", "evaluations", "seconds",
    ]  # fmt: skip
    return _document("lam", headings, lines, "\n".join(verdicts), _LAM_RULES)


def _delete(options: argparse.Namespace) -> int:
    found: dict[tuple[str, str], dict[str, Influence]] = {}
    problems = (digits(), embedding(options.embedding))
    for latents in problems:
        for family, choice in FITS.items():
            found[latents.name, family] = influence(latents, N_DELETED, **choice)
            for name, one in found[latents.name, family].items():
                print(latents.name, family, name, f"{one.rank_correlation:.4f}", flush=True)
    _record(options.results, "influence", [
        {
            "latents": name, "family": family, "quantity": quantity, "rows": one.rows,
            "predicted": one.predicted[one.rows], "found": one.found, "seconds": one.seconds,
            "seconds_of_refits": one.seconds_of_refits,
            "rank_correlation": one.rank_correlation, "slope": one.slope,
        }
        for (name, family), of in found.items() for quantity, one in of.items()
    ])  # fmt: skip
    _write(options.results / "tables" / "influence.md", _influence_table(found, problems))
    by_name = {latents.name: latents for latents in problems}
    plot_influence(options.results / "figures" / "influence.png", by_name, found, FITS)
    return 0


def _influence_table(
    found: dict[tuple[str, str], dict[str, Influence]], problems: Sequence[Latents]
) -> str:
    n_rows = {latents.name: len(latents.z) for latents in problems}
    lines = [
        [
            name, family, QUANTITIES[quantity], str(n_rows[name]), f"{one.rank_correlation:.4f}",
            f"{one.slope:.3f}", f"{one.seconds:.2f} / {one.seconds_of_refits:.2f}",
        ]
        for (name, family), of in found.items() for quantity, one in of.items()
    ]  # fmt: skip
    correlations = [one.rank_correlation for of in found.values() for one in of.values()]
    enough = sum(each >= CORRELATION for each in correlations)
    says, lines_of = _says(enough == len(correlations)), f"{enough} of {len(correlations)} lines"
    verdicts = [f"- predictions rank rows as deletion and refit do: **{says}** ({lines_of})"]
    headings = [
        "latents", "family", "quantity", "rows", "rank correlation", "slope",
        "seconds: all rows / refits",
    ]  # fmt: skip
    return _document("influence", headings, lines, "\n".join(verdicts), _INFLUENCE_RULES)


def _says(holds: bool) -> str:
    return "holds" if holds else "does not hold"


def _record(folder: Path, what: str, findings: Sequence[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder, {"key": what, "findings": findings, "environment": environment()})


def _document(
    what: str, headings: Sequence[str], lines: Sequence[Sequence[str]], *texts: str
) -> str:
    title = {"lam": "lam learned from held-out rows", "influence": "Influence of rows"}[what]
    rows = [headings, ["---"] * len(headings), *lines]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    made = f"Made by `python examples/nfpi/fit_gradients.py {what}`."
    return "\n\n".join([f"# {title}", table, *texts, made]) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    raise SystemExit(main())
