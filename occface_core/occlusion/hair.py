"""Loose hair: locks of strands that fall from the hairline over the face."""

from dataclasses import dataclass

import cv2
import numpy as np

from occface_core.occlusion.scene import Scene
from occface_core.occlusion.types import Painted, Sample

_MOST_LOCKS = 14
# Where hair shows above the forehead of the mean face, metres.
SPOTS = ((0.0, 0.125, 0.03), (0.03, 0.12, 0.02), (-0.03, 0.12, 0.02), (0.0, 0.11, 0.035))
# Black, brown, light brown, blond, grey, and how common they are.
NATURAL_COLOURS = (
    (0.05, 0.04, 0.035),
    (0.14, 0.09, 0.06),
    (0.27, 0.17, 0.10),
    (0.55, 0.42, 0.26),
    (0.45, 0.44, 0.43),
)
NATURAL_SHARES = (0.35, 0.25, 0.18, 0.14, 0.08)
_STEPS = 18  # points along a strand
_FINE = 2  # strands are drawn this many times finer than the picture


def hair_strands(sample: Sample, rng: np.random.Generator) -> Painted:
    """Locks are added one after the other until the target is reached (or a fringe's worth without one)."""
    scene = Scene.of(sample)
    base = _colour(scene, rng)
    shape = (sample.height * _FINE, sample.width * _FINE, 4)
    layer = np.zeros(shape, np.uint8)
    side, curl = float(rng.choice([-1.0, 1.0])), float(rng.uniform(0.0, 0.010))
    enough = int(rng.integers(2, 7)) if sample.target is None else _MOST_LOCKS
    for _ in range(enough):
        _draw_lock(layer, random_lock(rng, side if rng.random() < 0.75 else -side, curl), scene, base)
        if sample.target is not None and sample.hidden(_opacity(layer, sample)) >= sample.target:
            break
    small = cv2.resize(layer, (sample.width, sample.height), interpolation=cv2.INTER_AREA)
    premultiplied = small.astype(np.float32) / np.float32(255.0)
    alpha = premultiplied[..., 3]
    colours = premultiplied[..., :3] / np.maximum(alpha, 1e-3)[..., None]
    return scene.blend(rng, colours, alpha, (0.25, 0.45))


def _opacity(layer: np.ndarray, sample: Sample) -> np.ndarray:
    drawn = np.ascontiguousarray(layer[::_FINE, ::_FINE, 3])
    return drawn.astype(np.float32) / np.float32(255.0)


def _colour(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """(3,) the person's own hair colour if the picture shows some above the forehead, else a natural one."""
    spots = scene.pose.place(np.array(SPOTS, np.float32))[:, :2].astype(int)
    image = scene.sample.original
    inside = (
        (spots[:, 0] >= 0)
        & (spots[:, 0] < image.shape[1])
        & (spots[:, 1] >= 0)
        & (spots[:, 1] < image.shape[0])
    )
    if inside.any() and rng.random() < 0.7:
        own = np.median(image[spots[inside, 1], spots[inside, 0]], axis=0)
        if float(own.mean()) < 0.8 * float(scene.light.skin.mean()):
            return np.clip(own, 0.02, 1.0)
    return np.array(NATURAL_COLOURS)[int(rng.choice(5, p=NATURAL_SHARES))] * scene.light.level


@dataclass(frozen=True)
class Lock:
    """Strands of hair on the mean face.

    Attributes:
        strands: (N,S,3) points along each strand, metres.
        bright: (N,) brightness of each.
    """

    strands: np.ndarray
    bright: np.ndarray


def random_lock(rng: np.random.Generator, side: float, curl: float) -> Lock:
    """Strands around a guide curve that sweeps from the hairline down one side of the face."""
    t = np.linspace(0, 1, _STEPS)
    start = np.array([rng.uniform(-0.055, 0.055), rng.uniform(0.085, 0.10), 0.040])
    end = np.array([side * rng.uniform(0.012, 0.075), rng.uniform(-0.075, 0.035), 0.0])
    bow = side * rng.uniform(-0.01, 0.035)
    guide = start + (end - start) * t[:, None]
    guide[:, 0] += bow * np.sin(np.pi * t)
    # stay in front of the face: a barrel whose depth falls off towards the sides
    guide[:, 2] = 0.058 - 6.0 * guide[:, 0] ** 2 - 1.2 * np.clip(guide[:, 1] - 0.05, 0, 1) ** 1.1
    count = int(rng.integers(50, 100))
    width = rng.uniform(0.005, 0.013)
    across = rng.normal(0, 1, count)
    taper = 0.5 + 0.8 * np.sin(np.pi * np.clip(t * 0.9, 0, 1))
    wave = curl * np.sin(2 * np.pi * (t[None] * rng.uniform(1, 3) + rng.random())) * t[None]
    strands = np.repeat(guide[None], count, axis=0)
    strands[..., 0] += width * across[:, None] * taper[None] + wave
    strands[..., 0] += 0.004 * np.cumsum(rng.normal(0, 0.5, (count, _STEPS)), axis=1) / _STEPS**0.5
    strands[..., 1] += 0.008 * rng.normal(0, 1, (count, 1)) * t[None]
    bright = 0.6 + 0.5 * rng.random(count) + 0.6 * (rng.random(count) < 0.15) + 0.08 * (across > 0.8)
    return Lock(strands.astype(np.float32), bright)


def _draw_lock(layer: np.ndarray, lock: Lock, scene: Scene, base: np.ndarray) -> None:
    count = len(lock.strands)
    pixels = scene.pose.place(lock.strands.reshape(-1, 3))[:, :2].reshape(count, _STEPS, 2)
    fixed = np.clip((pixels * _FINE - 0.5) * 16, -(2**20), 2**20).astype(np.int32)
    thick = max(1, round(scene.pose.scale * _FINE * 0.0005))
    for strand, bright in zip(fixed, lock.bright, strict=True):
        red, green, blue = (float(v) for v in np.clip(base * bright + 0.02 * bright, 0, 1) * 255)
        cv2.polylines(layer, [strand], False, (red, green, blue, 255.0), thick, cv2.LINE_AA, 4)
