"""Sunglasses and clear glasses, rigid on the upper face."""

from dataclasses import replace

import numpy as np

from occface_core.occlusion.frames import (
    RINGS,
    Frame,
    frame_bars,
    frame_colour,
    lens_points,
    lens_uv,
    random_frame,
    ring_factors,
)
from occface_core.occlusion.lenses import lens_texture
from occface_core.occlusion.posing import place_rigid
from occface_core.occlusion.raster import Part
from occface_core.occlusion.scene import Scene, plain_texture
from occface_core.occlusion.surfaces import outline_coverage
from occface_core.occlusion.types import Painted, Sample


def _paint(sample: Sample, rng: np.random.Generator, *, clear: bool) -> Painted:
    scene = Scene.of(sample)
    frame = random_frame(rng, clear=clear)
    lens, plain = lens_texture(rng, clear=clear), plain_texture(frame_colour(rng))
    scale = _lens_scale(sample, scene.points, frame, float(lens[..., 3].mean()), rng)
    parts = []
    for side in (-1.0, 1.0):
        parts.append(_disc(scene, frame, side, scale, lens))
        if frame.rim > 0:
            ring = lens_points(frame, side, scale, ring_factors(frame, scale), lift=0.0012)
            parts.append(_band(scene, ring, plain, closed=True))
    parts.extend(_band(scene, bar, plain) for bar in frame_bars(frame, scale))
    return scene.finish(rng, parts, (0.05, 0.15) if clear else (0.15, 0.4))


def _lens_scale(
    sample: Sample, points: np.ndarray, frame: Frame, opacity: float, rng: np.random.Generator
) -> float:
    """Size of the lenses: hidden area grows with its square, within what people wear."""
    natural = float(rng.uniform(0.92, 1.15))
    if sample.target is None:
        return natural
    outlines = [
        place_rigid(points, lens_points(frame, side, 1.0, np.ones(1))[0])[:, :2] for side in (-1.0, 1.0)
    ]
    share = max(opacity, 0.5) * float(outline_coverage(sample, [outlines])[0])
    wanted = (sample.target / max(share, 1e-3)) ** 0.5
    return float(np.clip(wanted, 0.85, 1.35) * 0.75 + natural * 0.25)


def _disc(scene: Scene, frame: Frame, side: float, scale: float, texture: np.ndarray) -> Part:
    rings = lens_points(frame, side, scale, RINGS[::-1])
    uv = lens_uv(rings, one_piece=frame.one_piece)
    placed = place_rigid(scene.points, rings.reshape(-1, 3))
    part = scene.surface(placed.reshape(rings.shape), texture, closed=True, two_sided=True)
    even = np.broadcast_to(scene.light.level, part.light.shape)  # dark glass shows reflections, not shading
    return replace(part, uv=uv.astype(np.float32), light=even)


def _band(scene: Scene, grid: np.ndarray, texture: np.ndarray, *, closed: bool = False) -> Part:
    placed = place_rigid(scene.points, grid.reshape(-1, 3)).reshape(grid.shape)
    return scene.surface(placed, texture, closed=closed, two_sided=closed, shine=0.25)


def sunglasses(sample: Sample, rng: np.random.Generator) -> Painted:
    """Dark, graded, coloured or mirrored glasses of ten shapes, among them one-piece shields.

    What counts as hidden is their opacity. Less than half of the light of the eyes comes through
    (``lenses.HIDES``; nothing through a mirror), so the exact mask is below one half there; a graded lens may
    let more through at its lower edge, and the mask says so. Their area is bounded by what people wear (about
    10 to 30 % of the face, large shields up to 40 %), whatever the target.
    """
    return _paint(sample, rng, clear=False)


def glasses(sample: Sample, rng: np.random.Generator) -> Painted:
    """Clear or lightly tinted glasses: rims and arms hide, the lenses only tint and reflect (low opacity).

    More than half of the light comes through (``lenses.HIDES``), so the skin behind stays visible in the
    exact mask to the degree that it can be seen; only strong glare hides it.
    """
    return _paint(sample, rng, clear=True)
