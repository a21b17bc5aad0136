"""Skinning as pure functions."""

import math

import torch

from occface_core.morphable.skinning import blend_shapes, joint_transforms, joints, lbs, pose_features, skin


def test_blend_shapes_by_hand() -> None:
    template, directions = torch.zeros(2, 3), torch.zeros(2, 3, 2)
    directions[1, 2, 0], directions[0, 1, 1] = 5.0, 7.0
    result = blend_shapes(template, directions, torch.tensor([[2.0, 1.0]]))
    assert result.tolist() == [[[0.0, 7.0, 0.0], [0.0, 0.0, 10.0]]]


def test_pose_features_are_row_major_and_skip_the_root() -> None:
    rotations = torch.eye(3).repeat(1, 2, 1, 1)
    rotations[0, 0, 0, 1], rotations[0, 1, 0, 2] = 9.0, 4.0
    assert pose_features(rotations).tolist() == [[0, 0, 4, 0, 0, 0, 0, 0, 0]]


def test_child_turns_about_its_joint_and_follows_its_parent() -> None:
    verts = torch.tensor([[[0.0, 2.0, 0.0]]])
    rest = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    quarter = [0.0, 0.0, math.pi / 2]
    on_child = torch.tensor([[0.0, 1.0]])
    child_only, _ = lbs(verts, rest, torch.tensor([[[0.0, 0.0, 0.0], quarter]]), on_child, (-1, 0))
    torch.testing.assert_close(child_only, torch.tensor([[[-1.0, 1.0, 0.0]]]), atol=1e-6, rtol=0)
    both, posed_joints = lbs(verts, rest, torch.tensor([[quarter, quarter]]), on_child, (-1, 0))
    torch.testing.assert_close(both, torch.tensor([[[-1.0, -1.0, 0.0]]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(posed_joints[0, 1], torch.tensor([-1.0, 0.0, 0.0]), atol=1e-6, rtol=0)


def test_weights_blend_linearly() -> None:
    transforms = torch.zeros(1, 2, 3, 4)
    transforms[..., :3] = torch.eye(3)
    transforms[0, 1, 0, 3] = 1.0
    moved = skin(torch.zeros(1, 1, 3), torch.tensor([[0.25, 0.75]]), transforms)
    assert moved.tolist() == [[[0.75, 0.0, 0.0]]]


def test_joint_regression_and_rest_transforms(generator: torch.Generator) -> None:
    verts = torch.rand(2, 6, 3, generator=generator)
    regressor = torch.full((3, 6), 1 / 6)
    torch.testing.assert_close(joints(regressor, verts), verts.mean(1, keepdim=True).expand(-1, 3, -1))
    rest = torch.rand(2, 3, 3, generator=generator)
    transforms, posed = joint_transforms(torch.eye(3).expand(2, 3, 3, 3), rest, (-1, 0, 1))
    torch.testing.assert_close(posed, rest)
    torch.testing.assert_close(transforms[..., 3], torch.zeros(2, 3, 3))
