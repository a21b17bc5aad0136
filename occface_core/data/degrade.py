"""Poor pictures: what small faces, cheap cameras and bad light leave of a crop."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from occface_core.data.cuts import cut_off
from occface_core.data.harsh import harsh
from occface_core.data.pixels import changed

SMALLEST, LARGEST = 0.16, 0.6  # of the crop's side, pixels that are left; 18 of 112 is a face of ten pixels
_NOISE = 0.05  # at most


def as_shown(
    images: Float[Tensor, "B 3 S S"],
    points: Float[Tensor, "B 468 D"],
    *,
    poor_share: float,
    harsh_share: float,
    cut_share: float,
    seed: Sequence[int],
) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 1 S S"]]:
    """What a student is shown of covered pictures: part in harsh light, part poor, part cut off.

    Args:
        images: (B,3,S,S) RGB in [0,1], on any device. points: (B,468,2 or 3) landmarks, pixels.
        seed: same numbers, same pixels.

    Returns:
        The pictures, and (B,1,S,S) 1 where a photo is and not what repeats its border.
    """
    lit = harsh(images, harsh_share, np.random.default_rng([*seed, 1]))
    return cut_off(degrade(lit, poor_share, np.random.default_rng(seed)), points, cut_share, [*seed, 2])


def degrade(
    images: Float[Tensor, "B 3 S S"], share: float, rng: np.random.Generator
) -> Float[Tensor, "B 3 S S"]:
    """About `share` of the pictures as a camera far away would have taken them: few pixels, some noise.

    A student that sees its twin like this, and the teacher's answer to the good one, learns to reconstruct
    small faces. The others keep their bits.

    Args:
        images: (B,3,S,S) RGB in [0,1], on any device.
        share: chance of every picture, [0,1].
        rng: source of all randomness; the same numbers are drawn whatever the share.
    """
    batch, _, height, width = images.shape
    chances, logs, levels = rng.random(batch), rng.random(batch), rng.random(batch)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))

    def poor(picture: Tensor, row: int) -> Tensor:
        side = round(max(height, width) * SMALLEST * (LARGEST / SMALLEST) ** logs[row])
        return shrunk(picture, side, _NOISE * levels[row] ** 2, generator)

    return changed(images, chances < share, poor)


def shrunk(
    images: Float[Tensor, "B 3 H W"], side: int, noise: float, generator: torch.Generator
) -> Float[Tensor, "B 3 H W"]:
    """Pictures that hold no more than `side` pixels along their longer side, at their old size.

    Args:
        images: (B,3,H,W) RGB in [0,1].
        side: pixels that are left, at least 2; no fewer than there are change nothing but the noise.
        noise: its standard deviation, in the small picture.
        generator: of the noise, on the CPU, so that every device gets the same.
    """
    height, width = images.shape[2:]
    left = min(1.0, side / max(height, width))
    size = (max(2, round(height * left)), max(2, round(width * left)))
    small = F.interpolate(images, size=size, mode="bilinear", antialias=True)
    if noise > 0:
        small = small + torch.randn(small.shape, generator=generator).to(small) * noise
    large = F.interpolate(small.clamp(0, 1), size=(height, width), mode="bicubic", align_corners=False)
    return large.clamp(0, 1)
