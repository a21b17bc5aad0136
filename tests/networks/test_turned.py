"""A head seen in a turned crop is the same head in the upright one, turned."""

import math

import pytest
import torch

from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import DECA_236, FaceParameters
from occface_core.networks.encoder import EncoderOutput
from occface_core.networks.turned import roll_of, turn_back
from occface_core.rendering.cameras import weak_perspective
from occface_core.rendering.lighting import sh_shading

ROLLS = torch.tensor([0.3, -0.7, 1.6, 3.0])


@pytest.fixture
def turned(generator: torch.Generator) -> EncoderOutput:
    """Four heads, nearly upright in turned crops."""
    code = 0.3 * torch.randn(4, DECA_236.size, generator=generator)
    code[:, DECA_236.slices["pose"]] *= 0.5
    code[:, DECA_236.slices["cam"].start] = 8.0
    code[:, DECA_236.slices["cam"]][:, 1:] *= 0.05
    mask = torch.randn(4, 1, 8, 8, generator=generator)
    return EncoderOutput(
        FaceParameters.from_code(code, DECA_236), code, torch.zeros(4, 2), mask, torch.zeros(4, 3)
    )


def picture_turn(roll: torch.Tensor) -> torch.Tensor:
    """R(roll), x right, y down."""
    cos, sin = roll.cos(), roll.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)


def project(output: EncoderOutput, head: HeadModel, points: str | None = None) -> torch.Tensor:
    p = output.params
    verts = head(p.betas, p.expression, p.pose).verts
    if points is not None:
        verts = head.landmarks(verts, points, global_pose=p.pose[:, :3])
    return weak_perspective(verts, p.camera)


@pytest.mark.parametrize("points", [None, "68", "468"])
def test_projected_points_turn_with_the_picture(
    turned: EncoderOutput, open_head: HeadModel, points: str | None
) -> None:
    upright = turn_back(turned, ROLLS, DECA_236, open_head)
    before, after = project(turned, open_head, points), project(upright, open_head, points)
    expected = before[..., :2] @ picture_turn(ROLLS).mT
    torch.testing.assert_close(after[..., :2], expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(after[..., 2], before[..., 2], atol=2e-5, rtol=0)


def test_light_stays_on_the_same_skin(
    turned: EncoderOutput, open_head: HeadModel, generator: torch.Generator
) -> None:
    upright = turn_back(turned, ROLLS, DECA_236, open_head)
    normals = torch.nn.functional.normalize(torch.randn(4, 50, 3, generator=generator), dim=-1)
    # In the head's frame y is up.
    moved = torch.cat([normals[..., :2] @ picture_turn(-ROLLS).mT, normals[..., 2:]], -1)
    torch.testing.assert_close(
        sh_shading(moved, upright.params.sh_coeffs), sh_shading(normals, turned.params.sh_coeffs)
    )


def test_roll_is_told(turned: EncoderOutput, open_head: HeadModel) -> None:
    difference = roll_of(turn_back(turned, ROLLS, DECA_236, open_head)) - roll_of(turned) - ROLLS
    wrapped = (difference + math.pi) % (2 * math.pi) - math.pi
    assert float(wrapped.abs().max()) < 1e-5


def test_mask_turns_with_the_picture(turned: EncoderOutput, open_head: HeadModel) -> None:
    """A quarter turn clockwise: what was on the turned crop's right lies below."""
    quarter = turn_back(turned, torch.full((4,), math.pi / 2), DECA_236, open_head)
    assert turned.mask_logits is not None
    assert quarter.mask_logits is not None
    torch.testing.assert_close(
        quarter.mask_logits, turned.mask_logits.rot90(-1, (2, 3)), atol=1e-5, rtol=1e-5
    )


def test_no_turn_changes_nothing(turned: EncoderOutput, open_head: HeadModel) -> None:
    same = turn_back(turned, torch.zeros(4), DECA_236, open_head)
    torch.testing.assert_close(same.code, turned.code, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(same.mask_logits, turned.mask_logits, atol=1e-5, rtol=1e-5)
    assert same.evidence is None
