"""focus: segmentation and reconstruction learned together without occlusion labels (Li et al., CVPR 2023).

EM alternation. E-step: the segmenter learns where the photo shows what the face model explains, the
encoder stands still. M-step: the encoder fits the photo there only, the segmenter stands still, and the
encoder's own mask head copies the segmenter so that one network can be shipped. Photos carry occluders of
any kind; their masks are never read. What the model explains is judged by colour and by the maps of the
teacher, which was trained on uncovered faces alone.
"""

import torch
from torch import Tensor, nn

from occface_core.data.landmarks import EYE_PAIRS, LIP_PAIRS
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes.common import (
    Losses,
    Predict,
    Recipe,
    Twin,
    evidence_losses,
    mask_bce,
    photometric,
)
from occface_core.distillation.recipes.teacher import PRIOR_WEIGHTS
from occface_core.distillation.scene import Decoded, Scene
from occface_core.losses import landmark_loss, pair_distance_loss, parameter_prior
from occface_core.losses.segmentation import (
    binary_loss,
    hidden_area_loss,
    neighbour_distance,
    perceptual_distance,
    preserve_loss,
    visible_distance_loss,
)
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderOutput, FaceEncoder
from occface_core.networks.segmentation import OcclusionSegmenter
from occface_core.occlusion.face_points import face_mask_from_points
from occface_core.rendering.renderer import Renderer

# A pixel is worth hiding where 1.5 colour + 1.1 perceptual distance exceed area + preserve: between what
# covered photos show of skin (colour + 0.75 perceptual is 0.25 on average) and of occluders (0.5).
E_WEIGHTS = {"neighbour": 1.5, "perceptual": 1.1, "area": 0.7, "preserve": 0.1, "binary": 0.3}
PERCEPTUAL_MAPS = slice(2, 4)  # at 1/8 and 1/16: finer ones see pixels, coarser ones everything at once
# E-steps need no gradient of the encoder and are cheap; with a sixth of them short runs starve the segmenter.
E_SHARE = 0.5


class FocusRecipe(Recipe):
    """EM alternation of an occlusion segmenter and an encoder."""

    needs_teacher = True
    occludes = True
    tells_masks = False

    def __init__(self, config: TrainConfig, scene: Scene, teacher: FaceEncoder | None = None) -> None:
        if teacher is None:
            raise ValueError("recipe focus compares photo and rendering through a teacher network")
        self.config, self.scene, self.teacher = config, scene, teacher
        self.renderer = Renderer(scene.head, config.input_size)
        self.segmenter = OcclusionSegmenter()
        self.modules: dict[str, nn.Module] = {"segmenter": self.segmenter}

    def losses(self, predict: Predict, twin: Twin, progress: float) -> Losses:
        """Losses of the E-step in the first half of every cycle, of the M-step in the rest."""
        segmenting = self.step % self.config.focus_cycle < self.config.focus_cycle * E_SHARE
        with torch.set_grad_enabled(torch.is_grad_enabled() and not segmenting):
            out = predict(twin.occluded)
            decoded = self.scene.decode(out.params)
        render, region = self.draw(out.params, decoded)
        if segmenting:
            return self.e_step(twin.occluded, render, region)
        return self.m_step(out, decoded, twin, render, region)

    @torch.no_grad()
    def draw(self, params: FaceParameters, decoded: Decoded) -> tuple[Tensor, Tensor]:
        """The face model's picture and the region it claims, (B,3,S,S) and (B,1,S,S); no gradients.

        The region is the landmarks' outline: eyes and an open mouth are part of a face.
        """
        scene, size = self.scene, self.config.input_size
        colour = scene.albedo.vertex_albedo(params.albedo, scene.head)
        result = self.renderer(decoded.verts, params.camera, colour, params.sh_coeffs)
        outline = face_mask_from_points((decoded.landmarks + 1) * (size / 2), size, size)
        return result.image.clamp(0, 1), ((outline > 0.5) & (result.mask > 0)).float()

    def e_step(self, image: Tensor, render: Tensor, region: Tensor) -> Losses:
        """Segmenter: hide what the model cannot explain, keep what it can, decide."""
        mask = self.segmenter(image, render * region).sigmoid()
        distance = neighbour_distance(image, render)
        unlike = self.perceptual(image, render * region + image * (1 - region))
        return {
            "e_neighbour": E_WEIGHTS["neighbour"] * visible_distance_loss(mask, distance, region),
            "e_perceptual": E_WEIGHTS["perceptual"] * visible_distance_loss(mask, unlike, region),
            "e_area": E_WEIGHTS["area"] * hidden_area_loss(mask, region),
            "e_preserve": E_WEIGHTS["preserve"] * preserve_loss(mask, distance, region),
            "e_binary": E_WEIGHTS["binary"] * binary_loss(mask, region),
        }

    @torch.no_grad()
    def perceptual(self, image: Tensor, explained: Tensor) -> Tensor:
        """How differently the teacher's maps see the photo and the photo with the model's face in it."""
        with self.autocast():
            seen, drawn = (self.teacher.look(x)[1][PERCEPTUAL_MAPS] for x in (image, explained))
        return perceptual_distance(seen, drawn, (image.shape[-2], image.shape[-1]))

    def m_step(
        self, out: EncoderOutput, decoded: Decoded, twin: Twin, render: Tensor, region: Tensor
    ) -> Losses:
        """Encoder: landmarks, priors, and the photometric term where the segmenter sees the face."""
        with torch.no_grad():
            mask = (self.segmenter(twin.occluded, render * region).sigmoid() > 0.5).float() * region
        scene, rows = self.scene, slice(0, twin.photos or None)
        losses = {
            "landmark": 2.0 * landmark_loss(decoded.landmarks, twin.points, scene.landmark_weights),
            "eyes": pair_distance_loss(decoded.landmarks, twin.points, EYE_PAIRS),
            "lips": 0.5 * pair_distance_loss(decoded.landmarks, twin.points, LIP_PAIRS),
            "photometric": self.config.photometric
            * photometric(scene, out.params, decoded, twin.occluded, mask, rows),
        }
        prior = parameter_prior(out.params)
        losses |= {f"prior_{k}": PRIOR_WEIGHTS[k] * v for k, v in prior.items()}
        if out.mask_logits is not None:
            losses["mask"] = 0.3 * mask_bce(out.mask_logits, mask, twin)
        if out.evidence is not None:
            losses |= evidence_losses(scene, out.evidence, twin)
        return losses
