"""Latents and labels read from files in batches, within a memory limit.

A format that needs a package imports it when a file of it is opened; the extra ``cli`` has them
all, except torch.
"""

from fpigauss.latents._open import Latents, open_latents

__all__ = ["Latents", "open_latents"]
