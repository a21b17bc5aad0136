"""Face outline masks and depth from 2D points."""

import cv2
import numpy as np
import pytest
import torch
from skimage.measure import points_in_poly

from occface_core.errors import OcclusionError
from occface_core.occlusion import estimate_depth, face_mask_from_points
from occface_core.occlusion.canonical import canonical_normals, canonical_points
from occface_core.occlusion.face_points import FACE_OVAL, outline_rim


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


def test_mask_area_and_place():
    square = torch.zeros(1, 468, 2)
    oval = torch.linspace(0, 2 * torch.pi, 37)[:36]
    square[0, list(FACE_OVAL)] = torch.stack([40 + 20 * oval.cos(), 30 + 25 * oval.sin()], dim=1)
    mask = face_mask_from_points(square, 64, 80)
    assert mask.shape == (1, 1, 64, 80)
    assert float(mask.sum()) == pytest.approx(torch.pi * 20 * 25, rel=0.05)
    assert float(mask[0, 0, 30, 40]) == 1
    assert float(mask[0, 0, 2, 2]) == 0


def test_masks_far_to_the_right_of_large_photos():
    """24-megapixel cameras have 6,000 columns."""
    oval = torch.linspace(0, 2 * torch.pi, 37)[:36]
    areas = []
    for x in (100, 4090, 5900):
        points = torch.zeros(1, 468, 2)
        points[0, list(FACE_OVAL)] = torch.stack([x + 20 * oval.cos(), 30 + 25 * oval.sin()], dim=1)
        areas.append(float(face_mask_from_points(points, 60, 6000).sum()))
    assert areas[0] == pytest.approx(areas[1], rel=1e-3) == pytest.approx(areas[2], rel=1e-3)
    assert areas[0] > 1400
    points[0, list(FACE_OVAL)] = 1e7  # far outside: nothing, and no overflow
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


def test_the_rim_lies_just_outside_the_outline(open_head):
    points = open_head.landmarks(open_head.v_template[None], "468")[..., :2] * torch.tensor([9.0, -9.0])
    points = torch.cat([points, points * 0.6 + 0.45])  # the second one leaves the crop
    size, width = 60, 3
    rim = outline_rim(points, size, width)
    places = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(-1, 2)
    centres = (places + 0.5) * 2 / size - 1
    for one, drawn in zip(points, rim[:, 0].numpy(), strict=True):
        inside = points_in_poly(centres, one[list(FACE_OVAL)].numpy()).reshape(size, size)
        near = cv2.dilate(inside.astype(np.uint8), np.ones((2 * width + 1,) * 2)) > 0
        np.testing.assert_array_equal(drawn, near & ~inside)
        assert drawn.sum() > 100
