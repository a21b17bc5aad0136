"""Rendered faces: repeatable, framed like photos, and true to the numbers they come with."""

import numpy as np
import pytest
import torch

from occface_core.data.landmarks import ibug68
from occface_core.data.synthetic import SyntheticConfig, SyntheticFaces
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.rendering.cameras import to_pixels, weak_perspective

SIZE = 64
STILL = SyntheticConfig(scale_jitter=0.0, shift_jitter=0.0)


@pytest.fixture(scope="module")
def faces(open_head: HeadModel, small_albedo: AlbedoModel) -> SyntheticFaces:
    return SyntheticFaces(open_head, small_albedo, SIZE)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_one_seed_one_batch(faces: SyntheticFaces) -> None:
    a, b, c = (faces.sample(3, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(a.image, b.image)
    assert torch.equal(a.params.to_code(), b.params.to_code())
    assert not torch.equal(a.image, c.image)


def test_shapes_and_ranges(faces: SyntheticFaces) -> None:
    batch = faces.sample(6, generator=seeded(3))
    assert batch.image.shape == (6, 3, SIZE, SIZE)
    assert 0 <= float(batch.image.min()) <= float(batch.image.max()) <= 1
    assert set(batch.mask.unique().tolist()) == {0.0, 1.0}
    assert batch.points.shape == (6, 468, 3)
    assert float(batch.params.expression.min()) >= 0
    assert float(batch.params.expression.max()) <= 1
    assert float(batch.params.betas.abs().max()) <= 3
    share = batch.mask.mean((1, 2, 3))
    assert ((share > 0.08) & (share < 0.6)).all()


def test_points_are_the_projection_of_the_truth(faces: SyntheticFaces, open_head: HeadModel) -> None:
    batch = faces.sample(4, generator=seeded(4))
    p = batch.params
    verts = open_head(p.betas, p.expression, p.pose).verts
    expected = to_pixels(weak_perspective(open_head.landmarks(verts, "468"), p.camera), SIZE)
    torch.testing.assert_close(batch.points, expected)


def test_the_nose_is_drawn_where_the_truth_says(faces: SyntheticFaces) -> None:
    batch = faces.sample(8, generator=seeded(5))
    for points, mask in zip(batch.points, batch.mask, strict=True):
        column, row = points[4, 0].int().clamp(0, SIZE - 1), points[4, 1].int().clamp(0, SIZE - 1)
        assert mask[0, row, column] == 1


def test_framing_follows_the_crop_of_photos(open_head: HeadModel, small_albedo: AlbedoModel) -> None:
    """Side of the picture = 1.5 times the mean side of the 68-point box, the box in the middle."""
    faces = SyntheticFaces(open_head, small_albedo, SIZE, STILL)
    p = faces.sample(4, generator=seeded(6)).params
    verts = open_head(p.betas, p.expression, p.pose).verts
    points = open_head.landmarks(verts, "68", global_pose=p.pose[:, :3])
    pixels = to_pixels(weak_perspective(points, p.camera), SIZE)[..., :2]
    low, high = pixels.amin(1), pixels.amax(1)
    np.testing.assert_allclose((high - low).mean(1), SIZE / 1.5, rtol=1e-4)
    np.testing.assert_allclose((high + low) / 2, SIZE / 2, atol=1e-3)


def test_mediapipe_points_frame_the_same_face(open_head: HeadModel, small_albedo: AlbedoModel) -> None:
    """Photos are framed by 68 of the 468 points; on renders both boxes must agree to a few percent."""
    faces = SyntheticFaces(open_head, small_albedo, SIZE, STILL)
    points = ibug68(faces.sample(8, generator=seeded(7)).points[..., :2].numpy())
    sides = (points.max(1) - points.min(1)).mean(1)
    np.testing.assert_allclose(sides, SIZE / 1.5, rtol=0.12)


def test_left_and_right_units_mostly_move_together(faces: SyntheticFaces, open_head: HeadModel) -> None:
    values = faces.expressions(400, seeded(8))
    names = list(open_head.expression_names)
    left, right = values[:, names.index("eyeBlinkLeft")], values[:, names.index("eyeBlinkRight")]
    active = (left > 0) | (right > 0)
    assert float((left[active] == right[active]).float().mean()) > 0.6
    assert 0.1 < float((values == 0).all(1).float().mean()) < 0.3
    assert (values >= 0).all()
    assert (values <= 1).all()


def test_poses_open_the_jaw_only_one_way(faces: SyntheticFaces) -> None:
    pose = faces.poses(500, seeded(9))
    assert float(pose[:, 3].min()) >= 0
    assert float(pose[:, 3].max()) <= SyntheticConfig().jaw_max
    assert float(pose[:, :3].abs().max()) <= 1.2001
    yaw_degrees = pose[:, 1].std() * 180 / np.pi
    assert float(yaw_degrees) == pytest.approx(SyntheticConfig().yaw, rel=0.15)


def test_light_leaves_faces_neither_black_nor_white(faces: SyntheticFaces) -> None:
    batch = faces.sample(12, generator=seeded(10))
    skin = (batch.image * batch.mask).sum((2, 3)) / batch.mask.sum((2, 3))
    assert float(skin.mean()) == pytest.approx(0.5, abs=0.25)
    assert float(skin.min()) > 0.03


def test_given_backgrounds_stand_behind_some_faces(faces: SyntheticFaces) -> None:
    photos = torch.zeros(2, 3, SIZE, SIZE)
    photos[:, 0] = 1  # pure red
    batch = faces.sample(12, generator=seeded(11), backgrounds=photos)
    corners = batch.image[:, :, 0, 0]
    red = (corners[:, 0] > 0.8) & (corners[:, 1:] < 0.2).all(1)
    assert 1 < int(red.sum()) < 12
