"""Faces on their way from a crop to a photo: what was aimed at, and the heads fitted to it."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from occface_core.data.crop import CropTransform, square_from_box
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.encoder import EncoderOutput
from occface_core.pipeline.boxes import Box, refined_box
from occface_core.rendering.cameras import to_pixels, weak_perspective


@dataclass(frozen=True)
class Target:
    """One photo on its way: the face's box and what is known about it."""

    image: UInt8[np.ndarray, "H W 3"]
    box: Box
    score: float | None
    notes: tuple[str, ...]

    scale: float

    @property
    def crop(self) -> CropTransform:
        return square_from_box(self.box, self.scale)


@dataclass(frozen=True)
class Fit:
    """Heads fitted to a batch of crops; pixel coordinates are those of the crop, `size` pixels wide."""

    output: EncoderOutput
    verts: Float[Tensor, "B V 3"]
    neutral: Float[Tensor, "B V 3"]
    verts_px: Float[Tensor, "B V 3"]
    landmarks_px: Float[Tensor, "B 68 3"]
    now7: Float[Tensor, "B 7 3"]
    size: int


def pose_heads(output: EncoderOutput, head: HeadModel, size: int) -> Fit:
    """The heads that a network's parameters describe, in crops of `size` pixels."""
    params = output.params
    posed = head(params.betas, params.expression, params.pose).verts
    neutral = head.neutral(params.betas)
    points = head.landmarks(posed, "68", global_pose=params.pose[:, :3])
    return Fit(
        output=output,
        verts=posed,
        neutral=neutral,
        verts_px=to_pixels(weak_perspective(posed, params.camera), size),
        landmarks_px=to_pixels(weak_perspective(points, params.camera), size),
        now7=head.landmarks(neutral, "now7"),
        size=size,
    )


def refined(target: Target, fit: Fit, i: int) -> Target:
    """The same photo with the box of the landmarks found at first, if that is sane."""
    points = target.crop.inverse(to_numpy(fit.landmarks_px[i, :, :2]), fit.size)
    box = refined_box(target.box, points)
    if box is None:
        return replace(
            target, notes=(*target.notes, "the fit strayed from the detected face; check it by eye")
        )
    return replace(target, box=box)


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A tensor's values as float32."""
    return tensor.detach().float().cpu().numpy()
