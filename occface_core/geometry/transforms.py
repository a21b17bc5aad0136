"""Rotations and similarity transforms, batched and differentiable."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.errors import MeshError

_SERIES_BELOW = 1e-4  # squared angle under which the series is exact to float64 rounding


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of axis-angle vectors (Rodrigues' formula).

    Args:
        axis_angle: direction = axis, length = angle in radians.

    Returns:
        Rotation matrices acting on column vectors. Values and gradients are finite everywhere,
        also at zero rotation, where a series replaces ``sin(a)/a``.
    """
    squared = (axis_angle * axis_angle).sum(-1)
    small = squared < _SERIES_BELOW
    # The inner `where` keeps the square root away from zero, whose infinite slope would turn into NaN.
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    half = torch.sin(angle / 2) / angle
    sine = torch.where(small, 1 - squared / 6 + squared**2 / 120, torch.sin(angle) / angle)
    cosine = torch.where(small, 0.5 - squared / 24 + squared**2 / 720, 2 * half * half)
    cross = _cross_matrix(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sine[..., None, None] * cross + cosine[..., None, None] * (cross @ cross)


def _cross_matrix(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def matrix_to_axis_angle(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Axis-angle vectors of rotation matrices, the inverse of :func:`axis_angle_to_matrix`.

    Args:
        matrix: proper rotations (orthonormal, determinant +1).

    Returns:
        Vectors of length at most pi (radians); at exactly pi either of the two signs.
    """
    quaternion = _matrix_to_quaternion(matrix)
    real, vector = quaternion[..., 0], quaternion[..., 1:]
    squared = (vector * vector).sum(-1)
    small = squared < 1e-12
    length = torch.where(small, torch.ones_like(squared), squared).sqrt()
    factor = torch.where(small, 2 / real.clamp(min=0.5), 2 * torch.atan2(length, real) / length)
    return vector * factor[..., None]


def _matrix_to_quaternion(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (w, x, y, z) with w >= 0, from the best conditioned of the four classic branches."""
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    sx, sy, sz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    pxy, pxz, pyz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    # Row k is 4 * q_k * (w, x, y, z): pick the row whose own component is largest, then normalise.
    rows = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, sx, sy, sz], -1),
            torch.stack([sx, 1 + xx - yy - zz, pxy, pxz], -1),
            torch.stack([sy, pxy, 1 - xx + yy - zz, pyz], -1),
            torch.stack([sz, pxz, pyz, 1 - xx - yy + zz], -1),
        ],
        -2,
    )
    best = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)
    chosen = torch.take_along_dim(rows, best[..., None, None], dim=-2).squeeze(-2)
    quaternion = torch.nn.functional.normalize(chosen, dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


@dataclass(frozen=True)
class Similarity:
    """Batched map ``y = scale * rotation @ x + translation``."""

    scale: Float[Tensor, " B"]
    rotation: Float[Tensor, "B 3 3"]
    translation: Float[Tensor, "B 3"]

    def apply(self, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
        """Transform points; the translation is in the unit of the result."""
        return self.scale[:, None, None] * (points @ self.rotation.mT) + self.translation[:, None]

    def inverse(self) -> "Similarity":
        """The map that undoes this one."""
        scale, rotation = 1 / self.scale, self.rotation.mT
        translation = -scale[:, None] * torch.einsum("bij,bj->bi", rotation, self.translation)
        return Similarity(scale, rotation, translation)


def procrustes(
    source: Float[Tensor, "B N 3"],
    target: Float[Tensor, "B N 3"],
    *,
    with_scale: bool = True,
    weights: Float[Tensor, "B N"] | Float[Tensor, " N"] | None = None,
    allow_reflection: bool = False,
) -> Similarity:
    """Least-squares similarity taking ``source`` onto ``target`` (Umeyama, PAMI 1991).

    Args:
        source: points to move, any unit.
        target: corresponding points; the result maps into their unit.
        with_scale: False fixes the scale at 1 (rotation and translation only).
        weights: non-negative weight of each correspondence; uniform when absent.
        allow_reflection: permit determinant -1, as some evaluation protocols do.

    Returns:
        One transform per batch entry.

    Raises:
        MeshError: fewer than three points, or weights whose sum is not positive.
    """
    if source.shape[1] < 3:
        raise MeshError(f"procrustes needs at least 3 point pairs, got {source.shape[1]}")
    weight = torch.ones_like(source[..., 0]) if weights is None else weights.expand(source.shape[:2])
    total = weight.sum(1, keepdim=True)
    if not bool((total > 0).all()):
        raise MeshError("procrustes weights must have a positive sum for every batch entry")
    weight = (weight / total)[..., None]
    mean_source, mean_target = (weight * source).sum(1), (weight * target).sum(1)
    centred_source, centred_target = source - mean_source[:, None], target - mean_target[:, None]
    covariance = (weight * centred_target).mT @ centred_source
    rotation, spread = _best_rotation(covariance, allow_reflection)
    scale = torch.ones_like(spread)
    if with_scale:
        variance = (weight * centred_source**2).sum((1, 2))
        scale = spread / variance.clamp(min=torch.finfo(source.dtype).tiny)
    moved = torch.einsum("bij,bj->bi", rotation, mean_source)
    return Similarity(scale, rotation, mean_target - scale[:, None] * moved)


def _best_rotation(
    covariance: Float[Tensor, "B 3 3"], allow_reflection: bool
) -> tuple[Float[Tensor, "B 3 3"], Float[Tensor, " B"]]:
    """The rotation that maximises trace(R^T covariance), and that trace."""
    u, singular, vh = torch.linalg.svd(covariance)
    sign = torch.ones_like(singular)
    if not allow_reflection:
        sign[:, 2] = torch.where(torch.linalg.det(u) * torch.linalg.det(vh) < 0, -1.0, 1.0)
    return (u * sign[:, None]) @ vh, (singular * sign).sum(1)
