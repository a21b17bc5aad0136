"""damior: distillation from the frail teacher in the spaces that matter (Tiwari et al., IVC 2023).

The paper publishes the idea (an occlusion-frail trainer distilled under empirical and irrational
occlusion), not its losses. Ours: the normalised code loss plus vertices, landmarks, albedo, the photometric
term against the clean twin, the visible-face mask, a regional uncertainty, and exact truth on renders, where
the teacher need not be believed. The photo's own landmarks weigh more than the teacher's: most of a covered
face's landmark error is the whole head being out of place (docs/networks.md).
"""

import torch
from torch import Tensor

from occface_core.data.landmarks import EYE_PAIRS, LIP_PAIRS
from occface_core.distillation.recipes.common import (
    Losses,
    Predict,
    Twin,
    evidence_losses,
    mask_bce,
    photometric,
    truth_losses,
)
from occface_core.distillation.recipes.learner import LearnerRecipe
from occface_core.distillation.scene import Decoded
from occface_core.losses import (
    landmark_loss,
    pair_distance_loss,
    region_rms_mm,
    uncertainty_nll,
    vertex_distance_mm,
)
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderOutput


class DamiorRecipe(LearnerRecipe):
    """Distillation from the frail teacher in the spaces that matter: vertices, landmarks, visible pixels."""

    def losses(self, predict: Predict, twin: Twin, progress: float) -> Losses:
        """Named, weighted, per-image losses."""
        out = predict(twin.occluded)
        return self.terms(out, self.scene.decode(out.params), self.target(twin), twin)

    def terms(self, out: EncoderOutput, decoded: Decoded, target: FaceParameters, twin: Twin) -> Losses:
        """All distillation terms for a decoded prediction."""
        scene = self.scene
        with torch.no_grad():
            goal = scene.decode(target)
        losses = {
            "code": 0.1 * self.code_loss(out, target, "normalised"),
            "shape": 0.20 * vertex_distance_mm(decoded.neutral, goal.neutral, scene.face),
            "posed": 0.02 * vertex_distance_mm(decoded.verts, goal.verts, scene.face),
            "landmark": 1.0 * landmark_loss(decoded.landmarks, goal.landmarks, scene.landmark_weights),
            "points": 5.0 * landmark_loss(decoded.landmarks, twin.points, scene.landmark_weights),
            "eyes": 0.5 * pair_distance_loss(decoded.landmarks, twin.points, EYE_PAIRS),
            "lips": 4.0 * pair_distance_loss(decoded.landmarks, twin.points, LIP_PAIRS),
        }
        losses["texture"] = self.texture_loss(out.params, target)
        if self.config.photometric > 0 and twin.photos:
            rows = slice(0, twin.photos)
            losses["photometric"] = (
                0.3
                * self.config.photometric
                * photometric(scene, out.params, decoded, twin.clean, twin.face, rows)
            )
        if out.mask_logits is not None:
            losses["mask"] = 1.0 * mask_bce(out.mask_logits, twin.visible, twin)
        if out.log_sigma is not None:
            error = region_rms_mm(decoded.neutral, goal.neutral, scene.regions)
            losses["sigma"] = 0.02 * uncertainty_nll(error, out.log_sigma)
        if out.evidence is not None:
            losses |= evidence_losses(scene, out.evidence, twin)
        return losses | truth_losses(scene, out, decoded, twin)

    def texture_loss(self, params: FaceParameters, target: FaceParameters) -> Tensor:
        """Mean absolute albedo difference over the face's vertices."""
        scene = self.scene
        difference = scene.albedo.vertex_albedo(params.albedo, scene.head) - scene.albedo.vertex_albedo(
            target.albedo, scene.head
        )
        return 3.0 * (difference.abs().mean(-1) * scene.face).sum(-1) / scene.face.sum()
