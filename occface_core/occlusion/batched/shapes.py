"""Shapes of the irrational families, for a whole batch: rectangles, ellipses, closed curves, stripes.

Each shape is a level function g(pixel) that says from which size on the shape holds the pixel. The size that
hides a wanted share of the face is then a weighted quantile of g over the face: no search is needed.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from occface_core.occlusion.batched.device import constant
from occface_core.occlusion.batched.draws import Draws
from occface_core.occlusion.batched.group import Group, coarse_face, pixel_centres

RECTANGLE, ELLIPSE, CURVE = 0, 1, 2
_LARGEST = 2.0  # size of a shape against the picture's
_TABLE = 128  # radii of a closed curve, evenly spaced in angle
_KNOTS = 16


@dataclass(frozen=True)
class Outlines:
    """J shapes per sample, around their own origins, of size about 1.

    Attributes:
        kind: RECTANGLE, ELLIPSE or CURVE.
        half: half lengths of the shape's two axes.
        angle: of its first axis, radians.
        radii: of the curves, before they are stretched by ``half``; J must be 1 where there are any.
    """

    kind: Int64[Tensor, "B J"]
    half: Float[Tensor, "B J 2"]
    angle: Float[Tensor, "B J"]
    radii: Float[Tensor, "B T"] | None = None


def patches(draws: Draws, count: int) -> Outlines:
    """One to ``count`` rectangles and ellipses; shapes that are left out have no size."""
    kind = torch.where(draws.chance("kind", 0.6, count), RECTANGLE, ELLIPSE)
    half = _stretch(draws, kind) * draws.uniform("size", count, low=0.5)[..., None]
    there = torch.arange(count, device=half.device) <= draws.below("count", count)
    return Outlines(kind, half * there[..., None], _angle(draws, kind))


def single(draws: Draws, shares: tuple[float, float, float]) -> Outlines:
    """One shape: rectangle, ellipse or closed curve with the given probabilities."""
    pick = draws.uniform("kind", 1)
    kind = (pick >= shares[0]).long() + (pick >= shares[0] + shares[1]).long()
    return Outlines(kind, _stretch(draws, kind), _angle(draws, kind), _curve(draws))


def direction(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine. Computed in float64: float32 functions round by where a number lies in memory."""
    wide = angle.double()
    return wide.cos().float(), wide.sin().float()


def _stretch(draws: Draws, kind: Tensor) -> Tensor:
    reach = torch.where(kind == RECTANGLE, 0.8, 0.6)
    half = (0.5 * reach * draws.uniform("aspect", kind.shape[1], low=-1.0)).double().exp().float()
    return torch.stack([half, 1 / half], dim=-1)


def _angle(draws: Draws, kind: Tensor) -> Tensor:
    angle = draws.uniform("angle", kind.shape[1], high=2 * torch.pi)
    level = (kind == RECTANGLE) & draws.chance("level", 0.5, kind.shape[1])
    return torch.where(level, 0.0, angle)


def _curve(draws: Draws) -> Float[Tensor, "B T"]:
    """Radii of closed curves through 3 to 15 random knots, from edgy to smooth (after RandOcc's blobs)."""
    count = 3 + draws.below("knots", 13)
    spread = draws.uniform("spread", 1, high=0.65)
    knots = 1.0 + spread * draws.uniform("radii", _KNOTS, low=-1.0)
    along = torch.arange(_TABLE, device=knots.device) / _TABLE * count
    first, part = along.long(), along.frac()
    one, two = (knots.gather(1, torch.remainder(first + step, count)) for step in (0, 1))
    smooth = part * part * (3 - 2 * part)
    radii = one + (two - one) * (smooth + draws.uniform("edgy", 1) * (part - smooth))
    total = radii.double().mean(1, keepdim=True).float()
    return radii / total


def level(
    outlines: Outlines, centres: Float[Tensor, "B J 2"], x: Tensor, y: Tensor, extent: float
) -> tuple[Float[Tensor, "B J h w"], Float[Tensor, "B J h w"]]:
    """From which size on each shape holds the point (x, y).

    Args:
        outlines: the shapes. centres: their origins, pixels. x, y: points, pixels, broadcast to (h,w).
        extent: pixels of a shape of size 1.

    Returns:
        The level, and the distance from the origin to the edge in this direction at size 1, pixels.
    """
    cx, cy = (centres[..., k, None, None] for k in (0, 1))
    cos, sin = direction(outlines.angle[..., None, None])
    dx, dy = (x - cx) / extent, (y - cy) / extent
    half = outlines.half.clamp_min(1e-6)[..., None, None]
    u, v = (cos * dx + sin * dy) / half[:, :, 0], (cos * dy - sin * dx) / half[:, :, 1]
    kind = outlines.kind[..., None, None]
    round_ = (u * u + v * v).sqrt()
    size = torch.where(kind == RECTANGLE, torch.maximum(u.abs(), v.abs()), round_)
    if outlines.radii is not None:
        size = torch.where(kind == CURVE, round_ / _radius(outlines.radii, u[:, 0], v[:, 0])[:, None], size)
    distance = (dx * dx + dy * dy).sqrt()
    return size, (distance + 1e-4) / (size + 1e-4) * extent


def _radius(radii: Float[Tensor, "B T"], u: Tensor, v: Tensor) -> Tensor:
    """Radius of the curves in the direction (u, v), linear between the table's entries.

    The place in the table follows the angle along a diamond instead of a circle: as smooth, and the same bits
    on every device.
    """
    along = v / (u.abs() + v.abs()).clamp_min(1e-12)
    turn = torch.where(u >= 0, along, 2.0 - along) * 0.25
    place = torch.where(turn < 0, turn + 1.0, turn) * _TABLE
    first = place.long().clamp(0, _TABLE - 1)
    flat = first.flatten(1)
    one, two = (radii.gather(1, torch.remainder(flat + step, _TABLE)).view_as(u) for step in (0, 1))
    return one + (two - one) * (place - first)


def anchors(group: Group, count: int) -> Float[Tensor, "B J 2"]:
    """Random positions on the faces, pixels (in the middle of the picture where there is no face)."""
    height, width = group.size
    face = coarse_face(group.face)
    rows, columns = face.shape[2:]
    totals = (face > 0.5).flatten(1).long().cumsum(1)
    picks = (group.draws.uniform("anchor", count) * totals[:, -1:]).long()
    cells = torch.searchsorted(totals, picks, right=True).clamp(max=rows * columns - 1)
    within = group.draws.uniform("within", count, 2)
    x = (cells % columns + within[..., 0]) * (width / columns)
    y = (torch.div(cells, columns, rounding_mode="floor") + within[..., 1]) * (height / rows)
    size = constant((width, height), face.device)
    anywhere = group.draws.uniform("anywhere", count, 2, low=0.2, high=0.8) * size
    return torch.where((totals[:, -1:] > 0)[..., None], torch.stack([x, y], dim=-1), anywhere)


def quantile(
    levels: Float[Tensor, "B h w"], face: Float[Tensor, "B 1 h w"], target: Float[Tensor, " B"], top: float
) -> Float[Tensor, " B"]:
    """The size at which the share ``target`` of the face lies within; half of ``top`` without a face."""
    ordered, order = levels.flatten(1).sort(dim=1, stable=True)
    weights = face.flatten(1).double().gather(1, order).cumsum(1)
    wanted = target[:, None].double() * weights[:, -1:]
    place = torch.searchsorted(weights, wanted).clamp(max=weights.shape[1] - 1)
    size = ordered.gather(1, place)[:, 0].clamp(max=top)
    return torch.where(weights[:, -1] > 0, size, 0.5 * top)


def coarse_points(group: Group) -> tuple[Tensor, Tensor, Tensor]:
    """The coarse face mask, and one point in each of its cells, scattered so that straight edges divide them.

    Points on a regular grid would cross a level or upright edge by whole rows.
    """
    face = coarse_face(group.face)
    (height, width), (rows, columns) = group.size, face.shape[2:]
    fixed = Draws(torch.zeros(1, dtype=torch.int64, device=face.device))
    shift = fixed.uniform("scatter", 2, rows, columns, low=-0.5, high=0.5)[0]
    x, y = pixel_centres(rows, columns, face.device)
    return face, (x + shift[0]) * (width / columns), (y + shift[1]) * (height / rows)


def shape_alpha(group: Group, outlines: Outlines) -> Float[Tensor, "B 1 H W"]:
    """Opacity of the union of the shapes, each at its own place on the face, sized to the target."""
    height, width = group.size
    extent = (height * width) ** 0.5
    centres = anchors(group, outlines.kind.shape[1])
    face, x, y = coarse_points(group)
    size = quantile(level(outlines, centres, x, y, extent)[0].amin(1), face, group.target, _LARGEST)
    levels, reach = level(outlines, centres, *pixel_centres(height, width, face.device), extent)
    inside = (reach * (size[:, None, None, None] - levels)).amax(1, keepdim=True)  # pixels within the edge
    # about half of the shapes have a soft edge, of up to a hundredth of the picture
    soft = group.draws.uniform("soft", 1, high=0.035 * max(height, width)) * group.draws.chance(
        "is_soft", 0.5
    )
    ramp = (inside / soft.clamp_min(1.0)[:, :, None, None] + 0.5).clamp(0, 1)
    return torch.where((soft > 1.0)[:, :, None, None], ramp * ramp * (3 - 2 * ramp), ramp)


def wave(
    draws: Draws, purpose: str, period: Tensor, x: Tensor, y: Tensor, centre: tuple[float, float]
) -> Tensor:
    """(B,h,w) triangle wave in [0,1] along a random direction; ``period`` (B,1) in pixels."""
    cos, sin = direction(draws.uniform(purpose + " angle", 1, high=torch.pi)[..., None])
    ramp = cos * (x - centre[0]) + sin * (y - centre[1])
    phase = ramp / period[..., None] + draws.uniform(purpose + " phase", 1)[..., None]
    return (2.0 * (phase - phase.floor()) - 1.0).abs()


def stripe_alpha(group: Group) -> Float[Tensor, "B 1 H W"]:
    """Opacity of parallel bars over the whole picture; their width, not their number, meets the target."""
    height, width = group.size
    period = group.draws.uniform("period", 1, low=0.06, high=0.35) * max(height, width)
    centre = (width / 2, height / 2)
    face, x, y = coarse_points(group)
    duty = quantile(wave(group.draws, "bars", period, x, y, centre), face, group.target, 1.2)
    bars = wave(group.draws, "bars", period, *pixel_centres(height, width, face.device), centre)
    return ((duty[:, None, None] - bars) * period[..., None] / 2 + 0.5).clamp(0, 1)[:, None]
