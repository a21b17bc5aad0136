"""Sunglasses and clear glasses, rigid on the upper face."""

from dataclasses import dataclass, replace

import numpy as np

from occface_core.occlusion.posing import place_rigid
from occface_core.occlusion.raster import Part
from occface_core.occlusion.scene import Scene, plain_texture
from occface_core.occlusion.surfaces import outline_coverage, ribbon
from occface_core.occlusion.textures import fractal_noise
from occface_core.occlusion.types import Painted, Sample

_SEGMENTS = 40
RINGS = np.array([0.02, 0.35, 0.7, 1.0])
_TEXTURE = 96


@dataclass(frozen=True)
class Frame:
    """Shape of a pair of glasses, metres on the mean face.

    Attributes:
        outline: (S,2) lens outline around its centre, subject's left lens, clockwise seen from the front.
        centre: (2,) centre of that lens.
        rim: width of the rim (0 = rimless).
        arm: height of the temple arms.
        double_bridge: a second bar above the bridge (aviator).
        wrap: how far the lens ends curve back, metres at 6.5 cm from the middle.
    """

    outline: np.ndarray
    centre: np.ndarray
    rim: float
    arm: float
    double_bridge: bool
    wrap: float


def random_frame(rng: np.random.Generator, *, clear: bool) -> Frame:
    """A round, square, aviator, wayfarer or (dark only) shield frame."""
    style = ("round", "square", "aviator", "wayfarer", "shield")[
        int(rng.choice(5, p=[0.25, 0.35, 0.1, 0.3, 0.0] if clear else [0.2, 0.25, 0.25, 0.2, 0.1]))
    ]
    power = {"round": 2.1, "square": 4.0, "aviator": 2.5, "wayfarer": 3.2, "shield": 3.0}[style]
    width = {"round": 0.0235, "square": 0.0265, "aviator": 0.0275, "wayfarer": 0.0265, "shield": 0.029}[style]
    height = {"round": 0.0225, "square": 0.0185, "aviator": 0.0235, "wayfarer": 0.0195, "shield": 0.02}[style]
    width, height = width * rng.uniform(0.94, 1.04), height * rng.uniform(0.9, 1.1)
    if clear:
        width, height = width * 0.95, height * 0.9
    angle = np.linspace(0, 2 * np.pi, _SEGMENTS, endpoint=False)
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power)
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power)
    if style == "aviator":  # a drop that hangs outward
        x = x * (1 - 0.14 * (y < 0) * np.abs(y)) + 0.12 * np.clip(-y, 0, 1)
        y = np.where(y < 0, 1.12 * y, 0.88 * y)
    elif style == "wayfarer":
        x = x * (1 + 0.08 * y)
        y = y + 0.10 * x * (y > 0)
    rim = rng.uniform(0.0010, 0.0022) if style in ("aviator", "round") else rng.uniform(0.0016, 0.0042)
    return Frame(
        outline=np.stack([x * width, y * height], axis=1)[::-1].astype(np.float32),
        centre=np.array([max(0.0325, width + 0.0075), 0.0245 - 0.3 * max(height - 0.02, 0)], np.float32),
        rim=0.0 if style == "shield" else float(rim),
        arm=float(
            rng.uniform(0.004, 0.012) if rim > 0.0022 or style == "shield" else rng.uniform(0.002, 0.004)
        ),
        double_bridge=style == "aviator",
        wrap=0.022 if style == "shield" else float(rng.uniform(0.008, 0.015)),
    )


def _depth(frame: Frame, x: np.ndarray) -> np.ndarray:
    """z of the curved front at lateral position x."""
    return np.asarray(0.0535 - frame.wrap * (np.abs(x) / 0.065) ** 2, np.float32)


def lens_points(
    frame: Frame, side: float, scale: float, factors: np.ndarray, lift: float = 0.0
) -> np.ndarray:
    """(R,S,3) rings of one lens; the columns run clockwise seen from the front on both sides."""
    flat = frame.outline[None] * factors[:, None, None] * scale
    x = side * (flat[..., 0] + frame.centre[0] * (0.5 + 0.5 * scale))
    y = flat[..., 1] + frame.centre[1]
    points = np.stack([x, y, _depth(frame, x) + lift], axis=-1).astype(np.float32)
    return points if side > 0 else points[:, ::-1]


def ring_factors(frame: Frame, scale: float) -> np.ndarray:
    """(2,) outer and inner edge of the rim, relative to the lens."""
    size = float(np.abs(frame.outline).max()) * scale
    return np.array([1.0 + frame.rim / size, 0.985], np.float32)


def lens_texture(rng: np.random.Generator, *, clear: bool) -> np.ndarray:
    """(T,T,4) tint with a gradient and reflections; the opacity says how much it hides."""
    size = _TEXTURE
    down = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    across = np.linspace(0, 1, size, dtype=np.float32)[None, :]
    rgba = np.empty((size, size, 4), np.float32)
    streak_at = rng.uniform(0.1, 0.9)
    streak = across * np.float32(rng.uniform(0.4, 1.2)) + down - np.float32(streak_at + 0.4)
    shine = np.exp(-((streak / np.float32(rng.uniform(0.05, 0.2))) ** 2))
    if clear:
        rgba[..., :3] = 0.9
        rgba[..., 3] = rng.uniform(0.02, 0.10) + rng.uniform(0.05, 0.3) * shine
        return rgba
    if rng.random() < 0.3:  # mirrored: sky above, ground below a soft horizon
        sky = np.array([(0.35, 0.55, 0.85), (0.85, 0.62, 0.25), (0.55, 0.6, 0.66), (0.3, 0.7, 0.55)])
        top = sky[int(rng.integers(4))] * rng.uniform(0.6, 1.1)
        horizon = np.float32(rng.uniform(0.35, 0.7)) + 0.08 * (fractal_noise(rng, 1, size, size / 4) - 0.5)
        blend = np.clip((down - horizon) * np.float32(rng.uniform(4, 16)) + 0.5, 0, 1)[..., None]
        colour = top * (0.6 + 0.5 * down[..., None]) * (1 - blend) + top * 0.25 * blend
        strength, opacity = 0.3, 1.0
    else:
        tint = np.array([(0.03, 0.03, 0.035), (0.09, 0.05, 0.03), (0.03, 0.06, 0.05), (0.04, 0.04, 0.09)])
        colour = tint[int(rng.choice(4, p=[0.55, 0.25, 0.12, 0.08]))] * (
            1 + rng.uniform(0, 1.5) * down[..., None]
        )
        strength, opacity = rng.uniform(0.05, 0.35), rng.uniform(0.9, 1.0)
    rgba[..., :3] = np.clip(colour + strength * shine[..., None], 0, 1)
    fade = rng.uniform(0.0, 0.25) if rng.random() < 0.3 else 0.0
    rgba[..., 3] = np.clip(opacity * (1 - fade * down), 0.6, 1.0)
    return rgba


def frame_colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) black, brown, gold, silver or red, slightly varied."""
    common = [
        (0.04, 0.04, 0.045),
        (0.22, 0.12, 0.06),
        (0.62, 0.52, 0.30),
        (0.55, 0.56, 0.58),
        (0.35, 0.05, 0.08),
    ]
    base = np.array(common[int(rng.choice(5, p=[0.5, 0.2, 0.12, 0.12, 0.06]))])
    return np.clip(base + rng.normal(0, 0.015, 3), 0.0, 1.0).astype(np.float32)


def frame_bars(frame: Frame, scale: float) -> list[np.ndarray]:
    """Bridge and temple arms as (2,N,3) bands on the mean face."""
    inner = float(frame.centre[0] * (0.5 + 0.5 * scale) + frame.outline[:, 0].min() * scale)
    outer = float(frame.centre[0] * (0.5 + 0.5 * scale) + frame.outline[:, 0].max() * scale) + frame.rim
    top = float(frame.centre[1] + frame.outline[:, 1].max() * scale)
    x = np.linspace(-inner - 0.001, inner + 0.001, 9)
    arch = frame.centre[1] + 0.006 + 0.003 * (1 - (x / x[-1]) ** 2)
    up = np.array([0.0, 1.0, 0.0])
    thick = max(frame.rim, 0.0016)
    bars = [ribbon(np.stack([x, arch, _depth(frame, x) + 0.001], axis=1), up, thick * 1.3)]
    if frame.double_bridge:
        bars.append(
            ribbon(np.stack([x * 1.5, np.full(9, top - 0.001), _depth(frame, x) + 0.001], axis=1), up, thick)
        )
    start = np.array([outer - 0.001, frame.centre[1] + 0.008, float(_depth(frame, np.array(outer))) + 0.0005])
    t = np.linspace(0.0, 1.0, 8)[:, None]
    for side in (-1.0, 1.0):
        end = np.array([max(0.078, outer + 0.004), 0.028, -0.050])
        path = (start + (end - start) * t) * [side, 1.0, 1.0]
        bars.append(ribbon(path, up, frame.arm)[:, :: int(side)])
    return bars


def _paint(sample: Sample, rng: np.random.Generator, *, clear: bool) -> Painted:
    scene = Scene.of(sample)
    frame = random_frame(rng, clear=clear)
    scale = _lens_scale(sample, scene.points, frame, rng)
    lens, plain = lens_texture(rng, clear=clear), plain_texture(frame_colour(rng))
    parts = []
    for side in (-1.0, 1.0):
        parts.append(_disc(scene, frame, side, scale, lens))
        if frame.rim > 0:
            ring = lens_points(frame, side, scale, ring_factors(frame, scale), lift=0.0012)
            parts.append(_band(scene, ring, plain, closed=True))
    parts.extend(_band(scene, bar, plain) for bar in frame_bars(frame, scale))
    return scene.finish(rng, parts, (0.05, 0.15) if clear else (0.15, 0.4))


def _lens_scale(sample: Sample, points: np.ndarray, frame: Frame, rng: np.random.Generator) -> float:
    """Size of the lenses: hidden area grows with its square, within what people wear."""
    natural = float(rng.uniform(0.92, 1.15))
    if sample.target is None:
        return natural
    outlines = [
        place_rigid(points, lens_points(frame, side, 1.0, np.ones(1))[0])[:, :2] for side in (-1.0, 1.0)
    ]
    share = float(outline_coverage(sample, [outlines])[0])
    wanted = (sample.target / max(share, 1e-3)) ** 0.5
    return float(np.clip(wanted, 0.9, 1.3) * 0.5 + natural * 0.5)


def lens_uv(rings: np.ndarray) -> np.ndarray:
    """(R*S,2) texture coordinates of a lens: its box on the mean face, v down."""
    flat = rings[..., :2].reshape(-1, 2)
    low, high = flat.min(axis=0), flat.max(axis=0)
    uv = (flat - low) / (high - low)
    uv[:, 1] = 1.0 - uv[:, 1]
    return uv


def _disc(scene: Scene, frame: Frame, side: float, scale: float, texture: np.ndarray) -> Part:
    rings = lens_points(frame, side, scale, RINGS[::-1])
    uv = lens_uv(rings)
    placed = place_rigid(scene.points, rings.reshape(-1, 3))
    part = scene.surface(placed.reshape(rings.shape), texture, closed=True, two_sided=True)
    even = np.broadcast_to(scene.light.level, part.light.shape)  # dark glass shows reflections, not shading
    return replace(part, uv=uv.astype(np.float32), light=even)


def _band(scene: Scene, grid: np.ndarray, texture: np.ndarray, *, closed: bool = False) -> Part:
    placed = place_rigid(scene.points, grid.reshape(-1, 3)).reshape(grid.shape)
    return scene.surface(placed, texture, closed=closed, two_sided=closed, shine=0.25)


def sunglasses(sample: Sample, rng: np.random.Generator) -> Painted:
    """Dark or mirrored glasses: round, square, aviator, wayfarer or a rimless shield.

    Their area is bounded by what people wear (about 8 to 20 % of the face), whatever the target.
    """
    return _paint(sample, rng, clear=False)


def glasses(sample: Sample, rng: np.random.Generator) -> Painted:
    """Clear glasses: rims and arms hide, the lenses only tint and reflect (a small fractional opacity)."""
    return _paint(sample, rng, clear=True)
