"""Bring numbers to a device without waiting for it."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor


@lru_cache(maxsize=256)
def constant(values: Any, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """A small table (nested tuples) on a device, copied there once: a copy would wait for the GPU."""
    return torch.tensor(values, dtype=dtype, device=device)


def upload(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Numbers of a batch to a device, without waiting for it."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
