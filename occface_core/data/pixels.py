"""Pictures in [0,1]: as the bytes that files and screens take, and some of a batch changed."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor


def to_bytes(image: Float[Tensor, "*B C H W"]) -> UInt8[np.ndarray, "*B H W C"]:
    """Pictures in [0,1] as 8-bit arrays, channels last; what lies outside is clamped."""
    return (image * 255).round().clamp(0, 255).to(torch.uint8).movedim(-3, -1).cpu().numpy()


def changed(
    images: Float[Tensor, "B C H W"],
    chosen: Bool[np.ndarray, "B"],
    change: Callable[[Float[Tensor, "1 C H W"], int], Float[Tensor, "1 C H W"]],
) -> Float[Tensor, "B C H W"]:
    """The batch with some of its pictures changed, one after the other; the others keep their bits.

    Args:
        chosen: which. change: picture and its row in the batch -> what it becomes.
    """
    if not chosen.any():
        return images
    out = images.clone()
    for row in np.flatnonzero(chosen).tolist():
        out[row] = change(images[row : row + 1], row)[0]
    return out
