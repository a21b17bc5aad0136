"""Unsupervised segmentation terms of FOCUS's E-step (Li et al., CVPR 2023), unreduced over the batch.

FOCUS weighs: neighbour 15, perceptual distance 3, area 0.5, preserve 0.25, binary 10. Its perceptual term
compares whole faces with a face-recognition network, which may not be shipped; ours compares the maps of the
teacher, which has never seen an occluder, place by place.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def neighbour_distances(
    image: Float[Tensor, "B C H W"], render: Float[Tensor, "B C H W"], radius: int = 2
) -> tuple[Float[Tensor, "B 1 H W"], Float[Tensor, "B 1 H W"]]:
    """Distance of each rendered pixel to its best match in a (2 radius + 1)^2 window of the photo.

    In colour, and in chroma: colour less its mean over the channels, which is blind to brightness. The window
    forgives small misalignment, which would otherwise be taken for an occluder.
    """
    size, (h, w) = 2 * radius + 1, image.shape[-2:]
    padded = F.pad(image, (radius,) * 4, mode="replicate")
    colour = chroma = torch.full_like(image[:, :1], torch.inf)
    # Window by window: all windows at once, as unfold gives them, take three times as long.
    for y in range(size):
        for x in range(size):
            difference = padded[..., y : y + h, x : x + w] - render
            squared, mean = difference.square().sum(1, keepdim=True), difference.mean(1, keepdim=True)
            colour = torch.minimum(colour, squared)
            chroma = torch.minimum(chroma, squared - image.shape[1] * mean.square())
    return colour.add(1e-8).sqrt(), chroma.clamp(min=0).add(1e-8).sqrt()


def colour_distances(
    image: Float[Tensor, "B C H W"], render: Float[Tensor, "B C H W"], radius: int = 2
) -> tuple[Float[Tensor, "B 1 H W"], Float[Tensor, "B 1 H W"]]:
    """The larger of `neighbour_distances` from rendering to photo and back: of colour, and of chroma.

    A thin stripe over the face leaves skin beside itself, so every rendered pixel finds a match; the stripe's
    own pixels find none in the rendering.
    """
    there, back = neighbour_distances(image, render, radius), neighbour_distances(render, image, radius)
    return torch.maximum(there[0], back[0]), torch.maximum(there[1], back[1])


def perceptual_distances(
    photo: list[Tensor], render: list[Tensor], size: tuple[int, int]
) -> list[Float[Tensor, "B 1 H W"]]:
    """1 - cosine between a network's maps of photo and rendering, each map's at `size`.

    Colour cannot tell a hand from a cheek, nor stripes from shading; what lies around a pixel can.
    """
    return [
        F.interpolate(
            1 - F.cosine_similarity(a.float(), b.float(), dim=1)[:, None],
            size=size,
            mode="bilinear",
            align_corners=False,
        )
        for a, b in zip(photo, render, strict=True)
    ]


def visible_distance_loss(
    mask: Float[Tensor, "B 1 H W"], distance: Float[Tensor, "B 1 H W"], region: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B"]:
    """What the face model cannot explain should not be called visible: mean over the region of m * d."""
    return (mask * distance * region).sum((1, 2, 3)) / region.sum((1, 2, 3)).clamp(min=1.0)


def hidden_area_loss(mask: Float[Tensor, "B 1 H W"], region: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B"]:
    """Share of the face region called hidden; without it, an empty mask explains every photo perfectly."""
    return ((1 - mask) * region).sum((1, 2, 3)) / region.sum((1, 2, 3)).clamp(min=1.0)


def preserve_loss(
    mask: Float[Tensor, "B 1 H W"],
    distance: Float[Tensor, "B 1 H W"],
    region: Float[Tensor, "B 1 H W"],
    sigma: float = 0.06,
) -> Float[Tensor, "B"]:
    """Pixels the model explains well should stay visible."""
    explained = torch.exp(-0.5 * (distance / sigma).square())
    return ((1 - mask) * explained * region).sum((1, 2, 3)) / region.sum((1, 2, 3)).clamp(min=1.0)


def binary_loss(mask: Float[Tensor, "B 1 H W"], region: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B"]:
    """Push the mask to 0 or 1 inside the region: mean of m (1 - m)."""
    return (mask * (1 - mask) * region).sum((1, 2, 3)) / region.sum((1, 2, 3)).clamp(min=1.0)
