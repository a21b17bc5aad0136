"""Where the lips of the open head meet, which is where MediaPipe's inner lip points belong.

On a closed mouth MediaPipe's upper and lower inner points coincide. Read from pictures and photos of slightly
open mouths they came to lie on the front of the lips, 3 mm apart on a mouth that is closed, so a network that
put its landmarks on the photo's pressed closed lips into each other and closed the lips of a smile.
"""

import numpy as np
from numpy.typing import NDArray

from occface_core.errors import AssetError
from occface_core.morphable.open_head_geometry import HeadGeometry
from occface_core.morphable.open_head_landmarks import INNER_LOWER_LIP, INNER_UPPER_LIP
from occface_core.morphable.open_head_surface import embed, locate

Array = NDArray[np.float64]
Embedding = tuple[NDArray[np.int64], Array]

TOUCHING = 6e-4  # metres between lips that count as meeting; 0.5 % of the face, MediaPipe's own is 0.2
STEP = 1e-4  # metres from front to back


def meet_lips(geometry: HeadGeometry, points468: Embedding) -> Embedding:
    """Move the inner lip points to where the closed lips meet, each in its own vertical plane.

    Args:
        geometry: the mean head, mouth closed. points468: triangles (468,) and weights (468,3).

    Raises:
        AssetError: in some plane there are no two lips.
    """
    places = locate(geometry.mean, geometry.faces, *points468)
    upper, lower = _lips(geometry)
    moved = places.copy()
    for points, own in ((INNER_UPPER_LIP, 0), (INNER_LOWER_LIP, 1)):
        for point in points:
            across = places[point, 0]
            depth, heights = _contact(geometry.mean, geometry.faces[upper], geometry.faces[lower], across)
            moved[point] = across, heights[own], depth
    lips = [*INNER_UPPER_LIP, *INNER_LOWER_LIP]
    allowed = np.stack([upper] * len(INNER_UPPER_LIP) + [lower] * len(INNER_LOWER_LIP))
    ids, weights = points468[0].copy(), points468[1].copy()
    ids[lips], weights[lips] = embed(moved[lips], geometry.mean, geometry.faces, allowed)
    return ids, weights


def _lips(geometry: HeadGeometry) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Triangles (F,) of the upper and of the lower lip, down to where the mouth's cavity begins."""
    faces = geometry.faces
    lips = geometry.outer_faces & (geometry.regions["lips"][faces].mean(1) > 0.05)
    with_jaw = geometry.rig.weights[:, 2][faces].mean(1) > 0.5
    return lips & ~with_jaw, lips & with_jaw


def _contact(mean: Array, upper: NDArray, lower: NDArray, across: float) -> tuple[float, tuple[float, float]]:
    """Depth z at which, coming from the front, the lips first meet in a plane of one x, and heights y."""
    profiles = [_section(mean, faces, across) for faces in (upper, lower)]
    found = []
    for depth in _shared_depths(*profiles):
        above, below = (_heights(profile, depth) for profile in profiles)
        if len(above) and len(below):
            found.append((float(depth), (float(above.min()), float(below.max()))))
    if not found:
        raise AssetError(f"no lips above each other {1e3 * across:.1f} mm beside the mean head's middle")
    gaps = np.array([above - below for _, (above, below) in found])
    # Beside the corners they come near each other without touching.
    return found[int((gaps <= max(TOUCHING, gaps.min() + STEP)).argmax())]


def _shared_depths(upper: Array, lower: Array) -> Array:
    """Depths z (N,) that segments of both lips reach, from the front to the back."""
    if not len(upper) or not len(lower):
        return np.empty(0)
    ends = [(lip[..., 2].max(), lip[..., 2].min()) for lip in (upper, lower)]
    return np.arange(min(front for front, _ in ends), max(back for _, back in ends), -STEP)


def _section(mean: Array, faces: NDArray, across: float) -> Array:
    """Segments (N,2,3) in which triangles (F,3) cut the plane x = `across`."""
    corners = mean[faces]
    before = corners[..., 0] < across
    corners = corners[before.any(1) & ~before.all(1)]
    before = corners[..., 0] < across
    # The corner that lies alone on its side; both edges from it are cut.
    alone = np.where(before.sum(1) == 1, before.argmax(1), (~before).argmax(1))
    rows = np.arange(len(corners))
    start = corners[rows, alone]
    ends = np.stack([corners[rows, (alone + k) % 3] for k in (1, 2)], axis=1)
    share = (across - start[:, 0])[:, None] / (ends[..., 0] - start[:, None, 0])
    return start[:, None] + share[..., None] * (ends - start[:, None])


def _heights(segments: Array, depth: float) -> Array:
    """Heights y at which segments (N,2,3) pass a depth z."""
    low, high = segments[:, 0], segments[:, 1]
    met = (low[:, 2] - depth) * (high[:, 2] - depth) <= 0
    low, high = low[met], high[met]
    run = high[:, 2] - low[:, 2]
    share = np.divide(depth - low[:, 2], run, out=np.zeros_like(run), where=run != 0)
    return low[:, 1] + share * (high[:, 1] - low[:, 1])
