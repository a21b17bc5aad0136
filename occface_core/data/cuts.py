"""Photos that end close to a face, or in it: beyond their border a crop repeats its last pixels."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from occface_core.data.pixels import changed

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
    flat = points[..., :2].detach().cpu().numpy()

    def ends(row: int) -> tuple[slice, slice]:
        return _ends(flat[row], margins[row], kept[row], width, height)

    def cut(picture: Tensor, row: int) -> Tensor:
        rows, columns = ends(row)
        picture = picture[..., rows, columns]
        around = (columns.start, width - columns.stop, rows.start, height - rows.stop)
        return F.pad(picture, around, mode="replicate")

    def within(everywhere: Tensor, row: int) -> Tensor:
        there = torch.zeros_like(everywhere)
        there[..., *ends(row)] = 1
        return there

    return changed(images, chosen, cut), changed(images.new_ones(batch, 1, height, width), chosen, within)


def _ends(
    points: Float[np.ndarray, "468 2"], margins: np.ndarray, kept: np.ndarray, width: int, height: int
) -> tuple[slice, slice]:
    """Rows and columns of a crop that a photo fills, one of each at least."""
    low, high = points.min(0), points.max(0)
    side, size = high - low, np.array([width, height])
    first = np.where(kept[:2], 0, np.round(low - margins[:2] * side)).clip(0, size - 1)
    after = np.where(kept[2:], size, np.round(high + margins[2:] * side)).clip(first + 1, size)
    columns, rows = (slice(int(a), int(b)) for a, b in zip(first, after, strict=True))
    return rows, columns
