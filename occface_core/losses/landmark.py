"""Landmark losses in normalised image coordinates (the crop spans [-1, 1]); unreduced over the batch."""

import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.data.landmarks import EYE_PAIRS, LIP_PAIRS
from occface_core.occlusion.face_points import FACE_OVAL


def landmark_weights(device: torch.device | str = "cpu") -> Float[Tensor, "468"]:
    """Weight per MediaPipe point: silhouette points slide with pose and count less; eyes and lips count
    more."""
    weights = torch.ones(468, device=device)
    # Outline points slide along the silhouette with head pose.
    weights[list(FACE_OVAL)] = 0.3
    for pairs, value in ((EYE_PAIRS, 2.0), (LIP_PAIRS, 2.0)):
        weights[[i for pair in pairs for i in pair]] = value
    return weights / weights.mean()


def landmark_loss(
    predicted: Float[Tensor, "B L 2"],
    target: Float[Tensor, "B L 2"],
    weights: Float[Tensor, "L"] | None = None,
) -> Float[Tensor, "B"]:
    """Weighted mean Euclidean distance (DECA's lmk term with L2 norms: one bad point cannot dominate)."""
    distance = (predicted - target).square().sum(-1).add(1e-8).sqrt()
    return (distance * weights).mean(-1) if weights is not None else distance.mean(-1)


def pair_distance_loss(
    predicted: Float[Tensor, "B L 2"], target: Float[Tensor, "B L 2"], pairs: tuple[tuple[int, int], ...]
) -> Float[Tensor, "B"]:
    """Error of the offset between paired points: DECA's eye-closure and lip-distance losses.

    Offsets do not move when the whole face is shifted, so opening and closing is learned apart from
    alignment.
    """
    upper, lower = [a for a, _ in pairs], [b for _, b in pairs]
    difference = (predicted[:, upper] - predicted[:, lower]) - (target[:, upper] - target[:, lower])
    return difference.square().sum(-1).add(1e-8).sqrt().mean(-1)
