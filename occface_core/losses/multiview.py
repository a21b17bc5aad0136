"""Consistency between views of one face: MGCNet's occlusion-aware view synthesis (Shang et al., ECCV 2020).

MGCNet warps pixels through a predicted depth map and a perspective camera. Here the depth map is the
rasterized mesh
and the camera weak-perspective, so that the warp of a pixel is the source view's projection of the very
surface
point the target view shows there. Image coordinates span [-1, 1]; all terms are unreduced over the batch.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

C1, C2 = 0.01**2, 0.03**2


def ssim_distance(a: Float[Tensor, "B 3 H W"], b: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
    """(1 - SSIM) / 2 over 3x3 windows, averaged over channels: 0 where the pictures agree, at most 1."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)

    ma, mb = mean(a), mean(b)
    va, vb = mean(a * a) - ma * ma, mean(b * b) - mb * mb
    cov = mean(a * b) - ma * mb
    ssim = ((2 * ma * mb + C1) * (2 * cov + C2)) / ((ma * ma + mb * mb + C1) * (va + vb + C2))
    return ((1 - ssim) / 2).clamp(0, 1).mean(1, keepdim=True)


def covisible(target_faces: Tensor, source_faces: Tensor, face_count: int) -> Bool[Tensor, "B 1 H W"]:
    """Target pixels whose triangle is also seen in the source view (MGCNet's covisible map).

    Args:
        target_faces, source_faces: (B,H,W) triangle per pixel, -1 where there is none.
        face_count: number of triangles.
    """
    batch = len(target_faces)
    seen = torch.zeros(batch, face_count + 1, dtype=torch.bool, device=target_faces.device)
    seen.scatter_(1, (source_faces + 1).flatten(1), True)
    seen[:, 0] = False
    return seen.gather(1, (target_faces + 1).flatten(1)).view_as(target_faces)[:, None]


def view_synthesis_loss(
    target: Float[Tensor, "B 3 H W"],
    source: Float[Tensor, "B 3 H W"],
    warp: Float[Tensor, "B H W 2"],
    mask: Bool[Tensor, "B 1 H W"],
) -> Float[Tensor, "B"]:
    """0.15 L1 + 0.85 SSIM distance between the target and the source warped onto it, on covisible pixels.

    Args:
        target: the view to explain.
        source: another view.
        warp: where each target pixel lies in the source, [-1, 1].
        mask: covisible pixels; those that leave the source picture are dropped here.
    """
    inside = (warp.abs() <= 1).all(-1)[:, None]
    weight = (mask & inside).float()
    made = F.grid_sample(source, warp, mode="bilinear", padding_mode="border", align_corners=False)
    # Unseen pixels are taken from the target itself, so that their windows say nothing.
    made = torch.where(weight > 0, made, target)
    distance = 0.15 * (made - target).abs().mean(1, keepdim=True) + 0.85 * ssim_distance(made, target)
    return (distance * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1.0)


def depth_consistency_loss(
    depth: Float[Tensor, "B H W"], other: Float[Tensor, "B H W"], mask: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, "B"]:
    """Mean absolute difference of two depth maps of one view after removing each one's mean over the mask.

    A weak-perspective camera leaves depth free up to an offset, where MGCNet's perspective one leaves a
    ratio.
    """
    weight = mask[:, 0].float()
    total = weight.sum((1, 2)).clamp(min=1.0)

    def centred(x: Tensor) -> Tensor:
        return x - ((x * weight).sum((1, 2)) / total)[:, None, None]

    return ((centred(depth) - centred(other)).abs() * weight).sum((1, 2)) / total


def epipolar_distance(
    point: Float[Tensor, "B L 2"], anchor: Float[Tensor, "B L 2"], direction: Float[Tensor, "B 2"]
) -> Float[Tensor, "B"]:
    """Mean distance of points to lines through `anchor` along `direction` (any length but 0).

    Under a weak-perspective camera the epipolar lines of all points are parallel: the projected viewing
    direction of the other camera.
    """
    length = direction.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    normal = torch.stack([-direction[:, 1], direction[:, 0]], dim=-1) / length
    distance = ((point - anchor) * normal[:, None]).sum(-1).abs()
    # Views that hardly differ have no epipolar direction; their term fades out.
    return distance.mean(-1) * (length[:, 0] / (length[:, 0] + 0.05))
