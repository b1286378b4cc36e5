"""The tables of a scale, without their rows: titles, columns and notes."""

from nfpi.grid import Column, Table
from nfpi.scales import Scale

__all__ = ["tables_of_scale"]

NF_ACC, NLL = Column("nf_acc", "NF-Acc"), Column("nll", "NLL (nats)", 1)
SHIFT = Column("latent_shift", "class mean to its Gaussian's", 2)


def tables_of_scale(scale: Scale) -> dict[str, Table]:
    """Tables by name, to be filled with rows."""
    temperatures = scale.base["evaluation"]["temperatures"]
    cnn = tuple(Column(f"cnn_acc_{t:g}", f"CNN-Acc, T = {t:g}") for t in temperatures)
    again = tuple(
        Column(f"reestimated_cnn_acc_{t:g}", f"CNN-Acc, re-estimated, T = {t:g}")
        for t in temperatures
    )
    kld = Column("smallest_kld", "smallest KLD", 0)
    accuracy = Column("accuracy", "accuracy")
    untuned = (
        f"The rows of gradient descent are at lam = {scale.lam:g}: their tuning runs chose the "
        "learning rate. Lam was not tuned for them, and was for the fixed points."
    )
    for other, changes in scale.others.items():
        if "lam" in changes.get("gaussians", {}):
            untuned += f" On {other} all rows are at lam = {changes['gaussians']['lam']:g}."
    same_lam = "The rows of #2 and #3 (released) are at the lam that was chosen for #4."
    return {
        "table1": Table(
            "Table 1: ways to find the Gaussians", (NF_ACC, NLL, *cnn, *again, SHIFT), note=untuned
        ),
        "table2": Table(
            "Table 2: the weight of the repulsion", (NF_ACC, NLL, *cnn, *again, SHIFT, kld)
        ),
        "table3": Table(
            "Table 3: which parameters feel the repulsion", (NF_ACC, NLL, *cnn), note=same_lam
        ),
        "table4": Table("Table 4: other priors", (NF_ACC, NLL, *cnn), note=untuned),
        "table5": Table("Table 5: flow augmentation of a classifier's images", (accuracy,)),
        "table6": Table("Table 6: flow augmentation on ImageNet", (accuracy,)),
        "families": Table(
            "Beyond the paper: covariance families, readings and pi",
            (
                NF_ACC,
                NLL,
                *cnn,
                Column("ece", "ECE"),
                Column("ece_calibrated", "ECE, calibrated"),
                kld,
                SHIFT,
                Column("fit_seconds", "refit (s)", 2),
            ),
        ),
        "demonstration": Table(
            "A matrix-exponential Glow, at the same number of epochs",
            (NF_ACC, NLL, *cnn, Column("seconds", "training (s)", 0)),
        ),
    }
