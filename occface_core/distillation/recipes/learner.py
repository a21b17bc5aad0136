"""learner: Rana's Learner, code against code and nothing else.

L = 1/M sum (v_u - v)^2 between the teacher's code on the clean image and the student's on its occluded twin;
M is 236 here (the paper's 257 belongs to another face model, see docs/recipes.md).
"""

import torch
from torch import Tensor

from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes.common import Losses, Predict, Recipe, Twin, mask_bce
from occface_core.distillation.scene import Scene
from occface_core.losses import code_mse, normalised_code_mse
from occface_core.morphable.parameters import DECA_236, FaceParameters
from occface_core.networks.encoder import EncoderOutput, FaceEncoder, default_code_statistics


class LearnerRecipe(Recipe):
    """Rana's Learner: code against code, nothing else."""

    needs_teacher = True
    occludes = True

    def __init__(self, config: TrainConfig, scene: Scene, teacher: FaceEncoder | None = None) -> None:
        self.config, self.scene, self.teacher = config, scene, teacher
        self.code_scale = default_code_statistics()[1].to(scene.device)

    def target(self, twin: Twin) -> FaceParameters:
        """The teacher's parameters on the clean twin, photos and renders alike.

        Of photos that were turned out of their plane, those it gave before, turned with them.
        """
        if self.teacher is None:
            raise ValueError(f"recipe {self.config.recipe} needs a teacher network")
        with torch.no_grad(), self.autocast():
            return twin.with_fits(self.teacher.parameters_of(twin.clean))

    def code_loss(self, out: EncoderOutput, target: FaceParameters, kind: str) -> Tensor:
        """Plain or variance-normalised mean squared error over the whole code."""
        code = target.to_code(DECA_236)
        if kind == "plain":
            return code_mse(out.code, code)
        return normalised_code_mse(out.code, code, self.code_scale)

    def losses(self, predict: Predict, twin: Twin, progress: float) -> Losses:
        """Named, weighted, per-image losses."""
        out = predict(twin.occluded)
        losses = {"code": self.code_loss(out, self.target(twin), self.config.code_loss)}
        if out.mask_logits is not None:
            losses["mask"] = 0.05 * mask_bce(out.mask_logits, twin.visible, twin)
        return losses
