"""Building blocks of occluder meshes: grids, ribbons, normals and quick outline coverage."""

from functools import lru_cache

import cv2
import numpy as np

from occface_core.occlusion.textures import fill_polygon
from occface_core.occlusion.types import Sample

_FAST_SIZE = 64  # outlines are compared on a face mask no larger than this


@lru_cache(maxsize=32)
def grid_faces(rows: int, columns: int, closed: bool = False) -> np.ndarray:
    """(F,3) int32 triangles of a rows x columns grid of vertices (row-major).

    Rows run down and columns to the right seen from outside; ``closed`` joins the last column to the first.
    """
    ids = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    if closed:
        ids = np.concatenate([ids, ids[:, :1]], axis=1)
    a, b, c, d = ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]
    faces = np.stack([a, b, c, a, c, d], axis=-1).reshape(-1, 3)
    faces.setflags(write=False)
    return faces


@lru_cache(maxsize=32)
def grid_uv(rows: int, columns: int) -> np.ndarray:
    """(rows*columns,2) float32 texture coordinates, u along columns, v along rows, in [0,1]."""
    u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows))
    uv = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)
    uv.setflags(write=False)
    return uv


def grid_normals(verts: np.ndarray) -> np.ndarray:
    """(R,C,3) unit outward normals (x right, y up, z to the viewer) of a grid in pixels (R,C,3)."""
    along, down = _difference(verts, 1), _difference(verts, 0)
    normals = np.empty_like(verts)
    normals[..., 0] = along[..., 1] * down[..., 2] - along[..., 2] * down[..., 1]
    normals[..., 1] = along[..., 2] * down[..., 0] - along[..., 0] * down[..., 2]
    normals[..., 2] = along[..., 0] * down[..., 1] - along[..., 1] * down[..., 0]
    normals *= np.array([-1.0, 1.0, 1.0], np.float32)  # pixels' y and depth point the other way
    length = np.sqrt((normals * normals).sum(axis=-1, keepdims=True))
    return normals / np.maximum(length, 1e-6)


def _difference(verts: np.ndarray, axis: int) -> np.ndarray:
    """Central differences, one-sided at the ends (scale does not matter to a normal)."""
    out = np.empty_like(verts)
    if axis == 0:
        out[1:-1] = verts[2:] - verts[:-2]
        out[0], out[-1] = verts[1] - verts[0], verts[-1] - verts[-2]
    else:
        out[:, 1:-1] = verts[:, 2:] - verts[:, :-2]
        out[:, 0], out[:, -1] = verts[:, 1] - verts[:, 0], verts[:, -1] - verts[:, -2]
    return out


def ribbon(path: np.ndarray, across: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """(2,N,3) grid of a flat band along a path (N,3); ``across`` (3,) or (N,3) points to its upper edge."""
    half = np.broadcast_to(across, path.shape) * (0.5 * np.broadcast_to(width, (len(path),)))[:, None]
    return np.stack([path + half, path - half]).astype(np.float32)


def coarse_face(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The face mask on a coarse grid, and the (2,) factors from the picture's pixels to it."""
    shrink = min(1.0, _FAST_SIZE / max(sample.height, sample.width))
    height, width = max(1, round(sample.height * shrink)), max(1, round(sample.width * shrink))
    face = cv2.resize(sample.face, (width, height), interpolation=cv2.INTER_AREA)
    return face, np.array([width / sample.width, height / sample.height], np.float32)


def outline_coverage(sample: Sample, outlines: list[list[np.ndarray]]) -> np.ndarray:
    """Share of the face inside each candidate, a list of closed (N,2) pixel outlines, on a coarse grid."""
    face, ratio = coarse_face(sample)
    total = max(float(face.sum()) * 255.0, 1e-6)
    shares = []
    for candidate in outlines:
        alpha = np.zeros(face.shape, np.uint8)
        for outline in candidate:
            fill_polygon(alpha, outline * ratio)
        shares.append(float(np.vdot(face, alpha.astype(np.float32))) / total)
    return np.array(shares)


def opaque_window(alpha: np.ndarray, margin: int = 0) -> tuple[slice, slice] | None:
    """Rows and columns that hold every non-zero opacity, with a margin; None where there is none."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if len(rows) == 0:
        return None
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + 1 + margin),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + 1 + margin),
    )
