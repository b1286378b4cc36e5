"""State the paper's claims and this project's own, each with the rule that decides it."""

from nfpi.grid.claims import Claim, Side
from nfpi.grid.scales import Scale
from nfpi.grid.settings import ARMS, short

__all__ = ["claims_of"]


def claims_of(scale: Scale) -> tuple[Claim, ...]:
    """List the claims that a scale's runs can decide."""

    def nf(setting: str) -> Side:
        return Side(setting, "nf_acc")

    def levels(name: str, temperature: float) -> tuple[Side, ...]:
        lams = scale.released_levels if name == "released" else scale.exact_levels
        metric = f"cnn_acc_{temperature:g}"
        return tuple(Side(f"{name}-{short(lam)}-forward", metric) for lam in lams)

    gradients = [f"gd-{name}" for name in scale.policies]
    claims = [
        Claim(
            f"{name}-above-data",
            f"Table 1: the fixed point ({name}) classifies better than data initialization.",
            "greater",
            ((nf(name), nf("data")),),
        )
        for name in ("exact", "released")
    ]
    claims += [
        Claim(
            "exact-above-data-tied",
            "Table 1: the fixed point (exact) classifies better than data initialization with the "
            "same covariances (tied isotropic).",
            "greater",
            ((nf("exact"), nf("data-tied")),),
        )
    ]
    claims += [
        Claim(
            f"{name}-at-least-gradient",
            f"Table 1: the fixed point ({name}) classifies at least as well as gradient descent, "
            "whatever its policy.",
            "at_least",
            tuple((nf(name), nf(other)) for other in gradients),
            margin=0.005,
        )
        for name in ("exact", "released")
    ]
    ablations = (
        ("released-covariances", "data"),
        ("released-means", "released-covariances"),
        ("released", "released-covariances"),
    )
    claims.append(
        Claim(
            "ablations",
            "Table 3: NF-Acc of #1 < #3 < #2 and #4 (released, at one lam).",
            "greater",
            tuple((nf(high), nf(low)) for high, low in ablations),
        )
    )
    claims += [
        Claim(
            f"hump-{name}-{temperature:g}",
            f"Table 2: CNN-Acc rises and falls with lam ({name}, T = {temperature:g}).",
            "hump",
            (levels(name, temperature),),
            margin=0.01,
        )
        for name in ("tied-isotropic", "released")
        for temperature in scale.base["evaluation"]["temperatures"]
        if len(levels(name, temperature)) > 2
    ]
    for classifier in scale.augmentation.get("classifiers", ()):
        arms = {arm: Side(f"augment-{classifier}", f"accuracy_{arm}") for arm in ARMS}
        claims += [
            Claim(
                f"augmentation-{classifier}",
                f"Table 5: flow augmentation alone helps ({classifier}).",
                "greater",
                ((arms["flow"], arms["none"]),),
            ),
            Claim(
                f"augmentation-{classifier}-both",
                f"Table 5: flow augmentation helps beside standard augmentation ({classifier}).",
                "greater",
                ((arms["both"], arms["standard"]),),
            ),
        ]
    return (
        *claims,
        Claim(
            "exact-at-least-released",
            "Beyond the paper: the exact equations (tied isotropic) classify at least as well as "
            "the released ones.",
            "at_least",
            ((nf("exact"), nf("released")),),
            margin=0.005,
        ),
        Claim(
            "exact-at-least-released-nll",
            "Beyond the paper: the exact equations reach at least the likelihood of the released "
            "ones (NLL, within 1 nat).",
            "at_least",
            ((Side("exact", "nll"), Side("released", "nll")),),
            margin=1.0,
            lower_is_better=True,
        ),
    )
