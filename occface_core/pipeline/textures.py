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
# Then, what is still amiss near the border of a gap is taken to reach this far, so that no seam is left.
_SEAMS = (1 / 32, 1 / 96)
_CELLS = 6  # cells per standard deviation that light is computed in
_OVERALL = 0.02  # weight of the light of all seen texels beside that of the near ones
_ENOUGH = 1e-3  # share of the texture that must be seen before its light is believed
_GAIN = (0.4, 2.5)  # of one picture's colours to the other's; beyond these it is not light that differs
_SEAM_GAIN = (0.6, 1.6)


@dataclass(frozen=True, eq=False)
class SeenTexture:
    """What one photo shows of the surface.

    Attributes:
        colour: (U,U,3) the photo's colours, anything where nothing is seen.
        weight: (U,U) in [0,1], how much of a texel is seen.
    """

    colour: Float[np.ndarray, "U U 3"]
    weight: Float[np.ndarray, "U U"]


def fitted(picture: Float[np.ndarray, "..."], side: int) -> Float[np.ndarray, "..."]:
    """A square picture at another size."""
    if picture.shape[0] == side:
        return picture
    smaller = side < picture.shape[0]
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def complete_texture(
    own: SeenTexture, albedo: Float[np.ndarray, "A A 3"], others: Sequence[SeenTexture] = ()
) -> Float[np.ndarray, "U U 3"]:
    """One photo's texture, its gaps filled.

    Args:
        own: the photo whose light the texture is in.
        albedo: of the person, for what no photo shows; of any size.
        others: more photos of the person, of any size.
    """
    seen = own.weight[..., None]
    side = seen.shape[0]
    albedo = fitted(albedo, side)
    others = [SeenTexture(fitted(one.colour, side), fitted(one.weight, side)) for one in others]
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
    filling = np.clip(albedo * light_gain(photo, skin), 0, 1)
    if photo.weight.mean() >= _ENOUGH:
        for reach in _SEAMS:
            filling = np.clip(filling * _seam_gain(photo, filling, reach), 0, 1)
    return (colour + (1 - known) * filling).astype(np.float32)


def light_gain(own: SeenTexture, other: SeenTexture) -> Float[np.ndarray, "U U 3"]:
    """What another picture's colours must be multiplied by to be in this one's light, smoothly.

    1 everywhere if they hardly share a texel.
    """
    both = np.minimum(own.weight, other.weight)[..., None]
    if both.mean() < _ENOUGH:
        return np.ones_like(own.colour)
    mine, theirs = ((both * picture.colour).astype(np.float32) for picture in (own, other))
    sums = [picture.mean((0, 1)) for picture in (mine, theirs)]
    near = [_blurred(picture, _REACH) for picture in (mine, theirs)]
    share = _OVERALL / both.mean()
    gain = (near[0] + share * sums[0]) / np.maximum(near[1] + share * sums[1], 1e-6)
    return np.clip(fitted(gain, both.shape[0]), *_GAIN)


def _seam_gain(
    photo: SeenTexture, filling: Float[np.ndarray, "U U 3"], reach: float
) -> Float[np.ndarray, "U U 3"]:
    """What a filling must be multiplied by to meet the photo; 1 away from what the photo shows."""
    weight = photo.weight[..., None].astype(np.float32)
    mine, theirs = (_blurred(weight * colour, reach) for colour in (photo.colour, filling))
    # Colours of skin are near 0.5: where nothing is seen within reach, 0.02 of it says that nothing is amiss.
    gain = (mine + _OVERALL * 0.5) / (theirs + _OVERALL * 0.5)
    return np.clip(fitted(gain, weight.shape[0]), *_SEAM_GAIN)


def _blurred(picture: Float[np.ndarray, "U U 3"], reach: float) -> Float[np.ndarray, "C C 3"]:
    """Smoothed over `reach` of its side, on a grid just fine enough: that is ten times as fast."""
    picture = picture.astype(np.float32)
    cells = min(picture.shape[0], round(_CELLS / reach))
    coarse = fitted(picture, cells)
    return cv2.GaussianBlur(coarse, (0, 0), reach * cells, borderType=cv2.BORDER_CONSTANT)
