"""Face profiling: photos turned out of their plane, so that networks see profiles that few photo sets hold.

Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016, section 5: a face model is fitted
to a photo, the picture is laid over it and over its surroundings as a mesh, and the mesh is turned. What the
photo shows of the face is seen from the side then, with the landmarks, the visible face and the code that
belong to it. Skin that the photo saw at a grazing angle is stretched, and nothing is known of the back of
the head: pictures to learn poses from, not to look at.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from occface_core.geometry.mesh import vertex_normals
from occface_core.geometry.transforms import axis_angle_to_matrix, matrix_to_axis_angle
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.rendering.cameras import to_pixels, weak_perspective
from occface_core.rendering.lighting import turn_light
from occface_core.rendering.rasterizer import interpolate, rasterize

STEP = 2  # pixels between two nodes of the mesh that carries the picture
REACH = 0.16  # of the crop's side: how far around the head its surroundings turn with it
FRONTAL, LIMIT = math.radians(6), math.radians(85)
GRAZING = 0.25  # cosine below which the surface is seen too much from aside to say where its pixels go


@dataclass(frozen=True)
class ProfiledFaces:
    """Photos turned out of their plane.

    Attributes:
        image: (B,3,S,S) in [0,1]. mask: (B,M,S,S) what is left to see of the masks given.
        points: (B,468,2) landmarks, pixels. params: of the turned faces; light turns with the head, as the
        shading in the picture does.
        misfit: (B,) how far the landmarks of the fit lay from the photo's before, after the affine map that
        brings them closest, in parts of the face's size.
    """

    image: Float[Tensor, "B 3 S S"]
    mask: Float[Tensor, "B M S S"]
    points: Float[Tensor, "B 468 2"]
    params: FaceParameters
    misfit: Float[Tensor, "B"]

    def index(self, rows: Bool[Tensor, "B"]) -> "ProfiledFaces":
        """Some of them."""
        chosen = (self.image[rows], self.mask[rows], self.points[rows])
        return ProfiledFaces(*chosen, self.params.index(rows), self.misfit[rows])


def yaw_of(pose: Float[Tensor, "B P"]) -> Float[Tensor, "B"]:
    """How far heads look to their left, radians, from their global rotation (the first three numbers)."""
    ahead = axis_angle_to_matrix(pose[:, :3])[:, :, 2]
    return torch.atan2(ahead[:, 0], ahead[:, 2])


def draw_turns(pose: Float[Tensor, "B 6"], generator: torch.Generator) -> Float[Tensor, "B 3 3"]:
    """Turns farther away from the camera, as rotations in each head's own frame.

    Heads are turned on to the side they look to already, by 15 to 65 degrees up to 85 in all: of the other
    side the photo may show nothing. Frontal ones go either way, and some look up or down as well.

    Args:
        pose: global and jaw rotation of each head, axis-angle, radians.
    """
    count = len(pose)
    side = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0).to(pose)
    away = (15 + 50 * torch.rand(count, generator=generator)).to(pose)
    nod = (8 * torch.randn(count, generator=generator)).clamp(-20, 20).to(pose)
    yaw = yaw_of(pose)
    side = torch.where(yaw.abs() > FRONTAL, yaw.sign(), side)
    left = (LIMIT - yaw.abs()).clamp(min=0)
    by = side * torch.minimum(away * (math.pi / 180), left)
    none = torch.zeros_like(by)
    turn = axis_angle_to_matrix(torch.stack([none, by, none], -1))
    return turn @ axis_angle_to_matrix(torch.stack([nod * (math.pi / 180), none, none], -1))


def align(
    verts: Float[Tensor, "B V 3"], found: Float[Tensor, "B L 2"], wanted: Float[Tensor, "B L 2"]
) -> Float[Tensor, "B V 3"]:
    """Projected vertices moved by the affine map that takes `found` landmarks closest to `wanted` ones."""
    start, everything = (F.pad(x, (0, 1), value=1.0) for x in (found, verts[..., :2]))
    affine = torch.linalg.lstsq(start, wanted).solution
    return torch.cat([everything @ affine, verts[..., 2:]], -1)


@torch.no_grad()
def profile(
    head: HeadModel,
    image: Float[Tensor, "B 3 S S"],
    mask: Float[Tensor, "B M S S"],
    points: Float[Tensor, "B 468 2"],
    params: FaceParameters,
    turn: Float[Tensor, "B 3 3"],
) -> ProfiledFaces:
    """Turn photos out of their plane.

    Args:
        head: that `params` describe.
        image: crops. mask: masks to turn with them, of what is known to be face skin, say.
        points: where the landmarks are, pixels: the fit is moved onto them.
        params: fits of the photos.
        turn: rotation of each head in its own frame (x to the subject's left, y up, z out of the face).
    """
    size = image.shape[-1]
    pose = _turned_pose(params.pose, turn)
    before, verts = (head(params.betas, params.expression, p).verts for p in (params.pose, pose))
    after = _framed(head, params, pose, before, verts)
    here, here_points = _project(head, before, params.camera, size)
    there, there_points = _project(head, verts, after.camera, size)
    laid = align(here, here_points[..., :2], points)
    # What of a landmark the fit does not explain lies on the turned surface, too, seen from aside.
    rest = points - align(here_points, here_points[..., :2], points)[..., :2]
    goal = _field(head, laid, there, size, after.camera[:, 0] / params.camera[:, 0])
    drawn = _lay(torch.cat([image, mask], 1), goal)
    turned = there_points[..., :2] + rest * _foreshortening(params, after)[:, None]
    extent = points.amax(1) - points.amin(1)
    misfit = rest.norm(dim=-1).mean(1) / extent.prod(-1).clamp(min=1e-9).sqrt()
    return ProfiledFaces(drawn[:, :3], drawn[:, 3:], turned, after, misfit)


def _turned_pose(pose: Float[Tensor, "B 6"], turn: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 6"]:
    globally = matrix_to_axis_angle(axis_angle_to_matrix(pose[:, :3]) @ turn)
    return torch.cat([globally, pose[:, 3:]], 1)


def _framed(
    head: HeadModel, params: FaceParameters, pose: Tensor, before: Tensor, verts: Tensor
) -> FaceParameters:
    """The faces in their new pose, in crops that frame them as before, with the light turned along.

    Args:
        before, verts: (B,V,3) posed vertices of `params` and of the new pose, metres.
    """
    (old_centre, old_side), (centre, side) = (
        _box(head, *one) for one in ((before, params.pose), (verts, pose))
    )
    scale = params.camera[:, :1] * (old_side / side)[:, None]
    # The box keeps its centre in the crop, and with it the jitter that training crops have.
    kept = params.camera[:, :1] * (old_centre + params.camera[:, 1:])
    camera = torch.cat([scale, kept / scale - centre], 1)
    old, new = (axis_angle_to_matrix(p[:, :3]) for p in (params.pose, pose))
    return params.replace(pose=pose, camera=camera, sh_coeffs=turn_light(params.sh_coeffs, new @ old.mT))


def _box(head: HeadModel, verts: Tensor, pose: Tensor) -> tuple[Float[Tensor, "B 2"], Float[Tensor, "B"]]:
    """Centre and mean side of the box of the 68 landmarks, metres."""
    points = head.landmarks(verts, "68", global_pose=pose[:, :3])[..., :2]
    low, high = points.amin(1), points.amax(1)
    return (low + high) / 2, (high - low).mean(-1)


def _project(head: HeadModel, verts: Tensor, camera: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Posed vertices and 468 landmarks in pixels and depth."""
    verts = to_pixels(weak_perspective(verts, camera), size)
    return verts, head.landmarks(verts, "468")


def _foreshortening(before: FaceParameters, after: FaceParameters) -> Float[Tensor, "B 2"]:
    turn = axis_angle_to_matrix(after.pose[:, :3]) @ axis_angle_to_matrix(before.pose[:, :3]).mT
    zoom = after.camera[:, :1] / before.camera[:, :1]
    return zoom * torch.stack([turn[:, 0, 0].abs(), turn[:, 1, 1].abs()], -1)


def _field(
    head: HeadModel, here: Tensor, there: Tensor, size: int, zoom: Float[Tensor, "B"]
) -> Float[Tensor, "B 3 H W"]:
    """Where each node of the picture's mesh goes: pixels and depth.

    On the head where its surface goes; around it less and less with the head, more and more where the crop's
    new frame puts the background, which lies behind all of the head.
    """
    nodes = size // STEP
    fine = here * here.new_tensor([1 / STEP, 1 / STEP, 1.0])
    fragments = rasterize(fine, head.faces, nodes, nodes)
    facing = -vertex_normals(here, head.faces)[..., 2:]
    seen = interpolate(fragments, fine, head.faces, torch.cat([there, facing], -1)).permute(0, 3, 1, 2)
    on = (fragments.pix_to_face >= 0)[:, None] & (seen[:, 3:] > GRAZING)
    at = (torch.arange(nodes, device=here.device) + 0.5) * STEP
    grid = torch.stack(torch.meshgrid(at, at, indexing="xy"))
    flat = size / 2 + (grid - size / 2) * zoom[:, None, None, None]
    back = there[..., 2].amax(1)[:, None, None, None].expand(-1, 1, nodes, nodes)
    ground = torch.cat([flat, back], 1)
    distance, nearest = _nearest(on[:, 0])
    moved = (seen[:, :3] - ground).flatten(2).gather(2, nearest.flatten(1)[:, None].expand(-1, 3, -1))
    moved = moved.unflatten(2, (nodes, nodes))
    smooth = moved
    for _ in range(3):
        smooth = F.avg_pool2d(F.pad(smooth, (2, 2, 2, 2), mode="replicate"), 5, 1)
    moved = torch.where(on, moved, smooth)
    weight = torch.exp(-(distance[:, None] * (STEP / (REACH * size))).square())
    return ground + weight * moved


def _nearest(on: Bool[Tensor, "B H W"]) -> tuple[Float[Tensor, "B H W"], Int[Tensor, "B H W"]]:
    """Distance of every node to the nearest one that is on, in nodes, and its place in the flattened grid.

    Rows first, columns then, as squares of distances add up. Without any that is on: far, place 0.
    """
    height, width = on.shape[1:]
    y, x = (torch.arange(n, dtype=torch.int32, device=on.device) for n in (height, width))
    across, down = ((places[:, None] - places).square() for places in (x, y))
    in_row, column = torch.where(on[:, :, None], across, 10**6).min(-1)  # (B,H,W): of the same row
    squared, row = (down[:, None] + in_row.mT[:, None]).min(-1)  # (B,H,W): over all rows
    return squared.float().sqrt(), row * width + column.gather(1, row)


def _lay(carried: Float[Tensor, "B C S S"], goal: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C S S"]:
    """Draw the picture's mesh with its nodes at `goal`."""
    size, nodes = carried.shape[-1], goal.shape[-1]
    # One more ring of nodes, far outside: the border is repeated, as crops do.
    ring = F.pad(goal, (1, 1, 1, 1), mode="replicate")
    outer = torch.zeros(nodes + 2, device=goal.device)
    outer[0], outer[-1] = -2.0 * size, 2.0 * size
    ring[:, 0] += outer
    ring[:, 1] += outer[:, None]
    at = ((torch.arange(nodes + 2, device=goal.device) - 0.5) * STEP).clamp(0.5, size - 0.5)
    source = torch.stack([at.repeat(nodes + 2), at.repeat_interleave(nodes + 2)], -1)
    faces = _grid_faces(nodes + 2, goal.device)
    verts = ring.flatten(2).mT.contiguous()
    fragments = rasterize(verts, faces, size, size)
    where = interpolate(fragments, verts, faces, source.expand(len(goal), -1, -1))
    return F.grid_sample(carried, where * (2 / size) - 1, padding_mode="border", align_corners=False)


def _grid_faces(side: int, device: torch.device) -> Tensor:
    corner = torch.arange(side * side, device=device).unflatten(0, (side, side))
    a, b, c, d = (x.flatten() for x in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]))
    return torch.cat([torch.stack([a, c, b], -1), torch.stack([b, c, d], -1)])
