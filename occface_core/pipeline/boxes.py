"""Face boxes: reading what the caller gives, and correcting a detected box by the landmarks found in it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from occface_core.data.landmarks import landmark_box
from occface_core.errors import BoxError

Box = Float[np.ndarray, "4"]
BoxLike = (
    np.ndarray | Sequence
)  # checked by `as_box`, so that the message is the user's, not the type checker's
# A corrected box is kept only if it stays near the first: centre within this share of the side, and sides
# within this factor of each other. Beyond that the first fit has failed, and its landmarks with it.
MAX_SHIFT = 0.35
MAX_SCALE = 1.5


def as_box(box: BoxLike) -> Box:
    """Four numbers x0, y0, x1, y1 as float64.

    Raises:
        BoxError: They are not four numbers.
    """
    try:
        values = np.asarray(box, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BoxError(f"face box {box!r} is not numbers; give x0, y0, x1, y1 in pixels") from error
    if values.shape != (4,):
        raise BoxError(f"face box {box!r} has shape {values.shape}; give x0, y0, x1, y1 in pixels")
    return values


def refined_box(box: Box, landmarks: Float[np.ndarray, "68 2"]) -> Box | None:
    """The landmarks' own box, or None when they have strayed from `box` (all in the same pixels)."""
    if not np.isfinite(landmarks).all():
        return None
    new = landmark_box(landmarks.astype(np.float64))
    (old_centre, old_side), (new_centre, new_side) = _centre_side(box), _centre_side(new)
    shift = float(np.linalg.norm(new_centre - old_centre)) / old_side
    near = shift <= MAX_SHIFT and 1 / MAX_SCALE < new_side / old_side < MAX_SCALE
    return new if near else None


def _centre_side(box: Box) -> tuple[Float[np.ndarray, "2"], float]:
    return (box[:2] + box[2:]) / 2, float(np.mean(box[2:] - box[:2]))
