"""Textures without gaps: the photo where it shows the surface; elsewhere other photos, the other side of the
face, or the albedo.

Photos of one person differ in light, and an albedo has none. Whatever fills a gap is therefore brought to the
photo's light first: albedo and the other side of the face by what a prior over many faces expects there
(`TexturePrior`); where there is none, and for other photos, multiplied, channel by channel, by what the
photo's own texels are to it around there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from occface_core.pipeline.texels import DARKEST, SeenTexture, blurred, fitted
from occface_core.pipeline.texture_prior import TexturePrior

_REACH = 1 / 10  # of the texture's side: how far a seen texel's light is taken to reach (standard deviation)
# Then, what is still amiss near the border of a gap is taken to reach this far, so that no seam is left.
_SEAMS = (1 / 32, 1 / 96)
OVERALL = 0.02  # weight of the light of all seen texels beside that of the near ones
_ENOUGH = 1e-3  # share of the texture that must be seen before its light is believed
_GAIN = (0.4, 2.5)  # of one picture's colours to the other's; beyond these it is not light that differs
_SEAM_GAIN = (0.6, 1.6)
_SIDE_GAIN = (0.88, 1.1)  # of one side of a face to the other: the nose, which both show, is no cheek
_PART_TEXELS = 12  # texels of eyes, or of the mouth's inside, that tell what light is on them
# How much less light than skin an albedo's parts (skin, eyes, the mouth's inside, teeth) get where nothing of
# them is seen: eyes lie in the shade of lids and lashes (upper quartile of 59 photos; the median, 0.55, looks
# asleep). Photos show that shade themselves.
_PART_SHADE = (1.0, 0.66, 1.0, 1.0)
_LIT = (1.0, 1.0, 1.0, 1.0)
# Power of the light's colour on skin that unseen parts take over. Some of that colour is the skin's own, and
# the white of eyes shows it first; teeth beside skin in blue light look yellow without.
_PART_TINT = (1.0, 0.0, 0.5, 0.5)
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_SURE = 0.95  # weight from which on a texel may stand for its mirror image


@dataclass(frozen=True, eq=False)
class Chart:
    """What a texture's layout says of its texels.

    Attributes:
        symmetric: texels whose mirror image in the texture is the other side's.
        part: 0 for skin, 1 for eyes, 2 for the mouth's inside, 3 for teeth. Those lie beside skin in the
            texture but not on the head, and take no light from there.
        surface: texels that belong to the head, None: all; the others are never seen, and nothing hides them.
        prior: what is known about skin that is not seen, for the shipped head and albedo; None: light alone,
            taken from the nearest skin that is seen.
    """

    symmetric: Bool[np.ndarray, "U U"]
    part: UInt8[np.ndarray, "U U"]
    surface: Bool[np.ndarray, "U U"] | None = None
    prior: TexturePrior | None = None

    @property
    def skin(self) -> Bool[np.ndarray, "U U"]:
        """Texels that are skin of the head."""
        skin = self.part == 0
        return skin if self.surface is None else skin & self.surface


def complete_texture(
    own: SeenTexture,
    albedo: Float[np.ndarray, "A A 3"],
    others: Sequence[SeenTexture] = (),
    *,
    chart: Chart | None = None,
) -> Float[np.ndarray, "U U 3"]:
    """One photo's texture, its gaps filled from other photos, the other side of the face, the albedo.

    Args:
        own: the photo whose light the texture is in.
        albedo: of the person, for what no photo shows; of any size.
        others: more photos of the person, of any size.
        chart: of the texture; None: all of it is skin, and no other side is looked at.
    """
    side = own.weight.shape[0]
    photo, skin, turned = own, None, None
    part = None if chart is None else chart.part
    if others:
        photo = _over(photo, _mixed(own, others, part), part)
    if chart is not None and chart.prior is not None:
        skin = chart.prior.expected(photo, albedo, part)
        turned = own.colour[:, ::-1] * ((skin + DARKEST) / (skin[:, ::-1] + DARKEST)).clip(*_GAIN)
    if chart is not None:
        # Half seen texels hold something of what covers the face: once is enough. Borders fade out.
        sure = (chart.symmetric & (own.weight[:, ::-1] > _SURE)).astype(np.float32)
        inner = fitted(blurred(sure[..., None], _SEAMS[-1]), side)
        mirrored = SeenTexture(own.colour[:, ::-1], sure * np.clip(2 * inner - 1, 0, 1))
        photo = _over(photo, mirrored, part, limits=_SIDE_GAIN, skin=turned)
    below = SeenTexture(fitted(albedo, side), np.ones_like(own.weight))
    return _over(photo, below, part, shade=_PART_SHADE, skin=skin).colour


def _mixed(
    own: SeenTexture, others: Sequence[SeenTexture], part: UInt8[np.ndarray, "U U"] | None
) -> SeenTexture:
    """Other photos as one, each brought to this photo's light."""
    side = own.weight.shape[0]
    total, mixed = np.zeros_like(own.weight)[..., None], np.zeros_like(own.colour)
    for picture in others:
        other = SeenTexture(fitted(picture.colour, side), fitted(picture.weight, side))
        total += other.weight[..., None]
        mixed += other.weight[..., None] * np.clip(other.colour * light_gain(own, other, part), 0, 1)
    return SeenTexture(mixed / np.maximum(total, 1e-6), np.clip(total[..., 0], 0, 1))


def _over(
    photo: SeenTexture,
    below: SeenTexture,
    part: UInt8[np.ndarray, "U U"] | None = None,
    *,
    limits: tuple[float, float] = (0.0, np.inf),
    shade: tuple[float, ...] = _LIT,
    skin: Float[np.ndarray, "U U 3"] | None = None,
) -> SeenTexture:
    """A texture laid over another one, which is brought to its light and meets it without a seam.

    Args:
        photo: what lies above. below: what its gaps show.
        limits: of each gain, beside those for all textures; not of skin that is in the photo's light.
        shade: as in `light_gain`.
        skin: the skin of `below` in the photo's light, where that is known better than from the two alone;
            goes with `part`.
    """
    gain = np.clip(light_gain(photo, below, part, shade), *limits)
    filling = np.clip(below.colour * gain, 0, 1)
    if skin is not None:
        assert part is not None
        filling, limits = np.where((part == 0)[..., None], np.clip(skin, 0, 1), filling), (0.0, np.inf)
    both = np.minimum(photo.weight, below.weight)[..., None].astype(np.float32)
    if part is not None:
        both = both * (part == 0)[..., None]
    if both.mean() >= _ENOUGH:
        for reach in _SEAMS if skin is None else _SEAMS[-1:]:  # what is amiss beside a cover is its shadow
            gain = np.clip(_seam_gain(both * photo.colour, both * filling, reach), *limits)
            if part is not None:
                gain[part > 0] = 1
            filling = np.clip(filling * gain, 0, 1)
    weight = photo.weight[..., None]
    share = (1 - weight) * below.weight[..., None]
    known = np.clip(weight + share, 0, 1)
    colour = (weight * photo.colour + share * filling) / np.maximum(known, 1e-6)
    return SeenTexture(colour.astype(np.float32), known[..., 0])


def light_gain(
    own: SeenTexture,
    other: SeenTexture,
    part: UInt8[np.ndarray, "U U"] | None = None,
    shade: tuple[float, ...] = _LIT,
) -> Float[np.ndarray, "U U 3"]:
    """What another picture's colours must be multiplied by to be in this one's light, smoothly.

    1 everywhere if they hardly share a texel. What is no skin has one gain per part: that of its texels that
    both show. Unseen, it takes the skin's brightness and, but for eyes, half of its light's colour: the rest
    says what skin it is.

    Args:
        own: whose light. other: what is brought to it. part: as in `Chart`; None: all is skin.
        shade: by part, how much less light than skin it gets where nothing of it is seen.
    """
    both = np.minimum(own.weight, other.weight)[..., None]
    skin = both if part is None else both * (part == 0)[..., None]
    if skin.mean() < _ENOUGH:
        return np.ones_like(own.colour)
    mine, theirs = ((skin * picture.colour).astype(np.float32) for picture in (own, other))
    sums = [picture.mean((0, 1)) for picture in (mine, theirs)]
    near = [blurred(picture, _REACH) for picture in (mine, theirs)]
    share = OVERALL / skin.mean()
    gain = (near[0] + share * sums[0]) / np.maximum(near[1] + share * sums[1], 1e-6)
    gain = fitted(gain, both.shape[0])
    if part is not None:
        overall = float(sums[0] @ _GREY) / max(float(sums[1] @ _GREY), 1e-6)
        tint = sums[0] / np.maximum(sums[1] * overall, 1e-6)
        for number in range(1, int(part.max()) + 1):
            inside = part == number
            unseen = overall * shade[number] * tint ** _PART_TINT[number]
            gain[inside] = _part_gain(own.colour[inside], other.colour[inside], both[inside], unseen)
    return np.clip(gain, *_GAIN)


def _part_gain(
    mine: Float[np.ndarray, "N 3"],
    theirs: Float[np.ndarray, "N 3"],
    both: Float[np.ndarray, "N 1"],
    unseen: Float[np.ndarray, "3"],
) -> Float[np.ndarray, " 3"]:
    """One gain for a part that is no skin; `unseen` where hardly any of it is seen in both."""
    if both.sum() < _PART_TEXELS:
        return unseen
    return (both * mine).sum(0) / np.maximum((both * theirs).sum(0), 1e-6)


def _seam_gain(
    mine: Float[np.ndarray, "U U 3"], theirs: Float[np.ndarray, "U U 3"], reach: float
) -> Float[np.ndarray, "U U 3"]:
    """What a filling must be multiplied by to meet the photo; 1 away from where both are known.

    Args:
        mine: colours of the photo, 0 where one of the two is not known. theirs: those of the filling.
        reach: how far a difference is taken to reach.
    """
    # Colours of skin are near 0.5: where nothing is seen within reach, 0.02 of it says that nothing is amiss.
    near = [blurred(picture, reach) + OVERALL * 0.5 for picture in (mine, theirs)]
    return np.clip(fitted(near[0] / near[1], mine.shape[0]), *_SEAM_GAIN)
