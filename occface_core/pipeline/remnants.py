"""What a mask of visible skin lets through of the things before a face, taken out of its texture.

A network's mask is right about most of a cover and wrong about some of its edge: a sliver of cloth on the
chin, a finger, the end of a strap. In a texture such a rest does more harm than its size says, because what
is hidden around it takes its light and colour from there. Two kinds are told by colour, against the albedo
in the photo's light: islands of seen skin apart from the rest, and the rim of what is seen along something
that hides the face. Features of the face itself, brows or a beard, lie within the seen part, and stay.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from occface_core.pipeline.textures import OVERALL, SeenTexture, blurred, fitted

_CELLS = 256  # larger textures are judged at this side
_REACH = 0.08  # of the texture's side: how far skin tells what light is on it
_ROUNDS = 3  # of working out the light and leaving out what is not in it
_DARKEST = 0.03  # added to colours before their logarithm: below it, noise
# Standard deviations of skin against the albedo in the photo's light, natural log.
_CHROMA, _BRIGHTNESS = 0.16, 0.7
_SEEN = 0.3  # weight from which on a texel belongs to an island
_ISLAND_SHARE = 0.3  # of the largest seen part; a larger one is no island
_ISLAND_OFF = 0.8  # standard deviations from which an island is no skin
_CRUMB = 0.002  # of the texture; a smaller island tells nothing, whatever its colour
_RIM, _RIM_OFF = 0.025, (2.0, 3.0)  # of the side; deviations of chroma between which a rim fades out
_GAP = 0.05  # of the side: gaps narrower than that (nostrils, folds) are no covers
_GRAIN = 0.006  # of the side, over which colours are averaged


def without_remnants(
    seen: SeenTexture, albedo: Float[np.ndarray, "A A 3"], part: UInt8[np.ndarray, "U U"]
) -> SeenTexture:
    """The seen texture less islands and rims whose colour is not the face's.

    Args:
        seen: what a photo shows.
        albedo: of the face, of any size.
        part: as in `Chart`; only skin (0) is judged.
    """
    side = len(seen.weight)
    cells = min(side, _CELLS)
    is_skin = cv2.resize((part == 0).astype(np.uint8), (cells, cells), interpolation=cv2.INTER_NEAREST) > 0
    skin = (fitted(seen.weight, cells) * is_skin).astype(np.float32)
    chroma, brightness = off_colour(fitted(seen.colour, cells), fitted(albedo, cells), skin)
    rest = np.maximum(_islands(skin, chroma, brightness), _rims(skin, is_skin, chroma))
    return SeenTexture(seen.colour, (seen.weight * (1 - fitted(rest, side) * (part == 0))).astype(np.float32))


def off_colour(
    colour: Float[np.ndarray, "U U 3"], albedo: Float[np.ndarray, "U U 3"], skin: Float[np.ndarray, "U U"]
) -> tuple[Float[np.ndarray, "U U"], Float[np.ndarray, "U U"]]:
    """How far each texel's colour is from the albedo's in the photo's light: chroma and brightness.

    Light is expected half way between what it is around a texel and what it is on the whole face, so that
    neither a shadow nor a rest that lies alone looks right by itself. In standard deviations of skin.

    Args:
        colour: of the photo. albedo: of the face. skin: weight of the texels to learn the light from.
    """
    gain = np.log(np.clip(colour, 0, 1) + _DARKEST) - np.log(albedo + _DARKEST)
    weight = skin
    for _ in range(_ROUNDS):
        overall = (weight[..., None] * gain).sum((0, 1)) / max(float(weight.sum()), 1e-6)
        near = blurred(np.dstack([weight[..., None] * gain, weight]), _REACH)
        light = (near[..., :3] + OVERALL * overall) / (near[..., 3:] + OVERALL)
        off = gain - (fitted(light, len(skin)) + overall) / 2
        brightness = off.mean(-1) / _BRIGHTNESS
        chroma = np.linalg.norm(off - off.mean(-1, keepdims=True), axis=-1) / _CHROMA
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
    skin: Float[np.ndarray, "U U"], is_skin: Bool[np.ndarray, "U U"], chroma: Float[np.ndarray, "U U"]
) -> Float[np.ndarray, "U U"]:
    """Towards 1 beside what is hidden, where the colour is not the face's."""
    side = len(skin)
    smooth = [cv2.GaussianBlur(x, (0, 0), side * _GRAIN) for x in (chroma.astype(np.float32) * skin, skin)]
    low, high = _RIM_OFF
    off = np.clip((smooth[0] / np.maximum(smooth[1], 1e-3) - low) / (high - low), 0, 1)
    width = round(_GAP * side) | 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    hidden = cv2.morphologyEx(((skin < 0.5) & is_skin).astype(np.uint8), cv2.MORPH_OPEN, disc)
    distance = cv2.distanceTransform(1 - hidden, cv2.DIST_L2, 3) / side
    return (off * np.clip(2 - distance / _RIM, 0, 1) * is_skin).astype(np.float32)
