"""What face masks are made of: colours, pleats, seams, welds, prints and valves, as textures."""

import cv2
import numpy as np

from occface_core.occlusion.textures import fractal_noise, random_colour

_SIZE = 128
# Usual colours of each style and how often they are seen.
_COLOURS = {
    "surgical": (
        ((0.56, 0.76, 0.88), (0.93, 0.94, 0.95), (0.62, 0.83, 0.80), (0.10, 0.10, 0.11), (0.93, 0.72, 0.78)),
        (0.40, 0.25, 0.12, 0.15, 0.08),
    ),
    "ffp": (
        ((0.94, 0.94, 0.93), (0.12, 0.12, 0.13), (0.55, 0.56, 0.58), (0.80, 0.86, 0.90)),
        (0.65, 0.20, 0.05, 0.10),
    ),
    "fold": (
        ((0.95, 0.95, 0.94), (0.11, 0.11, 0.12), (0.66, 0.67, 0.69), (0.90, 0.84, 0.80), (0.85, 0.40, 0.55)),
        (0.62, 0.16, 0.10, 0.06, 0.06),
    ),
}


def _fabric(style: str, rng: np.random.Generator) -> np.ndarray:
    """(3,) base colour of the outside."""
    if style in _COLOURS:
        common, shares = _COLOURS[style]
        base = np.array(common[int(rng.choice(len(common), p=shares))])
    elif rng.random() < 0.35:
        base = np.full(3, rng.choice([0.06, 0.1, 0.2, 0.85]))
    else:
        base = 0.75 * random_colour(rng) + 0.08
    return np.clip(base + rng.normal(0, 0.02, 3), 0.03, 0.97).astype(np.float32)


def mask_texture(style: str, rng: np.random.Generator) -> np.ndarray:
    """(T,T,4) fabric with weave, pleats or seam, hems, welds, a print or a valve; opaque."""
    size = _SIZE
    across = np.linspace(-1, 1, size, dtype=np.float32)[None, :]
    down = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    shade = 1.0 + 0.10 * (fractal_noise(rng, size, size, size / 3) - 0.5)
    shade += rng.normal(0, 0.02, (size, size)).astype(np.float32)
    base = np.broadcast_to(_fabric(style, rng), (size, size, 3)).copy()
    if style == "surgical":
        for place in np.array([0.30, 0.48, 0.66]) + rng.normal(0, 0.015, 3):
            offset = (down - np.float32(place)) * 28.0
            shade -= 0.16 * np.exp(-((offset - 0.35) ** 2) / 0.18) - 0.07 * np.exp(
                -((offset + 0.5) ** 2) / 0.3
            )
        shade -= 0.10 * np.exp(-(((down - 0.055) * 60) ** 2))
    else:
        shade -= (0.10 if style == "ffp" else 0.16) * np.exp(-((across * 45) ** 2))
        if style == "cloth" and rng.random() < 0.5:
            base = _print(rng, base)
    if style == "fold":
        shade -= _welds(rng, across, down)
    if style in ("ffp", "fold"):
        base = _marks(rng, base)
    hem = np.minimum(np.minimum(down, 1 - down) * 22, (1 - np.abs(across)) * 16)
    shade -= 0.14 * np.exp(-((hem - 1.1) ** 2) / 0.12)
    rgba = np.ones((size, size, 4), np.float32)
    rgba[..., :3] = np.clip(base * shade[..., None], 0.0, 1.0)
    return rgba


def _welds(rng: np.random.Generator, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """(T,T) darkening along the pressed lines of a folded mask: from the keel down and up to the sides."""
    lines = np.zeros((_SIZE, _SIZE), np.float32)
    for start, slope in ((rng.uniform(0.1, 0.3), 0.3), (rng.uniform(0.6, 0.8), -0.3)):
        lines += np.exp(-(((down - np.float32(start) - slope * np.abs(across)) * 60) ** 2))
    return np.float32(rng.uniform(0.04, 0.14)) * lines


def _marks(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    """Lines of small print on one half, or a valve, or neither."""
    side = int(_SIZE * rng.choice([0.28, 0.72]))
    kind = rng.random()
    base = np.ascontiguousarray(base)
    if kind < 0.3:
        ink = (rng.uniform(0.2, 0.6) * base[0, 0]).tolist()
        top = int(rng.uniform(0.35, 0.55) * _SIZE)
        for row in range(int(rng.integers(1, 4))):
            half = int(rng.uniform(4, 13))
            y = top + 8 * row
            cv2.rectangle(base, (side - half, y), (side + half, y + int(rng.integers(1, 4))), ink, -1)
    elif kind < 0.5:
        centre, radius = (side, int(rng.uniform(0.4, 0.6) * _SIZE)), int(rng.uniform(9, 15))
        rim = np.clip(base[0, 0] * rng.uniform(0.5, 0.9), 0, 1).tolist()
        lid = random_colour(rng) if rng.random() < 0.5 else np.clip(base[0, 0] * 0.9 + 0.04, 0, 1)
        cv2.circle(base, centre, radius, rim, -1, cv2.LINE_AA)
        cv2.circle(base, centre, radius - 3, np.asarray(lid, float).tolist(), -1, cv2.LINE_AA)
    return base


def _print(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    """A pattern in further colours: dots, checks, stripes, blotches, or a few large shapes."""
    kind = rng.integers(5)
    if kind == 3:
        return _blotches(rng, base)
    if kind == 4:
        return _motif(rng, base)
    second = random_colour(rng)
    step = rng.uniform(7, 18)
    x = np.arange(_SIZE, dtype=np.float32)[None, :] / np.float32(step)
    y = np.arange(_SIZE, dtype=np.float32)[:, None] / np.float32(step)
    if kind == 0:
        field = np.sin(2 * np.pi * x) * np.sin(2 * np.pi * y) - 0.35
    elif kind == 1:
        field = np.sin(np.pi * x) * np.sin(np.pi * y)
    else:
        field = np.broadcast_to(np.sin(2 * np.pi * (y if rng.random() < 0.5 else x)), (_SIZE, _SIZE))
    blend = np.clip(field * 6 + 0.5, 0, 1)[..., None].astype(np.float32)
    return base + blend * (second - base)


def _blotches(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    """Flowers from afar, camouflage: two to four colours, each where a noise of its own is high."""
    out = base
    for _ in range(int(rng.integers(2, 5))):
        field = fractal_noise(rng, _SIZE, _SIZE, rng.uniform(8, 30))
        level = np.quantile(field, rng.uniform(0.55, 0.85))
        blend = np.clip((field - level) * 30 + 0.5, 0, 1)[..., None].astype(np.float32)
        out = out + blend * (random_colour(rng) - out)
    return out


def _motif(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    """One to six large shapes near the middle, light on dark or dark on light: lettering from afar."""
    out = np.ascontiguousarray(base)
    light = float(base[0, 0].mean()) < 0.5
    for _ in range(int(rng.integers(1, 7))):
        ink = np.clip((0.85 if light else 0.12) + rng.normal(0, 0.08, 3), 0, 1)
        ink = ink if rng.random() < 0.6 else random_colour(rng)
        centre = rng.normal((0.5, 0.5), (0.12, 0.14)) * _SIZE
        corners = centre + rng.uniform(-1, 1, (int(rng.integers(3, 8)), 2)) * rng.uniform(4, 22)
        cv2.fillPoly(out, [np.round(corners).astype(np.int32)], np.asarray(ink, float).tolist(), cv2.LINE_AA)
    return out
