"""What a benchmark compares of a prediction, and the two ways to get one: run a network, or look it up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from occface_core.data.batches import TwinBatch
from occface_core.data.landmarks import IBUG68_FROM_MEDIAPIPE
from occface_core.evaluation.twins import views_of
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderOutput
from occface_core.rendering.cameras import to_pixels, weak_perspective


@dataclass(frozen=True)
class Prediction:
    """One view of a batch as a model sees it; what it cannot say is None.

    Attributes:
        valid: (B,) the prediction is there and finite; other rows hold zeros.
        neutral, posed: (B,V,3) metres, without and with pose and expression.
        albedo: (B,V,3) RGB in [0,1] at the vertices.
        landmarks468, landmarks68: crop pixels.
        mask: (B,S,S) visible face skin.
        params: the code, of this package's networks only.
    """

    valid: Bool[Tensor, "B"]
    neutral: Float[Tensor, "B V 3"] | None = None
    posed: Float[Tensor, "B V 3"] | None = None
    albedo: Float[Tensor, "B V 3"] | None = None
    landmarks468: Float[Tensor, "B 468 2"] | None = None
    landmarks68: Float[Tensor, "B 68 2"] | None = None
    mask: Bool[Tensor, "B S S"] | None = None
    params: FaceParameters | None = None


@runtime_checkable
class Predictor(Protocol):
    """A participant of the benchmark.

    Attributes:
        region: (V,) weight of each vertex of its meshes in the face.
        same_head: its vertices are those of the head everybody else predicts.
        views: the pictures it has answers for; None: all.
    """

    region: Float[Tensor, "V"]
    same_head: bool
    views: tuple[str, ...] | None

    def predict(self, batch: TwinBatch, view: str) -> Prediction:
        """Answer for one picture of every photo in the batch."""
        ...


class Network:
    """A network of this package as a participant.

    Args:
        model: crops (B,3,S,S) to `EncoderOutput`.
        head, albedo: what its code stands for.
    """

    def __init__(
        self, model: Callable[[Tensor], EncoderOutput], head: HeadModel, albedo: AlbedoModel
    ) -> None:
        self.model, self.head, self.albedo = model, head, albedo
        self.region: Tensor = head.regions["face"]
        self.same_head: bool = True
        self.views: tuple[str, ...] | None = None

    @torch.no_grad()
    def predict(self, batch: TwinBatch, view: str) -> Prediction:
        """Run the network on one view."""
        out = self.model(views_of(batch)[view])
        size = batch.clean.shape[-1]
        mask = None if out.mask_logits is None else visible_face(out.mask_logits, size)
        return self.of_params(out.params, size, mask)

    def of_params(
        self, params: FaceParameters, size: int, mask: Bool[Tensor, "B S S"] | None = None
    ) -> Prediction:
        """Meshes, albedo and landmark pixels of a code."""
        posed = self.head(params.betas, params.expression, params.pose).verts
        mesh = drawn_points(self.head, posed, params, size)[..., :2]
        return Prediction(
            valid=torch.ones(len(posed), dtype=torch.bool, device=posed.device),
            neutral=self.head.neutral(params.betas),
            posed=posed,
            albedo=self.albedo.vertex_albedo(params.albedo, self.head),
            landmarks468=mesh,
            landmarks68=ibug68_of(mesh),
            mask=mask,
            params=params,
        )


def drawn_points(
    head: HeadModel, verts: Float[Tensor, "B V 3"], params: FaceParameters, size: int
) -> Float[Tensor, "B 468 3"]:
    """The 468 landmarks of posed heads in the pixels of crops `size` wide, and their depth."""
    return to_pixels(weak_perspective(head.landmarks(verts, "468"), params.camera), size)


def ibug68_of(points: Float[Tensor, "B 468 2"]) -> Float[Tensor, "B 68 2"]:
    """The 68 iBUG points among MediaPipe's.

    Annotations by MediaPipe's mesh are picked so, and so are predictions: a contour by another rule, such as
    the head's own that slides along the silhouette, is off by 0.6 % of the face on clean photos, which
    would make the ratio of covered to clean look better than it is.
    """
    return points[:, list(IBUG68_FROM_MEDIAPIPE)]


def visible_face(logits: Float[Tensor, "B 1 M M"], size: int) -> Bool[Tensor, "B S S"]:
    """A network's visible-face mask at the crop's size."""
    return F.interpolate(logits, size=(size, size), mode="bilinear", align_corners=False)[:, 0] > 0
