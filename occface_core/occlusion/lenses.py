"""What lenses show: tints, gradients, mirrored scenes, glare and window reflections, as textures.

How much of a lens counts as occluder is its opacity, as everywhere: 1 minus the part of the light that comes
through. ``HIDES`` is where it turns: dark, coloured and graded sunglasses let less than half of the light of
the eyes through and mirrors none, so the exact mask is below one half there (hidden); clear and lightly
tinted lenses of ``glasses`` let more than half through, so that only their frames and strong glare hide.
"""

from collections.abc import Callable

import cv2
import numpy as np

from occface_core.occlusion.textures import fractal_noise

HIDES = 0.5  # opacity from which a lens counts as hiding what is behind it
_SIZE = 96
_DOWN = np.linspace(0, 1, _SIZE, dtype=np.float32)[:, None]
_ACROSS = np.linspace(0, 1, _SIZE, dtype=np.float32)[None, :]
# Dark glass: grey, brown, green, blue. How often each.
_DARK = np.array(
    [(0.03, 0.03, 0.035), (0.09, 0.05, 0.03), (0.03, 0.06, 0.05), (0.04, 0.04, 0.09)], np.float32
)
_DARK_SHARES = (0.5, 0.26, 0.14, 0.10)
# Coloured glass: brown, amber, pink, yellow, blue, green, violet, grey.
_VIVID = np.array(
    [
        (0.30, 0.16, 0.08), (0.55, 0.27, 0.06), (0.60, 0.25, 0.32), (0.62, 0.52, 0.10),
        (0.16, 0.30, 0.58), (0.18, 0.36, 0.22), (0.36, 0.20, 0.50), (0.22, 0.22, 0.24),
    ],
    np.float32,
)  # fmt: skip
# Mirror coatings in the order of the rainbow, so that neighbours make the gradients of thin films.
_COATS = np.array(
    [
        (0.95, 0.22, 0.20), (1.00, 0.48, 0.14), (1.00, 0.76, 0.28), (0.45, 0.90, 0.40),
        (0.20, 0.80, 0.85), (0.20, 0.45, 1.00), (0.55, 0.30, 0.95), (1.00, 0.40, 0.70),
    ],
    np.float32,
)  # fmt: skip
_OPAQUE = np.ones((1, 1), np.float32)
_SILVER = np.array([0.92, 0.95, 1.0], np.float32)
# What mirrors see: above the horizon (high up, near it) and below.
_SKIES = np.array(
    [
        ((0.22, 0.42, 0.80), (0.80, 0.88, 0.96)), ((0.62, 0.66, 0.72), (0.95, 0.96, 0.97)),
        ((0.42, 0.40, 0.60), (1.00, 0.75, 0.50)), ((0.97, 0.97, 0.97), (0.85, 0.86, 0.88)),
        ((0.25, 0.24, 0.23), (0.60, 0.56, 0.50)),
    ],
    np.float32,
)  # fmt: skip
_GROUNDS = np.array(
    [(0.16, 0.22, 0.10), (0.28, 0.22, 0.16), (0.30, 0.30, 0.31), (0.62, 0.54, 0.42), (0.07, 0.07, 0.08)],
    np.float32,
)


def lens_texture(rng: np.random.Generator, *, clear: bool) -> np.ndarray:
    """(T,T,4) tint with a gradient and reflections; the opacity says how much it hides.

    Dark lenses are opaque above ``HIDES`` where the eyes are: plain, graded (lighter below), coloured with
    the eyes shimmering through, or mirrored. Clear ones stay below it except where they glare: plain, lightly
    tinted, or with strong reflections.
    """
    kind = rng.random()
    if clear:
        make, reflect = (tinted, 0.3) if kind < 0.2 else (glass, 1.0 if kind < 0.5 else 0.0)
    elif kind < 0.35:
        make, reflect = mirror, 0.25
    else:
        make, reflect = (plain, 0.7) if kind < 0.63 else (graded, 0.5) if kind < 0.8 else (coloured, 0.5)
    colour, opacity = make(rng)
    rgba = np.empty((_SIZE, _SIZE, 4), np.float32)
    rgba[..., :3], rgba[..., 3] = colour, opacity
    if rng.random() < reflect:
        strong = clear or make is mirror
        _reflect(rng, rgba, float(rng.uniform(0.5, 1.0) if strong else rng.uniform(0.12, 0.7)))
    return np.clip(rgba, 0.0, 1.0, out=rgba)


# Colour and opacity of each kind, of shapes that fit (T,T,3) and (T,T).


def plain(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Dark glass, a little lighter below, where the cheek shows in it."""
    dark = _DARK[int(rng.choice(4, p=_DARK_SHARES))] * (1 + np.float32(rng.uniform(0, 1.8)) * _DOWN)
    return dark[:, None], np.full((1, 1), rng.uniform(0.88, 1.0), np.float32)


def graded(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Dark above, half or nearly clear below."""
    dark, light = _DARK[int(rng.choice(4, p=_DARK_SHARES))], _VIVID[int(rng.integers(len(_VIVID)))]
    fade = _DOWN ** np.float32(rng.uniform(1.15, 2.2))
    top, bottom = rng.uniform(0.88, 1.0), rng.uniform(0.15, 0.6)
    return (dark + (0.8 * light - dark) * fade)[:, None], np.float32(top) + np.float32(bottom - top) * fade


def coloured(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coloured glass through which the eyes shimmer, darker or lighter below."""
    colour = _VIVID[int(rng.integers(len(_VIVID)))] * np.float32(rng.uniform(0.25, 1.1))
    slope = rng.uniform(-0.12, 0.06)
    opacity = np.float32(rng.uniform(0.57, 0.82)) + np.float32(slope) * (_DOWN - 0.4)
    return colour, opacity


def tinted(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Light tint, even or fading downwards; most of the light comes through."""
    colour = _VIVID[int(rng.integers(len(_VIVID)))] * np.float32(rng.uniform(0.7, 1.3))
    fade = rng.uniform(0.3, 0.9) if rng.random() < 0.4 else 0.0
    return colour, np.float32(rng.uniform(0.12, 0.42)) * (1 - np.float32(fade) * _DOWN)


def glass(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Clear glass with a faint streak."""
    streak = _DOWN + np.float32(rng.uniform(0.4, 1.2)) * _ACROSS - np.float32(rng.uniform(0.5, 1.3))
    shine = np.exp(-((streak / np.float32(rng.uniform(0.05, 0.2))) ** 2))
    return np.full(3, 0.9), np.float32(rng.uniform(0.02, 0.10)) + np.float32(rng.uniform(0.05, 0.3)) * shine


def mirror(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A mirror with a coating of one colour, of several that run into each other, or silver; opaque."""
    kind = rng.random()
    gain, haze = np.float32(rng.uniform(0.75, 1.15)), np.float32(rng.uniform(0.0, 0.3))
    amounts, colours = _scene(rng)
    colours = gain * (colours + haze * (0.6 - colours))  # a film shines by itself, whatever it mirrors
    if kind < 0.3:
        return _mix(amounts, colours * _SILVER), _OPAQUE
    first = int(rng.integers(len(_COATS)))
    if kind < 0.6:
        coat = _COATS[first] + np.float32(rng.uniform(0, 0.35)) * (1 - _COATS[first])
        return _mix(amounts, colours * coat), _OPAQUE
    # thin film: the colour follows the angle of view
    film = _COATS[(first + int(rng.choice([-1, 1])) * np.arange(3)) % len(_COATS)]
    place = _DOWN + np.float32(rng.uniform(-0.3, 0.3)) * (_ACROSS - 0.5)
    upper, lower = np.clip(1 - 2 * place, 0, 1), np.clip(2 * place - 1, 0, 1)
    coat = _mix(np.stack([upper, 1 - upper - lower, lower], axis=-1), film)
    return coat * _mix(amounts, colours), _OPAQUE


def _mix(amounts: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(T,T,3) of (T,T,K) amounts of (K,3) colours, as one product: many small ones take longer."""
    return (amounts.reshape(-1, len(colours)) @ colours).reshape(_SIZE, _SIZE, 3)


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What a bulging mirror sees: sky, perhaps clouds, a skyline and the ground.

    Returns:
        (T,T,4) how much of each is seen where, and (4,3) their colours: high sky, low sky, ground, clouds.
    """
    sky = _SKIES[int(rng.choice(len(_SKIES), p=(0.35, 0.2, 0.12, 0.18, 0.15)))]
    ground = _GROUNDS[int(rng.integers(len(_GROUNDS)))] * np.float32(rng.uniform(0.5, 1.2))
    bulge = np.float32(rng.uniform(-0.1, 0.5)) * (_ACROSS - np.float32(rng.uniform(0.3, 0.7))) ** 2
    rough = fractal_noise(rng, 1, _SIZE, _SIZE / rng.uniform(2, 12)) - 0.5
    line = np.float32(rng.uniform(0.35, 0.85)) + bulge - np.float32(rng.uniform(0.05, 0.45)) * np.abs(rough)
    above, below = np.clip(_DOWN / np.maximum(line, 0.1), 0, 1), _DOWN - line
    above *= 1 + np.float32(rng.uniform(-1, 0.2)) * (1 - above)  # evenly, or brightening near the horizon
    earth = np.clip(below * np.float32(rng.uniform(4, 30)) + 0.5, 0, 1)
    cloud: np.ndarray = np.zeros((1, 1), np.float32)
    if rng.random() < 0.4:
        field = cv2.resize(fractal_noise(rng, 24, 24, 8), (_SIZE, _SIZE), interpolation=cv2.INTER_LINEAR)
        cloud = np.clip((field - 0.45) * np.float32(rng.uniform(0.5, 1.8)), 0, 1)
    heaven = 1 - earth
    cloud, clear = heaven * cloud, heaven - heaven * cloud
    near = 1 + np.float32(rng.uniform(0, 1.2)) * np.maximum(below, 0)
    amounts = np.stack([clear * (1 - above), clear * above, earth * near, cloud], axis=-1)
    return amounts, np.concatenate([sky, ground[None], np.ones((1, 3), np.float32)])


# Reflections of what is bright.


def _reflect(rng: np.random.Generator, rgba: np.ndarray, strength: float) -> None:
    """Lay one or two reflections over a lens; where they are strong they also hide what is behind it."""
    kinds: tuple[Callable[[np.random.Generator], np.ndarray], ...] = (_streak, _window, _sky, _spots)
    white = np.array([0.97, 0.97, 0.97], np.float32) + np.float32(rng.uniform(0, 0.2)) * (
        _COATS[int(rng.integers(len(_COATS)))] - 1  # coated glass turns white greenish, bluish or violet
    )
    over = np.append(white, np.float32(1))  # where it is strong it also hides
    for number in range(1 + (rng.random() < 0.25)):
        amount = np.float32(strength * 0.6**number) * kinds[int(rng.integers(len(kinds)))](rng)
        rgba += amount[..., None] * (over - rgba)


def _streak(rng: np.random.Generator) -> np.ndarray:
    """(T,T) in [0,1]: a slanting band, soft or sharp at its edges."""
    slant = np.float32(rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.3))
    off = (_DOWN - 0.5 + slant * (_ACROSS - 0.5) - np.float32(rng.uniform(-0.4, 0.4))) / np.float32(
        rng.uniform(0.06, 0.25)
    )
    return np.exp(-(off**2)) if rng.random() < 0.5 else np.clip((1 - np.abs(off)) * 5, 0, 1)


def _window(rng: np.random.Generator) -> np.ndarray:
    """(T,T) in [0,1]: a slanted window or lamp of one to six panes."""
    x, y = _ACROSS - np.float32(rng.uniform(0.25, 0.75)), _DOWN - np.float32(rng.uniform(0.2, 0.6))
    lean, tilt = np.float32(rng.uniform(-0.4, 0.4)), np.float32(rng.uniform(-0.3, 0.3))
    u = (x + lean * y) / np.float32(rng.uniform(0.08, 0.3))
    v = (y + tilt * x) / np.float32(rng.uniform(0.08, 0.3))
    edge = np.float32(rng.uniform(3, 12))
    inside = np.clip((1 - np.abs(u)) * edge, 0, 1) * np.clip((1 - np.abs(v)) * edge, 0, 1)
    for axis, panes in ((u, rng.integers(1, 4)), (v, rng.integers(1, 3))):
        if panes > 1:
            bars = (axis + 1) * np.float32(panes / 2)  # between the panes, at whole numbers
            inside *= np.clip(np.abs(bars - np.rint(bars)) * 25 - 1.25, 0, 1)
    return inside


def _sky(rng: np.random.Generator) -> np.ndarray:
    """(T,T) in [0,1]: bright sky in the upper part above a bent, uneven horizon."""
    rough = fractal_noise(rng, 1, _SIZE, _SIZE / rng.uniform(2, 10)) - 0.5
    line = np.float32(rng.uniform(0.2, 0.6)) + np.float32(rng.uniform(-0.5, 0.5)) * (_ACROSS - 0.5) ** 2
    return np.clip((line + np.float32(0.25) * rough - _DOWN) * np.float32(rng.uniform(3, 20)) + 0.5, 0, 1)


def _spots(rng: np.random.Generator) -> np.ndarray:
    """(T,T) in [0,1]: one to three small lights."""
    total = np.zeros((_SIZE, _SIZE), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        size = np.float32(rng.uniform(0.02, 0.09))
        x = (_ACROSS - np.float32(rng.uniform(0.15, 0.85))) / (size * np.float32(rng.uniform(0.7, 1.8)))
        y = (_DOWN - np.float32(rng.uniform(0.1, 0.6))) / size
        total = np.maximum(total, np.minimum(1.5 * np.exp(-(x**2 + y**2)), 1))
    return total
