"""What a flow decodes, and its log-determinants: whether they are finite."""

import torch
from torch import Tensor

from fpigauss.interface import warn_user
from fpigauss_torch._support.functional import is_wrapped

__all__ = ["finite_rows", "warn_of_log_determinants", "warn_of_samples_not_finite"]


def finite_rows(x: Tensor) -> Tensor:
    """Return which rows (N,) of ``x`` (N, ...) are finite in all their numbers."""
    finite = x.isfinite()
    return finite.all(dim=tuple(range(1, x.ndim))) if x.ndim > 1 else finite


def warn_of_log_determinants(z: Tensor, logdet: Tensor) -> None:
    """Warn once if rows of finite latents ``z`` (N, d) have no finite log-determinant (N,).

    Latents that are not finite have no density, whatever the log-determinant, and are told of.
    """
    if torch.compiler.is_compiling() or is_wrapped(logdet) or is_wrapped(z) or z.is_meta:
        return  # a compiled graph does not look at values
    if bool(logdet.sum().isfinite()):
        return
    rows = (~logdet.isfinite() & finite_rows(z).to(logdet.device)).nonzero()[:, 0]
    if rows.numel() == 0:
        return
    listed = ", ".join(map(str, rows[:6].tolist())) + (", ..." if rows.numel() > 6 else "")
    warn_user(
        f"the flow's log-determinant is {float(logdet[rows[0]]):g} in row {int(rows[0])} "
        f"({rows.numel()} such rows: {listed}): their classes are those of their latents, since "
        "all classes share the determinant, but no class has a density there; reject them "
        "(rejection_score is inf), or look at the flow's input",
        RuntimeWarning,
    )


def warn_of_samples_not_finite(x: Tensor, labels: Tensor) -> None:
    """Warn once if samples ``x`` (N, ...) of classes ``labels`` (N,) are not finite."""
    if torch.compiler.is_compiling() or is_wrapped(x) or x.is_meta:
        return  # a compiled graph does not look at values
    if bool(x.sum().isfinite()):
        return  # a sum of finite numbers may overflow, any other is not finite: one quick pass
    rows = (~finite_rows(x)).nonzero()[:, 0]
    if rows.numel() == 0:
        return
    classes, counts = labels.to(rows.device)[rows].unique(return_counts=True)
    named = [f"{n} of class {k}" for k, n in zip(classes.tolist(), counts.tolist(), strict=True)]
    listed = ", ".join(named[:6]) + (", ..." if len(named) > 6 else "")
    warn_user(
        f"{rows.numel()} of {x.shape[0]} samples are not finite ({listed}; row {int(rows[0])} "
        f"first): the flow overflows {x.dtype} on latents unlike those that it was trained on. "
        "Lower the temperature, which makes them fewer, or bound the scale by which the flow's "
        "layers multiply when they decode; to go on without them, keep "
        "x[x.isfinite().flatten(1).all(1)]",
        RuntimeWarning,
    )
