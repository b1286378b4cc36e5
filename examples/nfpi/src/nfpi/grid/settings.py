"""The settings that the tables compare: pieces of run configs, by name."""

from typing import Any

from fpigauss_torch.priors import learning_rate_policy

__all__ = [
    "ALPHA",
    "ARMS",
    "DATA",
    "DATA_TIED",
    "IDENTITY",
    "POLICIES",
    "PRIORS",
    "RELEASED",
    "TIED",
    "family",
    "fixed_point",
    "gradient",
    "short",
]

Config = dict[str, Any]

#: What Table 5 compares, with the paper's rows.
ARMS = {
    "none": "no augmentation",
    "flow": "flow augmentation",
    "standard": "standard augmentation",
    "both": "standard and flow augmentation",
}

#: Table 1's policies in the paper's order: name in a setting, in a config, in the paper.
POLICIES = {
    "sublinear-v1": ("sublinear_v1", "gradient descent, sublinear v1"),
    "sublinear-v2": ("sublinear_v2", "gradient descent, sublinear v2"),
    "linear": ("linear", "gradient descent, linear"),
    "superlinear-v1": ("superlinear_v1", "gradient descent, superlinear v1"),
    "superlinear-v2": ("superlinear_v2", "gradient descent, superlinear v2"),
}

#: Baseline 1: Gaussians estimated from the latents, lam = 0.
DATA: Config = {"scheme": "data", "covariance": "diagonal", "tied": False}
#: The same with the one variance of the exact equations: what they add is the repulsion alone.
DATA_TIED: Config = {"scheme": "data", "covariance": "isotropic", "tied": True}
#: Of the authors' configurations, and here of everything: so that one lam means one repulsion.
ALPHA = 10.0
#: The exact equations, one variance for all classes.
TIED: Config = {"covariance": "isotropic", "tied": True, "equations": "stationary", "alpha": ALPHA}
#: What the authors' code computes; tol is that of its configurations.
RELEASED: Config = {
    "covariance": "diagonal",
    "tied": False,
    "equations": "released",
    "alpha": ALPHA,
    "tol": 0.1,
}
#: Fixed identity covariances: only the means are pushed apart.
IDENTITY: Config = {"update": "means", "init": "identity"}

#: Table 4's other priors: the config, what is tuned, our row's label, and the paper's row.
PRIORS: dict[str, tuple[Config, str, str, str | None]] = {
    "ib-inn": ({"scheme": "ib_inn"}, "beta", "learned means, IB-INN's loss", "IB-INN"),
    "klj": ({"scheme": "klj"}, "lam", "learned means, KLJ", None),
    "random-means": ({"scheme": "random_means"}, "scale", "random means", "FlowGMM"),
    "learned-means": ({"scheme": "learned_means"}, "lr", "learned means", "ULCGM"),
}


def fixed_point(lam: float, *parts: Config, **others: Any) -> Config:
    """The config of a fixed point at ``lam``."""
    gaussians: Config = {"scheme": "fixed_point", "lam": lam}
    for part in parts:
        gaussians |= part
    return {"gaussians": gaussians | others}


def gradient(policy: str, lam: float) -> Config:
    """The config of Baseline 2: the same objective by gradient descent."""
    learning_rate_policy(policy, 1)  # refuses names that it does not know
    return {"gaussians": {"scheme": "gradient", "policy": policy, "lam": lam, "alpha": ALPHA}}


def family(name: str, lam: float, pi: str = "forward") -> Config:
    """The config of a covariance family and a reading of the equations, for the last table."""
    parts: dict[str, tuple[Config, ...]] = {
        "tied-isotropic": (TIED,),
        "tied-diagonal": (TIED, {"covariance": "diagonal"}),
        "identity": (TIED, {"tied": False}, IDENTITY),
        "isotropic": (TIED, {"tied": False}),
        "diagonal": (TIED, {"tied": False, "covariance": "diagonal"}),
        "released": (RELEASED,),
        "released-identity": (RELEASED, IDENTITY),
    }
    return fixed_point(lam, *parts[name], pi=pi)


def short(number: float) -> str:
    """A number as part of a name: 1e6, not 1e+06."""
    return f"{number:g}".replace("e+0", "e").replace("e-0", "e-")
