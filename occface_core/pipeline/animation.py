"""A reconstruction as a head that other programs can animate: blendshapes, and joints that hold its pose."""

from dataclasses import replace

import torch
from torch import Tensor

from occface_core.geometry.mesh import Mesh, Rig
from occface_core.geometry.transforms import axis_angle_to_matrix
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters, layout
from occface_core.morphable.posable import full_pose
from occface_core.morphable.skinning import blend_shapes, pose_features
from occface_core.pipeline.types import Reconstruction

JOINTS = ("root", "neck", "jaw", "eyeLeft", "eyeRight")
MAX_JAW = 0.348  # radians: the open head's jaw then stands as the artist's jawOpen (docs/head.md)
_STILL = 0.02  # radians of jaw below which the corrective is that of the wide open mouth, scaled
CORRECTIVE = "jawCorrective"


def parameters(result: Reconstruction) -> FaceParameters:
    """The named parameters of a reconstruction, batch of one."""
    code = torch.from_numpy(result.code)[None]
    return FaceParameters.from_code(code, layout(result.code_layout))


def animatable_mesh(result: Reconstruction, head: HeadModel, *, posed: bool = True) -> Mesh:
    """The person's head with one morph target per facial action, one for the jaw, and a skeleton.

    At rest it is the neutral face looking ahead. Weights and joints are set to the photo's expression and
    pose, so that a viewer shows the head as it is in the photo.

    What bends with the jaw beside its turn (FLAME's pose correctives) is a target of its own,
    `jawCorrective`, exact at the photo's jaw; it belongs to the joint. The target `jawOpen` holds both and
    needs no joint.

    Args:
        result: of a network for this head.
        head: the head model.
        posed: False leaves all weights at 0 and all joints at rest.
    """
    params = parameters(result).to(head.v_template.device)
    with torch.inference_mode():
        neutral = head.neutral(params.betas)[0]
        jaw = _jaw(MAX_JAW).to(neutral.device)
        opened = head(params.betas, torch.zeros_like(params.expression), jaw).verts[0] - neutral
        corrective, amount = _corrective(head, params.pose)
        coeffs = torch.cat([params.betas, params.expression], dim=1)
        joints = blend_shapes(head.joint_template, head.joint_directions, coeffs)[0]
    targets = dict(zip(head.expression_names, head.expressiondirs.unbind(-1), strict=True))
    targets |= {"jawOpen": opened, CORRECTIVE: corrective}
    weights = dict(zip(head.expression_names, params.expression[0].tolist(), strict=True))
    rotations = full_pose(params.pose)[0].cpu()
    turned = rotations if posed else torch.zeros_like(rotations)
    rig = Rig(JOINTS, head.parents, joints.cpu(), turned, head.skin_weights.cpu())
    return replace(
        result.mesh("neutral"),
        morph_targets={name: offset.cpu() for name, offset in targets.items()},
        morph_weights={**weights, CORRECTIVE: amount} if posed else {},
        rig=rig,
    )


def _jaw(angle: float) -> Tensor:
    pose = torch.zeros(1, 6)
    pose[0, 3] = angle
    return pose


def _corrective(head: HeadModel, pose: Tensor) -> tuple[Tensor, float]:
    """What the jaw's turn adds to the surface before skinning, as a target of a wide open mouth, and its
    weight at `pose`."""
    angle = float(pose[0, 3:6].norm())
    amount = angle / MAX_JAW
    there = pose.clone() if angle > _STILL else _jaw(MAX_JAW).to(pose.device)
    there[:, :3] = 0
    offset = head.posedirs @ pose_features(axis_angle_to_matrix(full_pose(there)))[0]
    return (offset / amount if angle > _STILL else offset), amount
