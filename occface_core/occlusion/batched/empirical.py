"""The empirical families for a whole batch: pick designs, carry them to the faces, draw and blend them."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from occface_core.occlusion.batched.bank import OccluderBank
from occface_core.occlusion.batched.designs import MAKERS
from occface_core.occlusion.batched.device import constant, upload
from occface_core.occlusion.batched.draws import Draws
from occface_core.occlusion.batched.group import Group, Layer
from occface_core.occlusion.batched.light import Lights, estimate_lights
from occface_core.occlusion.batched.paint import Objects, draw
from occface_core.occlusion.batched.pieces import UPPER, WARPED
from occface_core.occlusion.batched.place import FLIP, Poses, fit_poses, linear, upper_affine, warped
from occface_core.occlusion.batched.soften import blend_in, contact_shadow
from occface_core.occlusion.batched.views import choose, point_weights
from occface_core.occlusion.hair import NATURAL_COLOURS, NATURAL_SHARES, SPOTS
from occface_core.occlusion.request import EMPIRICAL_NAMES
from occface_core.occlusion.scene import EYE_SPAN

# How strongly shadows fall on the skin, by family; what is not named: as of a mask.
_SHADOW = {
    "sunglasses": (0.15, 0.4),
    "glasses": (0.05, 0.15),
    "hand": (0.25, 0.5),
    "hair_strands": (0.25, 0.45),
    "cap_brim": (0.4, 0.7),
    "scarf": (0.3, 0.5),
}
_SHADOWS = tuple(_SHADOW.get(name, (0.2, 0.45)) for name in EMPIRICAL_NAMES)
_KINDS = tuple(MAKERS[name][0] for name in EMPIRICAL_NAMES)
_HAIR, _GLASSES = EMPIRICAL_NAMES.index("hair_strands"), EMPIRICAL_NAMES.index("glasses")


def paint(group: Group, numbers: np.ndarray, bank: OccluderBank) -> Layer:
    """Objects over the faces.

    Args:
        group: samples with points. numbers: (B,) each sample's family in ``EMPIRICAL_NAMES``.
        bank: designs, on the samples' device.
    """
    assert group.points is not None
    device = group.image.device
    family = upload(numbers, device)
    poses = fit_poses(group.points)
    lights = estimate_lights(group, poses)
    usual = (family == _GLASSES) | group.natural  # no target, or none to be met
    design = choose(
        bank.hidden,
        family * bank.designs,
        bank.designs,
        point_weights(group.points, group.face, poses.toward),
        poses.toward,
        group.target.masked_fill(usual, torch.nan),
        group.draws,
    )
    verts = _placed(group.points, poses, bank, design, numbers, group.draws)
    values = _values(bank, design, family, poses, lights)
    alike = bank.alike.index_select(0, design)
    shown = alike[:, 0] + (group.draws.uniform("texture")[:, 0] * alike[:, 1]).long().clamp(
        max=alike[:, 1] - 1
    )
    objects = Objects(
        verts=verts,
        faces=bank.faces.index_select(0, family),
        two_sided=bank.two_sided.index_select(0, family),
        values=values,
        texture=bank.texture,
        design=shown,
        level=lights.level,
        dye=_dye(group, poses, lights, family == _HAIR),
    )
    extent = EYE_SPAN * poses.scale
    colour, alpha = blend_in(group, draw(objects, *group.size), extent)
    low, high = constant(_SHADOWS, device).index_select(0, family).unbind(1)
    strength = low + (high - low) * group.draws.uniform("shadow")[:, 0]
    return Layer(colour, alpha, contact_shadow(group, alpha, extent, strength))


def _placed(
    points: Tensor, poses: Poses, bank: OccluderBank, design: Tensor, numbers: np.ndarray, draws: Draws
) -> Float[Tensor, "B V 3"]:
    """Vertices in pixels and depth: rigid by the pose or the upper face's affine map, or warped."""
    device = points.device
    carried = np.array(_KINDS)[numbers]
    kind = upload(carried, device)
    matrix, shift = poses.rotation * poses.scale[:, None, None], torch.zeros_like(points[:, 0])
    shift[:, :2] = poses.translation
    upper, upper_shift = upper_affine(points)
    is_upper, is_warped = kind == UPPER, kind == WARPED
    matrix = torch.where(is_upper[:, None, None], upper, matrix)
    shift = torch.where(is_upper[:, None], upper_shift, torch.where(is_warped[:, None], 0.0, shift))
    verts = _jittered(bank.verts.index_select(0, design), draws, kind)
    verts = linear(matrix, verts * constant(FLIP, device)) + shift[:, None]
    if (carried == WARPED).any():
        where = upload(np.flatnonzero(carried == WARPED), device)
        weights = bank.warps.index_select(0, bank.warp[design[where]])
        base = warped(points.index_select(0, where), weights)
        verts[:, : base.shape[1]] = verts[:, : base.shape[1]].index_add(0, where, base)
    return verts


def _jittered(verts: Tensor, draws: Draws, kind: Tensor) -> Tensor:
    """Rigid objects a little moved and resized: hands and what they hold by up to 6 mm, glasses by 1."""
    reach = torch.where(kind == WARPED, 0.0, torch.where(kind == UPPER, 0.001, 0.006))
    move = draws.uniform("move", 3, low=-1.0) * reach[:, None]
    size = 1.0 + draws.uniform("resize", 1, low=-1.0) * (7.0 * reach[:, None])
    return verts * size[:, None] + move[:, None]


def _values(
    bank: OccluderBank, design: Tensor, family: Tensor, poses: Poses, lights: Lights
) -> Float[Tensor, "B V 4"]:
    """Column and row in the atlas, brightness and highlight of every vertex under the picture's light."""
    normals = poses.turn(bank.normals.index_select(0, design).float())
    behind = (normals[..., 2:] < 0) & bank.both_lit.index_select(0, family)[..., None]
    normals = torch.where(behind, -normals, normals)
    surface = bank.surface.index_select(0, design).float()
    tone = surface[..., 2] * (1.0 + surface[..., 3] * (lights.relative(normals) - 1.0)).clamp_min(0.1)
    half = (normals * constant((0.15, 0.55, 0.82), normals.device)).unbind(2)
    glint = (half[0] + half[1] + half[2]).clamp(0, 1)
    glint = glint * glint * glint
    glint = glint * glint
    glint = glint * glint
    glint = glint * glint  # to the power of 24
    level = (lights.level[:, 0] + lights.level[:, 1] + lights.level[:, 2]) / 3
    gloss = surface[..., 4] * level[:, None] * glint
    return torch.cat([surface[..., :2], tone[..., None], gloss[..., None]], dim=2)


def _dye(group: Group, poses: Poses, lights: Lights, is_hair: Tensor) -> Float[Tensor, "B 3"]:
    """Skin of the hands, usually the face's own; or hair, the person's own where some shows."""
    draws = group.draws
    own = lights.skin * draws.uniform("skin", 1, low=0.85, high=1.1)
    melanin = draws.uniform("melanin", 1)
    pale, dark = constant(((0.88, 0.68, 0.58), (0.30, 0.19, 0.14)), own.device)
    somebody = ((1 - melanin) * pale + melanin * dark) * lights.level
    skin = torch.where(draws.chance("own skin", 0.9, 1), own.clamp(0.02, 1.0), somebody)
    return torch.where(is_hair[:, None], _hair(group, poses, lights), skin)


def _hair(group: Group, poses: Poses, lights: Lights) -> Float[Tensor, "B 3"]:
    """The person's own hair colour if the picture shows some above the forehead, else a natural one."""
    (height, width), draws = group.size, group.draws
    spots = poses.place(constant(SPOTS, group.image.device)[None].expand(len(draws), -1, -1))[..., :2]
    column, row = spots.floor().long().unbind(2)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place: Int64[Tensor, "B 4"] = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    shown = group.original.flatten(2).gather(2, place[:, None].expand(-1, 3, -1))
    shown = shown.masked_fill(~inside[:, None], torch.inf).sort(2).values
    middle = ((inside.sum(1, keepdim=True) - 1) // 2).clamp_min(0)
    own = shown.gather(2, middle[:, None].expand(-1, 3, 1))[..., 0]
    dark = own.double().mean(1) < 0.8 * lights.skin.double().mean(1)
    shares = constant(NATURAL_SHARES, own.device).cumsum(0)[:-1]
    pick = (draws.uniform("hair", 1) >= shares).sum(1)
    natural = constant(NATURAL_COLOURS, own.device).index_select(0, pick) * lights.level
    use = inside.any(1) & draws.chance("own hair", 0.7)[:, 0] & dark
    return torch.where(use[:, None], own.clamp(0.02, 1.0), natural) + 0.02
