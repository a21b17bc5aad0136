"""diamor: one identity under several occlusions (Tiwari et al., IVC 2023).

Each photo comes as N duplicates that differ only in their occluder. Beside the DAMIOR terms, shape and albedo
must agree among the duplicates, and with the consensus of DAMIOR's own estimates on them.
"""

import torch
from torch import Tensor

from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes.common import Losses, Predict, Twin
from occface_core.distillation.recipes.damior import DamiorRecipe
from occface_core.distillation.scene import Scene
from occface_core.losses import vertex_distance_mm
from occface_core.networks.encoder import FaceEncoder


class DiamorRecipe(DamiorRecipe):
    """DAMIOR plus identity agreement over duplicates. Photos of a group lie next to each other in the
    batch."""

    def __init__(
        self,
        config: TrainConfig,
        scene: Scene,
        teacher: FaceEncoder | None = None,
        damior: FaceEncoder | None = None,
    ) -> None:
        super().__init__(config, scene, teacher)
        self.damior = damior

    def losses(self, predict: Predict, twin: Twin, progress: float) -> Losses:
        """Named, weighted, per-image losses."""
        out = predict(twin.occluded)
        decoded = self.scene.decode(out.params)
        target = self.target(twin)
        losses = self.terms(out, decoded, target, twin)
        if not twin.photos:
            return losses
        rows = slice(0, twin.photos)
        neutral = decoded.neutral[rows]
        albedo = self.scene.albedo.vertex_albedo(out.params.albedo[rows], self.scene.head)
        losses["agree_shape"] = 0.1 * vertex_distance_mm(neutral, self.consensus(neutral), self.scene.face)
        losses["agree_albedo"] = 2.0 * self.face_mean((albedo - self.consensus(albedo)).abs().mean(-1))
        if self.damior is not None:
            with torch.no_grad():
                betas = self.damior(twin.occluded[rows]).params.betas
                if twin.turned is not None:  # it may have seen no profiles; what they show is known
                    betas = torch.where(twin.turned[:, None], target.betas[rows].to(betas), betas)
                goal = self.consensus(self.scene.head.neutral(betas))
            losses["damior_shape"] = 0.05 * vertex_distance_mm(neutral, goal, self.scene.face)
        return losses

    def consensus(self, values: Tensor) -> Tensor:
        """Mean over each group of duplicates, given back to every member: (P*N, ...) to the same shape."""
        count = self.config.duplicates
        grouped = values.unflatten(0, (-1, count))
        return grouped.mean(1, keepdim=True).expand_as(grouped).flatten(0, 1)

    def face_mean(self, values: Tensor) -> Tensor:
        """Mean over the face's vertices: (B,V) to (B,)."""
        return (values * self.scene.face).sum(-1) / self.scene.face.sum()
