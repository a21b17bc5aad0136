"""What a photo shows of a surface, texel by texel, and textures at other sizes."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

_CELLS = 6  # cells per standard deviation that a smoothing is computed in
DARKEST = 0.03  # added to colours before their logarithm: below it, noise


@dataclass(frozen=True, eq=False)
class SeenTexture:
    """What one photo shows of the surface.

    Attributes:
        colour: (U,U,3) the photo's colours, anything where nothing is seen.
        weight: (U,U) in [0,1], how much of a texel is seen.
    """

    colour: Float[np.ndarray, "U U 3"]
    weight: Float[np.ndarray, "U U"]


def fitted(picture: Float[np.ndarray, "..."], side: int) -> Float[np.ndarray, "..."]:
    """A square picture at another size."""
    if picture.shape[0] == side:
        return picture
    smaller = side < picture.shape[0]
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def log_ratio(
    colour: Float[np.ndarray, "*n 3"], other: Float[np.ndarray, "*n 3"]
) -> Float[np.ndarray, "*n 3"]:
    """log(colour / other) of a photo's colours to others in [0,1], calm where both are dark."""
    return np.log(np.clip(colour, 0, 1) + DARKEST) - np.log(other + DARKEST)


def averaged(
    colour: Float[np.ndarray, "U U 3"], weight: Float[np.ndarray, "U U"], side: int
) -> tuple[Float[np.ndarray, "S S 3"], Float[np.ndarray, "S S"]]:
    """Weighted mean colours of larger texels, and how much of each has weight."""
    total = fitted(weight.astype(np.float32), side)
    sums = fitted((colour * weight[..., None]).astype(np.float32), side)
    return sums / np.maximum(total, 1e-4)[..., None], total


def blurred(picture: Float[np.ndarray, "U U K"], reach: float) -> Float[np.ndarray, "C C ..."]:
    """Smoothed over `reach` of its side, on a grid just fine enough: that is ten times as fast."""
    picture = picture.astype(np.float32)
    cells = min(picture.shape[0], round(_CELLS / reach))
    coarse = fitted(picture, cells)  # without the last axis where that is 1
    return cv2.GaussianBlur(coarse, (0, 0), reach * cells, borderType=cv2.BORDER_CONSTANT)
