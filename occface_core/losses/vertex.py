"""Vertex-space distances, in millimetres so that weights mean the same for every recipe."""

from jaxtyping import Float
from torch import Tensor

MM = 1000.0


def vertex_distance_mm(
    predicted: Float[Tensor, "B V 3"], target: Float[Tensor, "B V 3"], weight: Float[Tensor, "V"]
) -> Float[Tensor, "B"]:
    """Weighted mean vertex distance, mm; inputs in metres."""
    distance = (predicted - target).square().sum(-1).add(1e-12).sqrt() * MM
    return (distance * weight).sum(-1) / weight.sum()


def form_distance_mm(
    predicted: Float[Tensor, "B V 3"], target: Float[Tensor, "B V 3"], weight: Float[Tensor, "V"]
) -> Float[Tensor, "B"]:
    """`vertex_distance_mm` after the best scale and shift of the prediction; inputs in metres, same frame.

    One photo under a weak-perspective camera says nothing about a head's size: without this, most of a
    shape's error is size nobody could know, and its gradient is noise.
    """
    share = (weight / weight.sum())[:, None]
    own = predicted - (predicted * share).sum(-2, keepdim=True)
    goal = target - (target * share).sum(-2, keepdim=True)
    scale = (own * goal * share).sum((-2, -1)) / (own.square() * share).sum((-2, -1)).clamp(min=1e-12)
    return vertex_distance_mm(own * scale[:, None, None], goal, weight)


def region_rms_mm(
    predicted: Float[Tensor, "B V 3"], target: Float[Tensor, "B V 3"], regions: Float[Tensor, "R V"]
) -> Float[Tensor, "B R"]:
    """Root mean square vertex distance per region, mm; inputs in metres, regions as weights in [0,1]."""
    squared = (predicted - target).square().sum(-1) * MM**2
    return (squared @ regions.T / regions.sum(-1)).add(1e-12).sqrt()
