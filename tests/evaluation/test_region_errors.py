"""Region errors on a small curved surface: exact cases, invariances, and the published program's figures."""

import numpy as np
import pytest

from occface_core.errors import MeshError
from occface_core.evaluation.now_alignment import rotation_matrix
from occface_core.evaluation.now_synthetic_scan import keep_vertices
from occface_core.evaluation.region_bending import bend
from occface_core.evaluation.region_errors import (
    BENDING_KEYPOINTS,
    REGIONS,
    RegionScan,
    region_errors,
)

# What the steps of REALY's published program give for `warped` on `case`: mm after bending, and before.
PUBLISHED = {
    "nose": (1.1611, 1.0564),
    "mouth": (0.7981, 0.6698),
    "forehead": (1.4206, 1.3686),
    "cheek": (1.5376, 1.4716),
}


class Case:
    """A surface cut into four regions by quadrant, with 68 of its vertices as keypoints."""

    def __init__(self, verts: np.ndarray, faces: np.ndarray) -> None:
        self.verts, self.faces = verts, faces
        right, upper = verts[:, 0] < 0, verts[:, 1] > 0
        inside = (right & upper, right & ~upper, ~right & upper, ~right & ~upper)
        self.ids = np.random.default_rng(1).choice(len(verts), 68, replace=False)
        for name, keep in zip(REGIONS, inside, strict=True):  # a region's keypoints lie in it
            wanted = list(BENDING_KEYPOINTS[name])
            self.ids[wanted] = np.random.default_rng(2).choice(
                np.flatnonzero(keep), len(wanted), replace=False
            )
        self.regions = {
            name: RegionScan(*keep_vertices(verts, faces, keep))
            for name, keep in zip(REGIONS, inside, strict=True)
        }

    def errors(self, verts: np.ndarray, unit_mm: float | None = None):
        return region_errors(
            self.regions, self.verts[self.ids], verts, self.faces, verts[self.ids], unit_mm=unit_mm
        )


@pytest.fixture(scope="module")
def case(bump) -> Case:
    return Case(bump.verts, bump.faces)


@pytest.fixture(scope="module")
def warped(bump) -> np.ndarray:
    """The surface with a smooth error, turned, shrunk to metres and elsewhere."""
    x, y, _ = bump.verts.T
    push = 4 * np.sin(x / 35)[:, None] * np.array([0.5, 0.2, 1.0]) + 3 * np.cos(y / 30)[:, None] * [0.3, 1, 0]
    return (bump.verts + push) @ rotation_matrix(np.array([0.3, -0.4, 0.1])).T * 0.001 + 0.2


def test_the_published_programs_figures(case: Case, warped: np.ndarray) -> None:
    found = case.errors(warped)
    for name, (bent, rigid) in PUBLISHED.items():
        assert found[name].mean_mm == pytest.approx(bent, abs=2e-4)
        assert found[name].rigid_mm == pytest.approx(rigid, abs=2e-4)
        assert found[name].distances_mm.mean() == pytest.approx(found[name].mean_mm)
        assert len(found[name].distances_mm) == len(case.regions[name].verts)


def test_a_perfect_prediction_has_no_error_in_any_frame_and_size(case: Case) -> None:
    moved = case.verts @ rotation_matrix(np.array([-0.5, 0.2, 0.7])).T * 0.02 - 3
    for error in case.errors(moved).values():
        assert error.mean_mm < 1e-3
        assert error.rigid_mm < 1e-6


def test_scans_in_mm_are_measured_in_units_of_9_mm(case: Case, warped: np.ndarray) -> None:
    in_units = Case(case.verts / 9, case.faces)
    mm, units = case.errors(warped), in_units.errors(warped, unit_mm=9.0)
    for name in REGIONS:
        assert units[name].mean_mm == pytest.approx(mm[name].mean_mm, rel=1e-6)


def test_scans_in_units_are_measured_as_they_come(case: Case, warped: np.ndarray) -> None:
    """As the published program does: `metrical_scale` changes nothing but the unit of the result."""
    in_units = Case(case.verts / 9, case.faces)
    nine, six = (in_units.errors(warped, unit_mm=unit) for unit in (9.0, 6.5))
    for name in REGIONS:
        assert six[name].mean_mm == pytest.approx(nine[name].mean_mm * 6.5 / 9, rel=1e-9)
        assert six[name].rigid_mm == pytest.approx(nine[name].rigid_mm * 6.5 / 9, rel=1e-9)


def test_one_regions_error_does_not_spread_to_the_others(case: Case) -> None:
    far = (case.verts[:, 0] > 20) & (case.verts[:, 1] < -20)
    verts = case.verts + far[:, None] * [0, 0, 8.0]  # the cheek stands out
    seven = case.ids[[36, 39, 42, 45, 33, 48, 54]]
    verts[seven] = case.verts[seven]  # the global placement sees nothing of it
    found = case.errors(verts)
    assert found["cheek"].mean_mm > 1
    assert max(found[name].mean_mm for name in ("nose", "mouth", "forehead")) < 0.25


def test_keypoints_show_what_closest_points_hide(case: Case) -> None:
    """Features that slide along the surface keep its form: only correspondences see them."""
    wave = 5 * np.sin(case.verts[:, :2] / 25)
    x, y = (case.verts[:, :2] + wave).T
    z = 60 - (x**2 + 0.7 * y**2) / 200 + 25 * np.exp(-(x**2 + (y + 10) ** 2) / 600) + 0.03 * y
    found = case.errors(np.stack([x, y, z], 1))
    for name in ("nose", "mouth", "forehead"):
        assert found[name].mean_mm > 1.2 * found[name].rigid_mm


def test_unusable_input_is_refused(case: Case, warped: np.ndarray) -> None:
    points = warped[case.ids]
    rest = {"unit_mm": None}
    scan = case.verts[case.ids]
    with pytest.raises(MeshError, match="both need 68 or 85"):
        region_errors(case.regions, scan, warped, case.faces, points[:60], **rest)
    with pytest.raises(MeshError, match="prediction hold NaN"):
        region_errors(case.regions, scan, warped, case.faces, points * np.nan, **rest)
    with pytest.raises(MeshError, match="degenerate keypoints of the scan"):
        region_errors(case.regions, scan * 0, warped, case.faces, points, **rest)
    empty = {"nose": RegionScan(np.zeros((0, 3)), np.zeros((0, 3), np.int64))}
    with pytest.raises(MeshError, match="nose has no vertices"):
        region_errors(empty, scan, warped, case.faces, points, **rest)


def test_bending_moves_pulled_parts_and_leaves_loose_ones() -> None:
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 0.4]])
    triangles = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    verts = np.concatenate([square, square[:3] + np.array([50, 0, 0])])
    faces = np.concatenate([triangles, [[5, 6, 7]]])
    targets = verts[[0, 1, 2, 3, 4, 0, 1, 2]] + [0, 0, 0.3]  # one for every vertex, all near the first part
    ids = np.zeros(0, np.int64)
    moved = bend(verts, faces, targets, ids, np.zeros((0, 3)))
    np.testing.assert_allclose(moved[:5], square + np.array([0, 0, 0.3]), atol=0.05)
    np.testing.assert_allclose(moved[5:], verts[5:], atol=1e-6)
