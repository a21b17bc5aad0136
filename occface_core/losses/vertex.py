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


def region_rms_mm(
    predicted: Float[Tensor, "B V 3"], target: Float[Tensor, "B V 3"], regions: Float[Tensor, "R V"]
) -> Float[Tensor, "B R"]:
    """Root mean square vertex distance per region, mm; inputs in metres, regions as weights in [0,1]."""
    squared = (predicted - target).square().sum(-1) * MM**2
    return (squared @ regions.T / regions.sum(-1)).add(1e-12).sqrt()
