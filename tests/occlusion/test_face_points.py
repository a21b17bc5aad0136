"""Face outline masks and depth from 2D points."""

import cv2
import numpy as np
import pytest
import torch

from occface_core.errors import OcclusionError
from occface_core.occlusion import estimate_depth, face_mask_from_points
from occface_core.occlusion.canonical import canonical_normals, canonical_points
from occface_core.occlusion.face_points import FACE_OVAL, face_triangles, rim_of
from occface_core.rendering.rasterizer import visible_faces


def test_depth_of_the_posed_mean_face_is_recovered(faces):
    points = faces[2]
    found = estimate_depth(points[..., :2].contiguous())
    assert torch.equal(found[..., :2], points[..., :2])
    true = points[..., 2] - points[..., 2].mean(1, keepdim=True)
    torch.testing.assert_close(found[..., 2], true, atol=0.05, rtol=0)


def test_depth_does_not_depend_on_the_unit_of_the_mean_face(faces):
    flat = faces[2][..., :2].contiguous()
    millimetres = torch.tensor(canonical_points()) * 1000
    torch.testing.assert_close(
        estimate_depth(flat, mean_points=millimetres), estimate_depth(flat), atol=1e-2, rtol=0
    )


def test_the_nose_is_nearer_than_the_chin_and_ears(faces):
    depth = estimate_depth(faces[2][..., :2].contiguous())[..., 2]
    assert bool((depth[:, 1] < depth[:, 152]).all())
    assert bool((depth[:, 1] < depth[:, [234, 454]].amin(1)).all())


def ellipse(x: float) -> torch.Tensor:
    """Points whose oval is 40 wide and 50 high around (x, 30), all others in its middle."""
    points = torch.tensor([x, 30.0]).repeat(1, 468, 1)
    oval = torch.linspace(0, 2 * torch.pi, 37)[:36]
    points[0, list(FACE_OVAL)] = torch.stack([x + 20 * oval.cos(), 30 + 25 * oval.sin()], dim=1)
    return points


def test_mask_area_and_place():
    mask = face_mask_from_points(ellipse(40), 64, 80)
    assert mask.shape == (1, 1, 64, 80)
    assert float(mask.sum()) == pytest.approx(torch.pi * 20 * 25, rel=0.05)
    assert float(mask[0, 0, 30, 40]) == 1
    assert float(mask[0, 0, 2, 2]) == 0


def test_masks_far_to_the_right_of_large_photos():
    """24-megapixel cameras have 6,000 columns."""
    areas = [float(face_mask_from_points(ellipse(x), 60, 6000).sum()) for x in (100, 4090, 5900)]
    assert areas[0] == pytest.approx(areas[1], rel=1e-3) == pytest.approx(areas[2], rel=1e-3)
    assert areas[0] > 1400
    points = torch.full((1, 468, 2), 1e7)  # far outside: nothing, and no overflow
    assert float(face_mask_from_points(points, 60, 60).sum()) == 0


def test_not_finite_points():
    points = torch.full((1, 468, 2), float("inf"))
    with pytest.raises(OcclusionError):
        face_mask_from_points(points, 10, 10)
    with pytest.raises(OcclusionError):
        estimate_depth(points)


def test_mean_face_is_symmetric_and_normals_are_unit():
    points, normals = canonical_points(), canonical_normals()
    assert points.shape == normals.shape == (468, 3)
    assert points[4, 2] == points[:, 2].max()  # the nose tip is foremost
    assert abs(points[:, 0].sum()) < 1e-3
    assert abs((normals**2).sum(1) - 1).max() < 1e-5


@pytest.mark.parametrize(("yaw", "folded"), [(0, 0.0), (30, 0.05), (60, 0.3)])
def test_faces_seen_from_the_side_are_whole(open_head, yaw: int, folded: float):
    """The mask is what the head's own face fills, though the oval of the landmarks has folded over."""
    size = 128
    angle = torch.tensor(yaw * torch.pi / 180)
    turn = torch.tensor(
        [[angle.cos(), 0.0, angle.sin()], [0.0, 1.0, 0.0], [-angle.sin(), 0.0, angle.cos()]]
    )
    verts = (open_head.v_template @ turn.T)[None]
    points = open_head.landmarks(verts, "468") * torch.tensor([600.0, -600.0, -600.0]) + size / 2
    mask = face_mask_from_points(points[..., :2], size, size)[0, 0].numpy() > 0.5
    drawn = visible_faces(points, torch.tensor(face_triangles()), size, size)[0].numpy() >= 0
    assert (mask & drawn).sum() / (mask | drawn).sum() > 0.97
    oval = points[0, list(FACE_OVAL), :2].numpy().astype(np.float32)
    assert 1 - cv2.contourArea(oval) / mask.sum() == pytest.approx(folded, abs=folded + 0.02)
    assert 1 - cv2.contourArea(oval) / mask.sum() >= folded


def test_triangles_fill_the_oval_once():
    triangles = face_triangles()
    flat = canonical_points()[:, :2].astype(np.float32)
    areas = [cv2.contourArea(flat[t]) for t in triangles]
    assert sum(areas) == pytest.approx(cv2.contourArea(flat[list(FACE_OVAL)]), rel=1e-3)
    assert set(triangles.ravel().tolist()) == set(range(468))


def test_the_rim_lies_just_outside_a_mask(generator):
    size, width = 60, 3
    inside = torch.zeros(2, 1, size, size)
    inside[0, 0, 20:40, 15:30] = 1
    inside[1, 0, 50:, 40:] = 0.9  # leaves the crop
    rim = rim_of(inside, width)
    for one, drawn in zip(inside[:, 0].numpy() > 0.5, rim[:, 0].numpy(), strict=True):
        near = cv2.dilate(one.astype(np.uint8), np.ones((2 * width + 1,) * 2)) > 0
        np.testing.assert_array_equal(drawn, near & ~one)
        assert drawn.sum() > 60
