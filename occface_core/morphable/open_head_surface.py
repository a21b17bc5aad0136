"""Closest points on a triangle mesh, for placing landmarks on the open head."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def closest_on_triangles(point: Array, corners: Array) -> tuple[Array, Array]:
    """Closest point of every triangle to one point.

    Args:
        point: (3,).
        corners: (F,3,3) triangle corners.

    Returns:
        barycentric weights (F,3) of the closest points and squared distances (F,). (Ericson, Real-Time
        Collision Detection, 5.1.5: the plane point where it lies inside, else the nearest of the three
        edges.)
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    e1, e2, arm = b - a, c - a, point - a
    d11, d12, d22 = (e1 * e1).sum(1), (e1 * e2).sum(1), (e2 * e2).sum(1)
    f1, f2 = (arm * e1).sum(1), (arm * e2).sum(1)
    det = np.maximum(d11 * d22 - d12**2, 1e-30)
    v, w = (d22 * f1 - d12 * f2) / det, (d11 * f2 - d12 * f1) / det
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    best_weights = np.stack([1 - v - w, v, w], axis=1)
    best = np.where(inside, ((arm - v[:, None] * e1 - w[:, None] * e2) ** 2).sum(1), np.inf)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        edge = corners[:, end] - corners[:, start]
        t = (((point - corners[:, start]) * edge).sum(1) / np.maximum((edge**2).sum(1), 1e-30)).clip(0, 1)
        distance = ((point - corners[:, start] - t[:, None] * edge) ** 2).sum(1)
        weights = np.zeros_like(best_weights)
        weights[:, start], weights[:, end] = 1 - t, t
        nearer = distance < best
        best = np.where(nearer, distance, best)
        best_weights[nearer] = weights[nearer]
    return best_weights, best


def embed(
    points: Array, vertices: Array, faces: NDArray[np.int64], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Array]:
    """Put points (N,3) on the nearest allowed triangle; ``allowed`` is (F,) or one row per point (N,F).

    Returns:
        triangle ids (N,) and barycentric weights (N,3), non-negative, rows sum to one.
    """
    rows = np.broadcast_to(allowed, (len(points), len(faces)))
    ids = np.empty(len(points), dtype=np.int64)
    weights = np.empty((len(points), 3))
    for index, point in enumerate(points):
        usable = np.flatnonzero(rows[index])
        bary, distance = closest_on_triangles(point, vertices[faces[usable]])
        winner = int(distance.argmin())
        ids[index], weights[index] = usable[winner], bary[winner]
    return ids, weights / weights.sum(1, keepdims=True)


def locate(vertices: Array, faces: NDArray[np.int64], ids: NDArray[np.int64], weights: Array) -> Array:
    """Positions (...,3) of embedded points: triangle ids (...) and weights (...,3)."""
    return (vertices[faces[ids]] * weights[..., None]).sum(-2)
