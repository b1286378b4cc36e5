"""What the tensors of a state do not say, as a tensor."""

import json
from typing import Any

import torch
from torch import Tensor

__all__ = ["state_said", "state_tensor"]


def state_tensor(said: dict[str, Any]) -> Tensor:
    """Return names and numbers as the bytes (n,) of their JSON."""
    return torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8, device="cpu")


def state_said(state: Any) -> dict[str, Any]:
    """Return what ``state_tensor`` was given, or the dict that states had before 0.1.0."""
    if not isinstance(state, Tensor):
        return dict(state)
    # a whole state may have been cast, to half precision say, which keeps bytes, or averaged
    codes = state.detach().cpu().double().round().to(torch.uint8)
    said: dict[str, Any] = json.loads(bytes(codes.tolist()))
    return said
