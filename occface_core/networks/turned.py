"""Faces that are turned in the picture plane: looked at upright, and turned back.

Networks see heads turned by up to some 15 degrees in training. A crop can be turned so that any head stands
upright in it, and what a network says of it is carried back exactly: in-plane rotation changes the global
pose, the camera's translation, the light's bands and the mask, and nothing else. In what follows a turned
crop shows at q what the upright crop of the same centre and side shows at R(roll) q, with x right, y down.
"""

import dataclasses

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from occface_core.geometry.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import CodeLayout, FaceParameters
from occface_core.networks.encoder import EncoderOutput
from occface_core.rendering.lighting import turn_light


def roll_of(output: EncoderOutput) -> Float[Tensor, "B"]:
    """How far each head is turned clockwise in the picture, radians in (-pi, pi]."""
    up = axis_angle_to_matrix(output.params.pose[:, :3])[:, :, 1]
    return torch.atan2(up[:, 0], up[:, 1])


def turn_back(
    output: EncoderOutput, roll: Float[Tensor, "B"], layout: CodeLayout, head: HeadModel
) -> EncoderOutput:
    """What a network said of turned crops, as of the upright crops of the same centres and sides.

    Args:
        output: of crops turned by `roll`, radians. layout: of the codes; weak-perspective cameras only.
        head: that the codes describe; a global pose turns it about its root joint, not about the origin.

    Returns:
        The same heads in the upright crops' frame. Beyond the turned crop the mask repeats its border;
        evidence is left out.
    """
    code, s = output.code.clone(), layout.slices
    cos, sin = roll.cos(), roll.sin()
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    # y is up in the head's frame and down in the picture's, so the head turns the other way round there.
    rows = [torch.stack(row, -1) for row in ((cos, sin, zero), (-sin, cos, zero), (zero, zero, one))]
    turn = torch.stack(rows, 1)
    pose = code[:, s["pose"]]
    pose[:, :3] = matrix_to_axis_angle(turn @ axis_angle_to_matrix(pose[:, :3]))
    camera = code[:, s["cam"]]
    root = head.root(output.params.betas, output.params.expression)[:, :2]
    camera[:, 1:] = (turn[:, :2, :2] @ (root + camera[:, 1:])[..., None])[..., 0] - root
    code[:, s["light"]] = turn_light(code[:, s["light"]].unflatten(1, (9, 3)), turn).flatten(1)
    mask = output.mask_logits
    if mask is not None:
        # Where the turned crop shows a place of the upright one: the same matrix, and nothing is shifted.
        grid = F.affine_grid(turn[:, :2].to(mask), list(mask.shape), align_corners=False)
        mask = F.grid_sample(mask, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return dataclasses.replace(
        output, params=FaceParameters.from_code(code, layout), code=code, mask_logits=mask, evidence=None
    )
