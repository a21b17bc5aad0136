"""What every recipe shares: head, albedo, cameras, and one differentiable decoding of a code."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.data.landmarks import mirror_pairs
from occface_core.geometry.mesh import vertex_normals
from occface_core.losses import landmark_weights
from occface_core.losses.parameter import expression_pairs
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.morphable.regions import region_weight
from occface_core.rendering.cameras import weak_perspective
from occface_core.rendering.lighting import sh_shading

SIGMA_REGIONS: tuple[str, ...] = ("nose", "lips", "brows", "eye_region", "cheeks", "jaw")


@dataclass(frozen=True)
class Decoded:
    """A decoded batch. Image coordinates span [-1, 1], x right, y down; depth larger is farther.

    Attributes:
        verts: (B,V,3) posed, metres. `neutral`: (B,V,3) shape only.
        image_verts: (B,V,3) projected vertices.
        landmarks: (B,468,2) projected MediaPipe landmarks.
    """

    verts: Float[Tensor, "B V 3"]
    neutral: Float[Tensor, "B V 3"]
    image_verts: Float[Tensor, "B V 3"]
    landmarks: Float[Tensor, "B 468 2"]


class Scene:
    """Head, albedo and derived constants on one device."""

    def __init__(self, head: HeadModel, albedo: AlbedoModel, device: torch.device | str = "cpu") -> None:
        self.head, self.albedo = head.to(device), albedo.to(device)
        self.device = torch.device(device)
        for parameter in [*self.head.parameters(), *self.albedo.parameters()]:
            parameter.requires_grad_(False)
        template = self.head.v_template[None]
        self.mean_points: Tensor = self.head.landmarks(template, "468")[0].cpu()
        self.mirror = mirror_pairs(self.mean_points.numpy())
        self.landmark_weights = landmark_weights(device)
        self.face = self.head.regions["face"]
        self.expression_pairs = expression_pairs(self.head.expression_names)
        self.regions = torch.stack([region_weight(self.head, name) for name in SIGMA_REGIONS])

    def decode(self, params: FaceParameters) -> Decoded:
        """Vertices, projections and landmarks of a batch of parameters."""
        verts = self.head(params.betas, params.expression, params.pose).verts
        image_verts = weak_perspective(verts, params.camera)
        landmarks = self.head.landmarks(image_verts, "468")[..., :2]
        return Decoded(verts, self.head.neutral(params.betas), image_verts, landmarks)

    def shade(self, params: FaceParameters, verts: Float[Tensor, "B V 3"]) -> tuple[Tensor, Tensor]:
        """Shaded vertex colours (B,V,3) and how much each vertex faces the camera (B,V), 0 when turned
        away."""
        normals = vertex_normals(verts, self.head.faces)
        colour = self.albedo.vertex_albedo(params.albedo, self.head) * sh_shading(normals, params.sh_coeffs)
        return colour, ((normals[..., 2] - 0.15) / 0.3).clamp(0, 1).detach()
