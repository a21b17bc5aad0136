"""Blend drawn objects into their pictures: softness, noise and shadow, as ``lighting.py`` does for one."""

from math import ceil

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from occface_core.occlusion.batched.draws import Draws
from occface_core.occlusion.batched.group import Group
from occface_core.occlusion.lighting import LUMA

_FAINT = 0.01  # opacity below this is none
_REACH = 2.5  # standard deviations at which a blur ends


def blur_along(
    picture: Float[Tensor, "B C H W"],
    sigma: Float[Tensor, " B"],
    radius: int,
    *,
    down: bool,
    shift: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, "B C H W"]:
    """Gaussian blur along one axis, of each picture by its own sigma, repeated at the edges.

    Weighted copies of the picture are added one by one: an order that no batch size changes.

    Args:
        picture: any layers. sigma: pixels. radius: last pixel that counts.
        down: along the columns, else along the rows.
        shift: pixels by which the result is moved down or right.
    """
    steps = torch.arange(-radius, radius + 1, device=picture.device, dtype=torch.float64)
    centre = torch.zeros_like(sigma) if shift is None else shift
    weights = (-0.5 * ((steps - centre[:, None].double()) / sigma[:, None].double()).square()).exp()
    weights = (weights / weights.sum(1, keepdim=True)).float()
    size = picture.shape[2 if down else 3]
    wide = F.pad(picture, (0, 0, radius, radius) if down else (radius, radius, 0, 0), mode="replicate")
    total = torch.zeros_like(picture)
    for number in range(2 * radius + 1):
        # the pixel that lies `step` before takes part with the weight of `step`
        part = wide.narrow(2 if down else 3, 2 * radius - number, size)
        total = total + weights[:, number, None, None, None] * part
    return total


def sharpness(group: Group, extent: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Blur (sigma, pixels) and noise that make an object as soft and grainy as its picture.

    Args:
        group: the pictures. extent: pixels between the outer corners of the eyes.
    """
    green = group.original[:, 1:2]
    wide = F.pad(green, (1, 1, 1, 1), mode="replicate")
    ring = wide[:, :, :-2, 1:-1] + wide[:, :, 2:, 1:-1] + wide[:, :, 1:-1, :-2] + wide[:, :, 1:-1, 2:]
    edges = (ring - 4 * green)[:, 0, ::2, ::2].flatten(1).abs()
    spread = green[:, 0, ::2, ::2].flatten(1).double().std(1, correction=0).clamp_min(1e-3)
    detail = (edges.double().mean(1) / spread).float()
    sigma = (0.9 - 2.0 * detail).clamp(0.3, 0.9) * (extent / 60.0).clamp(0.4, 2.0)
    return sigma.clamp_min(0.3), (edges[:, ::3].median(1).values * 0.25).clamp(0.0, 0.02)


def blend_in(
    group: Group, layers: Float[Tensor, "B 4 H W"], extent: Float[Tensor, " B"]
) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B 1 H W"]]:
    """Give objects the softness, grain and (on black-and-white pictures) greyness of their pictures."""
    height, width = group.size
    sigma, noise = sharpness(group, extent)
    # faces fill at most about this much of a picture, which bounds the blur without asking the GPU
    radius = ceil(_REACH * 0.9 * min(max(0.42 * min(height, width) / 60.0, 0.4), 2.0))
    sigma = sigma.clamp(max=radius / 2.0)
    layers = blur_along(blur_along(layers, sigma, radius, down=False), sigma, radius, down=True)
    alpha = torch.where(layers[:, 3:] < _FAINT, 0.0, layers[:, 3:].clamp(max=1.0))
    grain = _grain(group.draws, height, width) * noise[:, None, None, None]
    colour = layers[:, :3] / layers[:, 3:].clamp_min(1e-3) + grain
    tint = (group.original[:, 0, ::4, ::4] - group.original[:, 2, ::4, ::4]).abs().double().flatten(1).mean(1)
    red, green, blue = (colour[:, k : k + 1] * float(LUMA[k]) for k in range(3))
    return torch.where((tint < 0.004)[:, None, None, None], red + green + blue, colour), alpha


def _grain(draws: Draws, height: int, width: int) -> Float[Tensor, "B 1 H W"]:
    return draws.gaussian("grain", 1, height, width)


def contact_shadow(
    group: Group, alpha: Float[Tensor, "B 1 H W"], extent: Float[Tensor, " B"], strength: Float[Tensor, " B"]
) -> Float[Tensor, "B 1 H W"]:
    """Darkening of the face beside objects: their opacity, blurred and moved slightly down."""
    height, width = group.size
    cell = max(1, min(height, width) // 64)  # wide blurs do not need every pixel
    coarse = F.adaptive_avg_pool2d(alpha, (ceil(height / cell), ceil(width / cell)))
    sigma = (0.045 * extent).clamp_min(0.5) / cell
    shift = (0.03 * extent).clamp_min(1.0) / cell
    radius = 5
    sigma, shift = sigma.clamp(max=radius / _REACH), shift.clamp(max=2.0)
    moved = blur_along(blur_along(coarse, sigma, radius, down=False), sigma, radius, down=True, shift=shift)
    if cell > 1:
        moved = F.interpolate(moved, size=(height, width), mode="bilinear", align_corners=False)
    return 1.0 - strength[:, None, None, None] * moved.clamp(0, 1) * group.face.clamp(0, 1)
