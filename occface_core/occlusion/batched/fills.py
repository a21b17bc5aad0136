"""What the irrational families show: noise, random textures, blurred skin, pieces of other pictures."""

from math import log

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from occface_core.occlusion.batched.draws import Draws
from occface_core.occlusion.batched.group import Group, pixel_centres
from occface_core.occlusion.batched.shapes import direction, wave

_CELLS = 13  # most cells a side of a pixelated picture


def random_colour(draws: Draws, purpose: str) -> Float[Tensor, "B 3 1 1"]:
    """RGB: saturated, pastel or grey with equal weight."""
    colour, kind = draws.uniform(purpose, 3), draws.below(purpose + " kind", 3, 1)
    grey = draws.uniform(purpose + " grey", 1) + 0.03 * draws.gaussian(purpose + " tint", 3)
    colour = torch.where(kind == 1, 0.5 + 0.5 * colour, torch.where(kind == 2, grey, colour))
    return colour.clamp(0, 1)[:, :, None, None]


def resample(picture: Float[Tensor, "B C h w"], x: Tensor, y: Tensor) -> Float[Tensor, "B C H W"]:
    """A picture at positions in its own pixels, x (B,H,W) or (B,1,W) and y alike; linear, edges repeated."""
    height, width = picture.shape[2:]
    x, y = torch.broadcast_tensors(x * (2.0 / width) - 1.0, y * (2.0 / height) - 1.0)
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(picture, grid, padding_mode="border", align_corners=False)


def grains(
    draws: Draws, purpose: str, channels: int, grain: Tensor, height: int, width: int, sharp: Tensor
) -> Tensor:
    """(B,C,H,W) uniform noise; ``grain`` (B,1) is its width in pixels, ``sharp`` (B,1) makes it blocks."""
    x, y = pixel_centres(height, width, grain.device)
    noise = draws.uniform(purpose, channels, height, width)
    places: list[Tensor] = []
    for axis in (x, y):
        place = axis / grain[..., None].clamp_min(1.0)
        places.append(torch.where(sharp[..., None], place.floor() + 0.5, place))
    return resample(noise, *places)


def noise(group: Group) -> Float[Tensor, "B 3 H W"]:
    """Arbitrary pixel values, from single pixels to blocks of an eighth of the picture; some are grey."""
    height, width = group.size
    draws, coarsest = group.draws, max(max(height, width) / 8, 2.0)
    grain = (log(coarsest) * draws.uniform("grain", 1).double()).exp().float()
    values = grains(draws, "noise", 3, grain, height, width, draws.chance("sharp", 0.5, 1))
    return torch.where(draws.chance("grey", 0.3, 1)[..., None, None], values[:, :1], values)


def _clouds(draws: Draws, height: int, width: int, grain: Tensor) -> Tensor:
    """(B,1,H,W) cloud-like noise in [0,1]: four octaves of smooth noise."""
    smooth = torch.zeros_like(grain, dtype=torch.bool)
    octaves = [
        grains(draws, f"octave {k}", 1, grain / 2**k, height, width, smooth) * 0.5**k for k in range(4)
    ]
    return (octaves[0] + octaves[1] + octaves[2] + octaves[3]) / 1.875


def texture(group: Group) -> Float[Tensor, "B 3 H W"]:
    """Flat, gradient, noise, clouds, stripes or checks in random colours."""
    height, width = group.size
    draws, size = group.draws, max(height, width)
    first, second = random_colour(draws, "first"), random_colour(draws, "second")
    kind = draws.below("texture", 6, 1)[..., None, None]
    x, y = pixel_centres(height, width, first.device)
    centre = (width / 2, height / 2)
    cos, sin = direction(draws.uniform("ramp", 1, high=2 * torch.pi)[..., None])
    ramp = cos * (x - centre[0]) + sin * (y - centre[1])
    ramp = ramp / (draws.uniform("slope", 1, low=0.4, high=1.2)[..., None] * size) + 0.5
    clouds = _clouds(draws, height, width, size / draws.uniform("cloud", 1, low=2.0, high=8.0))[:, 0]
    clouds = (clouds - 0.5) * draws.uniform("contrast", 1, low=1.5, high=4.0)[..., None] + 0.5
    period = draws.uniform("texture period", 1, low=0.04, high=0.3) * size
    bars, cross = (wave(draws, name, period, x, y, centre) for name in ("along", "across"))
    bars = torch.where(kind[:, 0] == 5, (bars - cross).abs(), bars)
    bars = (bars - 0.5) * draws.uniform("hard", 1, low=1.0, high=8.0)[..., None] + 0.5
    flat = torch.zeros_like(bars)
    blend = torch.stack([flat, ramp, flat, clouds, bars, bars], dim=1).clamp(0, 1)
    blend = blend.gather(1, kind.expand(-1, 1, height, width))
    rough = noise(group) * draws.uniform("rough", 1, low=0.4)[..., None, None] + 0.3 * first
    return torch.where(kind == 2, rough.clamp(0, 1), first + blend * (second - first))


def _boxes(count: Tensor, size: int) -> Float[Tensor, "B N S"]:
    """Weights of ``size`` pixels in each of ``count`` (B,1) equal boxes, float64; boxes beyond repeat it."""
    width = (size / count)[..., None]
    box = torch.arange(_CELLS, device=count.device, dtype=torch.float64)[None, :, None]
    box = torch.minimum(box, count[..., None] - 1)
    pixel = torch.arange(size, device=count.device, dtype=torch.float64)
    overlap = torch.minimum((box + 1) * width, pixel + 1) - torch.maximum(box * width, pixel)
    return overlap.clamp_min(0) / width


def coarse_picture(group: Group) -> Float[Tensor, "B 3 H W"]:
    """The picture itself averaged over 5 to 12 cells a side, as blocks or smooth: beyond recognition."""
    height, width = group.size
    share = group.draws.uniform("cell", 1, low=0.08, high=0.2).double() * max(height, width)
    sharp, places, boxes = group.draws.chance("sharp", 0.5, 1)[..., None], [], []
    x, y = pixel_centres(height, width, group.image.device)
    for axis, size in ((x, width), (y, height)):
        count = (size / share).round().clamp(1, _CELLS - 1)
        boxes.append(_boxes(count, size))
        place = axis * (count / size).float()[..., None]
        place = torch.where(sharp, place.floor() + 0.5, place)
        places.append(torch.minimum(place, count[..., None].float()))
    # sums in float64, whose rounding (which depends on the batch) float32 does not see
    cells = boxes[1][:, None] @ group.image.double() @ boxes[0][:, None].mT
    return resample(cells.float(), *places)


def piece(group: Group) -> Float[Tensor, "B 3 H W"]:
    """A piece of another picture, or of this one turned over if none is given, mirrored or not."""
    height, width = group.size
    draws = group.draws
    if group.others is None:
        source = group.image.flip(2, 3)
    else:
        source = group.others.index_select(0, draws.below("which", len(group.others), 1)[:, 0])
    zoom = draws.uniform("zoom", 1, low=1.0, high=2.5)
    flip = draws.chance("mirror", 0.5, 1)
    x, y = pixel_centres(height, width, source.device)
    places: list[Tensor] = []
    for axis, size, own in ((x, source.shape[3], width), (y, source.shape[2], height)):
        crop = size / zoom
        start = draws.uniform("top" if places else "left", 1) * (size - crop)
        share = axis / own
        if not places:
            share = torch.where(flip[..., None], 1.0 - share, share)
        places.append(start[..., None] + share * crop[..., None])
    return resample(source, *places)
