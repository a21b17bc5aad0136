"""Harsh pictures: contrast, blown highlights, shadows with an edge, smoothed skin, as portraits often have.

What lies in shadow, is blown out or was retouched is skin all the same. Networks that have seen soft light
alone call it covered.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from occface_core.data.pixels import changed

Picture = Float[Tensor, "B 3 S S"]


def harsh(images: Picture, share: float, rng: np.random.Generator) -> Picture:
    """About `share` of the pictures as harsh light and retouching leave them. The others keep their bits.

    Args:
        images: (B,3,S,S) RGB in [0,1], on any device.
        share: chance of every picture, [0,1].
        rng: source of all randomness; the same numbers are drawn whatever the share.
    """
    chances = rng.random(len(images))
    looks = [_Look.draw(rng) for _ in range(len(images))]
    return changed(images, chances < share, lambda picture, row: looks[row](picture))


class _Look:
    """One way a picture may look. Numbers in units of the picture's range and side."""

    def __init__(self, numbers: np.ndarray, edge: bool, smooth: bool) -> None:
        u = numbers.tolist()
        self.contrast, self.pivot = math.exp(u[0] * 0.7), 0.35 + 0.3 * u[1]
        self.gain, self.saturation = math.exp(-0.3 + 0.7 * u[2]), 0.3 + 1.2 * u[3]
        self.direction, self.offset = 2 * math.pi * u[4], 0.25 * (2 * u[5] - 1)
        self.width, self.depth = 0.01 + 0.15 * u[6] ** 2, 0.3 + 0.5 * u[7]
        self.bend = 1.5 * (2 * u[8] - 1)
        self.edge, self.smooth = edge, smooth

    @staticmethod
    def draw(rng: np.random.Generator) -> "_Look":
        numbers, chances = rng.random(9), rng.random(2)
        return _Look(numbers, edge=bool(chances[0] < 0.5), smooth=bool(chances[1] < 0.4))

    def __call__(self, pictures: Picture) -> Picture:
        x = _smoothed(pictures) if self.smooth else pictures
        if self.edge:
            x = x * self._shade(x.shape[-1]).to(x)
        x = ((x - self.pivot) * self.contrast + self.pivot) * self.gain
        grey = x.mean(1, keepdim=True)
        return (grey + self.saturation * (x - grey)).clamp(0, 1)

    def _shade(self, size: int) -> Float[Tensor, "S S"]:
        """1 in the light, `depth` beyond a bent edge across the picture."""
        axis = (torch.arange(size) + 0.5) / size - 0.5
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        cos, sin = math.cos(self.direction), math.sin(self.direction)
        along, across = cos * x + sin * y, cos * y - sin * x
        beyond = torch.sigmoid((along + self.bend * across.square() - self.offset) / self.width)
        return 1 - (1 - self.depth) * beyond


def _smoothed(pictures: Picture) -> Picture:
    """Skin without its texture, edges kept: a guided filter (He et al., ECCV 2010), itself the guide."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)

    middle = mean(pictures)
    variance = (mean(pictures.square()) - middle.square()).clamp(min=0)
    slope = variance / (variance + 0.002)
    return mean(slope) * pictures + mean((1 - slope) * middle)
