"""The paper's own figures by table number: accuracies in percent, as printed."""

__all__ = ["PAPER"]

#: Table -> row -> column -> figure, including rows without a counterpart in our tables.
PAPER: dict[str, dict[str, dict[str, float]]] = {
    "table1": {
        "data initialization": {"CIFAR-10 NF-Acc": 77.31, "CIFAR-100 NF-Acc": 39.16},
        "gradient descent, sublinear v1": {"CIFAR-10 NF-Acc": 92.34, "CIFAR-100 NF-Acc": 68.28},
        "gradient descent, sublinear v2": {"CIFAR-10 NF-Acc": 91.94, "CIFAR-100 NF-Acc": 60.68},
        "gradient descent, linear": {"CIFAR-10 NF-Acc": 93.1, "CIFAR-100 NF-Acc": 60.58},
        "gradient descent, superlinear v1": {"CIFAR-10 NF-Acc": 92.41, "CIFAR-100 NF-Acc": 57.21},
        "gradient descent, superlinear v2": {"CIFAR-10 NF-Acc": 93.25, "CIFAR-100 NF-Acc": 58.56},
        "fixed point": {"CIFAR-10 NF-Acc": 93.63, "CIFAR-100 NF-Acc": 71.65},
    },
    # The lam of this table is ours divided by K^2 = 10,000.
    "table2": {
        "lam 10": {"CIFAR-100 NF-Acc": 39.48, "CIFAR-100 CNN-Acc": 31.37},
        "lam 50": {"CIFAR-100 NF-Acc": 63.58, "CIFAR-100 CNN-Acc": 44.57},
        "lam 100": {"CIFAR-100 NF-Acc": 66.87, "CIFAR-100 CNN-Acc": 46.38},
        "lam 200": {"CIFAR-100 NF-Acc": 69.29, "CIFAR-100 CNN-Acc": 43.72},
        "lam 300": {"CIFAR-100 NF-Acc": 70.42, "CIFAR-100 CNN-Acc": 42.65},
        "lam 500": {"CIFAR-100 NF-Acc": 70.08, "CIFAR-100 CNN-Acc": 37.27},
    },
    "table3": {
        "#1 without KLD": {
            "CIFAR-10 NF-Acc": 77.31,
            "CIFAR-10 CNN-Acc": 62.1,
            "CIFAR-100 NF-Acc": 39.16,
            "CIFAR-100 CNN-Acc": 23.03,
        },
        "#2 KLD on means": {
            "CIFAR-10 NF-Acc": 93.2,
            "CIFAR-10 CNN-Acc": 74.76,
            "CIFAR-100 NF-Acc": 71.65,
            "CIFAR-100 CNN-Acc": 37.02,
        },
        "#3 KLD on covariances": {
            "CIFAR-10 NF-Acc": 88.75,
            "CIFAR-10 CNN-Acc": 61.94,
            "CIFAR-100 NF-Acc": 57.76,
            "CIFAR-100 CNN-Acc": 30.58,
        },
        "#4 KLD on both": {
            "CIFAR-10 NF-Acc": 93.63,
            "CIFAR-10 CNN-Acc": 73.03,
            "CIFAR-100 NF-Acc": 70.42,
            "CIFAR-100 CNN-Acc": 42.65,
        },
    },
    "table4": {
        "fixed point": {"CIFAR-10": 93.63, "CIFAR-100": 71.65},
        "gradient descent": {"CIFAR-10": 93.25, "CIFAR-100": 68.28},
        "IB-INN": {"CIFAR-10": 91.28, "CIFAR-100": 66.22},
        "IB-INN + KLJ": {"CIFAR-10": 88.6},
        "FlowGMM": {"CIFAR-10": 88.44},
        "ULCGM": {"CIFAR-10": 84.0},
        "Monotone Flow": {"CIFAR-10": 93.4},
        "i-DenseNets": {"CIFAR-10": 92.40},
        "Residual NF": {"CIFAR-10": 91.78},
        "Invertible ResNets": {"CIFAR-10": 93.22, "CIFAR-100": 75.42},
        "Implicit NF": {"CIFAR-10": 92.71, "CIFAR-100": 70.94},
        "JEM++": {"CIFAR-10": 94.1, "CIFAR-100": 74.5},
        "SHOT-VAE": {"CIFAR-10": 93.89, "CIFAR-100": 74.70},
    },
    "table5": {
        "Swin, from scratch": {"CIFAR-10": 93.37, "CIFAR-100": 77.32},
        "SL-Swin": {"CIFAR-10": 94.93, "CIFAR-100": 79.99},
        "Swin-Drloc": {"CIFAR-10": 86.07, "CIFAR-100": 65.32},
        "no augmentation": {"CIFAR-10": 93.06, "CIFAR-100": 72.84},
        "flow augmentation": {"CIFAR-10": 94.06, "CIFAR-100": 73.50},
        "standard augmentation": {"CIFAR-10": 96.89, "CIFAR-100": 80.38},
        "standard and flow augmentation": {"CIFAR-10": 96.96, "CIFAR-100": 80.45},
    },
    "table6": {
        "no augmentation": {"top 1": 90.896, "top 5": 98.802},
        "standard augmentation": {"top 1": 90.986, "top 5": 98.834},
        "flow augmentation": {"top 1": 91.031, "top 5": 98.849},
        "standard and flow augmentation": {"top 1": 91.082, "top 5": 98.854},
    },
}
