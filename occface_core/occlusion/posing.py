"""Where an occluder designed on the mean face lands on a given face: pose, affine fit and smooth warp."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from occface_core.occlusion.canonical import canonical_points

# From y up, z out of the face to pixels' y down, depth larger = farther: a half turn about x.
_FLIP = np.array([1.0, -1.0, -1.0], np.float32)


@dataclass(frozen=True)
class HeadPose:
    """Weak-perspective pose: ``pixels = scale * rotation @ flip(model) + translation``.

    Attributes:
        scale: pixels per model unit (metre for the mean face).
        rotation: (3,3) of the flipped model (x right, y down, z away).
        translation: (2,) pixels.
    """

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def turn(self, normals: np.ndarray) -> np.ndarray:
        """Rotate (N,3) model directions into x right, y up, z towards the viewer."""
        return (normals * _FLIP) @ self.rotation.T * _FLIP

    def place(self, model: np.ndarray) -> np.ndarray:
        """(N,3) pixels and depth of (N,3) model points."""
        turned = self.displace(model)
        turned[:, :2] += self.translation
        return turned.astype(np.float32)

    def displace(self, moves: np.ndarray) -> np.ndarray:
        """(...,3) pixels and depth by which moves (...,3) in model units change a place."""
        return self.scale * ((moves * _FLIP) @ self.rotation.T)

    def depth(self, model: np.ndarray) -> np.ndarray:
        """(N,) depth in pixels of (N,3) model points, larger = farther."""
        return self.scale * ((model * _FLIP) @ self.rotation[2])


def fit_pose(points: np.ndarray, inverse: np.ndarray | None = None) -> HeadPose:
    """Scaled-orthographic pose of a model from 2D points: best affine camera, then its nearest rotation.

    Args:
        points: (N,2) pixels.
        inverse: (4,N) ``pose_inverse`` of the model; the mean face's by default (N = 468).
    """
    if inverse is None:
        inverse = canonical_inverse()
    camera = (inverse @ points).T  # (2,4): linear part and offset
    left, sizes, right = np.linalg.svd(camera[:, :3])
    rows = left @ right[:2]
    rotation = np.concatenate([rows, np.cross(rows[0], rows[1])[None]]).astype(np.float32)
    return HeadPose(float(sizes.mean()), rotation, camera[:, 3].astype(np.float32))


def pose_inverse(model: np.ndarray) -> np.ndarray:
    """(4,N) pseudo-inverse of (N,3) model points with a constant: solves affine fits to them."""
    design = np.concatenate([model * _FLIP, np.ones((len(model), 1))], axis=1).astype(np.float64)
    return np.linalg.pinv(design)


@lru_cache(maxsize=1)
def canonical_inverse() -> np.ndarray:
    """(4,468) ``pose_inverse`` of the mean face."""
    return pose_inverse(canonical_points())


# Upper face: brows, eye corners, nose bridge and temples, which carry glasses.
UPPER_FACE = (
    6, 8, 9, 168, 197, 195, 33, 133, 263, 362, 70, 63, 105, 66, 107, 300, 293, 334, 296, 336, 127, 234,
    356, 454, 162, 389, 21, 251, 10, 151, 116, 345, 143, 372, 35, 265, 4, 1,
)  # fmt: skip


@lru_cache(maxsize=1)
def upper_inverse() -> np.ndarray:
    """(4,N) ``pose_inverse`` of the mean face's ``UPPER_FACE``."""
    return pose_inverse(canonical_points()[list(UPPER_FACE)])


def place_rigid(points: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Carry (N,3) mean-face positions to pixels by the affine map that best fits the upper face.

    Args:
        points: (468,3) face points, pixels and depth.
        model: (N,3) metres on the mean face.
    """
    matrix = upper_inverse() @ points[list(UPPER_FACE)]  # (4,3)
    return ((model * _FLIP) @ matrix[:3] + matrix[3]).astype(np.float32)


@lru_cache(maxsize=1)
def controls() -> np.ndarray:
    """Indices of about 120 well-spread points (farthest-point order), so that warps cost little."""
    points = canonical_points()
    chosen = [1]
    distance = np.linalg.norm(points - points[1], axis=1)
    while len(chosen) < 120:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def warp_matrix(model: np.ndarray, *, stiffness: float = 0.02) -> np.ndarray:
    """(N,K) weights that carry (N,3) mean-face positions to any face: ``place_warped`` multiplies by them.

    A three-dimensional spline with kernel |r| plus an affine part, fitted to the control points with a ridge:
    linear in the target points, hence one matrix per object design. Larger stiffness follows details less.
    """
    sites = canonical_points()[controls()].astype(np.float64)
    distances = -np.linalg.norm(model[:, None].astype(np.float64) - sites[None], axis=2)
    basis = np.concatenate([distances, _with_one(model.astype(np.float64))], axis=1)
    return (basis @ _spline_inverse(stiffness)).astype(np.float32)


def _with_one(positions: np.ndarray) -> np.ndarray:
    return np.concatenate([positions, np.ones((len(positions), 1))], axis=1)


@lru_cache(maxsize=4)
def _spline_inverse(stiffness: float) -> np.ndarray:
    """(K+4,K) map from values at the control points to spline coefficients."""
    sites = canonical_points()[controls()].astype(np.float64)
    count = len(sites)
    system = np.zeros((count + 4, count + 4))
    system[:count, :count] = stiffness * np.eye(count)
    system[:count, :count] -= np.linalg.norm(sites[:, None] - sites[None], axis=2)
    system[:count, count:] = _with_one(sites)
    system[count:, :count] = _with_one(sites).T
    return np.linalg.solve(system, np.eye(count + 4, count))


def place_warped(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,3) pixel positions (with depth) of a design with ``warp_matrix`` weights on (468,3) face points."""
    return weights @ points[controls()]
