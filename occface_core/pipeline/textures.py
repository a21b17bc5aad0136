"""Textures without gaps: the photo where it shows the surface; elsewhere other photos, or the albedo.

Photos of one person differ in light, and an albedo has none. Whatever fills a gap is therefore brought to the
photo's light first: multiplied, channel by channel, by what the photo's own texels are to it around there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

_REACH = 1 / 10  # of the texture's side: how far a seen texel's light is taken to reach (standard deviation)
_COARSE = 64  # cells per side that light is computed in
_OVERALL = 0.02  # weight of the light of all seen texels beside that of the near ones
_ENOUGH = 1e-3  # share of the texture that must be seen before its light is believed
_GAIN = (0.4, 2.5)  # of one picture's colours to the other's; beyond these it is not light that differs


@dataclass(frozen=True, eq=False)
class SeenTexture:
    """What one photo shows of the surface.

    Attributes:
        colour: (U,U,3) the photo's colours, anything where nothing is seen.
        weight: (U,U) in [0,1], how much of a texel is seen.
    """

    colour: Float[np.ndarray, "U U 3"]
    weight: Float[np.ndarray, "U U"]


def complete_texture(
    own: SeenTexture, albedo: Float[np.ndarray, "U U 3"], others: Sequence[SeenTexture] = ()
) -> Float[np.ndarray, "U U 3"]:
    """One photo's texture, its gaps filled.

    Args:
        own: the photo whose light the texture is in.
        albedo: of the person, for what no photo shows.
        others: more photos of the person.
    """
    seen = own.weight[..., None]
    total, mixed = np.zeros_like(seen), np.zeros_like(own.colour)
    for other in others:
        total += other.weight[..., None]
        mixed += other.weight[..., None] * np.clip(other.colour * light_gain(own, other), 0, 1)
    trust = np.clip(total, 0, 1)
    known = np.clip(seen + (1 - seen) * trust, 0, 1)
    colour = seen * own.colour + (1 - seen) * trust * mixed / np.maximum(total, 1e-6)
    # Not yet filled texels of `colour` weigh nothing in what follows.
    photo = SeenTexture(colour / np.maximum(known, 1e-6), known[..., 0])
    skin = SeenTexture(albedo, np.ones_like(own.weight))
    return (colour + (1 - known) * np.clip(albedo * light_gain(photo, skin), 0, 1)).astype(np.float32)


def light_gain(own: SeenTexture, other: SeenTexture) -> Float[np.ndarray, "U U 3"]:
    """What another picture's colours must be multiplied by to be in this one's light, smoothly.

    1 everywhere if they hardly share a texel.
    """
    both = np.minimum(own.weight, other.weight)[..., None]
    if both.mean() < _ENOUGH:
        return np.ones_like(own.colour)
    mine, theirs = ((both * picture.colour).astype(np.float32) for picture in (own, other))
    sums = [picture.mean((0, 1)) for picture in (mine, theirs)]
    # Light this smooth needs only a coarse grid; at full size the blur takes 20 ms instead of 2.
    side = both.shape[0]
    coarse = [cv2.resize(x, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA) for x in (mine, theirs)]
    reach = _REACH * _COARSE
    near = [cv2.GaussianBlur(x, (0, 0), reach, borderType=cv2.BORDER_CONSTANT) for x in coarse]
    share = _OVERALL / both.mean()
    gain = (near[0] + share * sums[0]) / np.maximum(near[1] + share * sums[1], 1e-6)
    return np.clip(cv2.resize(gain, (side, side), interpolation=cv2.INTER_LINEAR), *_GAIN)
