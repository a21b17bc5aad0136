"""Texture layout of the open head: the face takes more than half of a square texture.

MakeHuman's unwrap gives the pieces and where they are cut. The outer skin of the head (cut up the back to
the crown) is spread over a rectangle and relaxed so that no triangle flips and the face is magnified; neck,
eyeballs, mouth and eye cavities and tongue keep MakeHuman's shapes and share a strip below it.
"""

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.open_head_flatten import boundary_loops, relax, tutte
from occface_core.morphable.open_head_geometry import HeadGeometry
from occface_core.morphable.open_head_topology import LEFT_EYE, RIGHT_EYE, TONGUE

Array = NDArray[np.float64]

STRIP = 0.11  # height of the strip at the bottom of the texture
MARGIN = 0.003
FACE_SCALE = 4.6  # texture length per metre on the face, relative to the rest of the head
BULGE = 0.02  # how far the rectangle's corners are drawn in, so that no triangle of its side is flat
RELAX_ROUNDS = 40


def _fan(faces: NDArray[np.int64], loop: NDArray[np.int64], apex: int) -> NDArray[np.int64]:
    """Close a hole: triangles from ``apex`` to every edge of a loop, wound like the faces around it."""
    following = np.roll(loop, -1)
    directed = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    if (int(loop[0]), int(following[0])) in directed:
        loop, following = following, loop
    return np.stack([loop, following, np.full(len(loop), apex)], axis=1)


def _rectangle(loop: NDArray[np.int64], places: Array, low: Array, high: Array) -> Array:
    """Positions (N,2) on a bulged rectangle for the outline of the head's skin, at ``places`` (N,3).

    The outline runs from the crown down one side of the back cut to the nape, along the neck under the chin
    to the nape again and up the other side. The crown goes to the middle of the top edge, the napes to the
    lower corners.
    """
    count = len(loop)
    # The cut's two sides lie on each other, so beside its end the outline folds back on itself.
    fold = np.linalg.norm(np.roll(places, -1, 0) - np.roll(places, 1, 0), axis=1)
    crown = int(fold.argmin())
    order = (np.arange(count) + crown) % count
    ring = places[order]
    nape = (
        int(np.argmax(np.abs(ring[:, 0]) > 0.002)) - 1
    )  # the last vertex of the cut, which is on the midline
    length = np.linalg.norm(np.roll(ring, -1, 0) - ring, axis=1)
    length = 0.5 * (length + length[::-1])  # the same spacing on both sides
    travel = np.concatenate([[0.0], np.cumsum(length)])
    width, height = high - low
    total = 2 * (width + height)
    stops = [0, nape, count - nape, count]
    marks = [0.0, width / 2 + height, total - width / 2 - height, total]
    along = np.interp(travel[:-1], travel[stops], marks)  # distance along the rectangle from the top middle
    half = np.minimum(along, total - along)
    across = np.minimum(half, np.where(half > width / 2 + height, total / 2 - half, width / 2))
    down = (half - width / 2).clip(0, height)
    turning = -1.0 if ring[: count // 2, 0].mean() < 0 else 1.0
    flat = np.stack(
        [np.where(along <= total / 2, turning, -turning) * across / (width / 2), 1 - 2 * down / height], 1
    )
    flat = flat * (1 - BULGE * flat[:, ::-1] ** 2)  # strictly convex
    result = np.empty((count, 2))
    result[order] = (low + high) / 2 + flat * (high - low) / 2
    return result


def _head_chart(
    geometry: HeadGeometry, chosen: NDArray[np.bool_], low: Array, high: Array
) -> tuple[NDArray, Array]:
    """Lay out the head's outer skin: texture vertex ids (N,) and their positions (N,2) in the rectangle."""
    used, local = np.unique(geometry.topology.texture_faces[chosen], return_inverse=True)
    faces = local.reshape(-1, 3)
    places = np.empty((len(used), 3))
    places[faces] = geometry.mean[geometry.faces[chosen]]
    face_share = np.empty(len(used))
    face_share[faces] = geometry.regions["face"][geometry.faces[chosen]]
    loops = boundary_loops(faces)
    outline = max(loops, key=lambda loop: np.linalg.norm(np.ptp(places[loop], axis=0)))
    closed, points = [faces], [places]
    for loop in loops:
        if loop is not outline:
            closed.append(_fan(faces, loop, len(used) + len(points) - 1))
            points.append(places[loop].mean(0, keepdims=True))
    whole, space = np.concatenate(closed), np.concatenate(points)
    share = np.concatenate([face_share, np.ones(len(space) - len(used))])
    pinned = _rectangle(outline, places[outline], low, high)
    start = tutte(whole, len(space), outline, pinned)
    scale = 1.0 + (FACE_SCALE - 1.0) * share[whole].mean(1)
    return used, relax(start, whole, space, scale, outline, RELAX_ROUNDS)[: len(used)]


def _strip_cells(geometry: HeadGeometry, main: int) -> list[tuple[int, float]]:
    """Pieces of the strip from left to right: (chart, width share)."""
    topology = geometry.topology
    cells: list[tuple[int, float]] = []
    for chart in np.unique(topology.chart):
        if chart == main:
            continue
        piece = topology.faces[topology.chart == chart]
        kind = int(topology.component[piece[0, 0]])
        if kind in (LEFT_EYE, RIGHT_EYE):
            eye = topology.component == kind
            front = geometry.mean[piece][..., 2].mean() > geometry.mean[eye][:, 2].mean()
            cells.append((int(chart), 0.13 if front else 0.05))
        elif kind == TONGUE or geometry.inner_faces[topology.chart == chart].all():
            cells.append((int(chart), 0.08))
        else:
            cells.append((int(chart), 0.32))
    total = sum(width for _, width in cells)
    return [(chart, width / total) for chart, width in cells]


def _fit(points: Array, low: Array, high: Array, turn: bool) -> Array:
    """Scale points (N,2) uniformly into a cell, centred; ``turn`` them a quarter first."""
    if turn:
        points = np.stack([points[:, 1], -points[:, 0]], axis=1)
    size = np.ptp(points, axis=0)
    scale = float(((high - low) / size).min())
    return (points - points.min(0) - size / 2) * scale + (low + high) / 2


def build_uv(geometry: HeadGeometry) -> tuple[Array, NDArray[np.int64]]:
    """Texture coordinates (Vt,2) in [0,1], v up, and triangles (F,3) in them."""
    topology = geometry.topology
    charts, sizes = np.unique(topology.chart, return_counts=True)
    main = int(charts[sizes.argmax()])
    uv = np.empty_like(topology.texcoords)
    low, high = np.array([MARGIN, STRIP + MARGIN]), np.array([1 - MARGIN, 1 - MARGIN])
    used, places = _head_chart(geometry, topology.chart == main, low, high)
    uv[used] = places
    left = 0.0
    for chart, width in _strip_cells(geometry, main):
        ids = np.unique(topology.texture_faces[topology.chart == chart])
        cell_low, cell_high = (
            np.array([left + MARGIN, MARGIN]),
            np.array([left + width - MARGIN, STRIP - MARGIN]),
        )
        size = np.ptp(topology.texcoords[ids], axis=0)
        wide = width > STRIP
        uv[ids] = _fit(topology.texcoords[ids], cell_low, cell_high, turn=bool((size[0] < size[1]) == wide))
        left += width
    return uv, topology.texture_faces
