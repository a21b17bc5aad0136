"""The 468 MediaPipe face points: face outline mask, pose and depth from 2D points."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.errors import OcclusionError
from occface_core.occlusion.textures import fill_polygon

# Outline of the face in MediaPipe's numbering, clockwise from the top of the forehead.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip


def face_mask_from_points(
    points: Float[Tensor, "B 468 2"], height: int, width: int
) -> Float[Tensor, "B 1 H W"]:
    """Fill the face oval of 468 points.

    Args:
        points: (B,468,2) pixels, x right, y down, pixel centres at +0.5.
        height: rows of the mask.
        width: columns of the mask.

    Returns:
        (B,1,H,W) float32 on the device of ``points``; 1 inside the outline, fractional on its edge.

    Raises:
        OcclusionError: the points are not finite.
    """
    if not bool(torch.isfinite(points).all()):
        raise OcclusionError("points hold NaN or infinite values; drop or repair those samples first")
    outlines = points[:, FACE_OVAL, :].detach().to("cpu", torch.float32).numpy()
    masks = np.zeros((len(outlines), height, width), np.uint8)
    for mask, outline in zip(masks, outlines, strict=True):
        fill_polygon(mask, outline)
    return (torch.from_numpy(masks).to(points.device, torch.float32) / 255.0)[:, None]
