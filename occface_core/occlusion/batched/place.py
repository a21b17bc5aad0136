"""Where designs land on the faces of a batch: ``posing.py``'s pose, affine fit and warp, for all at once.

Sums over points run in float64: their order, hence their rounding, depends on the batch size and the device,
and float32 results do not see it.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.occlusion.batched.device import constant
from occface_core.occlusion.posing import UPPER_FACE, canonical_inverse, controls, upper_inverse

FLIP = (1.0, -1.0, -1.0)  # from the mean face's frame (y up, z out) to pixels' (y down, z away)


@dataclass(frozen=True)
class Poses:
    """Weak-perspective poses: ``pixels = scale * rotation @ flip(model) + translation``, as ``HeadPose``.

    Attributes:
        scale: pixels per metre of the mean face.
        rotation: of the flipped model.
        translation: pixels.
    """

    scale: Float[Tensor, " B"]
    rotation: Float[Tensor, "B 3 3"]
    translation: Float[Tensor, "B 2"]

    @property
    def toward(self) -> Float[Tensor, "B 3"]:
        """Unit vectors towards the viewer in the mean face's frame."""
        return -self.rotation[:, 2] * constant(FLIP, self.rotation.device)

    def turn(self, normals: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V 3"]:
        """Directions in the mean face's frame to x right, y up, z towards the viewer."""
        flip = constant(FLIP, self.rotation.device)
        return linear(self.rotation, normals * flip) * flip

    def place(self, model: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V 3"]:
        """Pixels and depth of model points, metres."""
        matrix = self.rotation * self.scale[:, None, None]
        turned = linear(matrix, model * constant(FLIP, matrix.device))
        return turned + torch.cat([self.translation, torch.zeros_like(self.translation[:, :1])], 1)[:, None]


def linear(matrix: Float[Tensor, "B 3 3"], vectors: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V 3"]:
    """Matrix times vector, three products added in a fixed order."""
    x, y, z = (vectors[..., k, None] * matrix[:, None, :, k] for k in range(3))
    return x + y + z


@lru_cache(maxsize=4)
def _tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inverses of the affine fits to all points and to the upper face, its points, the warps' controls."""
    return (
        torch.tensor(canonical_inverse(), device=device),
        torch.tensor(upper_inverse(), device=device),
        torch.tensor(UPPER_FACE, device=device),
        torch.tensor(controls(), device=device),
    )


def fit_poses(points: Float[Tensor, "B 468 3"]) -> Poses:
    """Best affine cameras of the mean face and their nearest rotations."""
    return _nearest((_tables(points.device)[0] @ points[..., :2].double()).mT)


def _nearest(camera: Float[Tensor, "B 2 4"]) -> Poses:
    """The pose nearest to affine cameras (float64).

    The nearest matrix with orthonormal rows to a 2x3 matrix M is (M M')^(-1/2) M. For 2x2 matrices the square
    root has a closed form, (A + sqrt(det A) I) / sqrt(trace A + 2 sqrt(det A)); no decomposition is needed.
    """
    rows = camera[..., :3]
    gram = rows @ rows.mT
    root = (gram[:, 0, 0] * gram[:, 1, 1] - gram[:, 0, 1] ** 2).clamp_min(1e-12).sqrt()
    trace = (gram[:, 0, 0] + gram[:, 1, 1] + 2 * root).sqrt()  # of the square root of the Gram matrix
    mixed = -gram[:, 0, 1]
    adjoint = torch.stack([gram[:, 1, 1] + root, mixed, mixed, gram[:, 0, 0] + root], dim=1)
    unit = (adjoint / (trace * root)[:, None]).unflatten(1, (2, 2)) @ rows
    rotation = torch.cat([unit, torch.linalg.cross(unit[:, :1], unit[:, 1:])], dim=1)
    return Poses((0.5 * trace).float(), rotation.float(), camera[..., 3].float())


def estimate_depths(
    points: Float[Tensor, "B 468 2"], mean_points: Float[Tensor, "468 3"]
) -> Float[Tensor, "B 468 3"]:
    """``face_points.estimate_depth`` for a whole batch on its device, without a look at the values.

    Args:
        points: pixels. mean_points: the mean face, as there, on any device.
    """
    model = mean_points.to(points.device, torch.float64)
    model = (model - model.mean(0)) * constant(FLIP, model.device)
    design = torch.cat([model, torch.ones_like(model[:, :1])], dim=1)
    # the normal equations of four unknowns: no decomposition that a GPU would have to wait for
    inverse = torch.linalg.inv_ex(design.T @ design)[0] @ design.T
    poses = _nearest((inverse @ points.double()).mT)
    away = (model * poses.rotation[:, 2:].double()).sum(2).float() * poses.scale[:, None]
    return torch.cat([points, away[..., None].to(points)], dim=2)


def upper_affine(points: Float[Tensor, "B 468 3"]) -> tuple[Float[Tensor, "B 3 3"], Float[Tensor, "B 3"]]:
    """Affine map of the flipped mean face that best fits the upper face: matrix and shift."""
    _, inverse, upper, _ = _tables(points.device)
    fit = inverse @ points.index_select(1, upper).double()
    return fit[:, :3].mT.float(), fit[:, 3].float()


def warped(points: Float[Tensor, "B 468 3"], weights: Float[Tensor, "B W K"]) -> Float[Tensor, "B W 3"]:
    """Positions with the given weights of the warps' control points."""
    chosen = points.index_select(1, _tables(points.device)[3])
    return (weights.double() @ chosen.double()).float()
