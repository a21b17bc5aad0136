"""Reference rasterizer in plain PyTorch: slow, short, and right on any device."""

import torch
from torch import Tensor

from occface_core.rendering.backends.common import (
    EMPTY_KEY,
    MAX_TWICE_AREA,
    MIN_TWICE_AREA,
    depth_keys,
    edge_weights,
    fragments_from_faces,
    keys_to_faces,
    wide,
)

_PAIRS_PER_CHUNK = 1 << 21  # (triangle, pixel) pairs tested at once: about 300 MB of temporaries


def rasterize(
    verts: Tensor, faces: Tensor, height: int, width: int, cull_back: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """See :mod:`occface_core.rendering.backends`."""
    keys = [_image_keys(image[faces], height, width, cull_back) for image in verts]
    pix_to_face = keys_to_faces(torch.stack(keys)).reshape(-1, height, width)
    return fragments_from_faces(verts, faces, pix_to_face)


def _image_keys(corners: Tensor, height: int, width: int, cull_back: bool) -> Tensor:
    """Smallest key of each pixel of one image; ``corners`` is (F, 3, 3)."""
    corners = wide(corners)
    first, last, count = _pixel_boxes(corners, height, width, cull_back)
    keys = torch.full((height * width,), EMPTY_KEY, dtype=torch.int64, device=corners.device)
    drawn = count.nonzero().squeeze(1)
    pairs = count[drawn].cumsum(0)
    # Split where the running number of pairs passes a multiple of the chunk size.
    for chunk in drawn.split(torch.bincount(pairs // _PAIRS_PER_CHUNK).tolist() if len(drawn) else []):
        face = chunk.repeat_interleave(count[chunk])
        within = torch.arange(len(face), device=face.device)
        within = within - (count[chunk].cumsum(0) - count[chunk]).repeat_interleave(count[chunk])
        box_width = (last[:, 0] - first[:, 0])[face]
        column = first[face, 0] + within % box_width
        row = first[face, 1] + within // box_width
        weights = edge_weights(corners[face], column + 0.5, row + 0.5)
        inside = (weights >= 0).all(-1) | (weights <= 0).all(-1)
        face, weights, pixel = face[inside], weights[inside], (row * width + column)[inside]
        depth = (weights * corners[face, :, 2]).sum(-1) / weights.sum(-1)
        keys.scatter_reduce_(0, pixel, depth_keys(depth.float(), face), "amin")
    return keys


def _pixel_boxes(corners: Tensor, height: int, width: int, cull_back: bool) -> tuple[Tensor, Tensor, Tensor]:
    """First and one-past-last (column, row) whose centres a triangle's box holds, and their number."""
    edge_a, edge_b = corners[:, 1, :2] - corners[:, 0, :2], corners[:, 2, :2] - corners[:, 0, :2]
    area = edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0]
    usable = (area.abs() >= MIN_TWICE_AREA) & (area.abs() < MAX_TWICE_AREA)  # also False for NaN
    if cull_back:
        usable &= area < 0  # y points down, so triangles facing the viewer run clockwise
    limit = torch.tensor([width, height], dtype=corners.dtype, device=corners.device)
    low, high = corners[..., :2].amin(1).nan_to_num(), corners[..., :2].amax(1).nan_to_num()
    first = (low - 0.5).ceil().clamp(min=0).minimum(limit).long()
    last = ((high - 0.5).floor() + 1).clamp(min=0).minimum(limit).long()
    count = (last - first).clamp(min=0).prod(1) * usable
    return first, last, count
