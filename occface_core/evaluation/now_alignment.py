"""Scan-to-mesh error of one prediction, by the NoW protocol (Sanyal et al., CVPR 2019). Everything in mm.

The scan is cropped to a sphere around the face; the prediction is brought to the scan by seven landmarks,
then by minimising the sum of squared distances from every kept scan vertex to the closest point of the whole
prediction; those distances are the errors.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int

from occface_core.errors import ConfigError, MeshError
from occface_core.evaluation.closest_point import TriangleTree
from occface_core.evaluation.now_dogleg import minimise
from occface_core.geometry.transforms import procrustes

LANDMARK_NAMES = ("right eye outer", "right eye inner", "left eye inner", "left eye outer", "nose base",
                  "right mouth corner", "left mouth corner")
UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
RADIUS_FACTOR, CENTRE_SHIFT = 1.4, 0.3
_LEAST_SPREAD = 1e-3  # second over first principal extent of usable landmarks
_UNIT_SLACK = 5.0  # how far the scale by landmarks may be from the unit given
_MIRROR_MARGIN = 1e-6
_LANDMARK_REACH = 50.0  # mm; further from its own mesh, a landmark belongs to another mesh or unit

Points = Float[np.ndarray, "N 3"]
Landmarks = Float[np.ndarray, "7 3"]


@dataclass(frozen=True)
class ScanErrors:
    """What the protocol says about one prediction.

    Attributes:
        distances: from each kept scan vertex (ascending index) to the aligned prediction, mm.
        initial: prediction to scan by landmarks alone, homogeneous 4x4.
        final: prediction to scan after refinement: ``aligned = (final @ [x, 1])[:3]``.
        procrustes_scale: scale that the landmarks ask for, mm per prediction unit.
        steps: accepted refinement steps.
    """

    distances: Float[np.ndarray, " N"]
    initial: Float[np.ndarray, "4 4"]
    final: Float[np.ndarray, "4 4"]
    procrustes_scale: float
    steps: int


@dataclass(frozen=True)
class CroppedScan:
    """The part of a scan that is evaluated.

    Attributes:
        points: kept vertices, mm.
        ids: their indices in the scan, ascending.
        landmarks: the scan's seven landmarks, mm.
    """

    points: Points
    ids: Int[np.ndarray, " N"] = field(repr=False)
    landmarks: Landmarks = field(repr=False)


def face_sphere(landmarks: Landmarks) -> tuple[Float[np.ndarray, "3"], float]:
    """Centre and radius of the evaluated sphere around a scan's landmarks, same unit."""
    between_eyes, nose = (landmarks[1] + landmarks[2]) / 2, landmarks[4]
    eyes = np.linalg.norm(landmarks[0] - landmarks[3])
    centre = nose + CENTRE_SHIFT * (between_eyes - nose)
    return centre, float(RADIUS_FACTOR * (eyes + np.linalg.norm(between_eyes - nose)) / 2)


def crop_scan(verts: Points, landmarks: Landmarks) -> CroppedScan:
    """Keep the scan's vertices inside the face sphere, its border included.

    Raises:
        MeshError: landmarks or vertices unusable, or no vertex inside.
    """
    check_landmarks(landmarks)
    if len(verts) == 0:
        raise MeshError("the scan has no vertices")
    if not np.isfinite(verts).all():
        raise MeshError("the scan holds NaN or infinite vertex positions")
    centre, radius = face_sphere(landmarks)
    ids = np.flatnonzero(np.linalg.norm(verts - centre, axis=1) <= radius)
    if len(ids) == 0:
        raise MeshError(f"no scan vertex lies within {radius:.1f} mm of the face centre; "
                        "scan and landmarks belong to different frames or units")
    return CroppedScan(verts[ids], ids, landmarks)


def check_landmarks(landmarks: Landmarks) -> None:
    """Raise MeshError when seven landmarks cannot define a pose: not finite, coinciding or on one line."""
    if not np.isfinite(landmarks).all():
        raise MeshError("the landmarks hold NaN or infinite values")
    extents = np.linalg.svd(landmarks - landmarks.mean(0), compute_uv=False)
    if extents[0] <= 0 or extents[1] < _LEAST_SPREAD * extents[0]:
        raise MeshError("degenerate landmarks: all seven coincide or lie on one line")


def scan_errors(scan: CroppedScan, verts: Points, faces: Int[np.ndarray, "F 3"], landmarks: Landmarks,
                unit: str | None = None) -> ScanErrors:
    """Align one prediction to a cropped scan and measure it.

    Args:
        scan: from :func:`crop_scan`.
        verts: predicted neutral head, any unit (with ``unit`` given: that one).
        faces: its triangles.
        landmarks: its seven landmarks in the NoW order (``LANDMARK_NAMES``), same unit as ``verts``.
        unit: None = non-metrical protocol, scale is free; "m", "cm" or "mm" = metrical protocol, scale fixed.

    Raises:
        MeshError: the prediction has no triangles, is not finite, is mirrored, is far from its own landmarks,
            or is nowhere near the given unit.
        ConfigError: unknown unit.
    """
    if unit is not None and unit not in UNITS:
        raise ConfigError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
    check_landmarks(landmarks)
    initial, scale = _landmark_start(scan.landmarks, landmarks, unit)
    placed = _apply(initial, verts)
    tree = TriangleTree(placed, faces)
    _check_on_surface(tree, _apply(initial, landmarks))
    problem = _Refinement(tree, scan.points, with_scale=unit is None)
    result = minimise(problem.residuals, problem.jacobian, problem.start)
    distances = problem.residuals(result.parameters)
    return ScanErrors(distances, initial, problem.matrix(result.parameters) @ initial, scale, result.steps)


def _landmark_start(target: Landmarks, source: Landmarks, unit: str | None) -> tuple[np.ndarray, float]:
    """4x4 start of the refinement, and the scale by landmarks.

    The metrical protocol replaces the scale but keeps the translation of the scaled fit, as the published
    evaluator does; the refinement absorbs the shift.
    """
    pair = torch.from_numpy(source)[None], torch.from_numpy(target)[None]
    fit, mirrored = procrustes(*pair), procrustes(*pair, allow_reflection=True)
    rotation, scale = fit.rotation[0].numpy(), float(fit.scale[0])
    # Landmarks in one plane fit equally well either way round; only a better reflection tells of a mirror.
    if float(mirrored.scale[0]) > scale * (1 + _MIRROR_MARGIN):
        raise MeshError("mirrored landmarks: they fit the scan's only after a reflection; check the order "
                        f"({', '.join(LANDMARK_NAMES)}; right = the subject's right) and the mesh's x axis")
    if not (np.isfinite(scale) and scale > 0):
        raise MeshError(f"degenerate landmarks: they fit the scan's with scale {scale}")
    factor = scale if unit is None else UNITS[unit]
    if not factor / _UNIT_SLACK < scale < factor * _UNIT_SLACK:
        raise MeshError(f"the unit is not {unit!r}: the landmarks ask for {scale:.4g} mm per unit")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = factor * rotation, fit.translation[0].numpy()
    return matrix, scale


def _check_on_surface(tree: TriangleTree, landmarks: Landmarks) -> None:
    gap = float(np.sqrt(tree.nearest(landmarks).squared_distance.max()))
    if gap > _LANDMARK_REACH:
        raise MeshError(f"a landmark lies {gap:.0f} mm from its own mesh; "
                        "both must have the same frame and unit")


def _apply(matrix: Float[np.ndarray, "4 4"], points: Points) -> Points:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


class _Refinement:
    """Distances from scan points to ``s R(r) mesh + t`` as a function of [s,] r, t.

    The mesh stays where it is and the points are moved the other way, so that its search tree serves every
    evaluation. Rotations are axis-angle about the scan frame's origin.
    """

    def __init__(self, tree: TriangleTree, points: Points, *, with_scale: bool) -> None:
        self.tree, self.points, self.with_scale = tree, points, with_scale
        self.start = np.array([1.0, 0, 0, 0, 0, 0, 0])[0 if with_scale else 1:]
        self._hint: np.ndarray | None = None
        self._closest = points

    def _split(self, parameters: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        scale = float(parameters[0]) if self.with_scale else 1.0
        return scale, parameters[-6:-3], parameters[-3:]

    def residuals(self, parameters: np.ndarray) -> np.ndarray:
        """Unsigned distances, mm; infinite when the scale is not positive."""
        scale, turn, shift = self._split(parameters)
        if scale <= 0:
            return np.full(len(self.points), np.inf)
        moved = (self.points - shift) @ rotation_matrix(turn) / scale
        answer = self.tree.nearest(moved, self._hint)
        self._hint, self._closest = answer.face, answer.point
        return scale * np.sqrt(answer.squared_distance)

    def jacobian(self, parameters: np.ndarray) -> np.ndarray:
        """Derivatives at the parameters of the last call of ``residuals``.

        The closest points may be held fixed: moving them along the surface changes distances to second order.
        """
        scale, turn, shift = self._split(parameters)
        rotation = rotation_matrix(turn)
        turned = self._closest @ rotation.T
        away = scale * turned + shift - self.points
        length = np.linalg.norm(away, axis=1, keepdims=True)
        away = np.divide(away, length, out=np.zeros_like(away), where=length > 0)
        columns = [(away * turned).sum(1)] if self.with_scale else []
        derivatives = _rotation_derivatives(turn, rotation)
        columns += [scale * (away * (self._closest @ d.T)).sum(1) for d in derivatives]
        return np.column_stack([*columns, away])

    def matrix(self, parameters: np.ndarray) -> Float[np.ndarray, "4 4"]:
        """The refinement as a homogeneous matrix."""
        scale, turn, shift = self._split(parameters)
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = scale * rotation_matrix(turn), shift
        return matrix


def _cross_matrix(vector: np.ndarray) -> np.ndarray:
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def rotation_matrix(turn: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Rotation of an axis-angle vector (radians), Rodrigues' formula."""
    angle = np.linalg.norm(turn)
    if angle < 1e-12:
        return np.eye(3) + _cross_matrix(turn)
    cross = _cross_matrix(turn / angle)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _rotation_derivatives(turn: np.ndarray, rotation: np.ndarray) -> list[np.ndarray]:
    """Derivative of the rotation by each axis-angle component (Gallego and Yezzi, JMIV 2015, eq. 9)."""
    squared = float(turn @ turn)
    if squared < 1e-24:
        return [_cross_matrix(axis) for axis in np.eye(3)]
    rest = np.eye(3) - rotation
    return [(turn[k] * _cross_matrix(turn) + _cross_matrix(np.cross(turn, rest[:, k]))) @ rotation / squared
            for k in range(3)]
