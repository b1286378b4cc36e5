"""The settings compared in the tables, as pieces of run configs."""

from typing import Any

from fpigauss_torch.priors import learning_rate_policy

__all__ = [
    "ALPHA",
    "ARMS",
    "AS_LONG",
    "COUPLINGS",
    "DATA",
    "DATA_TIED",
    "IDENTITY",
    "JUDGED",
    "POLICIES",
    "PRIORS",
    "RELEASED",
    "TIED",
    "family",
    "fixed_point",
    "gradient",
    "short",
    "small_flow",
]

Config = dict[str, Any]

#: Fully connected couplings, and the optimizer of the paper at a rate for thousands of steps.
COUPLINGS: Config = {
    "flow": {"name": "coupling"},
    "training": {
        "batch_size": 128,
        "optimiser": "adamax",
        "lr": 1e-2,
        "warmup_steps": 200,
        "ema_decay": 0.9999,
    },
}

#: Samples at T = 1 are judged, of the prior and of re-estimated Gaussians.
JUDGED: Config = {
    "evaluation": {"cnn": True, "n_generated": 5_000, "temperatures": [1.0], "reestimate": True}
}

#: The arms of Table 5, with the paper's rows.
ARMS = {
    "none": "no augmentation",
    "flow": "flow augmentation",
    "standard": "standard augmentation",
    "both": "standard and flow augmentation",
}

#: The flows that train as long as the demonstration's, with the labels of their rows.
AS_LONG = {"coupling": "fully connected couplings", "tarflow": "TarFlow"}

#: Table 1's policies in the paper's order: their names in settings, configs and the paper.
POLICIES = {
    "sublinear-v1": ("sublinear_v1", "gradient descent, sublinear v1"),
    "sublinear-v2": ("sublinear_v2", "gradient descent, sublinear v2"),
    "linear": ("linear", "gradient descent, linear"),
    "superlinear-v1": ("superlinear_v1", "gradient descent, superlinear v1"),
    "superlinear-v2": ("superlinear_v2", "gradient descent, superlinear v2"),
}

#: Baseline 1: Gaussians estimated from the latents, lam = 0.
DATA: Config = {"scheme": "data", "covariance": "diagonal", "tied": False}
#: The same with the single variance of the exact equations, which then only add the repulsion.
DATA_TIED: Config = {"scheme": "data", "covariance": "isotropic", "tied": True}
#: From the authors' configurations, here for all settings, so that lam always means the same.
ALPHA = 10.0
#: The exact equations with one variance for all classes.
TIED: Config = {"covariance": "isotropic", "tied": True, "equations": "stationary", "alpha": ALPHA}
#: As computed by the authors' code, with the tol of its configurations.
RELEASED: Config = {
    "covariance": "diagonal",
    "tied": False,
    "equations": "released",
    "alpha": ALPHA,
    "tol": 0.1,
}
#: Fixed identity covariances: only the means repel each other.
IDENTITY: Config = {"update": "means", "init": "identity"}

#: Table 4's other priors: config, tuned field, label of our row, and the paper's row.
PRIORS: dict[str, tuple[Config, str, str, str | None]] = {
    "ib-inn": ({"scheme": "ib_inn"}, "beta", "learned means, IB-INN's loss", "IB-INN"),
    "klj": ({"scheme": "klj"}, "lam", "learned means, KLJ", None),
    "random-means": ({"scheme": "random_means"}, "scale", "random means", "FlowGMM"),
    "learned-means": ({"scheme": "learned_means"}, "lr", "learned means", "ULCGM"),
}


def fixed_point(lam: float, *parts: Config, **others: Any) -> Config:
    """Return the config of a fixed point at ``lam``."""
    gaussians: Config = {"scheme": "fixed_point", "lam": lam}
    for part in parts:
        gaussians |= part
    return {"gaussians": gaussians | others}


def gradient(policy: str, lam: float) -> Config:
    """Return the config of Baseline 2: the same objective by gradient descent."""
    learning_rate_policy(policy, 1)  # refuses unknown names
    return {"gaussians": {"scheme": "gradient", "policy": policy, "lam": lam, "alpha": ALPHA}}


def family(name: str, lam: float, pi: str = "forward") -> Config:
    """Return the config of a covariance family and its equations, for the last table."""
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
    """Format a number as part of a name: 1e6, not 1e+06."""
    return f"{number:g}".replace("e+0", "e").replace("e-0", "e-")


def small_flow(epochs: int = 12, size: int | None = 14, **data: Any) -> Config:
    """Return a base config: a small flow, 10 seconds of a processor for 10,000 images."""
    return {
        "data": {"size": size, **data},
        "flow": {"name": "coupling", "options": {"n_couplings": 6, "hidden": 128}},
        "gaussians": {"epochs": [1]},
        "training": {
            "epochs": epochs,
            "batch_size": 128,
            "optimiser": "adamax",
            "lr": 1e-2,
            "warmup_steps": 50,
        },
    }
