"""Draw placed designs of a batch: visibility, texture and light at two times two samples per pixel."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occface_core.occlusion.batched.device import constant
from occface_core.occlusion.batched.pieces import ATLAS, BRIGHTEST
from occface_core.occlusion.raster import SUPERSAMPLE
from occface_core.rendering.backends.common import edge_weights
from occface_core.rendering.rasterizer import visible_faces

_SAMPLES = 1 << 22  # shaded at a time: about a gigabyte of temporaries


@dataclass(frozen=True)
class Objects:
    """Designs carried to the pictures of a batch.

    Attributes:
        verts: pixels and depth; NaN where nothing is to be drawn.
        faces: triangles. two_sided: those drawn from both sides.
        values: column and row in the atlas, brightness and highlight of each vertex.
        texture: of every design in the bank. design: which of them each sample shows.
        level: colour that multiplies plain texels. dye: colour that multiplies dyed ones.
    """

    verts: Float[Tensor, "B V 3"]
    faces: Int64[Tensor, "B F 3"]
    two_sided: Bool[Tensor, "B F"]
    values: Float[Tensor, "B V 4"]
    texture: Tensor
    design: Int64[Tensor, " B"]
    level: Float[Tensor, "B 3"]
    dye: Float[Tensor, "B 3"]


def draw(objects: Objects, height: int, width: int, *, dense: bool | None = None) -> Float[Tensor, "B 4 H W"]:
    """Colour times opacity, and opacity.

    Args:
        objects: what to draw.
        height, width: of the pictures.
        dense: shade all samples instead of listing the covered ones first, for which a GPU would have to
            wait; None: on GPUs.
    """
    rows, columns = height * SUPERSAMPLE, width * SUPERSAMPLE
    corners = _corners(objects)
    count = corners.shape[1]
    # triangles of their own for each picture: what they share is the numbering
    numbers = torch.arange(3 * count, device=corners.device).view(count, 3)
    seen = visible_faces(corners.flatten(1, 2), numbers, rows, columns).flatten()
    if seen.is_cuda if dense is None else dense:
        pixel = torch.arange(len(seen), device=seen.device)
    else:
        pixel = (seen >= 0).nonzero()[:, 0]
    layers = corners.new_zeros(len(seen), 4)
    for some in pixel.split(_SAMPLES):
        face = seen.index_select(0, some)
        colour = _shade(objects, corners, some, face.clamp_min(0), (rows, columns))
        layers.index_copy_(0, some, colour * (face >= 0)[:, None])
    fine = layers.view(-1, height, SUPERSAMPLE, width, SUPERSAMPLE, 4)
    mean = (fine[:, :, 0] + fine[:, :, 1]) * 0.25
    mean = mean[:, :, :, 0] + mean[:, :, :, 1]
    # a colour may not be brighter than white
    return torch.minimum(mean, mean[..., 3:]).permute(0, 3, 1, 2).contiguous()


def _corners(objects: Objects) -> Float[Tensor, "B F 3 3"]:
    """Corners of the triangles in samples instead of pixels; NaN for those that face away."""
    batch, count, _ = objects.faces.shape
    index = objects.faces.flatten(1)[..., None].expand(-1, -1, 3)
    corners = objects.verts.gather(1, index).view(batch, count, 3, 3)
    corners = corners * constant((SUPERSAMPLE, SUPERSAMPLE, 1.0), corners.device)
    one, other = corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    # y points down in pixels, so outward triangles turn clockwise: negative area
    away = (one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0] > 0) & ~objects.two_sided
    return corners.masked_fill(away[..., None, None], torch.nan)


def _shade(
    objects: Objects, corners: Tensor, pixel: Tensor, face: Tensor, size: tuple[int, int]
) -> Float[Tensor, "P 4"]:
    """Colour times opacity, and opacity, of samples that see the given triangles."""
    rows, columns = size
    image = torch.div(pixel, rows * columns, rounding_mode="floor")
    x = (pixel % columns).float() + 0.5
    y = (torch.div(pixel, columns, rounding_mode="floor") % rows).float() + 0.5
    own = image * objects.faces.shape[1] + face
    weights = edge_weights(corners.reshape(-1, 3, 3).index_select(0, own), x, y)
    total = weights[:, 0] + weights[:, 1] + weights[:, 2]
    weights = weights / total[:, None]
    verts = objects.faces.reshape(-1, 3).index_select(0, own) + (image * objects.verts.shape[1])[:, None]
    values = objects.values.flatten(0, 1)
    corner = [values.index_select(0, verts[:, k]) * weights[:, k, None] for k in range(3)]
    column, row, tone, gloss = (corner[0] + corner[1] + corner[2]).unbind(1)
    texels = objects.texture.flatten(0, 2)
    column = column.nan_to_num().long().clamp(0, ATLAS[1] - 1)
    place = row.nan_to_num().long().clamp(0, ATLAS[0] - 1) * ATLAS[1] + column
    design = objects.design.index_select(0, image) * (ATLAS[0] * ATLAS[1])
    texel = texels.index_select(0, design + place).float() * (1.0 / 255.0)
    dyed = texel[:, 4:] > 0.5
    level, dye = (colour.index_select(0, image) for colour in (objects.level, objects.dye * BRIGHTEST))
    colour = texel[:, :3] * torch.where(dyed, dye, level) * tone[:, None] + gloss[:, None]
    return torch.cat([colour * texel[:, 3:4], texel[:, 3:4]], dim=1).nan_to_num(0.0)
