"""What the recipes share: the joined batch, truth on renders, the photometric and mask terms."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from occface_core.data.batches import TwinBatch
from occface_core.data.synthetic import SyntheticBatch
from occface_core.distillation.scene import Decoded, Scene
from occface_core.losses import (
    form_distance_mm,
    landmark_loss,
    sample_at,
    vertex_distance_mm,
    vertex_photometric_loss,
)
from occface_core.morphable.parameters import DECA_236, FaceParameters
from occface_core.networks.encoder import EncoderOutput
from occface_core.networks.evidence import Evidence, evidence_nll, heatmap_divergence
from occface_core.occlusion.face_points import rim_of

RIM = 0.027  # of the crop's side beyond the outline where the mask is not judged: 3 of 112 pixels

Losses = dict[str, Tensor]
Predict = Callable[[Tensor], EncoderOutput]


class Recipe:
    """What the trainer asks of a recipe, and sets on it."""

    needs_teacher = False
    occludes = False
    tells_masks = True  # whether the mask head learns from the true mask
    pairs_people = False  # whether it learns from several photos of one person
    step = 0  # set by the trainer
    autocast: Callable[[], AbstractContextManager] = nullcontext  # for frozen networks; set by the trainer
    # Mean over the processes of a run, for statistics that all of them must share; set by the trainer.
    over_processes: Callable[[Tensor], Tensor] = staticmethod(lambda value: value)

    def mask_alone(self, mask: Callable[[Tensor], Tensor], twin: "Twin") -> Losses:
        """The mask head's term, for runs that train nothing else: it needs no teacher and no decoded head."""
        image, visible = (twin.occluded, twin.visible) if self.occludes else (twin.clean, twin.face)
        return {"mask": mask_bce(mask(image), visible, twin)}


@dataclass(frozen=True)
class Twin:
    """One training batch, photos and renders together (photos first), as the student sees it.

    Attributes:
        clean, occluded: (B,3,S,S). outline: (B,1,S,S) the whole face, with what hides it in the photo itself.
        face: (B,1,S,S) its skin before occlusion. visible: (B,1,S,S) what occlusion leaves of that.
        points: (B,468,2) landmarks in [-1,1]. truth: exact parameters of the last `count - photos` images.
        photos: how many leading images are photographs. person: (photos,) who is on them, as numbers.
        turned: (photos,) which photographs were turned out of their plane; fit: (photos,236) their codes.
    """

    clean: Tensor
    occluded: Tensor
    outline: Tensor
    face: Tensor
    visible: Tensor
    points: Tensor
    photos: int
    truth: FaceParameters | None
    person: Tensor | None = None
    turned: Tensor | None = None
    fit: Tensor | None = None

    def with_fits(self, params: FaceParameters) -> FaceParameters:
        """Parameters of the clean images in which turned photos have those they were turned with.

        A teacher that has seen few profiles knows a photo before it was turned far better than after.
        """
        if self.turned is None or self.fit is None:
            return params
        code = params.to_code(DECA_236)
        rest = len(code) - len(self.fit)
        fit, turned = F.pad(self.fit, (0, 0, 0, rest)), F.pad(self.turned, (0, rest))
        return FaceParameters.from_code(torch.where(turned[:, None], fit.to(code), code))


def join(
    photo: TwinBatch | None,
    synthetic: SyntheticBatch | None,
    synthetic_twin: tuple[Tensor, Tensor] | None,
    size: int,
) -> Twin:
    """Put photos and renders into one batch; `synthetic_twin` is (occluded image, visible mask)."""
    parts: list[tuple[Tensor, ...]] = []
    if photo is not None:
        masks = photo.outline, photo.face_mask, photo.visible
        parts.append((photo.clean, photo.occluded, *masks, photo.points))
    if synthetic is not None:
        image, mask = synthetic_twin if synthetic_twin is not None else (synthetic.image, synthetic.mask)
        points = synthetic.points[..., :2]
        parts.append((synthetic.image, image, synthetic.mask, synthetic.mask, mask, points))
    clean, occluded, outline, face, visible, points = (torch.cat(p) for p in zip(*parts, strict=True))
    return Twin(
        clean,
        occluded,
        outline,
        face,
        visible,
        points * (2.0 / size) - 1.0,
        0 if photo is None else len(photo.clean),
        None if synthetic is None else synthetic.params,
        None if photo is None else photo.person,
        None if photo is None else photo.turned,
        None if photo is None else photo.fit,
    )


def exchanged(params: FaceParameters, person: Tensor) -> FaceParameters:
    """Parameters with which every photo is explained by another photo of the same person.

    DECA's shape consistency (Feng et al., SIGGRAPH 2021), for albedo as well: what one photo says of the
    person must explain the other. What is of the moment stays: expression, pose, camera, light. A photo
    without a partner keeps its own.

    Args:
        params: of a batch that begins with the photos. person: (P,) who is on them.
    """
    place = torch.arange(len(params.betas), device=person.device)
    own = place[: len(person)]
    others = (person[:, None] == person[None, :]) & (own[:, None] != own[None, :])
    source = torch.where(others.any(1), others.int().argmax(1), own)
    source = torch.cat([source, place[len(person) :]])
    return params.replace(betas=params.betas[source], albedo=params.albedo[source])


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
    return {
        "truth_shape": 0.01 * mm_shape,
        "truth_form": 0.08 * form_distance_mm(decoded.neutral[rows], truth.neutral, scene.face),
        "truth_posed": 0.01 * mm_posed,
        "truth_albedo": 0.02 * tex,
        "truth_light": 0.02 * light,
    }


def evidence_losses(scene: Scene, evidence: Evidence, twin: Twin) -> Losses:
    """Landmarks found one by one: each find, its whole heatmap, and the completed face."""
    return {
        "evidence": 0.1 * evidence_nll(evidence, twin.points),
        "heat": 0.1 * heatmap_divergence(evidence, twin.points),
        "fused": 4.0 * landmark_loss(evidence.fused, twin.points, scene.landmark_weights),
    }


def photometric(
    scene: Scene, params: FaceParameters, decoded: Decoded, image: Tensor, mask: Tensor, rows: slice
) -> Tensor:
    """Vertex photometric loss on the rows that are photographs, where `mask` says face skin shows."""
    part = params.index(rows)
    colour, facing = scene.shade(part, decoded.verts[rows])
    points = decoded.image_verts[rows, :, :2]
    seen = sample_at(mask[rows], points.detach())[..., 0]
    return vertex_photometric_loss(image[rows], points, colour, facing * scene.face * seen)


def mask_bce(logits: Tensor, visible: Tensor, twin: Twin) -> Tensor:
    """Binary cross entropy of the visible-face mask, per image; the target is area-averaged to its size.

    Just outside the outline of the landmarks nothing is asked: the skin goes on there, so the pixels tell no
    border, and a mask that must guess it leaves out a rim of what is seen. Where the face ends is the head's
    to say. Farther out the mask is 0, as before.
    """
    size = logits.shape[-2:]
    width = max(1, round(RIM * visible.shape[-1]))
    asked = (~rim_of(twin.outline, width)).to(logits.dtype)
    target, weight = (F.interpolate(x, size=size, mode="area") for x in (visible, asked))
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
