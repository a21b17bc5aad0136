"""The 468 MediaPipe face points: face outline mask, pose and depth from 2D points."""

from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from scipy.spatial import Delaunay
from torch import Tensor

from occface_core.errors import OcclusionError
from occface_core.occlusion.canonical import canonical_points
from occface_core.occlusion.posing import fit_pose, pose_inverse

# Outline of the face in MediaPipe's numbering, clockwise from the top of the forehead.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip

# Outlines are filled this many times finer, then averaged: OpenCV's own anti-aliasing swells shapes.
_FINE = 4
# Points on the eyes, brows and lips: everything that is not plain skin.
EYES_AND_LIPS = (
    7, 22, 23, 24, 25, 26, 27, 28, 29, 30, 33, 46, 52, 53, 55, 56, 63, 65, 66, 70, 105, 107, 110, 112,
    130, 133, 144, 145, 153, 154, 155, 157, 158, 159, 160, 161, 163, 173, 190, 221, 222, 223, 224, 225,
    226, 243, 246, 247, 249, 252, 253, 254, 255, 256, 257, 258, 259, 260, 263, 276, 282, 283, 285, 286,
    293, 295, 296, 300, 334, 336, 339, 341, 359, 362, 373, 374, 380, 381, 382, 384, 385, 386, 387, 388,
    390, 398, 414, 441, 442, 443, 444, 445, 446, 463, 466, 467, 0, 11, 12, 13, 14, 15, 16, 17, 37, 38,
    39, 40, 41, 42, 61, 62, 72, 73, 74, 76, 77, 78, 80, 81, 82, 84, 85, 86, 87, 88, 89, 90, 91, 95, 96,
    146, 178, 179, 180, 181, 183, 184, 185, 191, 267, 268, 269, 270, 271, 272, 291, 292, 302, 303, 304,
    306, 307, 308, 310, 311, 312, 314, 315, 316, 317, 318, 319, 320, 321, 324, 325, 375, 402, 403, 404,
    405, 407, 408, 409, 415,
)  # fmt: skip


def face_mask_from_points(
    points: Float[Tensor, "B 468 2"], height: int, width: int
) -> Float[Tensor, "B 1 H W"]:
    """What is seen of the face that 468 points span, from any side.

    The points' triangles are filled, not their oval: that folds over once the head turns, and at 30 degrees
    it leaves out a twelfth of the face, the far cheek.

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
    flat = points.detach().to("cpu", torch.float32).numpy()
    masks = np.zeros((len(flat), height, width), np.uint8)
    fine = np.empty((height * _FINE, width * _FINE), np.uint8)
    for mask, face in zip(masks, flat, strict=True):
        fine.fill(0)
        corners = np.clip(face * _FINE - 0.5, -(2**24), 2**24)  # times 16, these are still 32-bit numbers
        corners = np.round(corners * 16).astype(np.int32)
        for triangle in corners[face_triangles()]:
            cv2.fillConvexPoly(fine, triangle, 255, shift=4)
        cv2.resize(fine, (width, height), dst=mask, interpolation=cv2.INTER_AREA)
    return (torch.from_numpy(masks).to(points.device, torch.float32) / 255.0)[:, None]


@lru_cache(maxsize=1)
def face_triangles() -> Int[np.ndarray, "F 3"]:
    """Triangles over the 468 points that fill the face oval: Delaunay's, of the mean face seen from ahead."""
    flat = np.asarray(canonical_points()[:, :2], np.float64)
    oval = flat[list(FACE_OVAL)].astype(np.float32)[:, None]
    triangles = Delaunay(flat).simplices
    middles = flat[triangles].mean(1)
    inside = [cv2.pointPolygonTest(oval, (float(x), float(y)), False) >= 0 for x, y in middles]
    return triangles[np.array(inside)]


def rim_of(outline: Float[Tensor, "B 1 S S"], width: int) -> Bool[Tensor, "B 1 S S"]:
    """Pixels just outside a mask: at most `width` of them beyond it."""
    face = outline > 0.5
    return (F.max_pool2d(face.float(), 2 * width + 1, stride=1, padding=width) > 0) & ~face


def estimate_depth(
    points: Float[Tensor, "B 468 2"], *, mean_points: Float[Tensor, "468 3"] | None = None
) -> Float[Tensor, "B 468 3"]:
    """Give 2D face points the depth of a mean face in the same pose (weak perspective).

    Args:
        points: (B,468,2) pixels, x right, y down.
        mean_points: (468,3) mean face, x to the subject's left, y up, z out of the face, any unit; for
            example the neutral head's ``landmarks(verts, "468")``. The built-in mean face by default.

    Returns:
        (B,468,3) the same x and y with depth in pixels: larger = farther, 0 at the mean face's centroid.

    Raises:
        OcclusionError: the points are not finite.
    """
    if not bool(torch.isfinite(points).all()):
        raise OcclusionError("points hold NaN or infinite values; drop or repair those samples first")
    model = canonical_points() if mean_points is None else mean_points.detach().cpu().float().numpy()
    model = model - model.mean(axis=0)
    inverse = pose_inverse(model)
    flat = points.detach().to("cpu", torch.float32).numpy()
    depths = np.array([fit_pose(cloud, inverse).depth(model) for cloud in flat], np.float32)
    depth = torch.from_numpy(depths.reshape(len(flat), 468)).to(points)
    return torch.cat([points, depth[..., None]], dim=2)
