"""From images in [0,1] to the bytes that files and screens take."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_bytes(image: Float[Tensor, "*B C H W"]) -> UInt8[np.ndarray, "*B H W C"]:
    """Pictures in [0,1] as 8-bit arrays, channels last; what lies outside is clamped."""
    return (image * 255).round().clamp(0, 255).to(torch.uint8).movedim(-3, -1).cpu().numpy()
