"""Caps and beanies above the face, scarves below it."""

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from occface_core.occlusion.medical_mask import AXIS_Z, taut_shell
from occface_core.occlusion.posing import place_rigid, place_warped, warp_matrix
from occface_core.occlusion.raster import Part
from occface_core.occlusion.scene import Scene
from occface_core.occlusion.surfaces import grid_normals, outline_coverage
from occface_core.occlusion.textures import fractal_noise, random_colour
from occface_core.occlusion.types import Painted, Sample

_TEXTURE = 128
# How far a cap sits down on the forehead, metres: from on the hairline to over the brows.
DROPS = np.array([-0.004, 0.006, 0.016, 0.026, 0.034])
SCARF_ROWS, SCARF_COLUMNS = 22, 41
# Height of a scarf's upper edge in the middle: under the chin, over mouth, over nose.
SCARF_TOPS = (-0.080, -0.066, -0.052, -0.038, -0.022, -0.008, 0.006)


def woven(rng: np.random.Generator, *, knit: bool) -> np.ndarray:
    """(T,T,4) woven or knitted cloth, plain or with bands, opaque."""
    size = _TEXTURE
    base = np.broadcast_to((0.8 * random_colour(rng) + 0.03).astype(np.float32), (size, size, 3)).copy()
    x, y = np.arange(size, dtype=np.float32)[None, :], np.arange(size, dtype=np.float32)[:, None]
    if rng.random() < 0.4:
        band = np.sin(2 * np.pi * y / np.float32(size / rng.uniform(2, 7)) + rng.uniform(0, 6)) > rng.uniform(
            -0.5, 0.8
        )
        base += band[..., None] * (random_colour(rng) * np.float32(0.8) - base)
    shade = 0.93 + 0.14 * fractal_noise(rng, size, size, size / 4)
    if knit:
        shade = shade + 0.13 * np.sin(2 * np.pi * x / 6) * np.sin(
            2 * np.pi * (y / 6 + np.abs((x / 6) % 1 - 0.5))
        )
    else:
        shade = shade + rng.normal(0, 0.025, (size, size)).astype(np.float32)
    rgba = np.ones((size, size, 4), np.float32)
    rgba[..., :3] = np.clip(base * shade[..., None], 0, 1)
    return rgba


def _crown(drop: float, *, beanie: bool) -> np.ndarray:
    """(R,C,3) closed grid over the skull on the mean face, from the top to the band."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)[None, :]
    fall = np.linspace(0.02, 1.0, 12)[:, None]
    front = 0.5 + 0.5 * np.cos(turn)
    band = 0.035 + (0.078 - 0.035) * front - drop * (0.35 + 0.65 * front)
    top = 0.172 if not beanie else 0.182
    lift = np.cos(fall * np.pi / 2) ** (0.75 if not beanie else 0.9)
    girth = np.sin(fall * np.pi / 2) ** 0.7
    x = 0.089 * girth * np.sin(turn)
    z = -0.050 + (0.108 + 0.004 * front) * girth * np.cos(turn)
    return np.stack([x, band + (top - band) * lift, z], axis=-1).astype(np.float32)


def _brim(crown: np.ndarray, length: float, curl: float) -> np.ndarray:
    """(R,C,3) peak in front of the band, bent down at its sides."""
    turn = np.linspace(-1.15, 1.15, 25)
    band = crown[-1]
    angles = np.linspace(0, 2 * np.pi, len(band), endpoint=False)
    around = np.mod(turn, 2 * np.pi)
    inner = np.stack([np.interp(around, angles, band[:, k], period=2 * np.pi) for k in range(3)], axis=-1)
    side = turn / 1.15
    reach = length * (1 - np.abs(side) ** 2.4)
    rows = []
    for share in np.linspace(0, 1, 5):
        row = inner.copy()
        row[:, 2] += reach * share + 0.001
        row[:, 1] -= (0.28 * reach * share) + curl * side**2 * share
        rows.append(row)
    return np.stack(rows).astype(np.float32)


def cap_brim(sample: Sample, rng: np.random.Generator) -> Painted:
    """A peaked cap, or a beanie pulled down; how low it sits follows the target as far as it can."""
    scene = Scene.of(sample)
    beanie = bool(rng.random() < 0.25)
    length, curl = float(rng.uniform(0.05, 0.075)), float(rng.uniform(0.006, 0.018))
    drop = DROPS[int(rng.integers(len(DROPS)))]
    if sample.target is not None:
        shapes = [cap_shape(float(step), beanie, length, curl) for step in DROPS]
        rims = [[_front_outline(scene, crown, brim)] for crown, brim in shapes]
        drop = DROPS[int(np.abs(outline_coverage(sample, rims) - sample.target).argmin())]
    crown, brim = cap_shape(float(drop), beanie, length, curl)
    cloth = woven(rng, knit=beanie)
    parts = [_placed(scene, crown, cloth, closed=True)]
    if not beanie:
        peak = cloth if rng.random() < 0.7 else woven(rng, knit=False)
        parts.append(_placed(scene, brim, peak, two_sided=True))
    return scene.finish(rng, parts, (0.4, 0.7))


def cap_shape(drop: float, beanie: bool, length: float, curl: float) -> tuple[np.ndarray, np.ndarray]:
    """Crown, a closed grid, and peak (hardly any on a beanie), (R,C,3) metres on the mean face."""
    crown = _crown(drop, beanie=beanie)
    return crown, _brim(crown, 0.004 if beanie else length, 0.0 if beanie else curl)


def _front_outline(scene: Scene, crown: np.ndarray, brim: np.ndarray) -> np.ndarray:
    """Rough outline of what the cap hides of the face: over the top of the skull and along the peak."""
    front = np.concatenate([crown[5, 30:], crown[5, :11], brim[-1, ::-1]])
    return place_rigid(scene.points, front)[:, :2]


def _placed(
    scene: Scene, grid: np.ndarray, texture: np.ndarray, *, closed: bool = False, two_sided: bool = False
) -> Part:
    placed = place_rigid(scene.points, grid.reshape(-1, 3)).reshape(grid.shape)
    return scene.surface(placed, texture, closed=closed, two_sided=two_sided)


@lru_cache(maxsize=16)
def scarf_weights(level: int) -> np.ndarray:
    """(rows*columns,K) warp weights of ``scarf_grid``."""
    return warp_matrix(scarf_grid(level).reshape(-1, 3), stiffness=0.2)


@lru_cache(maxsize=16)
def scarf_grid(level: int) -> np.ndarray:
    """(rows,columns,3) metres: a scarf whose upper edge lies at one of the tops."""
    angle = np.linspace(-np.radians(105), np.radians(105), SCARF_COLUMNS)[None, :]
    side = np.abs(angle) / angle.max()
    top = SCARF_TOPS[level] + (-0.028 - SCARF_TOPS[level]) * 0.7 * side**2
    down = np.linspace(0, 1, SCARF_ROWS)[:, None]
    height = top + (-0.185 - top) * down
    angles, levels, shell = taut_shell()
    column = np.interp(np.broadcast_to(angle, height.shape), angles, np.arange(len(angles)))
    row = np.interp(height, levels, np.arange(len(levels)))
    radius = cv2.remap(
        shell.astype(np.float32), column.astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR
    )
    below = np.clip((-0.06 - height) / 0.05, 0, 1)
    radius = np.maximum(radius, 0.062 + 0.030 * below) + 0.006 + 0.020 * np.clip(down * 3, 0, 1)
    return np.stack([np.sin(angle) * radius, height, np.cos(angle) * radius + AXIS_Z], axis=-1)


def scarf_relief(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rolls of cloth: outward displacement (R,C) in metres, brightness (R*C,1) and the lumps (R,C)."""
    across = np.linspace(-1, 1, SCARF_COLUMNS)[None, :]
    down = np.linspace(0, 1, SCARF_ROWS)[:, None]
    slant = rng.uniform(-0.5, 0.5)
    rolls = np.abs(np.sin(np.pi * (down * rng.uniform(2.0, 4.0) + slant * across + rng.random())))
    lumps = cv2.resize(
        rng.standard_normal((5, 7)), (SCARF_COLUMNS, SCARF_ROWS), interpolation=cv2.INTER_CUBIC
    )
    relief = (0.012 * rolls + 0.003 * lumps) * np.clip(down * 6, 0, 1)
    hollows = (0.5 + 0.5 * np.clip(rolls * 1.4, 0, 1)).reshape(-1, 1).astype(np.float32)
    return relief, hollows, lumps


def scarf(sample: Sample, rng: np.random.Generator) -> Painted:
    """A scarf or neck warmer wrapped in rolls around neck and lower face, as high as the target asks."""
    scene = Scene.of(sample)
    level = int(rng.integers(1, len(SCARF_TOPS)))
    if sample.target is not None:
        outlines = []
        for option in range(len(SCARF_TOPS)):
            placed = place_warped(scene.points, scarf_weights(option)).reshape(SCARF_ROWS, SCARF_COLUMNS, 3)
            rim = np.concatenate([placed[0], placed[:, -1], placed[-1, ::-1], placed[::-1, 0]])
            outlines.append([rim[:, :2]])
        level = int(np.abs(outline_coverage(sample, outlines) - sample.target).argmin())
    grid = place_warped(scene.points, scarf_weights(level)).reshape(SCARF_ROWS, SCARF_COLUMNS, 3)
    relief, hollows, lumps = scarf_relief(rng)
    outward = grid_normals(grid) * np.array([1, -1, -1], np.float32)
    grid = (grid + outward * (relief * scene.pose.scale)[..., None]).astype(np.float32)
    grid[:2, :, 1] += (lumps[:2] * 0.004 * scene.pose.scale).astype(np.float32)
    part = scene.surface(grid, woven(rng, knit=rng.random() < 0.7))
    return scene.finish(rng, [replace(part, light=part.light * hollows)], (0.3, 0.5))
