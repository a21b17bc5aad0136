"""Cameras: world coordinates (x left, y up, z out of the face) to image coordinates and pixels.

Image coordinates have x right, y down and span [-1, 1] over the square image. Pixel coordinates have
(0, 0) at the top-left corner of the image and pixel centres at +0.5. Depth is larger farther away.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def weak_perspective(verts: Float[Tensor, "B N 3"], camera: Float[Tensor, "B 3"]) -> Float[Tensor, "B N 3"]:
    """Scaled orthographic projection, as DECA's (``batch_orth_proj``, then y and z negated).

    Args:
        verts: world points, metres.
        camera: scale s (image half-widths per metre) and translation tx, ty (metres).

    Returns:
        Image coordinates ``s*(x+tx), -s*(y+ty), -s*z``.
    """
    scale = camera[:, None, :1]
    shift = torch.nn.functional.pad(camera[:, None, 1:], (0, 1))
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=verts.dtype, device=verts.device)
    return (scale * (verts + shift)) * flip


def to_pixels(points: Float[Tensor, "B N 3"], size: int) -> Float[Tensor, "B N 3"]:
    """Image coordinates to pixels of a square image; depth is scaled to pixels but not shifted."""
    shift = torch.tensor([1.0, 1.0, 0.0], dtype=points.dtype, device=points.device)
    return (points + shift) * (size / 2)


def from_pixels(points: Float[Tensor, "B N 3"], size: int) -> Float[Tensor, "B N 3"]:
    """Inverse of :func:`to_pixels`."""
    shift = torch.tensor([1.0, 1.0, 0.0], dtype=points.dtype, device=points.device)
    return points * (2 / size) - shift


def inverse_weak_perspective(
    points: Float[Tensor, "B N 3"], camera: Float[Tensor, "B 3"]
) -> Float[Tensor, "B N 3"]:
    """Inverse of :func:`weak_perspective`: image coordinates to world points in metres."""
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=points.dtype, device=points.device)
    shift = torch.nn.functional.pad(camera[:, None, 1:], (0, 1))
    return points * flip / camera[:, None, :1] - shift


def perspective(
    verts: Float[Tensor, "B N 3"],
    *,
    focal: Float[Tensor, " B"],
    distance: Float[Tensor, " B"],
    centre: Float[Tensor, "B 2"],
) -> Float[Tensor, "B N 3"]:
    """Pinhole projection by a camera on the +z axis that looks along -z, straight at an upright face.

    Args:
        verts: world points, metres, already posed.
        focal: focal length in pixels.
        distance: metres from the camera to the world origin.
        centre: principal point in pixels.

    Returns:
        x and y in pixels, depth in metres along the axis. Points at or behind the camera have a depth
        that is not positive and a meaningless position; the rasterizer skips their triangles.
    """
    x, y, z = verts.unbind(-1)
    depth = distance[:, None] - z
    ratio = focal[:, None] / torch.where(depth > 1e-6, depth, torch.full_like(depth, 1e-6))
    return torch.stack([centre[:, :1] + ratio * x, centre[:, 1:] - ratio * y, depth], -1)
