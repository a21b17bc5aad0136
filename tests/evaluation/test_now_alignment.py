"""The NoW protocol against the published evaluator's numbers, and against cases with known answers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.errors import ConfigError, MeshError
from occface_core.evaluation.now_alignment import crop_scan, face_sphere, rotation_matrix, scan_errors
from occface_core.evaluation.now_dogleg import minimise
from occface_core.geometry.transforms import axis_angle_to_matrix


@pytest.mark.parametrize("variant", ["std", "metric"])
@pytest.mark.parametrize("case", [0, 1, 2])
def test_agrees_with_published_evaluator(shared_dir: Path, case: int, variant: str) -> None:
    with np.load(shared_dir / "refs" / f"now_case_{case}.npz", allow_pickle=False) as data:
        ref = {k: data[k].astype(np.float64) if data[k].dtype.kind == "f" else data[k] for k in data}
    centre, radius = face_sphere(ref["scan_lm"])
    np.testing.assert_allclose(centre, ref["mask_centre"], atol=2e-5)
    assert radius == pytest.approx(float(ref["mask_radius"]), abs=2e-5)
    scan = crop_scan(ref["scan_v"], ref["scan_lm"])
    np.testing.assert_array_equal(scan.ids, ref["crop_ids"])
    unit = None if variant == "std" else str(ref["pred_unit"])
    got = scan_errors(scan, ref["pred_v"], ref["pred_f"].astype(np.int64), ref["pred_lm"], unit)
    start = ref["pred_v"] @ (got.initial - ref[f"{variant}_T_initial"])[:3, :3].T
    assert np.abs(start + (got.initial - ref[f"{variant}_T_initial"])[:3, 3]).max() < 1e-3
    want = ref[f"{variant}_distances"]
    # The stopping rules are the same, so agreement is far closer than the 0.015 mm asked for.
    assert np.median(got.distances) == pytest.approx(np.median(want), abs=1e-4)
    assert got.distances.mean() == pytest.approx(want.mean(), abs=1e-4)
    assert got.distances.std() == pytest.approx(want.std(), abs=1e-4)
    assert (got.distances**2).sum() == pytest.approx((want**2).sum(), rel=1e-5)
    np.testing.assert_allclose(got.distances, want, atol=0.01)


def test_a_copy_of_the_scan_has_no_error(bump) -> None:
    turn = axis_angle_to_matrix(torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64)).numpy()
    scan = crop_scan(bump.verts, bump.landmarks)
    moved, landmarks = (p @ turn * 0.01 + [3, -1, 2] for p in (bump.verts, bump.landmarks))
    result = scan_errors(scan, moved, bump.faces, landmarks)
    assert result.distances.max() < 1e-6
    assert result.procrustes_scale == pytest.approx(100)
    aligned = moved @ result.final[:3, :3].T + result.final[:3, 3]
    np.testing.assert_allclose(aligned, bump.verts, atol=1e-5)


def test_plane_between_two_layers_of_points() -> None:
    """Points one millimetre above and below a plane: every distance is 1, whatever the refinement does."""
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(-40.0, 41, 8), np.arange(-40.0, 41, 8)))
    layers = [np.stack([x, y, np.full_like(x, z)], 1) for z in (-1.0, 1.0)]
    landmarks = np.array([[-40.0, 20, 0], [-15, 20, 0], [15, 20, 0], [40, 20, 0], [0, -10, 0], [-20, -30, 0],
                          [20, -30, 0]])
    scan = crop_scan(np.concatenate(layers), landmarks)
    plane = np.array([[-500.0, -500, 0], [500, -500, 0], [500, 500, 0], [-500, 500, 0]])
    result = scan_errors(scan, plane, np.array([[0, 1, 2], [0, 2, 3]]), landmarks)
    np.testing.assert_allclose(result.distances, 1, atol=1e-9)


def test_metrical_keeps_the_size(bump) -> None:
    scan = crop_scan(bump.verts, bump.landmarks)
    larger = 1.1
    free = scan_errors(scan, bump.verts * larger, bump.faces, bump.landmarks * larger)
    fixed = scan_errors(scan, bump.verts * larger, bump.faces, bump.landmarks * larger, "mm")
    assert free.distances.max() < 1e-6
    assert fixed.distances.mean() > 0.3
    assert np.cbrt(np.linalg.det(fixed.final[:3, :3])) == pytest.approx(1)
    metres = scan_errors(scan, bump.verts * larger / 1000, bump.faces, bump.landmarks * larger / 1000, "m")
    np.testing.assert_allclose(metres.distances, fixed.distances, atol=1e-6)


def test_sphere_and_crop_of_known_landmarks() -> None:
    landmarks = np.array([[-50.0, 40, 0], [-20, 40, 0], [20, 40, 0], [50, 40, 0], [0, 0, 0], [-30, -30, 5],
                          [30, -30, 5]])
    centre, radius = face_sphere(landmarks)
    np.testing.assert_allclose(centre, [0, 12, 0])
    assert radius == pytest.approx(1.4 * (100 + 40) / 2)
    verts = np.array([[0, 12 + 97.9, 0], [0, 12 + 98.1, 0], [0, 12, -97.9], [98.1, 12, 0.0]])
    np.testing.assert_array_equal(crop_scan(verts, landmarks).ids, [0, 2])


def test_mirrored_landmarks_are_refused(bump) -> None:
    scan = crop_scan(bump.verts, bump.landmarks)
    swapped = bump.landmarks[[3, 2, 1, 0, 4, 6, 5]]
    with pytest.raises(MeshError, match="mirrored"):
        scan_errors(scan, bump.verts, bump.faces, swapped)
    flip = np.array([-1.0, 1, 1])
    with pytest.raises(MeshError, match="mirrored"):
        scan_errors(scan, bump.verts * flip, bump.faces, bump.landmarks * flip)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: np.zeros_like(m), "degenerate"),
        (lambda m: np.outer(np.arange(7.0), [1, 2, 3]), "degenerate"),
        (lambda m: np.where(np.arange(21).reshape(7, 3) == 4, np.nan, m), "NaN"),
        (lambda m: m + np.array([0, 0, 300.0]), "from its own mesh"),
    ],
)
def test_unusable_landmarks_are_refused(bump, change, message: str) -> None:
    scan = crop_scan(bump.verts, bump.landmarks)
    with pytest.raises(MeshError, match=message):
        scan_errors(scan, bump.verts, bump.faces, change(bump.landmarks))


def test_unusable_scans_are_refused(bump) -> None:
    with pytest.raises(MeshError, match="no vertices"):
        crop_scan(np.zeros((0, 3)), bump.landmarks)
    with pytest.raises(MeshError, match="NaN"):
        crop_scan(np.full((4, 3), np.nan), bump.landmarks)
    with pytest.raises(MeshError, match="different frames or units"):
        crop_scan(bump.verts + 1e4, bump.landmarks)


def test_wrong_unit_is_refused(bump) -> None:
    scan = crop_scan(bump.verts, bump.landmarks)
    with pytest.raises(MeshError, match="unit is not 'm'"):
        scan_errors(scan, bump.verts, bump.faces, bump.landmarks, "m")
    with pytest.raises(ConfigError, match="unit must be"):
        scan_errors(scan, bump.verts, bump.faces, bump.landmarks, "inch")


def test_rotation_matches_the_shared_one() -> None:
    for turn in ([0.0, 0, 0], [1e-14, 0, 0], [0.2, -0.4, 1.0], [0, 3.0, 0]):
        want = axis_angle_to_matrix(torch.tensor(turn, dtype=torch.float64)).numpy()
        np.testing.assert_allclose(rotation_matrix(np.array(turn)), want, atol=1e-12)


def test_dogleg_solves_a_linear_problem(rng: np.random.Generator) -> None:
    matrix, answer = rng.normal(size=(20, 3)), np.array([4.0, -3, 2])
    result = minimise(lambda x: matrix @ (x - answer), lambda x: matrix, np.zeros(3))
    np.testing.assert_allclose(result.parameters, answer, atol=1e-3)


def test_dogleg_turns_back_from_steps_out_of_bounds() -> None:
    def residuals(x: np.ndarray) -> np.ndarray:
        return np.array([np.inf]) if x[0] > 1 else 2 - x

    result = minimise(residuals, lambda x: np.array([[-1.0]]), np.zeros(1))
    assert 0.9 < result.parameters[0] <= 1
