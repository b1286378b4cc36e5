"""A callback that refits in Lightning, for ``lightning`` and for ``pytorch_lightning``."""

from fpigauss_torch.lightning._callback import FixedPointCallback

__all__ = ["FixedPointCallback"]
