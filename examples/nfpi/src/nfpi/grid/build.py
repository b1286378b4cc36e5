"""Build the grid of a scale: every run, in order, with its tables and claims."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from fpigauss import InvalidInputError

from nfpi.grid.build_claims import claims_of
from nfpi.grid.build_tables import tables_of
from nfpi.grid.cited import cited_grid
from nfpi.grid.classes import classes_grid
from nfpi.grid.collect import Collector
from nfpi.grid.even import even_grid
from nfpi.grid.few import few_grid
from nfpi.grid.later import later_grid
from nfpi.grid.layer import layer_grid, levels_grid
from nfpi.grid.mixing import mixing_grid
from nfpi.grid.model import Grid, merged
from nfpi.grid.neighbors import neighbors_again_grid, neighbors_grid
from nfpi.grid.paper import paper_grid
from nfpi.grid.reject import reject_grid
from nfpi.grid.scales import SCALES, Scale
from nfpi.grid.settings import (
    ARMS,
    AS_LONG,
    DATA,
    DATA_TIED,
    IDENTITY,
    POLICIES,
    PRIORS,
    RELEASED,
    TIED,
    Config,
    family,
    fixed_point,
    gradient,
    short,
)
from nfpi.paper_figures import PAPER

__all__ = ["GRIDS", "make_grid"]


def make_grid(name: str) -> Grid:
    """Build the grid of a scale, to be committed before its first run.

    Parameters
    ----------
    name : str
        One of ``GRIDS``.
    """
    if name not in GRIDS:
        raise InvalidInputError(f"scale is {name!r}; pass one of {', '.join(GRIDS)}")
    return GRIDS[name]()


def _of_the_paper(scale: Scale) -> Grid:
    """Build the paper's tables at a scale."""
    builder = _Builder(scale)
    # most informative first, for grids that are cut short
    builder.table1(scale.dataset)
    builder.table2()
    builder.table3()
    builder.table4()
    builder.table5()
    for other, changes in scale.others.items():
        builder.table1(other, changes)
    builder.families()
    builder.demonstration()
    return Grid(
        scale=scale.name,
        note=scale.note,
        base=scale.base,
        runs=tuple(builder.runs.values()),
        tables=builder.filled(tables_of(scale)),
        claims=claims_of(scale),
    )


class _Builder(Collector):
    """Collects the runs of the paper's tables."""

    def __init__(self, scale: Scale) -> None:
        super().__init__(tables_of(scale), scale.dataset, scale.seeds, scale.tuning_seed)
        self.scale = scale

    def table1(self, dataset: str, changes: Mapping[str, Any] | None = None) -> None:
        """Add the headline rows."""
        scale, main = self.scale, changes is None
        changes = changes or {}
        mark, where = ("", "") if main else (f"{dataset}-", f"{dataset}: ")
        seeds = scale.headline_seeds if main else scale.seeds
        again: Config = {"evaluation": {"reestimate": True}}
        lam = scale.lam
        rows: dict[str, tuple[Config, str, str | None]] = {
            "data": ({"gaussians": DATA}, "data initialization", "data initialization"),
            "data-tied": (
                {"gaussians": DATA_TIED},
                "data initialization, tied isotropic",
                None,
            ),
            "exact": (fixed_point(lam, TIED), "fixed point, exact, tied isotropic", "fixed point"),
            "released": (fixed_point(lam, RELEASED), "fixed point, released", "fixed point"),
        }
        if not main:  # it serves a claim that is only made about the main data; the paper's figures
            del rows["data-tied"]  # would mislead beside rows of other images
        else:
            for name, lams in (("exact", scale.exact_lams), ("released", scale.released_lams)):
                choices = {short(lam): {"gaussians": {"lam": lam}} for lam in lams}
                self.tune(name, "table1", rows[name][0], choices)
        for each in scale.policies:
            policy, paper = POLICIES[each]
            config = gradient(policy, lam)
            if main:
                rates = {short(rate): {"gaussians": {"lr": rate}} for rate in scale.rates}
                self.tune(f"gd-{each}", "table1", config, rates)
            rows[f"gd-{each}"] = (config, paper, paper)
        for name, (config, label, beside) in rows.items():
            tuned_by = self.tuned.get(name, ())
            self.add(
                "table1", where + label, mark + name, merged(config, changes, again),
                seeds=seeds, paper=beside if main else None, dataset=dataset, tuned_by=tuned_by,
            )  # fmt: skip
        if main:  # Fig. 2 shows one flow
            first = f"exact-s{seeds[0]}"
            self.runs[first] = replace(self.runs[first], options={"pictures": True})

    def table2(self) -> None:
        """Add lam over decades."""
        scale = self.scale
        again: Config = {"evaluation": {"reestimate": True}}
        for name, levels in (
            ("tied-isotropic", scale.exact_levels),
            ("released", scale.released_levels),
        ):
            for lam in levels:
                paper = f"lam {lam / scale.n_classes**2:g}"
                self.add(
                    "table2", f"{name}, lam = {lam:g}", f"{name}-{short(lam)}-forward",
                    merged(family(name, lam), again),
                    paper=paper if paper in PAPER["table2"] else None,
                )  # fmt: skip

    def table3(self) -> None:
        """Add the four ablations, with released and with exact equations."""
        scale, add = self.scale, self.add
        seeds = scale.headline_seeds
        means: Config = {"update": "means"} | IDENTITY
        covariances: Config = {"update": "covariances"}
        again: Config = {"evaluation": {"reestimate": True}}
        released = merged(fixed_point(scale.lam, RELEASED), again)
        # #2 and #3 use the lam chosen for #4: an ablation changes one thing
        same_lam = self.tuned["released"]
        rows = [
            ("#1 without KLD", "data", merged({"gaussians": DATA}, again)),
            ("#2 KLD on means", "released-means", fixed_point(scale.lam, RELEASED, means)),
            (
                "#3 KLD on covariances",
                "released-covariances",
                fixed_point(scale.lam, RELEASED, covariances),
            ),
            ("#4 KLD on both", "released", released),
        ]
        for paper, setting, config in rows:
            label = f"{paper} (released)" if setting != "data" else paper
            add(
                "table3", label, setting, config, seeds=seeds, paper=paper,
                tuned_by=() if setting == "data" else same_lam,
            )  # fmt: skip
        add(
            "table3", "#2 exact, identity covariances", f"identity-{short(scale.lam)}-forward",
            family("identity", scale.lam), paper="#2 KLD on means",
        )  # fmt: skip
        low = merged(family("diagonal", scale.covariances_lam), {"gaussians": covariances})
        add(
            "table3", f"#3 exact, diagonal, lam = {scale.covariances_lam:g}",
            f"diagonal-{short(scale.covariances_lam)}-covariances", low,
            paper="#3 KLD on covariances",
        )  # fmt: skip
        add(
            "table3", f"#4 exact, diagonal, lam = {scale.covariances_lam:g}",
            f"diagonal-{short(scale.covariances_lam)}-forward",
            family("diagonal", scale.covariances_lam), paper="#4 KLD on both",
        )  # fmt: skip

    def table4(self) -> None:
        """Add the other priors, and gradient descent with every policy."""
        scale = self.scale
        again: Config = {"evaluation": {"reestimate": True}}
        for name, part in (("exact", TIED), ("released", RELEASED)):
            self.add(
                "table4", f"fixed point, {name}", name,
                merged(fixed_point(scale.lam, part), again), seeds=scale.headline_seeds,
                paper="fixed point", tuned_by=self.tuned[name],
            )  # fmt: skip
        for name in scale.policies:
            self.add(
                "table4", POLICIES[name][1], f"gd-{name}",
                merged(gradient(POLICIES[name][0], scale.lam), again),
                seeds=scale.headline_seeds,
                tuned_by=self.tuned[f"gd-{name}"],
            )  # fmt: skip
        for name, values in scale.prior_choices.items():
            gaussians, tuned, label, paper = PRIORS[name]
            config: Config = {"gaussians": gaussians}
            choices = {short(value): {"gaussians": {tuned: value}} for value in values}
            self.tune(name, "table4", config, choices)
            self.add(
                "table4", label, name, config, paper=paper,
                tuned_by=self.tuned[name],
            )  # fmt: skip

    def table5(self) -> None:
        """Add classifiers on few real images, with and without a flow's variants of them."""
        options = dict(self.scale.augmentation)
        if not options:
            return
        config, seeds = options.pop("config"), options.pop("seeds")
        plain: Config = {"evaluation": {"cnn": False}}
        for classifier in options.pop("classifiers"):
            for arm, label in ARMS.items():
                self.add(
                    "table5", f"{classifier}, {label}", f"augment-{classifier}",
                    merged(fixed_point(self.scale.lam, TIED), config, plain),
                    seeds=seeds, paper=label, metric=f"accuracy_{arm}", kind="augmentation",
                    options={**options, "classifier": classifier},
                )  # fmt: skip

    def families(self) -> None:
        """Add the combinations of family, equations and pi that make sense."""
        for name, lam, pi in self.scale.families:
            self.add(
                "families", f"{name}, lam = {lam:g}, pi = {pi}", f"{name}-{short(lam)}-{pi}",
                family(name, lam, pi),
            )  # fmt: skip

    def demonstration(self) -> None:
        """Add the larger flow with the headline settings, and others that train as long."""
        changes = self.scale.demonstration
        if not changes:
            return
        lam = min(self.scale.released_lams)  # larger ones break the released equations early on
        rows: dict[str, Config] = {
            "data": {"gaussians": DATA},
            "exact": fixed_point(lam, TIED),
            "released": fixed_point(lam, RELEASED),
        }
        for name, config in rows.items():
            fixed = f"fixed point, {name}, lam = {lam:g}"
            label = "data initialization" if name == "data" else fixed
            self.add("demonstration", label, f"mef-{name}", merged(config, changes))
        for name, changes in self.scale.as_long.items():
            label = f"{AS_LONG[name]}, {changes['training']['epochs']} epochs, exact, lam = {lam:g}"
            config = merged(fixed_point(lam, TIED), changes)
            self.add("demonstration", label, f"{name}-as-long", config)


#: Functions that build the grids, by the names of their scales.
GRIDS: dict[str, Callable[[], Grid]] = {
    **{name: partial(_of_the_paper, scale) for name, scale in SCALES.items()},
    "paper": paper_grid,
    "classes": classes_grid,
    "even": even_grid,
    "layer": layer_grid,
    "levels": levels_grid,
    "reject": reject_grid,
    "neighbors": neighbors_grid,
    "neighbors-again": neighbors_again_grid,
    "mixing": mixing_grid,
    "cited": cited_grid,
    "later": later_grid,
    "few": few_grid,
}
