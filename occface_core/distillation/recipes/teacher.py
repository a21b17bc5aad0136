"""teacher: the Occlusion Frail Trainer (OFT) of DAMIOR (Tiwari et al., IVC 2023).

Landmarks, photometric term and priors on clean photos, exact truth on synthetic renders, agreement among
photos of one person, in the spirit of DECA's coarse stage (Feng et al., SIGGRAPH 2021). It never sees an
occluder. With `profile_share` an earlier teacher fits photos, which are then turned out of their plane; the
new one stays close to its answers, and gives them for profiles as well.
"""

from dataclasses import replace

import torch

from occface_core.data.landmarks import EYE_PAIRS, LIP_PAIRS
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes.common import (
    Losses,
    Predict,
    Recipe,
    Twin,
    evidence_losses,
    exchanged,
    mask_bce,
    photometric,
    truth_losses,
)
from occface_core.distillation.scene import Decoded, Scene
from occface_core.losses import (
    expression_asymmetry,
    landmark_loss,
    pair_distance_loss,
    parameter_prior,
    vertex_distance_mm,
)
from occface_core.networks.encoder import EncoderOutput, FaceEncoder

PRIOR_WEIGHTS = {"shape": 0.003, "albedo": 0.003, "expression": 0.06, "jaw": 0.02, "light": 0.002}
ASYMMETRY_WEIGHT = 0.05


class TeacherRecipe(Recipe):
    """Self-supervised fitting of clean photos, plus exact truth on renders."""

    pairs_people = True

    def __init__(self, config: TrainConfig, scene: Scene, teacher: FaceEncoder | None = None) -> None:
        self.config, self.scene, self.teacher = config, scene, teacher

    def losses(self, predict: Predict, twin: Twin, progress: float) -> Losses:
        """Named, weighted, per-image losses; `progress` runs from 0 to 1."""
        out = predict(twin.clean)
        kept = self.keep(out, twin) if self.config.profile_share else {}
        if twin.person is not None and self.config.person_share:
            out = replace(out, params=exchanged(out.params, twin.person))
        decoded = self.scene.decode(out.params)
        truth = truth_losses(self.scene, out, decoded, twin)
        return self.terms(out, decoded, twin, progress) | truth | kept

    def keep(self, out: EncoderOutput, twin: Twin) -> Losses:
        """Shape, pose and albedo of the earlier teacher, as it saw each photo before it was turned.

        Of renders the truth is known: there the new teacher may leave the earlier one behind.
        """
        if self.teacher is None:
            raise ValueError("profile_share: recipe teacher needs an earlier teacher network")
        rows = slice(0, twin.photos)
        with torch.no_grad():
            with self.autocast():
                target = twin.with_fits(self.teacher.parameters_of(twin.clean)).index(rows)
            goal = self.scene.decode(target)
        params = out.params.index(rows)
        scene, decoded = self.scene, self.scene.decode(params)
        return {
            "kept_shape": 0.2 * vertex_distance_mm(decoded.neutral, goal.neutral, scene.face),
            "kept_posed": 0.02 * vertex_distance_mm(decoded.verts, goal.verts, scene.face),
            "kept_albedo": 0.02 * (params.albedo - target.albedo).square().mean(-1),
        }

    def terms(self, out: EncoderOutput, decoded: Decoded, twin: Twin, progress: float) -> Losses:
        """The self-supervised terms of a decoded prediction."""
        scene = self.scene
        rows = slice(0, twin.photos) if twin.photos else slice(None)
        losses = {
            "landmark": landmark_loss(decoded.landmarks, twin.points, scene.landmark_weights) * 3.0,
            "eyes": pair_distance_loss(decoded.landmarks, twin.points, EYE_PAIRS),
            "lips": pair_distance_loss(decoded.landmarks, twin.points, LIP_PAIRS) * 4.0,
        }
        prior = parameter_prior(out.params)
        losses |= {f"prior_{k}": PRIOR_WEIGHTS[k] * v[rows] for k, v in prior.items()}
        sides = expression_asymmetry(out.params.expression[rows], scene.expression_pairs)
        losses["prior_sides"] = ASYMMETRY_WEIGHT * sides
        # The photometric term means nothing until the mesh lies on the face.
        weight = self.config.photometric * min(1.0, max(0.0, (progress - 0.08) / 0.1))
        if weight > 0 and twin.photos:
            losses["photometric"] = weight * photometric(
                scene, out.params, decoded, twin.clean, twin.face, rows
            )
        if out.mask_logits is not None:
            losses["mask"] = 0.05 * mask_bce(out.mask_logits, twin.face, twin)
        if out.evidence is not None:
            losses |= evidence_losses(scene, out.evidence, twin)
        return losses
