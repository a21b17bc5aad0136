"""What the backends share: the limits, the depth-and-id keys, and barycentrics from visibility."""

import torch
from torch import Tensor

MIN_TWICE_AREA = 1e-6  # px^2; thinner triangles are skipped: their barycentrics are rounding noise
MAX_TWICE_AREA = 1e30  # beyond this float32 products overflow
EMPTY_KEY = torch.iinfo(torch.int64).max


def depth_keys(depth: Tensor, face: Tensor) -> Tensor:
    """int64 keys that sort by depth first and triangle number second, for one atomic minimum.

    The bits of a float32 order like integers once those of negative numbers are flipped.
    """
    bits = depth.contiguous().view(torch.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.to(torch.int64) << 32) | face


def keys_to_faces(keys: Tensor) -> Tensor:
    """Triangle numbers of keys, -1 where nothing was drawn."""
    return torch.where(keys == EMPTY_KEY, -1, keys & 0xFFFFFFFF)


def wide(values: Tensor) -> Tensor:
    """float64 where the device has it (Apple's GPUs do not)."""
    return values if values.device.type == "mps" else values.double()


def edge_weights(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Barycentric weights times twice the signed area.

    Args:
        corners: (..., 3, 2) or (..., 3, 3) triangle corners, pixels.
        x, y: (...) the point, pixels.
    """
    cx, cy = corners[..., 0] - x[..., None], corners[..., 1] - y[..., None]
    return cx.roll(-1, -1) * cy.roll(-2, -1) - cy.roll(-1, -1) * cx.roll(-2, -1)


def fragments_from_faces(verts: Tensor, faces: Tensor, pix_to_face: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Complete a visibility map with barycentric weights and depth."""
    batch, height, width = pix_to_face.shape
    bary = verts.new_zeros(batch, height, width, 3)
    zbuf = verts.new_full((batch, height, width), torch.inf)
    image, row, column = (pix_to_face >= 0).nonzero(as_tuple=True)
    corners = wide(verts[image[:, None], faces[pix_to_face[image, row, column]]])
    weights = edge_weights(corners, column + 0.5, row + 0.5)
    weights = weights / weights.sum(-1, keepdim=True)
    bary[image, row, column] = weights.to(bary.dtype)
    zbuf[image, row, column] = (weights * corners[..., 2]).sum(-1).to(zbuf.dtype)
    return pix_to_face, bary, zbuf
