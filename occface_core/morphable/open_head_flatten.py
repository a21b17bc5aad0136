"""Flattening a disc of triangles: Tutte's embedding and a flip-free relaxation of its distortion.

Tutte, How to draw a graph (1963): with the outline on a convex curve and every inner vertex at the mean of
its neighbours, no triangle flips. The relaxation is SLIM (Rabinovich et al., Scalable Locally Injective
Mappings, 2017) on the symmetric Dirichlet energy: reweighted least squares, with a step that stops before
any triangle flips.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import spsolve

Array = NDArray[np.float64]


def boundary_loops(faces: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Closed loops of edges that have a triangle on one side only, each as vertex ids in order."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    present = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in present if (b, a) not in present}
    loops = []
    while following:
        start = min(following)
        loop = [start]
        while (step := following.pop(loop[-1])) != start:
            loop.append(step)
        loops.append(np.array(loop))
    return loops


def tutte(faces: NDArray[np.int64], count: int, outline: NDArray[np.int64], pinned: Array) -> Array:
    """Place vertices (count,2): ``outline`` at convex ``pinned`` (N,2), others at their neighbours' mean."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    adjacency = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count)).tocsr()
    laplacian = diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency
    free = np.setdiff1d(np.arange(count), outline)
    result = np.zeros((count, 2))
    result[outline] = pinned
    right = -laplacian[free][:, outline] @ pinned
    result[free] = spsolve(csr_matrix(laplacian[free][:, free]).tocsc(), right)
    return result


def _references(faces: NDArray[np.int64], space: Array, scale: Array) -> tuple[Array, Array]:
    """Inverse edge matrices (F,2,2) of the triangles laid flat and scaled, and their areas (F,)."""
    corners = space[faces]
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.linalg.norm(e1, axis=1)
    area = 0.5 * np.linalg.norm(np.cross(e1, e2), axis=1)
    tiny = 1e-4 * area.mean()  # a closed mouth's filling has no area; give it a thin triangle
    length = np.maximum(length, 1e-6)
    x = (e1 * e2).sum(1) / length
    y = 2 * np.maximum(area, tiny) / length
    flat = np.zeros((len(faces), 2, 2))
    flat[:, 0, 0], flat[:, 0, 1], flat[:, 1, 1] = length * scale, x * scale, y * scale
    sizes: Array = np.maximum(area, tiny) * scale**2
    inverse: Array = np.linalg.inv(flat).astype(np.float64)
    return inverse, sizes


def _jacobians(places: Array, faces: NDArray[np.int64], inverse: Array) -> Array:
    corners = places[faces]
    return np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], axis=-1) @ inverse


def _energy(jacobian: Array, area: Array) -> float:
    """Symmetric Dirichlet energy: sum of area (|J|^2 + |J^-1|^2); infinite when a triangle is flipped."""
    det = np.linalg.det(jacobian)
    if (det <= 0).any():
        return float("inf")
    size = (jacobian**2).sum((1, 2))
    return float((area * size * (1 + 1 / det**2)).sum())


def _longest_step(places: Array, move: Array, faces: NDArray[np.int64]) -> float:
    """Largest step before a triangle has no area: the smallest positive root of its quadratic."""

    def cross(a: Array, b: Array) -> Array:
        return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]

    p, d = places[faces], move[faces]
    p1, p2, d1, d2 = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0], d[:, 1] - d[:, 0], d[:, 2] - d[:, 0]
    a, b, c = cross(d1, d2), cross(p1, d2) + cross(d1, p2), cross(p1, p2)
    root = np.sqrt(np.maximum(b * b - 4 * a * c, 0.0))
    real = b * b - 4 * a * c >= 0
    with np.errstate(divide="ignore", invalid="ignore"):
        stops = np.stack(
            [(-b - root) / (2 * a), (-b + root) / (2 * a), np.where(np.abs(a) < 1e-18, -c / b, np.inf)]
        )
    stops = np.where(real & np.isfinite(stops) & (stops > 0), stops, np.inf)
    return float(stops.min(initial=np.inf))


def relax(
    places: Array,
    faces: NDArray[np.int64],
    space: Array,
    scale: Array,
    outline: NDArray[np.int64],
    rounds: int,
) -> Array:
    """Relax a flip-free layout towards the triangles' true shapes, keeping the outline where it is.

    Args:
        places: (N,2) layout without flipped triangles.
        faces: (F,3).
        space: (N,3) positions whose triangles are to be kept in shape.
        scale: (F,) wanted magnification of each triangle, relative.
        outline: vertices that stay.
        rounds: number of reweighted solves.
    """
    inverse, area = _references(faces, space, scale)
    covered = np.linalg.det(_jacobians(places, faces, inverse)) * area
    factor = np.sqrt(covered.sum() / area.sum())  # wanted areas fill the layout exactly
    inverse, area = inverse / factor, area / area.sum()
    free = np.setdiff1d(np.arange(len(places)), outline)
    for _ in range(rounds):
        jacobian = _jacobians(places, faces, inverse)
        target = _solve(places, faces, inverse, area, jacobian, free)
        move = target - places
        step = min(1.0, 0.8 * _longest_step(places, move, faces))
        before = _energy(jacobian, area)
        while step > 1e-9 and not _energy(_jacobians(places + step * move, faces, inverse), area) < before:
            step *= 0.6
        places = places + step * move if step > 1e-9 else places
    return places


def _metric(jacobian: Array, area: Array) -> tuple[Array, Array]:
    """Weights W^T W (F,2,2) that give the quadratic the energy's gradient, and closest rotations."""
    u, sigma, vt = np.linalg.svd(jacobian)
    sigma = sigma.clip(1e-4, 1e4)
    gap = sigma - 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(np.abs(gap) < 1e-6, 4.0, (sigma - sigma**-3) / gap)
    return (u * weight[:, None, :]) @ np.swapaxes(u, 1, 2) * area[:, None, None], u @ vt


def _solve(
    places: Array,
    faces: NDArray[np.int64],
    inverse: Array,
    area: Array,
    jacobian: Array,
    free: NDArray[np.int64],
) -> Array:
    """One reweighted least-squares step: minimise sum area |W (J - R)|^2 over the free vertices."""
    metric, rotation = _metric(jacobian, area)
    # J = sum_k corner_k g_k^T with g the gradient of corner k's hat function.
    gradient = np.stack([-(inverse[:, 0] + inverse[:, 1]), inverse[:, 0], inverse[:, 1]], axis=1)  # (F,3,2)
    stiffness = np.einsum("fkc,flc->fkl", gradient, gradient)
    rows, columns, values = [], [], []
    right = np.zeros((len(places), 2))
    pull = metric @ rotation
    for k in range(3):
        np.add.at(right, faces[:, k], np.einsum("fab,fb->fa", pull, gradient[:, k]))
        for m in range(3):
            for a in range(2):
                for b in range(2):
                    rows.append(2 * faces[:, k] + a)
                    columns.append(2 * faces[:, m] + b)
                    values.append(metric[:, a, b] * stiffness[:, k, m])
    size = 2 * len(places)
    system = coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size)
    )
    system = system.tocsr()
    unknown = np.stack([2 * free, 2 * free + 1], axis=1).ravel()
    known = np.setdiff1d(np.arange(size), unknown)
    flat = places.ravel().copy()
    load = right.ravel()[unknown] - system[unknown][:, known] @ flat[known]
    flat[unknown] = spsolve(system[unknown][:, unknown].tocsc(), load)
    return flat.reshape(-1, 2)
