"""Former addresses and names of this package: they work for one release, with a warning."""

__all__ = ["MOVED", "NOT_PUBLIC"]

#: Former modules of this package, and the rooms that their contents are in now.
MOVED = {
    "_density": "_support",  # pickled densities and errors refer to these two
    "_errors": "_support",
    "augmentation": "augment",
    "calibration": "open_set",
    "new_class": "open_set",
    "perturbation": "augment",
    "principal_axes": "augment",
    "rejection": "open_set",
    "schedule": "refit",
}

#: Names that those modules declared public, and the places where they still are.
NOT_PUBLIC = {
    "perturbation": {
        "check_partners": "fpigauss_torch.augment._perturbation:check_partners",
        "check_strength": "fpigauss_torch.augment._perturbation:check_strength",
    },
    "principal_axes": {
        "check_n_axes": "fpigauss_torch.augment._principal_axes:check_n_axes",
        "prior_of": "fpigauss_torch.augment._principal_axes:prior_of",
    },
}
