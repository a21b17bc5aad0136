"""The recipes: each turns one batch into named losses. One trainer runs them all.

- teacher: the Occlusion Frail Trainer of DAMIOR (Tiwari et al. 2023): landmarks, photometric term and priors on
  clean photos, exact truth on synthetic renders. It never sees an occluder.
- learner: Rana's Learner: mean squared error between the teacher's code on the clean image and the student's
  code on its occluded twin, L = 1/M sum (v_u - v)^2.
- damior: Learner's normalised code loss plus vertex, landmark and visible-pixel photometric terms, visible-face
  mask and uncertainty, under both occlusion kinds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from occface_core.data.batches import TwinBatch
from occface_core.data.landmarks import EYE_PAIRS, LIP_PAIRS
from occface_core.data.synthetic import SyntheticBatch
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.scene import Decoded, Scene
from occface_core.losses import (
    code_mse,
    landmark_loss,
    normalised_code_mse,
    pair_distance_loss,
    parameter_prior,
    region_rms_mm,
    sample_at,
    uncertainty_nll,
    vertex_distance_mm,
    vertex_photometric_loss,
)
from occface_core.morphable.parameters import DECA_236, FaceParameters
from occface_core.networks.encoder import EncoderOutput, FaceEncoder, default_code_statistics

Losses = dict[str, Tensor]
Predict = Callable[[Tensor], EncoderOutput]

PRIOR_WEIGHTS = {"shape": 0.006, "albedo": 0.006, "expression": 0.06, "jaw": 0.02, "light": 0.002}


@dataclass(frozen=True)
class Twin:
    """One training batch, photos and renders together (photos first), as the student sees it.

    Attributes:
        clean, occluded: (B,3,S,S). visible: (B,1,S,S) face skin left visible; face: before occlusion.
        points: (B,468,2) landmarks in [-1,1]. truth: exact parameters of the last `count - photos` images.
        photos: how many leading images are photographs.
    """

    clean: Tensor
    occluded: Tensor
    face: Tensor
    visible: Tensor
    points: Tensor
    photos: int
    truth: FaceParameters | None


def join(photo: TwinBatch | None, synthetic: SyntheticBatch | None, synthetic_twin: tuple[Tensor, Tensor] | None,
         size: int) -> Twin:
    """Put photos and renders into one batch; `synthetic_twin` is (occluded image, visible mask)."""
    parts: list[tuple[Tensor, ...]] = []
    if photo is not None:
        parts.append((photo.clean, photo.occluded, photo.face_mask, photo.visible, photo.points))
    if synthetic is not None:
        image, mask = synthetic_twin if synthetic_twin is not None else (synthetic.image, synthetic.mask)
        parts.append((synthetic.image, image, synthetic.mask, mask, synthetic.points[..., :2]))
    clean, occluded, face, visible, points = (torch.cat(p) for p in zip(*parts, strict=True))
    return Twin(clean, occluded, face, visible, points * (2.0 / size) - 1.0,
                0 if photo is None else len(photo.clean), None if synthetic is None else synthetic.params)


def truth_losses(scene: Scene, out: EncoderOutput, decoded: Decoded, twin: Twin) -> Losses:
    """Vertices, albedo and light against exact synthetic parameters."""
    if twin.truth is None:
        return {}
    rows = slice(twin.photos, None)
    truth = scene.decode(twin.truth)
    mm_shape = vertex_distance_mm(decoded.neutral[rows], truth.neutral, scene.face)
    mm_posed = vertex_distance_mm(decoded.verts[rows], truth.verts, scene.face)
    tex = (out.params.albedo[rows] - twin.truth.albedo).square().mean(-1)
    light = (out.params.sh_coeffs[rows] - twin.truth.sh_coeffs).square().mean((-1, -2))
    return {"truth_shape": 0.02 * mm_shape, "truth_posed": 0.02 * mm_posed, "truth_albedo": 0.02 * tex,
            "truth_light": 0.02 * light}


class TeacherRecipe:
    """Self-supervised fitting of clean photos, plus exact truth on renders."""

    needs_teacher = False
    occludes = False

    def __init__(self, config: TrainConfig, scene: Scene, teacher: FaceEncoder | None = None) -> None:
        self.config, self.scene = config, scene

    def losses(self, predict: Predict, twin: Twin, progress: float) -> Losses:
        """Named, weighted, per-image losses; `progress` runs from 0 to 1."""
        scene = self.scene
        out = predict(twin.clean)
        decoded = scene.decode(out.params)
        rows = slice(0, twin.photos) if twin.photos else slice(None)
        losses = {
            "landmark": landmark_loss(decoded.landmarks, twin.points, scene.landmark_weights) * 2.0,
            "eyes": pair_distance_loss(decoded.landmarks, twin.points, EYE_PAIRS),
            "lips": pair_distance_loss(decoded.landmarks, twin.points, LIP_PAIRS) * 0.5,
        }
        prior = parameter_prior(out.params)
        losses |= {f"prior_{k}": PRIOR_WEIGHTS[k] * v[rows] for k, v in prior.items()}
        # The photometric term means nothing until the mesh lies on the face.
        weight = self.config.photometric * min(1.0, max(0.0, (progress - 0.08) / 0.1))
        if weight > 0 and twin.photos:
            losses["photometric"] = weight * photometric(scene, out.params, decoded, twin.clean, twin.face, rows)
        if out.mask_logits is not None:
            losses["mask"] = 0.05 * mask_bce(out.mask_logits, twin.face)
        return losses | truth_losses(scene, out, decoded, twin)


class LearnerRecipe:
    """Rana's Learner: code against code, nothing else."""

    needs_teacher = True
    occludes = True

    def __init__(self, config: TrainConfig, scene: Scene, teacher: FaceEncoder | None = None) -> None:
        self.config, self.scene, self.teacher = config, scene, teacher
        self.code_scale = default_code_statistics()[1].to(scene.device)

    def target(self, twin: Twin) -> FaceParameters:
        """The teacher's parameters on the clean twin, photos and renders alike."""
        if self.teacher is None:
            raise ValueError(f"recipe {self.config.recipe} needs a teacher network")
        with torch.no_grad():
            return self.teacher(twin.clean).params

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
            losses["mask"] = 0.05 * mask_bce(out.mask_logits, twin.visible)
        return losses


class DamiorRecipe(LearnerRecipe):
    """Distillation from the frail teacher in the spaces that matter: vertices, landmarks, visible pixels."""

    def losses(self, predict: Predict, twin: Twin, progress: float) -> Losses:
        """Named, weighted, per-image losses."""
        scene = self.scene
        out = predict(twin.occluded)
        target = self.target(twin)
        with torch.no_grad():
            goal = scene.decode(target)
        decoded = scene.decode(out.params)
        losses = {
            "code": 0.1 * self.code_loss(out, target, "normalised"),
            "shape": 0.10 * vertex_distance_mm(decoded.neutral, goal.neutral, scene.face),
            "posed": 0.05 * vertex_distance_mm(decoded.verts, goal.verts, scene.face),
            "landmark": 2.0 * landmark_loss(decoded.landmarks, goal.landmarks, scene.landmark_weights),
            "points": 1.0 * landmark_loss(decoded.landmarks, twin.points, scene.landmark_weights),
            "eyes": 0.5 * pair_distance_loss(decoded.landmarks, twin.points, EYE_PAIRS),
            "lips": 0.5 * pair_distance_loss(decoded.landmarks, twin.points, LIP_PAIRS),
        }
        losses["texture"] = self.texture_loss(out.params, target)
        if self.config.photometric > 0 and twin.photos:
            rows = slice(0, twin.photos)
            losses["photometric"] = 0.3 * self.config.photometric * photometric(
                scene, out.params, decoded, twin.clean, twin.face, rows)
        if out.mask_logits is not None:
            losses["mask"] = 0.3 * mask_bce(out.mask_logits, twin.visible)
        if out.log_sigma is not None:
            error = region_rms_mm(decoded.neutral, goal.neutral, scene.regions)
            losses["sigma"] = 0.02 * uncertainty_nll(error, out.log_sigma)
        return losses

    def texture_loss(self, params: FaceParameters, target: FaceParameters) -> Tensor:
        """Mean absolute albedo difference over the face's vertices."""
        scene = self.scene
        difference = scene.albedo.vertex_albedo(params.albedo, scene.head) - scene.albedo.vertex_albedo(
            target.albedo, scene.head)
        return 2.0 * (difference.abs().mean(-1) * scene.face).sum(-1) / scene.face.sum()


def photometric(scene: Scene, params: FaceParameters, decoded: Decoded, image: Tensor, mask: Tensor,
                rows: slice) -> Tensor:
    """Vertex photometric loss on the rows that are photographs, where `mask` says face skin shows."""
    part = params.index(rows)
    colour, facing = scene.shade(part, decoded.verts[rows])
    points = decoded.image_verts[rows, :, :2]
    seen = sample_at(mask[rows], points.detach())[..., 0]
    return vertex_photometric_loss(image[rows], points, colour, facing * scene.face * seen)


def mask_bce(logits: Tensor, visible: Tensor) -> Tensor:
    """Binary cross entropy of the visible-face mask, per image; the target is area-averaged to its size."""
    target = F.interpolate(visible, size=logits.shape[-2:], mode="area")
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2, 3))


RECIPE_CLASSES: dict[str, type[TeacherRecipe] | type[LearnerRecipe]] = {
    "teacher": TeacherRecipe, "learner": LearnerRecipe, "damior": DamiorRecipe}
