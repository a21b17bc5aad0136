"""What a design hides of the face, seen from a few directions: how a batch compares candidates quickly."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from occface_core.occlusion.batched.draws import Draws
from occface_core.occlusion.batched.group import pixel_centres
from occface_core.occlusion.canonical import canonical_normals, canonical_points
from occface_core.rendering.rasterizer import visible_faces

_YAWS, _PITCHES = np.radians(np.arange(-75, 76, 25)), np.radians(np.arange(-40, 41, 20))
_SIZE, _BOX = 72, 0.24  # pixels of a silhouette, metres it spans
_AT_ONCE = 8  # designs drawn together
_CELLS = 32  # a side of the grid on which a face's points share its area
CANDIDATES = 24
_CLOSE = 0.025  # misses of the target that are as good as none
_BESIDE = 0.04  # an object that hides less than this lies beside the face


def _cameras() -> np.ndarray:
    """(S,3,3) rows right, down, away of orthographic cameras around the mean face, yaw fastest."""
    cameras = []
    for pitch in _PITCHES:
        for yaw in _YAWS:
            to = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
            right = np.cross([0.0, 1.0, 0.0], to)
            right /= np.linalg.norm(right)
            cameras.append(np.stack([right, -np.cross(to, right), -to]))
    return np.stack(cameras)


def silhouettes(verts: np.ndarray, faces: np.ndarray, two_sided: np.ndarray) -> np.ndarray:
    """(D,S,468) uint8: 1 where a design (D,V,3) lies over a face point seen from a direction."""
    cameras = _cameras()
    triangles = torch.from_numpy(np.concatenate([faces, faces[two_sided][:, ::-1]]))
    points = _pixels(canonical_points()[None], cameras)[..., :2].astype(int)
    inside = ((points >= 0) & (points < _SIZE)).all(-1)
    columns, rows = np.clip(points, 0, _SIZE - 1).transpose(2, 0, 1)
    hidden = []
    for some in np.array_split(verts, -(-len(verts) // _AT_ONCE)):
        pixels = torch.from_numpy(_pixels(some, cameras).astype(np.float32))
        seen = visible_faces(pixels, triangles, _SIZE, _SIZE, cull_back=True).numpy() >= 0
        seen = seen.reshape(len(some), len(cameras), _SIZE, _SIZE)
        hidden.append(seen[:, np.arange(len(cameras))[:, None], rows, columns] & inside)
    return np.concatenate(hidden).astype(np.uint8)


def _pixels(verts: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    """(D*S,V,3) pixels of (D,V,3) metres."""
    turned = verts[:, None] @ cameras.transpose(0, 2, 1).astype(np.float32) * np.float32(_SIZE / _BOX)
    turned[..., :2] += _SIZE / 2
    return turned.reshape(-1, *turned.shape[2:])


def nearest_views(toward: Float[Tensor, "B 3"]) -> tuple[Int64[Tensor, "B 4"], Float[Tensor, "B 4"]]:
    """The four directions around unit vectors towards the viewer (mean face's frame), and their shares."""
    yaw = torch.atan2(toward[:, 0].double(), toward[:, 2].double())
    pitch = torch.asin(toward[:, 1].double().clamp(-1, 1))
    places = []
    for angle, steps in ((yaw, _YAWS), (pitch, _PITCHES)):
        place = ((angle - float(steps[0])) / float(steps[1] - steps[0])).clamp(0, len(steps) - 1)
        first = place.floor().clamp(max=len(steps) - 2)
        places.append((first.long(), place - first))
    (column, right), (row, down) = places
    first = row * len(_YAWS) + column
    views = torch.stack([first, first + 1, first + len(_YAWS), first + len(_YAWS) + 1], dim=1)
    shares = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], 1)
    return views, shares.float()


@lru_cache(maxsize=4)
def _normals(device: torch.device) -> Tensor:
    return torch.tensor(canonical_normals(), device=device)


def point_weights(
    points: Float[Tensor, "B 468 3"], face: Float[Tensor, "B 1 H W"], toward: Float[Tensor, "B 3"]
) -> Float[Tensor, "B 468"]:
    """Share of the visible face around each point: what lies nearer to it than to others that are seen."""
    height, width = face.shape[2:]
    rows, columns = min(height, _CELLS), min(width, _CELLS)
    cells = F.adaptive_avg_pool2d(face, (rows, columns)).flatten(1).double()
    x, y = pixel_centres(rows, columns, face.device)
    x, y = (torch.broadcast_to(v, (rows, columns)).reshape(1, -1, 1) for v in (x, y))
    dx = points[:, None, :, 0] * (columns / width) - x
    dy = points[:, None, :, 1] * (rows / height) - y
    turned = (_normals(face.device)[None] * toward[:, None]).double().sum(2) < 0.05
    nearest = (dx * dx + dy * dy + turned[:, None] * 1e9).argmin(2)
    weights = torch.zeros(points.shape[:2], dtype=torch.float64, device=face.device)
    weights = weights.scatter_add(1, nearest, cells)
    return (weights / weights.sum(1, keepdim=True).clamp_min(1e-12)).float()


def choose(
    hidden: UInt8[Tensor, "N S 468"],
    first: Int64[Tensor, " B"],
    count: int,
    weights: Float[Tensor, "B 468"],
    toward: Float[Tensor, "B 3"],
    target: Float[Tensor, " B"],
    draws: Draws,
) -> Int64[Tensor, " B"]:
    """Of some random designs of each sample's family, one that hides about the target.

    Args:
        hidden: of the bank. first: the family's first design. count: designs of a family.
        weights: ``point_weights``. toward: unit vectors towards the viewer in the mean face's frame.
        target: wanted share; NaN takes the first design that hides anything.
        draws: random numbers.
    """
    candidates = first[:, None] + draws.below("design", count, CANDIDATES)
    views, parts = nearest_views(toward)
    shares = torch.zeros_like(candidates, dtype=torch.float64)
    for number in range(4):
        covered = hidden[candidates, views[:, number, None]].double()
        shares = shares + parts[:, number, None].double() * (covered * weights[:, None]).sum(2)
    misses = (shares - target[:, None]).abs().clamp_min(_CLOSE).nan_to_num(0.0)
    order = torch.arange(CANDIDATES, device=hidden.device) * 1e-4  # the earlier of two equally good ones
    best = (misses + (shares < _BESIDE) + order).argmin(1, keepdim=True)
    return candidates.gather(1, best)[:, 0]
