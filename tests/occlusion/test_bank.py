"""The store of designs, and how they are carried to faces and drawn."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from occface_core.errors import AssetError, OcclusionError
from occface_core.occlusion import OccluderBank, estimate_depth
from occface_core.occlusion.batched.draws import Draws
from occface_core.occlusion.batched.group import Group, compose
from occface_core.occlusion.batched.light import estimate_lights
from occface_core.occlusion.batched.paint import Objects, draw
from occface_core.occlusion.batched.place import estimate_depths, fit_poses, upper_affine
from occface_core.occlusion.batched.soften import blur_along
from occface_core.occlusion.canonical import canonical_points
from occface_core.occlusion.lighting import estimate_light
from occface_core.occlusion.posing import fit_pose, place_rigid


def test_a_bank_depends_on_its_seed_alone(small_bank):
    again, other = OccluderBank.build(2, seed=5), OccluderBank.build(2, seed=6)
    same = OccluderBank.build(2, seed=5)
    for name in (f.name for f in fields(OccluderBank)):
        torch.testing.assert_close(getattr(again, name), getattr(same, name), rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(again.texture, other.texture)
    assert (small_bank.designs, again.designs) == (6, 2)


def test_save_and_load(small_bank, tmp_path: Path):
    path = tmp_path / "bank.safetensors"
    small_bank.save(path)
    loaded = OccluderBank.load(path)
    for name in (f.name for f in fields(OccluderBank)):
        mine, read = getattr(small_bank, name), getattr(loaded, name)
        torch.testing.assert_close(mine, read, rtol=0, atol=0, equal_nan=True)


def test_a_file_that_is_no_bank(tmp_path: Path):
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"verts": torch.zeros(1)}, path)
    with pytest.raises(AssetError, match="no bank of occluders"):
        OccluderBank.load(path)
    save_file({"verts": torch.zeros(1)}, path, {"format": "occface-bank", "version": "1"})
    with pytest.raises(AssetError, match="lacks"):
        OccluderBank.load(path)


def test_an_empty_bank():
    with pytest.raises(OcclusionError, match="at least 1"):
        OccluderBank.build(0)


def test_poses_depths_and_upper_face_are_those_of_single_faces(faces):
    points = faces[2]
    poses, (matrix, shift) = fit_poses(points), upper_affine(points)
    model = canonical_points()[:5]
    flipped = torch.tensor(model) * torch.tensor([1.0, -1.0, -1.0])
    for row, cloud in enumerate(points.numpy()):
        one = fit_pose(cloud[:, :2])
        assert float(poses.scale[row]) == pytest.approx(one.scale, rel=1e-5)
        torch.testing.assert_close(poses.rotation[row], torch.tensor(one.rotation), rtol=0, atol=1e-5)
        placed = poses.place(torch.tensor(model)[None].expand(len(points), -1, -1))[row]
        torch.testing.assert_close(placed, torch.tensor(one.place(model)), rtol=0, atol=1e-2)
        rigid = torch.tensor(place_rigid(cloud, model))
        torch.testing.assert_close(flipped @ matrix[row].T + shift[row], rigid, rtol=0, atol=1e-2)
    mean = torch.tensor(canonical_points())
    flat = points[..., :2].contiguous()
    torch.testing.assert_close(estimate_depths(flat, mean), estimate_depth(flat), rtol=0, atol=1e-2)


def test_light_is_that_of_single_faces(rendered):
    image, face, points = rendered
    group = Group(image, face, points, torch.zeros(8), Draws(torch.arange(8)))
    poses = fit_poses(points)
    lights = estimate_lights(group, poses)
    for row in range(8):
        cloud = points[row].numpy()
        one = estimate_light(image[row].permute(1, 2, 0).numpy(), cloud, fit_pose(cloud[:, :2]))
        for name in ("level", "skin", "gradient"):
            mine = getattr(lights, name)[row]
            torch.testing.assert_close(mine, torch.tensor(getattr(one, name)), rtol=0, atol=0.02)


def square(depth: float, shift: float) -> torch.Tensor:
    corners = torch.tensor([[0.0, 0.0], [0.0, 8.0], [8.0, 8.0], [8.0, 0.0]]) + shift
    return torch.cat([corners, torch.full((4, 1), depth)], dim=1)


def objects(two_sided: bool = False) -> Objects:
    """Two squares of two pictures each: the nearer one is dyed; on the second picture they face away."""
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    verts = torch.cat([square(1.0, 2.0), square(2.0, 4.0)])
    mirrored = torch.cat([14.0 - verts[:, :1], verts[:, 1:]], dim=1)
    values = torch.zeros(2, 8, 4)
    values[:, :4, 0], values[:, 4:, 0], values[..., 2] = 1.0, 3.0, 1.0
    texture = torch.zeros(1, 104, 96, 5, dtype=torch.uint8)
    texture[0, 0, 1] = torch.tensor([204, 204, 204, 255, 255])
    texture[0, 0, 3] = torch.tensor([255, 0, 0, 102, 0])
    return Objects(
        verts=torch.stack([verts, mirrored]),
        faces=faces[None].expand(2, -1, -1),
        two_sided=torch.full((2, 4), two_sided),
        values=values,
        texture=texture,
        design=torch.zeros(2, dtype=torch.int64),
        level=torch.full((2, 3), 0.5),
        dye=torch.tensor([0.2, 0.4, 0.6]).expand(2, 3),
    )


@pytest.mark.parametrize("dense", [False, True])
def test_drawing_two_squares(dense):
    layers = draw(objects(), 16, 16, dense=dense)
    assert layers.shape == (2, 4, 16, 16)
    torch.testing.assert_close(layers[0, :, 5, 5], torch.tensor([0.2, 0.4, 0.6, 1.0]))  # the nearer one
    torch.testing.assert_close(
        layers[0, :, 11, 11], torch.tensor([0.2, 0.0, 0.0, 0.4])
    )  # 0.5 red, 0.4 opaque
    assert float(layers[0, :, 1, 1].abs().max()) == float(layers[1].abs().max()) == 0
    assert float(layers[0, 3].sum()) == pytest.approx(64 + 28 * 0.4, abs=1e-4)
    assert float(draw(objects(two_sided=True), 16, 16, dense=dense)[1, 3].sum()) > 60


def test_blur_keeps_the_sum_and_moves_what_is_asked():
    spot = torch.zeros(2, 1, 21, 21)
    spot[:, :, 10, 10] = 1.0
    sigma, shift = torch.tensor([0.8, 1.5]), torch.tensor([0.0, 2.0])
    soft = blur_along(blur_along(spot, sigma, 6, down=False), sigma, 6, down=True, shift=shift)
    torch.testing.assert_close(soft.sum((1, 2, 3)), torch.ones(2), rtol=0, atol=1e-3)
    rows = (soft.sum((1, 3)) * torch.arange(21)).sum(1)
    torch.testing.assert_close(rows, torch.tensor([10.0, 12.0]), rtol=0, atol=0.05)
    assert float(soft[1, 0, 12, 10]) < float(soft[0, 0, 10, 10])


def test_nothing_drawn_changes_nothing(rendered):
    from occface_core.occlusion.batched.group import Layer

    image = rendered[0] * 3 - 1  # also values outside the usual range keep their bits
    empty = Layer(torch.rand_like(image), torch.zeros_like(image[:, :1]))
    assert torch.equal(compose(image, empty), image)
