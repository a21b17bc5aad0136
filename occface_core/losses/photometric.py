"""Per-vertex photometric loss: the image sampled under each visible vertex against the shaded albedo.

Sampling at vertices needs no rasterizer and is differentiable in position, albedo, light and normal
(Tewari et al., MoFA, ICCV 2017, section 5.1 uses the same vertex-wise term).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sample_at(image: Float[Tensor, "B C H W"], points: Float[Tensor, "B V 2"]) -> Float[Tensor, "B V C"]:
    """Bilinear image values at points in [-1, 1] coordinates (pixel centres at +0.5)."""
    values = F.grid_sample(
        image, points[:, :, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return values[..., 0].transpose(1, 2)


def vertex_photometric_loss(
    image: Float[Tensor, "B 3 H W"],
    points: Float[Tensor, "B V 2"],
    colour: Float[Tensor, "B V 3"],
    weight: Float[Tensor, "B V"],
) -> Float[Tensor, "B"]:
    """Weighted L2,1 colour distance over vertices.

    Args:
        image: RGB in [0,1].
        points: projected vertices, [-1, 1] coordinates.
        colour: predicted vertex colour (albedo times shading).
        weight: visibility times region times any image mask, at least 0; vertices outside the image are
        ignored.
    """
    inside = (points.abs() <= 1).all(-1)
    weight = weight * inside
    distance = (sample_at(image, points) - colour).square().sum(-1).add(1e-6).sqrt()
    return (distance * weight).sum(-1) / weight.sum(-1).clamp(min=1.0)
