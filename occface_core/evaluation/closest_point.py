"""Closest points on a triangle mesh: a bounding-box tree searched by a compiled loop, on one core, exactly.

Built for scan-to-mesh evaluation, where the same ten thousand points ask again and again while the mesh moves
a little: the answer is the same in every similarity frame, so the tree is built once, and the triangle found
last time bounds the next search. Scaling over cores is left to processes (one image each).
"""

from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from jaxtyping import Float, Int

from occface_core.errors import MeshError

_LEAF = 4  # most triangles per leaf; 2 to 8 measure alike


@dataclass(frozen=True)
class ClosestPoints:
    """Answers for N query points, all in the unit of the mesh.

    Attributes:
        squared_distance: squared distance to the surface.
        face: index of the triangle that holds the closest point.
        point: the closest point.
    """

    squared_distance: Float[np.ndarray, " N"]
    face: Int[np.ndarray, " N"]
    point: Float[np.ndarray, "N 3"]


class TriangleTree:
    """Search structure over one mesh. Triangles of zero area count as the segment or point they are.

    Args:
        verts: positions, any unit.
        faces: triangles.

    Raises:
        MeshError: no triangle, an index out of range, or a corner that is not finite.
    """

    def __init__(self, verts: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> None:
        if len(faces) == 0:
            raise MeshError("a mesh without triangles has no surface to measure to")
        if faces.min() < 0 or faces.max() >= len(verts):
            raise MeshError(f"faces point outside vertices 0..{len(verts) - 1}")
        corners = np.asarray(verts[faces], np.float64)
        if not np.isfinite(corners).all():
            raise MeshError("the mesh holds NaN or infinite vertex positions")
        self._low, self._high, self._spans, self._order = _build(corners)
        self._slot = np.empty(len(faces), np.int64)  # face index -> row in the tree's order
        self._slot[self._order] = np.arange(len(faces))
        self._triangles = np.ascontiguousarray(corners[self._order])
        self._triangles[:, 1:] -= self._triangles[:, :1].copy()  # corner a, edges ab and ac

    def nearest(self, points: Float[np.ndarray, "N 3"],
                hint: Int[np.ndarray, " N"] | None = None) -> ClosestPoints:
        """The closest point of the surface to each query.

        Args:
            points: queries in the unit and frame of the mesh, finite.
            hint: a triangle that is probably near, for example the last answer; changes speed, never
            distances.

        Raises:
            MeshError: a query is not finite.
        """
        from occface_core.evaluation.closest_point_kernels import search  # brings numba

        queries = np.ascontiguousarray(points, np.float64)
        if not np.isfinite(queries).all():
            raise MeshError("query points hold NaN or infinite values")
        start = np.zeros(len(queries), np.int64) if hint is None else self._slot[hint]
        squared, slot = np.empty(len(queries)), np.empty(len(queries), np.int64)
        found = np.empty((len(queries), 3))
        search(self._low, self._high, self._spans, self._triangles, queries, start, squared, slot, found)
        return ClosestPoints(squared, self._order[slot], found)


def _build(corners: Float[np.ndarray, "F 3 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Box corners (N,3) twice, triangle spans (N,2) and triangle order (F,) of a complete binary tree.

    Node n has the children 2n+1 and 2n+2. Every node splits its triangles at the median centre along the
    longest side of its box; a level is done for all its nodes at once.
    """
    levels = max(0, ceil(log2(len(corners) / _LEAF)))
    order, centres = np.arange(len(corners)), corners.mean(1)
    lowest, highest = corners.min(1), corners.max(1)
    bounds = np.array([0, len(corners)])
    low, high, spans = [], [], []
    for level in range(levels + 1):
        low.append(np.minimum.reduceat(lowest[order], bounds[:-1]))
        high.append(np.maximum.reduceat(highest[order], bounds[:-1]))
        spans.append(np.stack([bounds[:-1], bounds[1:]], 1))
        if level < levels:
            node = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
            size = high[-1] - low[-1]
            axis = size.argmax(1)
            side = np.maximum(size.max(1), np.finfo(float).tiny)
            along = (centres[order, axis[node]] - low[-1][node, axis[node]]) / side[node]  # in [0, 1]
            order = order[np.argsort(2 * node + along)]  # one sort, node by node
            bounds = np.sort(np.concatenate([bounds, (bounds[:-1] + bounds[1:]) // 2]))
    return np.concatenate(low), np.concatenate(high), np.concatenate(spans), order
