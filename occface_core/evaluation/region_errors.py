"""Errors of nose, mouth, forehead and cheek by themselves, the way REALY measures (Chai et al., ECCV 2022).

One global fit lets an error of the chin move the nose. REALY therefore brings the prediction to the scan once
for each region, and looks for correspondences by bending the scan's region onto the prediction, because plain
closest points hide errors along the surface. Written from the paper and its published program's definitions
(github.com/czh-98/REALY); docs/now.md says what differs.

The published scans come in *units* of 6.5 to 10.2 mm, and all of the program's constants are taken in them;
only its results are brought to mm (REALY's `metrical_scale`, here `unit_mm`). Scans in mm are measured in
units of 9 mm.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from occface_core.errors import MeshError
from occface_core.evaluation.closest_point import TriangleTree
from occface_core.evaluation.region_bending import bend

REGIONS = ("nose", "mouth", "forehead", "cheek")
UNIT_MM = 9.0  # REALY's hundred scans have 6.5 to 10.2 mm per unit, median 9.0
# Keypoints by their number among iBUG's 68, and from 68 on among REALY's 17 more.
GLOBAL_KEYPOINTS = (36, 39, 42, 45, 33, 48, 54)
_BROWS, _NOSE = tuple(range(17, 27)), tuple(range(27, 36))
_EYES, _LIPS = tuple(range(36, 48)), (*range(48, 61), 64)
RIGID_KEYPOINTS: Mapping[str, tuple[int, ...]] = {
    "nose": (*_NOSE, 70, 71),
    "mouth": _LIPS,
    "forehead": (*_EYES, *_BROWS),
    "cheek": (*_LIPS, 76, 77, 36, 41, 40, 39, 42, 47, 46, 45, 7, 8, 9),
}
BENDING_KEYPOINTS: Mapping[str, tuple[int, ...]] = {
    "nose": _NOSE,
    "mouth": _LIPS,
    "forehead": (*_EYES, *_BROWS),
    "cheek": (),
}
_ROUNDS, _SETTLED = 100, 1e-6

Points = Float[np.ndarray, "N 3"]
Keypoints = Float[np.ndarray, "K 3"]
Faces = Int[np.ndarray, "F 3"]


@dataclass(frozen=True)
class RegionScan:
    """One region of a scan: a mesh in any unit."""

    verts: Points
    faces: Faces


@dataclass(frozen=True)
class RegionError:
    """What is said about one region of one prediction.

    Attributes:
        mean_mm: mean over the region's scan vertices of the distance to the corresponding predicted point;
            REALY's "NMSE".
        rigid_mm: the same to the closest predicted point after the rigid alignment alone.
        distances_mm: the distances behind `mean_mm`, in the order of the scan's vertices.
    """

    mean_mm: float
    rigid_mm: float
    distances_mm: Float[np.ndarray, " N"]


def region_errors(
    regions: Mapping[str, RegionScan],
    scan_keypoints: Keypoints,
    verts: Float[np.ndarray, "V 3"],
    faces: Faces,
    keypoints: Float[np.ndarray, "L 3"],
    *,
    unit_mm: float | None,
) -> dict[str, RegionError]:
    """Measure one prediction against the regions of one scan.

    Args:
        regions: name (of `REGIONS`) -> part of the scan.
        scan_keypoints: 68 iBUG points of the scan (the jaw line fixed to the surface), or REALY's 85.
        verts: predicted head, any unit and frame.
        faces: its triangles.
        keypoints: as many keypoints of the prediction, in its frame.
        unit_mm: mm per unit of a scan in units; None: it is in mm.

    Raises:
        MeshError: keypoints that do not agree, are not finite or lie on a line, or an empty region.
    """
    _check_keypoints(scan_keypoints, keypoints)
    factor, unit = (1 / UNIT_MM, UNIT_MM) if unit_mm is None else (1.0, unit_mm)
    goal = scan_keypoints * factor
    seven = list(GLOBAL_KEYPOINTS)
    scale, rotation, shift = _fit(keypoints[seven], goal[seven], scaled=True)
    placed, points = scale * verts @ rotation.T + shift, scale * keypoints @ rotation.T + shift
    tree = TriangleTree(placed, faces)
    result = {}
    for name, region in regions.items():
        if len(region.verts) == 0 or len(region.faces) == 0:
            raise MeshError(f"the scan's {name} has no vertices or no triangles")
        result[name] = _measure(name, region.verts * factor, region.faces, goal, tree, points, unit)
    return result


def _check_keypoints(scan: Keypoints, predicted: Float[np.ndarray, "L 3"]) -> None:
    if scan.shape != predicted.shape or len(scan) not in (68, 85):
        raise MeshError(
            f"the scan has {len(scan)} keypoints and the prediction {len(predicted)}; both need 68 or 85"
        )
    for what, points in (("scan", scan), ("prediction", predicted)):
        used = points[list(GLOBAL_KEYPOINTS)]
        if not np.isfinite(points).all():
            raise MeshError(f"keypoints of the {what} hold NaN or infinite values")
        extents = np.linalg.svd(used - used.mean(0), compute_uv=False)
        if extents[0] <= 0 or extents[1] < 1e-3 * extents[0]:
            raise MeshError(f"degenerate keypoints of the {what}: they coincide or lie on one line")


def _measure(
    name: str,
    scan: Points,
    faces: Faces,
    scan_points: Keypoints,
    tree: TriangleTree,
    points: Keypoints,
    unit_mm: float,
) -> RegionError:
    rotation, shift = _align_region(name, scan, scan_points, tree, points)

    def closest(queries: Points) -> Points:
        """On the aligned prediction; the queries move instead of the mesh, whose tree stays."""
        return tree.nearest((queries - shift) @ rotation).point @ rotation.T + shift

    coarse = closest(scan)
    chosen = [k for k in BENDING_KEYPOINTS[name] if k < len(points)]
    targets = points[chosen] @ rotation.T + shift
    bent = bend(scan, faces, coarse, _nearest_vertices(scan, scan_points[chosen]), targets)
    distances = np.linalg.norm(closest(bent) - scan, axis=1) * unit_mm
    rigid = float(np.linalg.norm(coarse - scan, axis=1).mean()) * unit_mm
    return RegionError(float(distances.mean()), rigid, distances)


def _align_region(
    name: str, scan: Points, scan_points: Keypoints, tree: TriangleTree, points: Keypoints
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Rotation and shift of the globally placed prediction: closest points, with the region's keypoints
    weighing as much as all its vertices together (a quarter as much on the cheek)."""
    chosen = [k for k in RIGID_KEYPOINTS[name] if k < len(points)]
    weight = int(len(scan) / len(chosen) / (4 if name == "cheek" else 1))
    target = np.concatenate([scan, scan_points[chosen]])
    weights = np.concatenate([np.ones(len(scan)), np.full(len(chosen), float(weight))])
    rotation, shift = np.eye(3), np.zeros(3)
    error, hint = 0.0, None
    for _ in range(_ROUNDS + 1):
        answer = tree.nearest((scan - shift) @ rotation, hint)
        hint = answer.face
        source = np.concatenate([answer.point, points[chosen]]) @ rotation.T + shift
        _, turn, step = _fit(source, target, weights=weights)
        gaps = ((source @ turn.T + step - target) ** 2).sum(1)
        before, error = error, float(weights @ gaps / weights.sum())
        if abs(error - before) < _SETTLED:
            break
        rotation, shift = turn @ rotation, turn @ shift + step
    return rotation, shift


def _fit(
    source: Points, target: Points, *, weights: Float[np.ndarray, " N"] | None = None, scaled: bool = False
) -> tuple[float, Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Least-squares rotation and shift; the scale, as the published program takes it, is the ratio of the
    summed absolute coordinates."""
    share = np.full(len(source), 1 / len(source)) if weights is None else weights / weights.sum()
    centre, goal = share @ source, share @ target
    a, b = source - centre, target - goal
    u, _, vt = np.linalg.svd((share[:, None] * b).T @ a)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ flip @ vt
    scale = float(np.abs(b).sum() / np.abs(a @ rotation.T).sum()) if scaled else 1.0
    return scale, rotation, goal - scale * rotation @ centre


def _nearest_vertices(verts: Points, points: Keypoints) -> Int[np.ndarray, " K"]:
    from scipy.spatial import KDTree

    return KDTree(verts).query(points)[1].astype(np.int64) if len(points) else np.zeros(0, np.int64)
