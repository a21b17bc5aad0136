"""Landmark index sets: 68 iBUG points among MediaPipe's 468/478 mesh points, mirror pairs, boxes."""

import numpy as np
from jaxtyping import Float, Int

# iBUG order: contour 17 (subject's right to left), brows 5+5, nose 4+5, eyes 6+6, outer lips 12, inner
# lips 8.
IBUG68_FROM_MEDIAPIPE: tuple[int, ...] = (
    *(127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)

# (upper lid, lower lid) and (upper lip, lower lip) pairs: DECA's eye-closure and lip-distance losses
# on MediaPipe points.
EYE_PAIRS: tuple[tuple[int, int], ...] = (
    (160, 144),
    (159, 145),
    (158, 153),
    (385, 380),
    (386, 374),
    (387, 373),
)
LIP_PAIRS: tuple[tuple[int, int], ...] = ((82, 87), (13, 14), (312, 317), (81, 178), (311, 402))


def ibug68(points: Float[np.ndarray, "... P 2"]) -> Float[np.ndarray, "... 68 2"]:
    """Pick the 68 iBUG-equivalent points out of 468 or 478 MediaPipe points."""
    return points[..., list(IBUG68_FROM_MEDIAPIPE), :]


def points68(points: Float[np.ndarray, "L 2"]) -> Float[np.ndarray, "68 2"]:
    """The 68 iBUG points of an annotation, which carries either just them or a MediaPipe mesh."""
    return points if len(points) == 68 else ibug68(points)


def landmark_box(points: Float[np.ndarray, "... L 2"]) -> Float[np.ndarray, "... 4"]:
    """Tight box (x0, y0, x1, y1) of points, in the points' unit."""
    return np.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1)


def eye_opening(points: Float[np.ndarray, "... L 2"]) -> Float[np.ndarray, "..."]:
    """How far the lids of both eyes are apart on average, as a share of the face's size (root of box area).

    Args:
        points: MediaPipe landmarks, at least 468, any unit.
    """
    return _apart(points, EYE_PAIRS)


def lip_opening(points: Float[np.ndarray, "... L 2"]) -> Float[np.ndarray, "..."]:
    """How far the inner borders of the lips are apart on average; as `eye_opening`."""
    return _apart(points, LIP_PAIRS)


def _apart(
    points: Float[np.ndarray, "... L 2"], pairs: tuple[tuple[int, int], ...]
) -> Float[np.ndarray, "..."]:
    upper, lower = (points[..., list(side), :] for side in zip(*pairs, strict=True))
    extent = points[..., :468, :].max(axis=-2) - points[..., :468, :].min(axis=-2)
    return np.linalg.norm(upper - lower, axis=-1).mean(axis=-1) / np.sqrt(extent.prod(axis=-1))


def mirror_pairs(points: Float[np.ndarray, "L 3"]) -> Int[np.ndarray, "L"]:
    """For each landmark of a symmetric 3D template, the index of its mirror image across x = 0.

    Args:
        points: symmetric template, metres, x to the subject's left.

    Raises:
        ValueError: when the assignment is not its own inverse, that is, the template is not symmetric.
    """
    mirrored = points * np.array([-1.0, 1.0, 1.0], dtype=points.dtype)
    distance = np.linalg.norm(mirrored[:, None] - points[None], axis=-1)
    pairs = distance.argmin(axis=1)
    if not np.array_equal(pairs[pairs], np.arange(len(points))):
        raise ValueError("landmark template is not mirror symmetric: pairs are ambiguous")
    return pairs
