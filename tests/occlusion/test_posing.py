"""Pose fits, affine placement and spline warps between the mean face and a given one."""

import numpy as np
import pytest

from occface_core.occlusion.canonical import canonical_normals, canonical_points
from occface_core.occlusion.posing import fit_pose, place_rigid, place_warped, warp_matrix


@pytest.fixture
def posed() -> tuple[np.ndarray, np.ndarray]:
    """The mean face turned 0.4 rad about the vertical, 700 px per metre, and that rotation (y down)."""
    c, s = np.cos(0.4), np.sin(0.4)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    cloud = 700.0 * (canonical_points() * [1, -1, -1]) @ turn.T + [50.0, 60.0, 0.0]
    return cloud.astype(np.float32), turn


def test_pose_of_the_mean_face_is_recovered(posed):
    points, turn = posed
    pose = fit_pose(points[:, :2])
    assert pose.scale == pytest.approx(700.0, rel=1e-4)
    np.testing.assert_allclose(pose.rotation, turn, atol=1e-4)
    np.testing.assert_allclose(pose.place(canonical_points()), points, atol=0.05)


def test_turned_normals_stay_unit_and_forward_turns_sideways(posed):
    pose = fit_pose(posed[0][:, :2])
    turned = pose.turn(canonical_normals())
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1.0, atol=1e-5)
    forward = pose.turn(np.array([[0.0, 0.0, 1.0]], np.float32))[0]
    np.testing.assert_allclose(forward, [-np.sin(0.4), 0.0, np.cos(0.4)], atol=1e-4)


def test_affine_placement_and_warp_follow_affine_faces(posed):
    points = posed[0] * np.array([1.2, 0.9, 1.0], np.float32)
    inner = canonical_points()[::7] * np.float32(1.1)  # some of it off the face
    matrix, *_ = np.linalg.lstsq(
        np.concatenate([canonical_points(), np.ones((468, 1))], axis=1), points, rcond=None
    )
    expected = np.concatenate([inner, np.ones((len(inner), 1))], axis=1) @ matrix
    np.testing.assert_allclose(place_rigid(points, inner), expected, atol=0.05)
    np.testing.assert_allclose(place_warped(points, warp_matrix(inner)), expected, atol=0.05)


def test_warp_follows_a_dropped_jaw(posed):
    points = posed[0].copy()
    jaw = canonical_points()[:, 1] < -0.045
    points[jaw, 1] += 20.0
    moved = place_warped(points, warp_matrix(canonical_points()[[152, 10]]))
    assert moved[0, 1] == pytest.approx(points[152, 1], abs=4.0)
    assert moved[1, 1] == pytest.approx(points[10, 1], abs=1.5)
