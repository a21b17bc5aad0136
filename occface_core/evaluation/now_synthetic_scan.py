"""Scans of open heads that look like a scanner's: more detail than the model has, noise, holes, own frame."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from occface_core.evaluation.now_alignment import face_sphere
from occface_core.geometry.mesh import vertex_normals

PointsOf = Callable[[Float[np.ndarray, "V 3"]], tuple[Float[np.ndarray, "7 3"], Float[np.ndarray, "K 3"]]]
_WAVES = 24
_REACH = 1.45  # of the evaluated sphere's radius: the crop of the protocol stays inside the scan


@dataclass(frozen=True)
class ScanConfig:
    """How far a scan departs from the head it was made of. Lengths in mm.

    Attributes:
        detail: root mean square of smooth displacement that no shape coefficient can express.
        wavelength: shortest and longest wave in it.
        noise: standard deviation of each vertex along its normal.
        holes: how many round holes, and their least and greatest radius.
        turn: standard deviation of the scan frame's rotation, degrees per axis.
        shift: standard deviation of its translation.
    """

    detail: float = 0.35
    wavelength: tuple[float, float] = (12.0, 50.0)
    noise: float = 0.08
    holes: tuple[int, float, float] = (4, 3.0, 8.0)
    turn: float = 12.0
    shift: float = 60.0


@dataclass(frozen=True)
class Scan:
    """A scan, its seven landmarks, more keypoints (mm), and the part of the face each vertex lies in."""

    verts: Float[np.ndarray, "N 3"]
    faces: Int[np.ndarray, "M 3"]
    landmarks: Float[np.ndarray, "7 3"]
    keypoints: Float[np.ndarray, "K 3"]
    parts: Int[np.ndarray, " N"]


def make_scan(verts: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], skin: Bool[np.ndarray, " V"],
              parts: Int[np.ndarray, " V"], points_of: PointsOf, config: ScanConfig,
              rng: np.random.Generator) -> Scan:
    """Turn a neutral head into a scan of its face.

    Args:
        verts: neutral head, mm.
        faces: its triangles.
        skin: vertices a scanner would see (no eyeballs, no mouth interior).
        parts: number of the part of the face a vertex lies in, -1 for none.
        points_of: the seven landmarks and the other keypoints of a head with these vertices.
        config: departures from the head.
        rng: source of all randomness.
    """
    detailed = verts + _detail(verts, config, rng) * _normals(verts, faces)
    landmarks, keypoints = points_of(detailed)
    centre, radius = face_sphere(landmarks)
    near = skin & (np.linalg.norm(detailed - centre, axis=1) < _REACH * radius)
    # One column per part travels with the positions: a midpoint between two parts is half in each: in none.
    shares = (parts[:, None] == np.arange(parts.max(initial=-1) + 1)).astype(float)
    rows, triangles = subdivide(*keep_vertices(np.concatenate([detailed, shares], 1), faces, near))
    points, shares = rows[:, :3], rows[:, 3:]
    points = points + config.noise * rng.normal(size=(len(points), 1)) * _normals(points, triangles)
    whole = ~_holes(points, config, rng)
    rows, triangles = keep_vertices(np.concatenate([points, shares], 1), triangles, whole)
    points, inside = rows[:, :3], rows[:, 3:] > 0.75
    numbers = np.where(inside.any(1), inside.argmax(1) if inside.shape[1] else 0, -1)
    rotation, shift = _frame(config, rng)

    def turned(x: np.ndarray) -> np.ndarray:
        return x @ rotation.T + shift

    return Scan(turned(points), triangles, turned(landmarks), turned(keypoints), numbers)


def keep_vertices(verts: Float[np.ndarray, "V C"], faces: Int[np.ndarray, "F 3"],
                  keep: Bool[np.ndarray, " V"]) -> tuple[Float[np.ndarray, "N C"], Int[np.ndarray, "M 3"]]:
    """The sub-mesh of whole triangles among the kept vertices; vertices left without a triangle go too.

    ``verts`` may have more columns than positions.
    """
    faces = faces[keep[faces].all(1)]
    used = np.zeros(len(verts), bool)
    used[faces] = True
    number = np.cumsum(used) - 1
    return verts[used], number[faces]


def subdivide(verts: Float[np.ndarray, "V C"],
              faces: Int[np.ndarray, "F 3"]) -> tuple[Float[np.ndarray, "N C"], Int[np.ndarray, "M 3"]]:
    """Split every triangle into four at its edges' midpoints, which neighbours share."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    middle = verts[unique].mean(1)
    ab, bc, ca = (inverse.reshape(3, -1) + len(verts))
    a, b, c = faces.T
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([verts, middle]), np.concatenate([np.stack(part, 1) for part in parts])


def _normals(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals; lengths in mm are safe from the metre-sized guard in ``vertex_normals``."""
    return vertex_normals(torch.from_numpy(verts)[None], torch.from_numpy(faces))[0].numpy()


def _detail(verts: np.ndarray, config: ScanConfig, rng: np.random.Generator) -> np.ndarray:
    """Height of a sum of plane waves at each vertex, (V,1)."""
    direction = rng.normal(size=(_WAVES, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    shortest, longest = np.log(config.wavelength)
    length = np.exp(rng.uniform(shortest, longest, (_WAVES, 1)))
    phase = rng.uniform(0, 2 * np.pi, _WAVES)
    waves = np.sin(2 * np.pi * verts @ (direction / length).T + phase)
    return config.detail * np.sqrt(2 / _WAVES) * waves.sum(1, keepdims=True)


def _holes(points: np.ndarray, config: ScanConfig, rng: np.random.Generator) -> np.ndarray:
    count, smallest, largest = config.holes
    inside = np.zeros(len(points), bool)
    for centre in points[rng.integers(len(points), size=count)]:
        inside |= np.linalg.norm(points - centre, axis=1) < rng.uniform(smallest, largest)
    return inside


def _frame(config: ScanConfig, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", rng.normal(size=3) * config.turn, degrees=True)
    return turn.as_matrix(), rng.normal(size=3) * config.shift
