"""The square face crop every network sees, and the exact way back to the photo.

Frame: pixels, x right, y down, (0, 0) is the top-left corner and pixel centres lie at +0.5. The crop is
an upright square of `scale * (width + height) / 2` of the 68-landmark box (1.5 by default).
"""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from occface_core.errors import BoxError

CROP_SCALE = 1.5
GREY = 127
Padding = Literal["grey", "edge"]


@dataclass(frozen=True)
class CropTransform:
    """An upright square in the original image: `x_crop = (x - left) * size / side`, the same for y.

    Attributes:
        centre_x: Square's centre, original pixels.
        centre_y: Square's centre, original pixels.
        side: Square's side, original pixels.
    """

    centre_x: float
    centre_y: float
    side: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.centre_x, self.centre_y, self.side]).all() and self.side > 0):
            raise BoxError(f"{self} is not usable: centre and side must be finite and the side positive")

    @property
    def left(self) -> float:
        return self.centre_x - self.side / 2

    @property
    def top(self) -> float:
        return self.centre_y - self.side / 2

    def matrix(self, size: int) -> Float[np.ndarray, "3 3"]:
        """Homogeneous original pixel -> crop pixel matrix for a crop of `size` pixels (float64)."""
        k = size / self.side
        return np.array([[k, 0.0, -self.left * k], [0.0, k, -self.top * k], [0.0, 0.0, 1.0]])

    def apply(self, points: Float[np.ndarray, "*batch D"], size: int) -> Float[np.ndarray, "*batch D"]:
        """Original pixels -> crop pixels; a third column (relative depth in pixels) is scaled alike."""
        k = size / self.side
        return (points.astype(np.float64) - self._origin(points.shape[-1])) * k

    def inverse(self, points: Float[np.ndarray, "*batch D"], size: int) -> Float[np.ndarray, "*batch D"]:
        """Crop pixels -> original pixels; a third column (relative depth in pixels) is scaled alike."""
        k = size / self.side
        return points.astype(np.float64) / k + self._origin(points.shape[-1])

    def _origin(self, columns: int) -> Float[np.ndarray, "D"]:
        if columns not in (2, 3):
            raise BoxError(f"points have {columns} columns; give x, y or x, y, depth")
        return np.array([self.left, self.top, 0.0])[:columns]


def check_box(box: Float[np.ndarray, "4"], height: int | None = None, width: int | None = None) -> None:
    """Refuse a box that cannot be a face's: not finite, empty, or with its centre outside the image.

    Args:
        box: x0, y0, x1, y1 in pixels.
        height: Image height; without it only the box itself is checked.
        width: Image width.

    Raises:
        BoxError: Naming the box and the cure.
    """
    shown = ", ".join(f"{value:.1f}" for value in box)
    if not np.isfinite(box).all():
        raise BoxError(f"face box ({shown}) has values that are not finite; give x0, y0, x1, y1 in pixels")
    if box[2] - box[0] < 1 or box[3] - box[1] < 1:
        raise BoxError(
            f"face box ({shown}) is empty; give x0 < x1 and y0 < y1 in pixels, one pixel or more apart"
        )
    if height is None or width is None:
        return
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    if not (0 <= x <= width and 0 <= y <= height):
        raise BoxError(
            f"face box ({shown}) has its centre outside the {width}x{height} image; "
            "boxes are pixels of the upright image (after EXIF rotation), x0, y0, x1, y1"
        )


def square_from_box(box: Float[np.ndarray, "4"], scale: float = CROP_SCALE) -> CropTransform:
    """Square crop around the 68-landmark box.

    Args:
        box: x0, y0, x1, y1, original pixels.
        scale: Side of the square over the box's mean side.

    Raises:
        BoxError: The box is empty or not finite.
    """
    box = np.asarray(box, dtype=np.float64)
    check_box(box)
    x0, y0, x1, y1 = (float(value) for value in box)
    return CropTransform((x0 + x1) / 2, (y0 + y1) / 2, scale * ((x1 - x0) + (y1 - y0)) / 2)


def crop_image(
    image: UInt8[np.ndarray, "H W 3"],
    transform: CropTransform,
    size: int,
    padding: Padding = "edge",
    *,
    roll: float = 0.0,
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Resample the square to `size` pixels: area-like averaging when it shrinks, bilinear when it grows.

    The square keeps its real-valued borders (no rounding to whole pixels). Outside the image the crop
    repeats border pixels (as in training), or is mid grey. Memory stays bounded for any square.

    Args:
        roll: turn the square about its centre, radians, clockwise in the picture: a head turned like that
            stands upright in the crop.
    """
    if roll:
        return _turned(image, transform, size, padding, roll)
    factor = max(1, int(transform.side / size / 2))
    region, x0, y0 = _reduced_region(image, transform, factor)
    # Box in the reduced region's own pixel coordinates.
    left, top = (transform.left - x0) / factor, (transform.top - y0) / factor
    side = transform.side / factor
    # Bilinear filtering reaches one (output or input) pixel further than the box.
    reach = int(np.ceil(max(1.0, side / size))) + 1
    height, width = region.shape[:2]
    before_x, before_y = max(0, reach - int(np.floor(left))), max(0, reach - int(np.floor(top)))
    after_x = max(0, int(np.ceil(left + side)) + reach - width)
    after_y = max(0, int(np.ceil(top + side)) + reach - height)
    mode = cv2.BORDER_CONSTANT if padding == "grey" else cv2.BORDER_REPLICATE
    padded = cv2.copyMakeBorder(region, before_y, after_y, before_x, after_x, mode, value=(GREY, GREY, GREY))
    left, top = left + before_x, top + before_y
    # Pillow's resize takes a real-valued box, centres pixels at +0.5 and widens its filter when shrinking.
    resized = Image.fromarray(padded).resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    return np.array(resized, dtype=np.uint8)


def picture_turn(roll: float) -> Float[np.ndarray, "2 2"]:
    """Matrix that turns points (x right, y down) by `roll` radians, clockwise as the picture is seen."""
    cos, sin = np.cos(roll), np.sin(roll)
    return np.array([[cos, -sin], [sin, cos]])


def _turned(
    image: UInt8[np.ndarray, "H W 3"], transform: CropTransform, size: int, padding: Padding, roll: float
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """A turned square, out of the upright one around it."""
    turn = picture_turn(roll)
    around = int(np.ceil(size * np.abs(turn[0]).sum())) + 2
    wide = replace(transform, side=transform.side * around / size)
    upright = crop_image(image, wide, around, padding)
    # From crop to `upright`, both with pixel centres at +0.5; warpAffine puts them at whole numbers.
    middle, shift = size / 2 - 0.5, around / 2 - 0.5
    matrix = np.column_stack([turn, shift - middle * turn.sum(1)])
    return cv2.warpAffine(upright, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _reduced_region(
    image: UInt8[np.ndarray, "H W 3"], transform: CropTransform, factor: int
) -> tuple[UInt8[np.ndarray, "h w 3"], int, int]:
    """The image under the square, averaged over `factor` x `factor` blocks, and its corner (x, y)."""
    height, width = image.shape[:2]
    margin = 4 * factor
    x0 = int(np.clip(np.floor(transform.left) - margin, 0, width - 1))
    y0 = int(np.clip(np.floor(transform.top) - margin, 0, height - 1))
    x1 = int(np.clip(np.ceil(transform.left + transform.side) + margin, x0 + 1, width))
    y1 = int(np.clip(np.ceil(transform.top + transform.side) + margin, y0 + 1, height))
    region = np.ascontiguousarray(image[y0:y1, x0:x1])
    if factor == 1:
        return region, x0, y0
    # Blocks cut by the region's border average what there is of them.
    return np.array(Image.fromarray(region).reduce(factor)), x0, y0
