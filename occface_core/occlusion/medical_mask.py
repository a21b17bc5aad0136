"""Face masks: surgical, cloth, moulded and folded FFP, modelled on the mean face, warped onto each face."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from occface_core.occlusion.canonical import canonical_points
from occface_core.occlusion.face_points import EYES_AND_LIPS
from occface_core.occlusion.mask_fabric import mask_texture
from occface_core.occlusion.mask_wear import Wear
from occface_core.occlusion.posing import place_warped, warp_matrix
from occface_core.occlusion.scene import Scene, plain_texture
from occface_core.occlusion.surfaces import grid_normals, outline_coverage, ribbon
from occface_core.occlusion.types import Painted, Sample

ROWS, COLUMNS = 26, 35
AXIS_Z = -0.02  # metres; the mask is described in cylinder coordinates (angle, y) about this vertical axis
# Height of the upper edge on the nose, from below the nostrils (worn wrongly) to the bridge, metres.
TOP_LEVELS = (-0.030, -0.016, -0.004, 0.004, 0.011, 0.018, 0.025)
LEVEL_SHARES = (0.06, 0.06, 0.12, 0.22, 0.24, 0.20, 0.10)


@dataclass(frozen=True)
class Cut:
    """What makes a style of mask; heights in metres.

    Attributes:
        share: how often it is seen. degrees: how far it reaches around the head to either side.
        drop, highest: the upper edge's shoulder lies `drop` below its middle and at most at `highest`.
        spread: how far out the middle's height is kept, as a part of the way to the side.
        lift: of the upper edge's ends above the shoulder. side: of the lower edge's ends above the chin.
        bulge: how far it stands off the taut surface.
    """

    share: float
    degrees: float
    drop: float
    highest: float
    spread: float
    lift: float
    side: float
    bulge: float


# "ffp" is moulded to a cup; "fold" lies flat in its box and opens to a keel (KN95 and its like).
CUTS = {
    "surgical": Cut(0.46, 78.0, 0.004, -0.001, 0.45, 0.002, 0.040, 0.003),
    "cloth": Cut(0.24, 74.0, 0.000, -0.006, 0.34, -0.008, 0.052, 0.005),
    "ffp": Cut(0.12, 70.0, 0.004, -0.008, 0.36, -0.010, 0.058, 0.015),
    "fold": Cut(0.18, 74.0, 0.006, -0.010, 0.40, -0.006, 0.050, 0.024),
}
STYLES = tuple(CUTS)
STYLE_SHARES = tuple(cut.share for cut in CUTS.values())


@dataclass(frozen=True)
class MaskDesign:
    """A mask on the mean face.

    Attributes:
        grid: (R,C,3) metres. bands: (2N,3) of each strap, metres.
        weights: (R*C,K) warp weights of the grid. straps: (2N,K) those of each strap.
        rim: (M,) vertices of the grid along its edge.
    """

    grid: np.ndarray
    bands: tuple[np.ndarray, ...]
    weights: np.ndarray
    rim: np.ndarray
    straps: tuple[np.ndarray, ...]

    def worn(self, wear: Wear) -> tuple[np.ndarray, list[np.ndarray]]:
        """Metres by which the grid (R,C,3) and each strap (2N,3) move; what touches the ears stays."""
        about = self.grid.mean((0, 1))
        straps = []
        for band in self.bands:
            away = np.linalg.norm(band - about, axis=1, keepdims=True)  # grows from the mask to the ear
            free = (away.max() - away) / (away.max() - away.min())
            straps.append(wear.displacement(band, about=about) * free)
        return wear.displacement(self.grid, about=about), straps


@lru_cache(maxsize=1)
def taut_shell() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Taut surface over nose, cheeks and chin: angles (A,), heights (Y,) and radius (Y,A), metres."""
    skin = np.setdiff1d(np.arange(468), np.array(EYES_AND_LIPS))
    points = canonical_points()[skin].astype(np.float64)
    radius = np.hypot(points[:, 0], points[:, 2] - AXIS_Z)
    sites = np.stack([np.arctan2(points[:, 0], points[:, 2] - AXIS_Z) * 0.07, points[:, 1]], axis=1)
    angles, heights = np.radians(np.arange(-100, 101, 4.0)), np.arange(-0.104, 0.045, 0.004)
    grid = np.stack([v.ravel() for v in np.meshgrid(angles * 0.07, heights)], axis=1)

    def kernel(where: np.ndarray) -> np.ndarray:
        affine = np.concatenate([where, np.ones((len(where), 1))], axis=1)
        return np.concatenate([-np.linalg.norm(where[:, None] - sites[None], axis=2), affine], axis=1)

    count = len(sites)
    system = np.zeros((count + 3, count + 3))
    system[:count] = kernel(sites)
    system[:count, :count] += 0.01 * np.eye(count)
    system[count:, :count] = system[:count, count:].T
    surface = kernel(grid) @ np.linalg.solve(system, np.concatenate([radius, np.zeros(3)]))
    surface = surface.reshape(len(heights), len(angles))
    taut = np.stack([_upper_hull(heights, column) for column in surface.T], axis=1)
    return angles, heights, cv2.GaussianBlur(taut, (0, 0), 0.8)


def _upper_hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Upper convex hull of a curve, evaluated at x: cloth spans hollows."""
    hull: list[int] = []
    for i in range(len(x)):
        while len(hull) >= 2:
            a, b = hull[-2], hull[-1]
            if (y[b] - y[a]) * (x[i] - x[a]) > (y[i] - y[a]) * (x[b] - x[a]):
                break
            hull.pop()
        hull.append(i)
    return np.interp(x, x[hull], y[hull])


def _outline(style: str, top: float, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower edge heights (metres) over the angle (radians)."""
    cut, side = CUTS[style], np.abs(angle) / np.abs(angle).max()
    shoulder = min(top - cut.drop, cut.highest)
    upper = shoulder + (top - shoulder) * np.exp(-((side / cut.spread) ** 2)) + cut.lift * side**2
    return upper, -0.094 + cut.side * side**2.3


@lru_cache(maxsize=64)
def mask_design(style: str, level: int, wide: bool) -> MaskDesign:
    """A mask of one of the styles whose upper edge lies at one of the levels."""
    reach = np.radians(CUTS[style].degrees + (6.0 if wide else 0.0))
    angle = np.linspace(-reach, reach, COLUMNS)
    upper, lower = _outline(style, TOP_LEVELS[level], angle)
    down = np.linspace(0.0, 1.0, ROWS)[:, None]
    heights = upper + (lower - upper) * down
    angles, levels, shell = taut_shell()
    column = np.interp(angle, angles, np.arange(len(angles)))
    row = np.interp(heights, levels, np.arange(len(levels)))
    radius = cv2.remap(
        shell.astype(np.float32),
        np.broadcast_to(column, row.shape).astype(np.float32),
        row.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    radius = radius + 0.002 + _bulge(style, angle / reach, down)
    grid = np.stack([np.sin(angle) * radius, heights, np.cos(angle) * radius + AXIS_Z], axis=-1)
    weights = warp_matrix(grid.reshape(-1, 3))
    ids = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    rim = np.concatenate([ids[0], ids[1:, -1], ids[-1, -2::-1], ids[-2:0:-1, 0]])
    bands = tuple(_straps(style, grid))
    straps = tuple(warp_matrix(strap) for strap in bands)
    return MaskDesign(grid, bands, weights, rim, straps)


def _bulge(style: str, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """(R,C) metres that the mask stands off the taut surface, by place across (-1..1) and down (0..1)."""
    if style == "fold":
        # two flat halves that meet at a keel: up along the nose, farthest before the lips, back to the chin
        keel = np.interp(down, (0.0, 0.15, 0.45, 1.0), (0.0, 0.010, CUTS[style].bulge, 0.002))
        return keel * np.clip(1 - np.abs(across) / 0.75, 0, 1)
    return CUTS[style].bulge * np.cos(across * np.pi / 2) * np.sin(np.pi * np.clip(down, 0.02, 0.98)) ** 0.8


def _straps(style: str, grid: np.ndarray) -> list[np.ndarray]:
    """Bands from the side edges to the ears, or around the head for FFP; each (2N,3) on the mean face."""
    bands = []
    for column, side in ((0, -1.0), (-1, 1.0)):
        upper, lower = grid[1, column], grid[-2, column]
        above, below = ([0.083, 0.030, -0.062], [0.079, -0.014, -0.052])
        if style == "ffp":
            above, below = ([0.083, 0.046, -0.075], [0.072, -0.035, -0.075])
        for start, end in ((upper, above), (lower, below)):
            ear = np.array(end) * np.array([side, 1.0, 1.0])
            t = np.linspace(0.0, 1.0, 7)[:, None]
            path = start + (ear - start) * t + np.array([side * 0.002, 0.0, 0.0]) * np.sin(np.pi * t)
            band = ribbon(path, np.array([0.0, 1.0, 0.0]), 0.0028 if style != "ffp" else 0.0045)
            bands.append((band if side > 0 else band[:, ::-1]).reshape(-1, 3))
    return bands


def mask_relief(style: str, rng: np.random.Generator) -> np.ndarray:
    """(R,C) outward displacement in metres: pleats, centre crease and soft folds."""
    down, across = np.linspace(0, 1, ROWS)[:, None], np.linspace(-1, 1, COLUMNS)[None, :]
    folds = cv2.resize(rng.standard_normal((4, 6)), (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    relief = 0.0010 * folds
    ripple = np.sin(2 * np.pi * (down * rng.uniform(2, 4) + rng.random()))
    relief = relief + 0.0012 * np.abs(across) ** 3 * ripple
    if style == "surgical":
        relief = relief + 0.0012 * (1 - across**4) * np.cos(2 * np.pi * (down - 0.05) * 5.4)
    elif style == "ffp":
        relief = relief + 0.008 * np.clip(1 - np.abs(across) * 2.2, 0, 1) * np.sin(np.pi * down)
    return relief.astype(np.float32)


def _choose(sample: Sample, points: np.ndarray, style: str, rng: np.random.Generator) -> MaskDesign:
    """The edge height whose outline comes nearest to the target, or a usual one without a target."""
    wide = bool(rng.random() < 0.5)
    usual = int(rng.choice(len(TOP_LEVELS), p=LEVEL_SHARES))
    if sample.target is None:
        return mask_design(style, usual, wide)
    designs = [mask_design(style, level, wide) for level in range(len(TOP_LEVELS))]
    outlines = [[place_warped(points, design.weights[design.rim])[:, :2]] for design in designs]
    shares = outline_coverage(sample, outlines)
    misses = np.abs(shares - sample.target)
    # every height within five points of the target is as good: prefer the usual one among them
    good = np.flatnonzero(misses <= max(misses.min() + 0.01, 0.05))
    return designs[int(good[np.abs(good - usual).argmin()])]


def strap_colour(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(3,) the mask's own colour, or white."""
    return texture[..., :3].mean(axis=(0, 1)) if rng.random() < 0.4 else np.full(3, 0.92, np.float32)


def medical_mask(sample: Sample, rng: np.random.Generator) -> Painted:
    """A mask of one of the styles from the nose to below the chin, with straps, folds and contact shadow.

    With a target, the upper edge moves between the bridge of the nose and the upper lip to come near it.
    """
    scene = Scene.of(sample)
    style = STYLES[int(rng.choice(len(STYLES), p=STYLE_SHARES))]
    design = _choose(sample, scene.points, style, rng)
    texture = mask_texture(style, rng)
    grid = place_warped(scene.points, design.weights).reshape(ROWS, COLUMNS, 3)
    outward = grid_normals(grid) * np.array([1, -1, -1], np.float32)
    grid = grid + outward * (mask_relief(style, rng) * scene.pose.scale)[..., None]
    moves, strap_moves = design.worn(Wear.draw(rng))
    parts = [scene.surface((grid + scene.pose.displace(moves)).astype(np.float32), texture)]
    colour = strap_colour(texture, rng)
    for weights, move in zip(design.straps, strap_moves, strict=True):
        band = place_warped(scene.points, weights) + scene.pose.displace(move)
        band = band.astype(np.float32).reshape(2, -1, 3)
        parts.append(scene.surface(band, plain_texture(colour)))
    return scene.finish(rng, parts, (0.2, 0.45))
