"""Blend shapes, joints and linear blend skinning as pure functions.

The model is FLAME's (Li et al., "Learning a model of facial shape and expression from 4D scans", 2017,
eq. 2-4):
verts = LBS(template + shape + expression + pose correctives, joints(shape, expression), pose, skin weights).

Letters: B batch, V verts, J joints, K blend-shape directions.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.geometry.transforms import axis_angle_to_matrix


def blend_shapes(
    template: Float[Tensor, "V 3"], directions: Float[Tensor, "V 3 K"], coeffs: Float[Tensor, "B K"]
) -> Float[Tensor, "B V 3"]:
    """template + directions . coeffs, as one matrix product.

    Args:
        template: Points at zero coefficients, metres.
        directions: Metres per unit coefficient.
        coeffs: Coefficients.
    """
    flat = torch.addmm(template.reshape(1, -1), coeffs, directions.flatten(0, 1).T)
    return flat.unflatten(1, (-1, 3))


def pose_features(rotations: Float[Tensor, "B J 3 3"]) -> Float[Tensor, "B K"]:
    """What drives the pose correctives: entries of R_j - I for every joint but the root, row-major."""
    identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return (rotations[:, 1:] - identity).flatten(1)


def joints(regressor: Float[Tensor, "J V"], verts: Float[Tensor, "B V 3"]) -> Float[Tensor, "B J 3"]:
    """Joint positions of unposed heads, metres."""
    return torch.matmul(regressor, verts)


def joint_transforms(
    rotations: Float[Tensor, "B J 3 3"], rest_joints: Float[Tensor, "B J 3"], parents: tuple[int, ...]
) -> tuple[Float[Tensor, "B J 3 4"], Float[Tensor, "B J 3"]]:
    """Forward kinematics.

    Args:
        rotations: Rotation of each joint relative to its parent.
        rest_joints: Joint positions before posing, metres.
        parents: Parent of each joint, -1 for the root; parents come before their children.

    Returns:
        [R|t] that takes an unposed point to its posed place as if it hung on that joint alone, and the
        posed joint positions.
    """
    world_rotations = [rotations[:, 0]]
    posed = [rest_joints[:, 0]]
    for child, parent in enumerate(parents[1:], start=1):
        offset = (rest_joints[:, child] - rest_joints[:, parent]).unsqueeze(-1)
        posed.append(posed[parent] + (world_rotations[parent] @ offset).squeeze(-1))
        world_rotations.append(world_rotations[parent] @ rotations[:, child])
    rotation, position = torch.stack(world_rotations, dim=1), torch.stack(posed, dim=1)
    translation = position.unsqueeze(-1) - rotation @ rest_joints.unsqueeze(-1)
    return torch.cat([rotation, translation], dim=-1), position


def skin(
    verts: Float[Tensor, "B V 3"], skin_weights: Float[Tensor, "V J"], transforms: Float[Tensor, "B J 3 4"]
) -> Float[Tensor, "B V 3"]:
    """Linear blend skinning of unposed vertices by per-joint [R|t]."""
    # (V,J) x (B,J,12): blending the transforms first costs one small matrix product per head.
    blended = torch.matmul(skin_weights, transforms.flatten(2)).unflatten(2, (3, 4))
    return (blended[..., :3] * verts.unsqueeze(2)).sum(-1) + blended[..., 3]


def lbs(
    verts: Float[Tensor, "B V 3"],
    rest_joints: Float[Tensor, "B J 3"],
    pose: Float[Tensor, "B J 3"],
    skin_weights: Float[Tensor, "V J"],
    parents: tuple[int, ...],
) -> tuple[Float[Tensor, "B V 3"], Float[Tensor, "B J 3"]]:
    """Pose vertices that already carry every blend shape and pose corrective.

    Args:
        verts: Unposed vertices, metres.
        rest_joints: Unposed joints, metres.
        pose: Axis-angle per joint, radians, relative to the parent.
        skin_weights: Rows sum to 1.
        parents: Parent of each joint, -1 for the root.

    Returns:
        Posed vertices and posed joints, metres.
    """
    transforms, posed_joints = joint_transforms(axis_angle_to_matrix(pose), rest_joints, parents)
    return skin(verts, skin_weights, transforms), posed_joints
