"""Photos that end close to a face, or in it: beyond their border a crop repeats its last pixels."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# How far from the landmarks' box a photo ends, in sides of the box: left, top, right, bottom. Web pages show
# faces cut at the chin or forehead as often as with room around them.
_NEAREST = np.array([-0.06, -0.1, -0.06, -0.22])
_FARTHEST = np.array([0.22, 0.3, 0.22, 0.2])
_OPEN = 0.25  # chance of a side that is not cut


def cut_off(
    images: Float[Tensor, "B 3 S S"],
    points: Float[Tensor, "B 468 D"],
    share: float,
    seed: Sequence[int],
) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 1 S S"]]:
    """Part of the pictures as crops of photos that end close to the face.

    The crop of a photo that ends within it goes on with the photo's last rows and columns. Networks that have
    seen whole faces alone take these streaks, or the face beside them, for covers.

    Args:
        images: (B,3,S,S) on any device.
        points: (B,468,2 or 3) landmarks, pixels.
        share: chance of every picture, [0,1].
        seed: same numbers, same pixels; the same are drawn whatever the share.

    Returns:
        The pictures, and (B,1,S,S) 1 where the photo is.
    """
    rng = np.random.default_rng(seed)
    batch, _, height, width = images.shape
    chosen, kept = rng.random(batch) < share, rng.random((batch, 4)) < _OPEN
    margins = rng.uniform(_NEAREST, _FARTHEST, (batch, 4))
    inside = images.new_ones(batch, 1, height, width)
    if not chosen.any():
        return images, inside
    out = images.clone()
    flat = points[..., :2].detach().cpu().numpy()
    for row in np.flatnonzero(chosen).tolist():
        left, top, right, bottom = _ends(flat[row], margins[row], kept[row], (width, height))
        columns = torch.arange(width, device=images.device).clamp(left, right - 1)
        rows = torch.arange(height, device=images.device).clamp(top, bottom - 1)
        out[row] = images[row][:, rows][:, :, columns]
        shown = images.new_zeros(height, width)
        shown[top:bottom, left:right] = 1
        inside[row, 0] = shown
    return out, inside


def _ends(
    points: Float[np.ndarray, "468 2"], margins: np.ndarray, kept: np.ndarray, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Where a photo ends: first column and row of it, first ones after it; one pixel is left at least."""
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    sides = np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    borders = np.array([x0, y0, x1, y1]) + np.array([-1, -1, 1, 1]) * margins * sides
    whole = np.array([0, 0, *size])
    borders = np.clip(np.round(borders), 0, np.tile(size, 2))
    left, top, right, bottom = map(int, np.where(kept, whole, borders))
    left, top = min(left, size[0] - 1), min(top, size[1] - 1)
    return left, top, max(right, left + 1), max(bottom, top + 1)
