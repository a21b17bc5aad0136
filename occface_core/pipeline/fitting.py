"""Faces on their way from a crop to a photo: what was aimed at, and the heads fitted to it."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from occface_core.data.crop import CropTransform, picture_turn, square_from_box
from occface_core.data.landmarks import landmark_box
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.encoder import EncoderOutput
from occface_core.pipeline.boxes import Box, refined_box
from occface_core.rendering.cameras import to_pixels, weak_perspective


@dataclass(frozen=True)
class Target:
    """One photo on its way: the face's box and what is known about it.

    Attributes:
        scale: side of the crop over the box's mean side. roll: how far the head is turned clockwise in the
        picture, radians: the network sees the crop turned by it. upright: a turned head's box as it is when
        the head stands, centred where the head is; `box` is then the box around the head as it lies.
        lowered: how far the detector put the box below where it saw the face, pixels (detection.py).
    """

    image: UInt8[np.ndarray, "H W 3"]
    box: Box
    score: float | None
    notes: tuple[str, ...]

    scale: float
    roll: float = 0.0
    upright: Box | None = None
    lowered: float = 0.0

    @property
    def aim(self) -> Box:
        """The box that the crop is made around."""
        return self.box if self.upright is None else self.upright

    @property
    def crop(self) -> CropTransform:
        return square_from_box(self.aim, self.scale)


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


def turned(target: Target, roll: float) -> Target:
    """The same photo with its crop turned; the detector's box is moved to where it lies in a turned head."""
    down = np.array([0.0, target.lowered])
    shift = picture_turn(roll) @ down - down
    return replace(target, roll=roll, upright=target.box + np.tile(shift, 2))


def refined(target: Target, fit: Fit, i: int) -> Target:
    """The same photo with the box of the landmarks found at first, if that is sane."""
    points = target.crop.inverse(to_numpy(fit.landmarks_px[i, :, :2]), fit.size)
    box = refined_box(target.aim, points)
    if box is None:
        return replace(
            target, notes=(*target.notes, "the fit strayed from the detected face; check it by eye")
        )
    return replace(target, box=box, upright=upright_box(points, target.roll) if target.roll else None)


def upright_box(points: Float[np.ndarray, "N 2"], roll: float) -> Box:
    """The box of points of a turned head, were it upright; its centre is where the turned box's is."""
    turn = picture_turn(roll)
    upright = landmark_box(points.astype(np.float64) @ turn)
    centre = turn @ ((upright[:2] + upright[2:]) / 2)
    half = (upright[2:] - upright[:2]) / 2
    return np.concatenate([centre - half, centre + half])


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A tensor's values as float32."""
    return tensor.detach().float().cpu().numpy()
