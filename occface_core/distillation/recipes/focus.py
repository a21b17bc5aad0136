"""focus: segmentation and reconstruction learned together without occlusion labels (Li et al., CVPR 2023).

EM alternation. E-step: the segmenter learns where the photo shows what the face model explains, the
encoder stands still. M-step: the encoder fits the photo there only, the segmenter stands still; the encoder's
own mask head learns what the model explains, so that one network can be shipped. Photos carry occluders of
any kind; their masks are never read. What the model explains is judged by colour, by the maps of the
teacher, which was trained on uncovered faces alone, and by how certain landmarks are (unexplained.py).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occface_core.data.landmarks import EYE_PAIRS, LIP_PAIRS
from occface_core.data.profiling import align
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
from occface_core.distillation.recipes.unexplained import PERCEPTUAL_MAPS, Unexplained
from occface_core.distillation.scene import Decoded, Scene
from occface_core.losses import landmark_loss, pair_distance_loss, parameter_prior
from occface_core.losses.segmentation import (
    binary_loss,
    hidden_area_loss,
    preserve_loss,
    visible_distance_loss,
)
from occface_core.networks.encoder import EncoderOutput, FaceEncoder
from occface_core.networks.segmentation import OcclusionSegmenter
from occface_core.occlusion.face_points import face_mask_from_points
from occface_core.rendering.cameras import to_pixels
from occface_core.rendering.renderer import Renderer

# A pixel is worth hiding where it is less explained, in standard deviations, than `area`.
E_WEIGHTS = {"unexplained": 1.0, "area": 0.7, "preserve": 0.1, "binary": 0.3}
SHARPNESS = 4.0  # of the evidence in the mask head's target: logits per standard deviation
OWN_SHARE = 0.5  # of the target that is what the mask head says already
# The encoder does most of the work: as it grows robust, so does all evidence.
E_SHARE = 0.25


@dataclass(frozen=True)
class Drawn:
    """What the face model says of a batch of photos.

    Attributes:
        render: its picture. region: where it claims a face. unlike: how little it explains there, in standard
        deviations, 0 elsewhere.
    """

    render: Float[Tensor, "B 3 S S"]
    region: Float[Tensor, "B 1 S S"]
    unlike: Float[Tensor, "B 1 S S"]


@torch.no_grad()
def explained(logits: Float[Tensor, "B 1 M M"], drawn: Drawn) -> Float[Tensor, "B 1 S S"]:
    """The mask head's target, half by what the model cannot explain and half by what the head says already.

    The evidence errs photo by photo (a hand of the face's colour), a head that has seen many photos errs
    elsewhere; together they are right more often than either (bootstrapped targets: Reed et al., workshop
    track of ICLR 2015).
    """
    evidence = SHARPNESS * (E_WEIGHTS["area"] - drawn.unlike)
    own = F.interpolate(logits.float(), size=evidence.shape[-2:], mode="bilinear", align_corners=False)
    return (evidence.lerp(own, OWN_SHARE)).sigmoid() * drawn.region


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
        self.segmenter = OcclusionSegmenter().to(memory_format=torch.channels_last)
        # Processes with statistics of their own could not go on from one state.
        self.unexplained = Unexplained(over_processes=lambda value: self.over_processes(value))
        self.modules: dict[str, nn.Module] = {"segmenter": self.segmenter, "unexplained": self.unexplained}

    def losses(self, predict: Predict, twin: Twin, progress: float) -> Losses:
        """Landmarks alone at first; then the E-step in the first part of a cycle, the M-step in the rest."""
        starting = progress < self.config.focus_start
        segmenting = not starting and self.step % self.config.focus_cycle < self.config.focus_cycle * E_SHARE
        with torch.set_grad_enabled(torch.is_grad_enabled() and not segmenting):
            out = predict(twin.occluded)
            decoded = self.scene.decode(out.params)
        if starting:
            return self.start(out, decoded, twin)
        drawn = self.draw(out, decoded, twin)
        return self.e_step(twin.occluded, drawn) if segmenting else self.m_step(out, decoded, twin, drawn)

    def start(self, out: EncoderOutput, decoded: Decoded, twin: Twin) -> Losses:
        """Before the alternation: an encoder that finds covered landmarks, at half the price of an M-step.

        Without masks the photometric term looks at the whole outline; covers are the smaller part of it.
        """
        losses = self.fit(out, decoded, twin, self.outline(twin))
        if out.mask_logits is not None:  # synchronised processes wait for every part's gradients
            losses["mask"] = 0.0 * out.mask_logits.mean((1, 2, 3))
        return losses

    def outline(self, twin: Twin) -> Tensor:
        """(B,1,S,S) 1 inside the outline of the photo's landmarks."""
        size = self.config.input_size
        return face_mask_from_points((twin.points + 1) * (size / 2), size, size)

    @torch.no_grad()
    def draw(self, out: EncoderOutput, decoded: Decoded, twin: Twin) -> Drawn:
        """The face model's picture, the region it claims, and how little of the photo it explains.

        The region is the landmarks' outline: eyes and an open mouth are part of a face. The picture is moved
        so that its landmarks lie on the photo's: what only lies elsewhere is no occluder.
        """
        scene, size, params = self.scene, self.config.input_size, out.params
        verts_px = to_pixels(align(decoded.image_verts, decoded.landmarks, twin.points), size)
        colour = scene.albedo.vertex_albedo(params.albedo, scene.head)
        result = self.renderer.draw(decoded.verts, verts_px, colour, params.sh_coeffs)
        region = ((self.outline(twin) > 0.5) & (result.mask > 0)).float()
        render = result.image.clamp(0, 1)
        maps = self.maps(twin.occluded, render * region + twin.occluded * (1 - region))
        unlike = self.unexplained(twin.occluded, render, region, maps, out.evidence)
        return Drawn(render, region, unlike)

    def e_step(self, image: Tensor, drawn: Drawn) -> Losses:
        """Segmenter: hide what the model cannot explain, keep what it can, decide."""
        region, unlike = drawn.region, drawn.unlike
        mask = self.segment(image, drawn).sigmoid()
        return {
            "e_unexplained": E_WEIGHTS["unexplained"] * visible_distance_loss(mask, unlike, region),
            "e_area": E_WEIGHTS["area"] * hidden_area_loss(mask, region),
            "e_preserve": E_WEIGHTS["preserve"] * preserve_loss(mask, unlike.clamp(min=0), region, sigma=0.3),
            "e_binary": E_WEIGHTS["binary"] * binary_loss(mask, region),
        }

    def segment(self, image: Tensor, drawn: Drawn) -> Tensor:
        """The segmenter's logits, in the run's precision."""
        laid = (x.to(memory_format=torch.channels_last) for x in (image, drawn.render * drawn.region))
        with self.autocast():
            return self.segmenter(*laid).float()

    def maps(self, image: Tensor, explained: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The teacher's maps of the photo and of the photo with the model's face in it."""
        with self.autocast():
            seen, drawn = (self.teacher.look(x)[1][PERCEPTUAL_MAPS] for x in (image, explained))
        return seen, drawn

    def m_step(self, out: EncoderOutput, decoded: Decoded, twin: Twin, drawn: Drawn) -> Losses:
        """Encoder: landmarks, priors, and the photometric term where the segmenter sees the face."""
        with torch.no_grad():
            mask = (self.segment(twin.occluded, drawn) > 0).float() * drawn.region
        losses = self.fit(out, decoded, twin, mask)
        if out.mask_logits is not None:
            losses["mask"] = mask_bce(out.mask_logits, explained(out.mask_logits, drawn), twin)
        return losses

    def fit(self, out: EncoderOutput, decoded: Decoded, twin: Twin, mask: Tensor) -> Losses:
        """Landmarks and their evidence, priors, and the photometric term inside `mask`."""
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
        if out.evidence is not None:
            losses |= evidence_losses(scene, out.evidence, twin)
        return losses
