"""The edge where the head is cut from the body, made even.

Skinning weights decide which quads belong to the head, so the cut jumps from one row of quads to the next
and the neck would end in teeth. Its vertices move up or down to a smooth line instead.
"""

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.open_head_flatten import boundary_loops

_WAVES = 2  # the line's height is a constant and this many cosines of the angle around the neck


def rim_vertices(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Vertices of edges that belong to one triangle only, ascending."""
    return np.sort(np.concatenate(boundary_loops(faces)))


def even_rim(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], root: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Move the rim's vertices along y to the nearest smooth line; the root joint stays where it is.

    Args:
        vertices: (V,3) metres, x left, y up, z forward.
        faces: (F,3); the surface's only open edge is the neck's.
        root: (V,) the root joint as a mean of vertices, most of them the rim's: rotating about another point
            would move every posed head.

    Returns:
        (V,3) a copy.
    """
    rim = rim_vertices(faces)
    points = vertices[rim]
    angle = np.arctan2(points[:, 0], points[:, 2] - points[:, 2].mean())
    waves = np.stack([np.cos(k * angle) for k in range(_WAVES + 1)], axis=1)
    # Least squares under one equality constraint: the multiplier's row keeps the root joint's height.
    hold = (root[rim] @ waves)[None]
    normal = np.block([[waves.T @ waves, hold.T], [hold, np.zeros((1, 1))]])
    right = np.append(waves.T @ points[:, 1], root[rim] @ points[:, 1])
    move = waves @ np.linalg.solve(normal, right)[:-1] - points[:, 1]
    moved = vertices.copy()
    moved[rim, 1] += move
    return moved
