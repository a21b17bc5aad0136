"""Random procedural textures and closed shapes, numpy and OpenCV, seeded by a numpy Generator."""

import cv2
import numpy as np


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) float32 RGB: saturated, pastel, grey, black or white with equal weight."""
    colour = rng.random(3)
    kind = rng.integers(3)
    if kind == 1:
        colour = 0.5 + 0.5 * colour
    elif kind == 2:
        colour = np.full(3, rng.random()) + rng.normal(0.0, 0.03, 3)
    return np.clip(colour, 0.0, 1.0).astype(np.float32)


def grain_noise(
    rng: np.random.Generator, height: int, width: int, grain: float, channels: int = 3
) -> np.ndarray:
    """(H,W,C) float32 uniform noise whose grains are about ``grain`` pixels wide, in [0,1]."""
    rows, columns = max(1, round(height / grain)), max(1, round(width / grain))
    noise = rng.random((rows, columns, channels), dtype=np.float32)
    if (rows, columns) == (height, width):
        return noise
    interpolation = cv2.INTER_NEAREST if rng.random() < 0.5 else cv2.INTER_LINEAR
    return cv2.resize(noise, (width, height), interpolation=interpolation).reshape(height, width, channels)


def fractal_noise(rng: np.random.Generator, height: int, width: int, grain: float) -> np.ndarray:
    """(H,W) float32 cloud-like noise in [0,1]: octaves of smooth noise, coarsest grain first."""
    total = np.zeros((height, width), np.float32)
    weight, norm = 1.0, 0.0
    while grain >= 1.0 and norm < 1.95:
        rows, columns = max(2, round(height / grain)), max(2, round(width / grain))
        octave = rng.random((rows, columns), dtype=np.float32)
        total += np.float32(weight) * cv2.resize(octave, (width, height), interpolation=cv2.INTER_LINEAR)
        norm += weight
        weight, grain = weight / 2, grain / 2
    return total / np.float32(max(norm, 1e-6))


def _ramp(height: int, width: int, angle: float) -> np.ndarray:
    """(H,W) float32 coordinate along a direction, in pixels, 0 at the centre."""
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) * np.float32(np.cos(angle))
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) * np.float32(np.sin(angle))
    return x[None, :] + y[:, None]


def stripe_wave(rng: np.random.Generator, height: int, width: int, period: float) -> np.ndarray:
    """(H,W) float32 triangle wave in [0,1] along a random direction; threshold it for stripes."""
    ramp = _ramp(height, width, rng.uniform(0, np.pi))
    phase = ramp / np.float32(period) + np.float32(rng.random())
    return np.abs(2.0 * (phase - np.floor(phase)) - 1.0)


def random_texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H,W,3) float32 in [0,1]: flat, gradient, noise, clouds, stripes or checks in random colours."""
    first, second = random_colour(rng), random_colour(rng)
    size = max(height, width)
    kind = rng.integers(6)
    if kind == 0:
        blend = np.zeros((height, width), np.float32)
    elif kind == 1:
        ramp = _ramp(height, width, rng.uniform(0, 2 * np.pi))
        blend = np.clip(ramp / np.float32(size * rng.uniform(0.4, 1.2)) + 0.5, 0.0, 1.0)
    elif kind == 2:
        noise = grain_noise(rng, height, width, float(np.exp(rng.uniform(0.0, np.log(max(size / 4, 2))))))
        return np.clip(noise * np.float32(rng.uniform(0.4, 1.0)) + first * np.float32(0.3), 0.0, 1.0)
    elif kind == 3:
        clouds = fractal_noise(rng, height, width, size / rng.uniform(2, 8))
        blend = np.clip((clouds - 0.5) * np.float32(rng.uniform(1.5, 4.0)) + 0.5, 0.0, 1.0)
    else:
        period = rng.uniform(0.04, 0.3) * size
        blend = stripe_wave(rng, height, width, period)
        if kind == 5:
            blend = np.abs(blend - stripe_wave(rng, height, width, period))
        blend = np.clip((blend - 0.5) * np.float32(rng.uniform(1.0, 8.0)) + 0.5, 0.0, 1.0)
    return first + blend[..., None] * (second - first)


def closed_curve(rng: np.random.Generator, samples: int = 96) -> np.ndarray:
    """(N,2) float32 closed smooth curve around the origin with mean radius 1.

    A Catmull-Rom spline through 3 to 15 points at random angles and radii, as in RandOcc's Bezier blobs:
    few points and large radius spread give edgy shapes, many points give lumpy discs.
    """
    count = int(rng.integers(3, 16))
    angles = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * (2 * np.pi / count)
    radii = 1.0 + rng.uniform(0.0, 0.65) * rng.uniform(-1.0, 1.0, count)
    knots = np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)
    knots[:, 0] *= rng.uniform(0.6, 1.6)
    before, after, later = np.roll(knots, 1, 0), np.roll(knots, -1, 0), np.roll(knots, -2, 0)
    t = np.linspace(0.0, 1.0, max(2, samples // count), endpoint=False)[None, :, None]
    tension = rng.uniform(0.2, 0.7)  # 0 = polygon through the knots, 0.5 = Catmull-Rom
    start, end = tension * (after - before), tension * (later - knots)
    hermite = (
        (2 * t**3 - 3 * t**2 + 1) * knots[:, None]
        + (t**3 - 2 * t**2 + t) * start[:, None]
        + (3 * t**2 - 2 * t**3) * after[:, None]
        + (t**3 - t**2) * end[:, None]
    ).reshape(-1, 2)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    curve = hermite @ turn.T
    return (curve / np.linalg.norm(curve, axis=1).mean()).astype(np.float32)


def fill_polygon(alpha: np.ndarray, polygon: np.ndarray) -> None:
    """Draw a filled anti-aliased polygon (N,2) in pixels (centres at +0.5) into a uint8 (H,W) map.

    Coordinates are clamped far outside the picture, where OpenCV's fixed-point numbers would overflow.
    """
    fixed = np.clip((polygon - 0.5) * 16.0, -(2**20), 2**20).astype(np.int32)
    cv2.fillPoly(alpha, [fixed], 255, lineType=cv2.LINE_AA, shift=4)
