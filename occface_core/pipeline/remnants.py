"""What a mask of visible skin lets through of the things before a face, taken out of its texture.

A network's mask is right about most of a cover and wrong about some of its edge: a sliver of cloth on the
chin, a finger, the end of a strap. In a texture such a rest does more harm than its size says, because what
is hidden around it takes its light and colour from there. Two kinds are told by colour, against what a prior
over many faces expects there (or, without one, the albedo in the photo's light): islands of seen skin apart
from the rest, and the rim of what is seen along something that hides the face. Features of the face itself,
brows or a beard, lie within the seen part, and stay.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float

from occface_core.pipeline.texels import SeenTexture, blurred, fitted, log_ratio
from occface_core.pipeline.textures import OVERALL, Chart

_CELLS = 256  # larger textures are judged at this side
_REACH = 0.08  # of the texture's side: how far skin tells what light is on it
_ROUNDS = 3  # of working out the light and leaving out what is not in it
_DRAWN_IN = 2  # texels of `_CELLS` beside a gap that are not believed, with a prior to replace them
_AGAIN = 2  # times that skin is expected anew from what is left


class Limits(NamedTuple):
    """How skin differs from what is expected, natural log, and from where on it is taken for something else.

    Attributes:
        chroma, brightness: standard deviations of skin.
        low, high: of those, between which a rim fades out. rim: its width, of the texture's side.
    """

    chroma: float
    brightness: float
    low: float
    high: float
    rim: float


# Light that is guessed from nearby differs from a shadow in brightness as cloth does: there, colour tells.
_GUESSED = Limits(0.16, 0.7, 2.0, 3.0, 0.025)
# Skin that is taken out by mistake is replaced by skin as expected, which costs little beside cloth left in.
_EXPECTED = Limits(0.10, 0.20, 1.0, 2.0, 0.05)
_SEEN = 0.3  # weight from which on a texel belongs to an island
_ISLAND_SHARE = 0.3  # of the largest seen part; a larger one is no island
_ISLAND_OFF = 0.8  # standard deviations from which an island is no skin
_CRUMB = 0.002  # of the texture; a smaller island tells nothing, whatever its colour
_GAP = 0.05  # of the side: gaps narrower than that (nostrils, folds) are no covers
_GRAIN = 0.006  # of the side, over which colours are averaged


def without_remnants(
    seen: SeenTexture,
    albedo: Float[np.ndarray, "A A 3"],
    chart: Chart,
) -> SeenTexture:
    """The seen texture less islands and rims whose colour is not the face's.

    Args:
        seen: what a photo shows.
        albedo: of the face, of any size.
        chart: of the texture; only skin is judged.
    """
    side = len(seen.weight)
    cells = min(side, _CELLS)
    is_skin, surface = _picked(chart.part == 0, cells), _picked(chart.skin, cells)
    skin = (fitted(seen.weight, cells) * is_skin).astype(np.float32)
    colour, bare = fitted(seen.colour, cells), fitted(albedo, cells)
    if chart.prior is None:
        chroma, brightness = off_colour(colour, bare, skin)
        rest = np.maximum(_islands(skin, chroma, brightness), _rims(skin, surface, chroma, _GUESSED))
    else:
        rest, no_skin = np.zeros_like(skin), (~is_skin).astype(np.uint8)
        for _ in range(_AGAIN):
            expected = chart.prior.expected(SeenTexture(colour, skin * (1 - rest)), bare, no_skin)
            chroma, brightness = _deviations(log_ratio(colour, expected), _EXPECTED)
            off = np.hypot(chroma, brightness)
            rest = np.maximum(_islands(skin, chroma, brightness), _rims(skin, surface, off, _EXPECTED))
    kept = (seen.weight * (1 - fitted(rest, side) * (chart.part == 0))).astype(np.float32)
    return SeenTexture(seen.colour, kept if chart.prior is None else _drawn_in(kept, chart))


def _drawn_in(weight: Float[np.ndarray, "U U"], chart: Chart) -> Float[np.ndarray, "U U"]:
    """Seen skin less what lies right beside a gap: it is in the cover's shadow, or mixed with its rim."""
    skin = chart.skin
    unit = len(weight) / _CELLS
    width = 2 * max(1, round(_DRAWN_IN * unit)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    inner = cv2.erode(np.where(skin, weight, 1).astype(np.float32), disc)
    inner = cv2.GaussianBlur(inner, (0, 0), max(unit, 0.5))
    return np.where(skin, np.minimum(weight, inner), weight).astype(np.float32)


def _picked(mask: Bool[np.ndarray, "U U"], side: int) -> Bool[np.ndarray, "S S"]:
    return cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST) > 0


def _deviations(
    off: Float[np.ndarray, "U U 3"], limits: Limits
) -> tuple[Float[np.ndarray, "U U"], Float[np.ndarray, "U U"]]:
    """Chroma and brightness of logarithms of colours to those expected, in standard deviations of skin."""
    brightness = off.mean(-1)
    chroma = np.linalg.norm(off - brightness[..., None], axis=-1)
    return chroma / limits.chroma, brightness / limits.brightness


def off_colour(
    colour: Float[np.ndarray, "U U 3"], albedo: Float[np.ndarray, "U U 3"], skin: Float[np.ndarray, "U U"]
) -> tuple[Float[np.ndarray, "U U"], Float[np.ndarray, "U U"]]:
    """How far each texel's colour is from the albedo's in the photo's light: chroma and brightness.

    Light is expected half way between what it is around a texel and what it is on the whole face, so that
    neither a shadow nor a rest that lies alone looks right by itself. In standard deviations of skin.

    Args:
        colour: of the photo. albedo: of the face. skin: weight of the texels to learn the light from.
    """
    gain = log_ratio(colour, albedo)
    weight = skin
    for _ in range(_ROUNDS):
        overall = (weight[..., None] * gain).sum((0, 1)) / max(float(weight.sum()), 1e-6)
        near = blurred(np.dstack([weight[..., None] * gain, weight]), _REACH)
        light = (near[..., :3] + OVERALL * overall) / (near[..., 3:] + OVERALL)
        off = gain - (fitted(light, len(skin)) + overall) / 2
        chroma, brightness = _deviations(off, _GUESSED)
        weight = skin / (1 + (chroma**2 + brightness**2) ** 2)
    return chroma, brightness


def _islands(
    skin: Float[np.ndarray, "U U"],
    chroma: Float[np.ndarray, "U U"],
    brightness: Float[np.ndarray, "U U"],
) -> Float[np.ndarray, "U U"]:
    """1 in islands that are off colour or too small to tell."""
    count, label, stats, _ = cv2.connectedComponentsWithStats((skin > _SEEN).astype(np.uint8), connectivity=4)
    rest = np.zeros(skin.shape, np.float32)
    if count <= 2:  # nothing, or what is seen hangs together
        return rest
    area = stats[1:, cv2.CC_STAT_AREA]
    largest = int(area.argmax()) + 1
    for number, texels in enumerate(area, start=1):
        if texels > _ISLAND_SHARE * area.max():
            continue
        island: Bool[np.ndarray, "U U"] = label == number
        off = np.hypot(chroma[island].mean(), brightness[island].mean())
        if off > _ISLAND_OFF or texels < _CRUMB * skin.size:
            rest[cv2.dilate(island.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0] = 1  # with its soft edge
    rest[label == largest] = 0
    return rest


def _rims(
    skin: Float[np.ndarray, "U U"],
    surface: Bool[np.ndarray, "U U"],
    off: Float[np.ndarray, "U U"],
    limits: Limits,
) -> Float[np.ndarray, "U U"]:
    """Towards 1 beside what is hidden, where the colour is not the face's."""
    side = len(skin)
    smooth = [cv2.GaussianBlur(x, (0, 0), side * _GRAIN) for x in (off.astype(np.float32) * skin, skin)]
    strange = (smooth[0] / np.maximum(smooth[1], 1e-3) - limits.low) / (limits.high - limits.low)
    width = round(_GAP * side) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    hidden = cv2.morphologyEx(((skin < 0.5) & surface).astype(np.uint8), cv2.MORPH_OPEN, disc)
    distance = cv2.distanceTransform(1 - hidden, cv2.DIST_L2, 3) / side
    return (np.clip(strange, 0, 1) * np.clip(2 - distance / limits.rim, 0, 1) * surface).astype(np.float32)
