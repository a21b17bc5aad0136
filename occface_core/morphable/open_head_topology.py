"""Which part of the MakeHuman body is the head: vertices, triangles, texture charts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.open_head_assets import BaseMesh

SKIN, TONGUE, LEFT_EYE, RIGHT_EYE, TEETH = 0, 1, 2, 3, 4
_COMPONENT = {"body": SKIN, "helper-tongue": TONGUE, "helper-l-eye": LEFT_EYE, "helper-r-eye": RIGHT_EYE}


@dataclass(frozen=True)
class HeadTopology:
    """The head cut out of the body; vertex and triangle order never change between builds."""

    keep: NDArray[np.int64]  # (V,) body vertex ids, ascending
    mirror: NDArray[np.int64]  # (V,) index of the mirror image of each vertex
    faces: NDArray[np.int64]  # (F,3)
    component: NDArray[np.int8]  # (V,) 0 skin, 1 tongue, 2 left eye, 3 right eye
    texcoords: NDArray[np.float64]  # (Vt,2) MakeHuman's own unwrap
    texture_faces: NDArray[np.int64]  # (F,3) into texcoords
    chart: NDArray[np.int64]  # (F,) connected piece of MakeHuman's unwrap


def descendants(bones: dict[str, dict], root: str) -> list[str]:
    """Return ``root`` and every bone below it."""
    found = [root]
    for name, bone in bones.items():
        if bone["parent"] == root:
            found += descendants(bones, name)
    return found


def bone_share(
    weights: dict[str, list[list[float]]], bones: dict[str, float], count: int
) -> NDArray[np.float64]:
    """Share (count,) of each vertex's skinning that goes to ``bones``, each counted with its factor."""
    total, chosen = np.zeros(count), np.zeros(count)
    for name, rows in weights.items():
        if rows:
            table = np.array(rows)
            ids = table[:, 0].astype(np.int64)
            np.add.at(total, ids, table[:, 1])
            np.add.at(chosen, ids, table[:, 1] * bones.get(name, 0.0))
    return chosen / np.maximum(total, 1e-12)


def _split(quads: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def cut_head(mesh: BaseMesh, bones: dict[str, dict], weights: dict[str, list[list[float]]]) -> HeadTopology:
    """Cut out the quads whose corners are all skinned mostly to ``neck01`` and the bones below it."""
    share = bone_share(weights, dict.fromkeys(descendants(bones, "neck01"), 1.0), len(mesh.vertices))
    chosen = {name: np.all(share[quads] > 0.5, axis=1) for name, quads in mesh.quads.items()}
    quads = np.concatenate([mesh.quads[name][chosen[name]] for name in mesh.quads])
    texture = np.concatenate([mesh.quad_texcoords[name][chosen[name]] for name in mesh.quads])
    keep = np.unique(quads)
    component = np.zeros(keep.size, dtype=np.int8)
    for name, value in _COMPONENT.items():
        component[np.isin(keep, mesh.quads[name])] = value
    used, texture_index = np.unique(texture, return_inverse=True)
    texture_faces = _split(texture_index.reshape(texture.shape))
    return HeadTopology(
        keep=keep,
        mirror=np.searchsorted(keep, mesh.mirror[keep]),
        faces=_split(np.searchsorted(keep, quads)),
        component=component,
        texcoords=mesh.texcoords[used],
        texture_faces=texture_faces,
        chart=connected_pieces(texture_faces, used.size)[texture_faces[:, 0]],
    )


def connected_pieces(faces: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Label the connected pieces of a triangle mesh: (count,) label = lowest vertex index of the piece."""
    label = np.arange(count)
    while True:
        low = label[faces].min(1)
        new = label.copy()
        np.minimum.at(new, faces.ravel(), np.repeat(low, 3))
        new = new[new]
        if np.array_equal(new, label):
            return label
        label = new


def smooth(values: NDArray[np.float64], faces: NDArray[np.int64], rounds: int) -> NDArray[np.float64]:
    """Average a field (V,) or (V,C) with its mesh neighbours, half and half, ``rounds`` times."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    degree = np.bincount(pairs[:, 0], minlength=len(values)).clip(min=1)
    degree = degree if values.ndim == 1 else degree[:, None]
    for _ in range(rounds):
        total = np.zeros_like(values)
        np.add.at(total, pairs[:, 0], values[pairs[:, 1]])
        values = 0.5 * values + 0.5 * total / degree
    return values


def vertex_normals(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Unit vertex normals (V,3), area-weighted."""
    corners = vertices[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], cross)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
