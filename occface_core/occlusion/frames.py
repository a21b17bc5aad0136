"""Frames of glasses on the mean face: outlines, rims, bridges, temple arms and their colours."""

from dataclasses import dataclass

import numpy as np

from occface_core.occlusion.surfaces import ribbon

_SEGMENTS = 40
RINGS = np.array([0.0, 0.35, 0.7, 1.0])
# Style: roundness (2 = ellipse, more = squarer), half width and height of a lens in metres, and how often
# dark and clear ones are seen.
_STYLES: dict[str, tuple[float, float, float, float, float]] = {
    "round": (2.1, 0.0235, 0.0225, 0.12, 0.22),
    "square": (4.0, 0.0265, 0.0185, 0.13, 0.24),
    "aviator": (2.5, 0.0275, 0.0235, 0.17, 0.08),
    "wayfarer": (3.2, 0.0265, 0.0195, 0.14, 0.20),
    "cat_eye": (2.8, 0.0265, 0.0190, 0.09, 0.08),
    "oversized": (3.0, 0.0300, 0.0255, 0.11, 0.04),
    "narrow": (2.6, 0.0250, 0.0140, 0.04, 0.10),
    "hexagon": (2.0, 0.0245, 0.0220, 0.03, 0.04),
    "sport": (2.8, 0.0300, 0.0180, 0.06, 0.0),
    "shield": (3.4, 0.0370, 0.0225, 0.11, 0.0),
}
# Colour of plastic or metal and how often it is seen: black, brown, tortoise, gold, silver, white, crystal.
_COLOURS = (
    ((0.04, 0.04, 0.045), 0.38),
    ((0.22, 0.12, 0.06), 0.09),
    ((0.33, 0.17, 0.07), 0.06),
    ((0.62, 0.52, 0.30), 0.12),
    ((0.55, 0.56, 0.58), 0.11),
    ((0.93, 0.93, 0.92), 0.09),
    ((0.80, 0.76, 0.72), 0.04),
)


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
        lower: width of the rim's lower half, as a part of the upper one's (0 = none).
        one_piece: the two lenses are halves of one that goes across the nose (shield).
    """

    outline: np.ndarray
    centre: np.ndarray
    rim: float
    arm: float
    double_bridge: bool
    wrap: float
    lower: float = 1.0
    one_piece: bool = False


def random_frame(rng: np.random.Generator, *, clear: bool) -> Frame:
    """A frame of one of ten styles; sport glasses and one-piece shields are dark only."""
    shares = np.array([row[4 if clear else 3] for row in _STYLES.values()])
    style = tuple(_STYLES)[int(rng.choice(len(shares), p=shares / shares.sum()))]
    _, width, height, _, _ = _STYLES[style]
    width, height = width * rng.uniform(0.94, 1.04), height * rng.uniform(0.88, 1.12)
    if clear:
        width, height = width * 0.95, height * 0.9
    x, y = _outline(style)
    whole, swept = style == "shield", style in ("shield", "sport")
    rim, lower = _rim(rng, style)
    return Frame(
        outline=np.stack([x * width, y * height], axis=1)[::-1].astype(np.float32),
        centre=np.array(
            [
                0.8 * width if whole else max(0.0325, width + 0.0070),
                0.0245 - 0.3 * max(height - 0.02, 0),
            ],
            np.float32,
        ),
        rim=rim,
        arm=float(rng.uniform(0.004, 0.012) if rim > 0.0022 or swept else rng.uniform(0.002, 0.004)),
        double_bridge=style == "aviator",
        wrap=float(rng.uniform(0.020, 0.028) if swept else rng.uniform(0.008, 0.015)),
        lower=lower,
        one_piece=whole,
    )


def _outline(style: str) -> tuple[np.ndarray, np.ndarray]:
    """x (outward) and y (up) of a lens of half width and height 1, counter-clockwise."""
    power = _STYLES[style][0]
    angle = np.linspace(0, 2 * np.pi, _SEGMENTS, endpoint=False)
    x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power)
    y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power)
    outward, below = np.clip(x, 0, 1), np.clip(-y, 0, 1)
    if style == "aviator":  # a drop that hangs outward
        x = x * (1 - 0.14 * below) + 0.12 * below
        y = np.where(y < 0, 1.12 * y, 0.88 * y)
    elif style in ("wayfarer", "oversized"):
        x = x * (1 + 0.08 * y)
        y = y + 0.10 * x * (y > 0)
    elif style == "cat_eye":  # the outer upper corner is drawn up
        x, y = x * (1 + 0.10 * y), y + 0.42 * outward**2 * (0.5 + 0.5 * y)
    elif style == "hexagon":
        reach = np.cos(np.pi / 6) / np.cos(np.mod(angle, np.pi / 3) - np.pi / 6)
        x, y = np.cos(angle) * reach, np.sin(angle) * reach
    elif style == "sport":  # swept up and pointed outward
        y = y * (1 - 0.35 * outward**2) + 0.25 * x
    elif style == "shield":  # straight above the nose, with room for it below
        y = np.where((y > 0) & (x < 0), np.abs(y) ** 0.3, y)
        y = np.where(y < 0, y * (1 - 0.5 * np.clip((-0.1 - x) / 0.7, 0, 1) ** 1.5), y)
        y = y * (1 - 0.2 * outward**2)
    return x, y


def _rim(rng: np.random.Generator, style: str) -> tuple[float, float]:
    """Width of the rim, and its lower half's as a part of that."""
    kind = rng.random()
    if style in ("shield", "sport"):  # none, or a bar on top
        return (0.0 if kind < 0.5 else float(rng.uniform(0.0016, 0.0045))), 0.0
    width = rng.uniform(0.0010, 0.0022) if style in ("aviator", "round", "hexagon") else 0.0
    width = width or rng.uniform(0.0016, 0.0055 if style in ("oversized", "cat_eye") else 0.0042)
    # most have a rim all around, some only above, or a brow bar above and wire below
    return float(width), 1.0 if kind < 0.8 else 0.0 if kind < 0.9 else 0.35


def _depth(frame: Frame, x: np.ndarray) -> np.ndarray:
    """z of the curved front at lateral position x."""
    return np.asarray(0.0535 - frame.wrap * (np.abs(x) / 0.065) ** 2, np.float32)


def lens_points(
    frame: Frame, side: float, scale: float, factors: np.ndarray, lift: float = 0.0
) -> np.ndarray:
    """(R,S,3) rings of one lens; the columns run clockwise seen from the front on both sides.

    ``factors`` are relative to the outline: (R,), or (R,S) where they vary around it.
    """
    flat = frame.outline[None] * np.atleast_2d(factors.T).T[..., None] * scale
    x = flat[..., 0] + frame.centre[0] * (0.5 + 0.5 * scale)
    x = side * (np.maximum(x, 0.0) if frame.one_piece else x)  # halves of one lens end in the middle
    y = flat[..., 1] + frame.centre[1]
    points = np.stack([x, y, _depth(frame, x) + lift], axis=-1).astype(np.float32)
    return points if side > 0 else points[:, ::-1]


def ring_factors(frame: Frame, scale: float) -> np.ndarray:
    """(2,S) outer and inner edge of the rim around the lens, relative to the lens."""
    size = float(np.abs(frame.outline).max()) * scale
    above = np.clip(3 * frame.outline[:, 1] / frame.outline[:, 1].max() + 0.5, 0, 1)
    width = frame.lower + (1 - frame.lower) * above
    return np.stack([1.0 + frame.rim / size * width, 1.0 - 0.015 * width]).astype(np.float32)


def lens_uv(rings: np.ndarray, *, one_piece: bool = False) -> np.ndarray:
    """(R*S,2) texture coordinates of a lens: about its box on the mean face, v down.

    The lenses of a pair show the scene from two places, a tenth of the texture to either side; those of a
    one-piece shield share one picture, which goes on across the nose.
    """
    flat = rings[..., :2].reshape(-1, 2)
    low, high = flat.min(axis=0), flat.max(axis=0)
    uv = (flat - low) / (high - low)
    if one_piece:
        uv[:, 0] = 0.5 + 0.5 * flat[:, 0] / np.abs(flat[:, 0]).max()
    else:
        uv[:, 0] = 0.1 * (1 + np.sign(low[0] + high[0])) + 0.8 * uv[:, 0]
    uv[:, 1] = 1.0 - uv[:, 1]
    return uv


def frame_colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) black, brown, gold, silver, white, pale, or a bright colour; slightly varied."""
    shares = np.array([share for _, share in _COLOURS])
    kind = int(np.searchsorted(np.cumsum(shares), rng.random(), side="right"))
    if kind < len(_COLOURS):
        base = np.array(_COLOURS[kind][0])
    else:  # one strong channel or two, as plastic is dyed
        base = np.clip(rng.permutation([rng.uniform(0.5, 0.95), rng.uniform(0.05, 0.8), 0.08]), 0, 1)
    return np.clip(base + rng.normal(0, 0.015, 3), 0.0, 1.0).astype(np.float32)


def frame_bars(frame: Frame, scale: float) -> list[np.ndarray]:
    """Bridge and temple arms as (2,N,3) bands on the mean face."""
    near, far = frame.outline[:, 0].min() * scale, frame.outline[:, 0].max() * scale
    middle = frame.centre[0] * (0.5 + 0.5 * scale)
    # a one-piece lens has no bridge: its bar lies unseen behind it
    inner, lift = (0.002, -0.003) if frame.one_piece else (float(middle + near), 0.001)
    outer = float(middle + far) + frame.rim
    top = float(frame.centre[1] + frame.outline[:, 1].max() * scale)
    x = np.linspace(-inner - 0.001, inner + 0.001, 9)
    arch = frame.centre[1] + 0.006 + 0.003 * (1 - (x / x[-1]) ** 2)
    up = np.array([0.0, 1.0, 0.0])
    thick = max(frame.rim, 0.0016)
    bars = [ribbon(np.stack([x, arch, _depth(frame, x) + lift], axis=1), up, thick * 1.3)]
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
