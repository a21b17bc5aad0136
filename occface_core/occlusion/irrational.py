"""Irrational occlusions: arbitrary pixels in arbitrary shapes, as in the Learner, ORN and RandOcc recipes.

Every painter takes a Sample and a numpy Generator and returns a Painted. Sizes are found by bisection on a
shape's scale, so the share of the face that is hidden meets the target whenever the shape can reach it.
"""

from collections.abc import Callable

import cv2
import numpy as np

from occface_core.occlusion.textures import (
    closed_curve,
    fill_polygon,
    grain_noise,
    random_texture,
    stripe_wave,
)
from occface_core.occlusion.types import Painted, Sample

_SEARCH_SIZE = 96  # shapes are sized on a face mask no larger than this; finer grids change nothing


def _natural_target(sample: Sample, rng: np.random.Generator) -> float:
    drawn = float(rng.uniform(0.1, 0.6))
    return drawn if sample.target is None else sample.target


def _search(sample: Sample, target: float, low: float, high: float, draw: Callable[..., np.ndarray]) -> float:
    """Bisect the scale in [low, high] until ``draw(scale, height, width)`` hides ``target`` of the face.

    ``draw`` must hide more as the scale grows and return opacities (H,W) in [0,255].
    """
    shrink = min(1.0, _SEARCH_SIZE / max(sample.height, sample.width))
    height, width = max(1, round(sample.height * shrink)), max(1, round(sample.width * shrink))
    face = sample.face
    if shrink < 1.0:
        face = cv2.resize(face, (width, height), interpolation=cv2.INTER_AREA)
    total = float(face.sum()) * 255.0
    if total <= 0:
        return 0.5 * (low + high)
    for _ in range(11):
        middle = 0.5 * (low + high)
        hidden = float(np.vdot(face, draw(middle, height, width).astype(np.float32))) / total
        low, high = (middle, high) if hidden < target else (low, middle)
    return 0.5 * (low + high)


def _anchors(sample: Sample, rng: np.random.Generator, count: int) -> np.ndarray:
    """(count,2) random positions on the face, as fractions of width and height (whole image if no face)."""
    pixels = np.flatnonzero(sample.face > 0.5)
    picks = rng.random(count)
    if len(pixels) == 0:
        return rng.uniform(0.2, 0.8, (count, 2)).astype(np.float32)
    chosen = pixels[np.minimum((picks * len(pixels)).astype(np.int64), len(pixels) - 1)]
    rows, columns = np.divmod(chosen, sample.width)
    spots = np.stack([(columns + 0.5) / sample.width, (rows + 0.5) / sample.height], axis=1)
    return spots.astype(np.float32)


def _rectangle(rng: np.random.Generator) -> np.ndarray:
    aspect = float(np.exp(rng.uniform(-0.8, 0.8)))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32) * [aspect**0.5, aspect**-0.5]
    angle = rng.uniform(0, np.pi) if rng.random() < 0.5 else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (corners @ turn.T).astype(np.float32)


def _ellipse(rng: np.random.Generator) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    aspect = float(np.exp(rng.uniform(-0.6, 0.6)))
    points = np.stack([np.cos(angle) * aspect**0.5, np.sin(angle) * aspect**-0.5], axis=1)
    tilt = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    return (points @ turn.T).astype(np.float32)


def _union(sample: Sample, rng: np.random.Generator, outlines: list[np.ndarray]) -> np.ndarray:
    """(H,W) float32 opacity of the outlines, each at its own place on the face, sized to the target."""
    target = _natural_target(sample, rng)
    anchors = _anchors(sample, rng, len(outlines))

    def draw(scale: float, height: int, width: int) -> np.ndarray:
        alpha = np.zeros((height, width), np.uint8)
        extent = (height * width) ** 0.5 * scale
        for outline, anchor in zip(outlines, anchors, strict=True):
            fill_polygon(alpha, outline * extent + anchor * [width, height])
        return alpha

    scale = _search(sample, target, 0.0, 2.0, draw)
    alpha = draw(scale, sample.height, sample.width).astype(np.float32) / np.float32(255.0)
    return _soften(alpha, sample, rng)


def _soften(alpha: np.ndarray, sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """Blur the edge of about half the shapes by up to a hundredth of the image."""
    sigma = rng.uniform(0.0, 0.01) * max(sample.height, sample.width)
    if rng.random() < 0.5 and sigma > 0.3:
        alpha = cv2.GaussianBlur(alpha, (0, 0), sigma)
        alpha = np.where(alpha < 0.004, np.float32(0.0), alpha)  # cut the long tail: outside stays untouched
    return alpha


def noise_patch(sample: Sample, rng: np.random.Generator) -> Painted:
    """Rectangles or ellipses of arbitrary pixel values, from single pixels to coarse blocks."""
    count = int(rng.integers(1, 6))
    outlines = [
        (_rectangle if rng.random() < 0.6 else _ellipse)(rng) * np.float32(rng.uniform(0.5, 1.0))
        for _ in range(count)
    ]
    alpha = _union(sample, rng, outlines)
    size = max(sample.height, sample.width)
    grain = float(np.exp(rng.uniform(0.0, np.log(max(size / 8, 2)))))
    colour = grain_noise(rng, sample.height, sample.width, grain)
    if rng.random() < 0.3:
        colour = np.repeat(colour[..., :1], 3, axis=2)
    return Painted(np.ascontiguousarray(colour), alpha)


def random_shape(sample: Sample, rng: np.random.Generator) -> Painted:
    """A closed random curve filled with a random texture (RandOcc)."""
    alpha = _union(sample, rng, [closed_curve(rng)])
    return Painted(random_texture(rng, sample.height, sample.width), alpha)


def stripes(sample: Sample, rng: np.random.Generator) -> Painted:
    """Parallel bars over the whole picture; their width, not their number, meets the target."""
    target = _natural_target(sample, rng)
    size = max(sample.height, sample.width)
    period = rng.uniform(0.06, 0.35) * size
    seed = int(rng.integers(2**62))  # the same direction and phase at every size

    def draw(duty: float, height: int, width: int) -> np.ndarray:
        pitch = period * max(height, width) / size
        wave = stripe_wave(np.random.default_rng(seed), height, width, pitch)
        return np.clip((duty - wave) * np.float32(pitch / 2) + 0.5, 0.0, 1.0) * 255.0

    duty = _search(sample, target, -0.2, 1.2, draw)
    alpha = (draw(duty, sample.height, sample.width) / 255.0).astype(np.float32)
    return Painted(random_texture(rng, sample.height, sample.width), alpha)


def blur(sample: Sample, rng: np.random.Generator) -> Painted:
    """A region blurred or pixelated beyond recognition; it counts as hidden."""
    outline = [_rectangle, _ellipse, closed_curve][int(rng.integers(3))](rng)
    alpha = _union(sample, rng, [outline])
    size = max(sample.height, sample.width)
    factor = max(2, round(size * rng.uniform(0.08, 0.2)))
    small = (max(1, round(sample.width / factor)), max(1, round(sample.height / factor)))
    coarse = cv2.resize(sample.image, small, interpolation=cv2.INTER_AREA)
    way = cv2.INTER_NEAREST if rng.random() < 0.5 else cv2.INTER_LINEAR
    return Painted(cv2.resize(coarse, (sample.width, sample.height), interpolation=way), alpha)


def other_image(sample: Sample, rng: np.random.Generator) -> Painted:
    """A random shape showing a piece of another picture, or of this one turned over if none is given."""
    alpha = _union(sample, rng, [(closed_curve if rng.random() < 0.7 else _rectangle)(rng)])
    source = sample.other if sample.other is not None else sample.image[::-1, ::-1]
    height, width = source.shape[:2]
    zoom = rng.uniform(1.0, 2.5)
    crop_h, crop_w = max(1, int(height / zoom)), max(1, int(width / zoom))
    top, left = int(rng.integers(height - crop_h + 1)), int(rng.integers(width - crop_w + 1))
    piece = np.ascontiguousarray(source[top : top + crop_h, left : left + crop_w])
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    colour = cv2.resize(
        np.ascontiguousarray(piece), (sample.width, sample.height), interpolation=cv2.INTER_LINEAR
    )
    return Painted(colour, alpha)
