"""A small painter for pictures of the open head: good enough for a landmark detector and for checking by eye.

The product's renderer lives higher up; this module only serves building the head and runs on numpy alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.open_head_topology import vertex_normals

Array = NDArray[np.float64]

SKIN_RGB, LIP_RGB, BROW_RGB = (0.80, 0.60, 0.50), (0.66, 0.36, 0.34), (0.30, 0.21, 0.16)
WHITE_RGB, IRIS_RGB, PUPIL_RGB = (0.93, 0.92, 0.90), (0.30, 0.22, 0.14), (0.03, 0.03, 0.03)
MOUTH_RGB, TEETH_RGB = (0.25, 0.07, 0.07), (0.72, 0.69, 0.64)  # below what `_paint_irises` takes for an eye
EYE_RADIUS = 0.022  # metres, outside the eyeball of large heads too


@dataclass(frozen=True)
class View:
    """A perspective camera ``distance`` metres in front of the head, which turns by yaw and pitch."""

    size: int = 640
    yaw: float = 0.0
    pitch: float = 0.0
    distance: float = 1.0
    width: float = 0.32
    centre: tuple[float, float, float] = (0.0, -0.01, 0.0)

    def rotation(self) -> Array:
        """Head to camera rotation (3,3): yaw about y, then pitch about x."""
        cy, sy, cp, sp = np.cos(self.yaw), np.sin(self.yaw), np.cos(self.pitch), np.sin(self.pitch)
        return np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array(
            [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]
        )

    def project(self, vertices: Array) -> Array:
        """Metres (N,3) to pixels (N,3): x right, y down, third value the depth (larger is farther)."""
        seen = (vertices - np.array(self.centre)) @ self.rotation().T
        depth = self.distance - seen[:, 2]
        scale = self.size / self.width * self.distance / depth
        half = self.size / 2
        return np.stack([half + seen[:, 0] * scale, half - seen[:, 1] * scale, depth], axis=1)


def rasterize(points: Array, faces: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], Array]:
    """Nearest triangle (size,size), -1 for background, and its weights (size,size,3); no culling."""
    nearest = np.full((size, size), np.inf)
    found = np.full((size, size), -1, dtype=np.int64)
    weights = np.zeros((size, size, 3))
    corners = points[faces]
    low = np.floor(corners[..., :2].min(1) - 0.5).astype(int).clip(0, size - 1)
    high = np.ceil(corners[..., :2].max(1) - 0.5).astype(int).clip(0, size - 1)
    edge1, edge2 = corners[:, 1, :2] - corners[:, 0, :2], corners[:, 2, :2] - corners[:, 0, :2]
    area = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]
    for index in np.flatnonzero(np.abs(area) > 1e-9):
        (x0, y0), (x1, y1) = low[index], high[index]
        dx = np.arange(x0, x1 + 1)[None, :] + 0.5 - corners[index, 0, 0]
        dy = np.arange(y0, y1 + 1)[:, None] + 0.5 - corners[index, 0, 1]
        b1 = (dx * edge2[index, 1] - dy * edge2[index, 0]) / area[index]
        b2 = (dy * edge1[index, 0] - dx * edge1[index, 1]) / area[index]
        b0 = 1.0 - b1 - b2
        depth = b0 * corners[index, 0, 2] + b1 * corners[index, 1, 2] + b2 * corners[index, 2, 2]
        window = np.s_[y0 : y1 + 1, x0 : x1 + 1]
        win = (b0 >= 0) & (b1 >= 0) & (b2 >= 0) & (depth < nearest[window])
        nearest[window][win] = depth[win]
        found[window][win] = index
        weights[window][win] = np.stack([b0, b1, b2], axis=-1)[win]
    return found, weights


def paint(
    vertices: Array,
    faces: NDArray[np.int64],
    colours: Array,
    view: View,
    eyes: tuple[Array, Array] | None = None,
    background: float = 0.55,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], Array]:
    """Paint a lit picture (size,size,3) uint8 RGB; also return the triangle and weights under every pixel.

    ``eyes`` are eyeball centres (2,3) and gaze directions (2,3): iris and pupil are painted per pixel
    around them.
    """
    found, weights = rasterize(view.project(vertices), faces, view.size)
    hit = found >= 0
    corners = faces[found[hit]]
    normal = (vertex_normals(vertices, faces)[corners] * weights[hit][..., None]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    colour = (colours[corners] * weights[hit][..., None]).sum(1)
    if eyes is not None:
        colour = _paint_irises(colour, (vertices[corners] * weights[hit][..., None]).sum(1), *eyes)
    key, fill = np.array([0.35, 0.5, 0.79]), np.array([-0.6, 0.1, 0.79])
    light = 0.32 + 0.62 * (normal @ key).clip(min=0) + 0.22 * (normal @ fill).clip(min=0)
    image = np.full((view.size, view.size, 3), background)
    image[hit] = colour * light[:, None]
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8), found, weights


def _paint_irises(colour: Array, position: Array, centres: Array, gazes: Array) -> Array:
    for centre, gaze in zip(centres, gazes, strict=True):
        arm = position - centre
        distance = np.linalg.norm(arm, axis=1)
        angle = np.degrees(np.arccos((arm @ gaze / np.maximum(distance, 1e-9)).clip(-1, 1)))
        ball = (distance < EYE_RADIUS) & (colour.min(1) > 0.75)
        colour[ball & (angle < 21)] = IRIS_RGB
        colour[ball & (angle < 8)] = PUPIL_RGB
    return colour


def head_colours(regions: dict[str, Array]) -> Array:
    """Vertex colours (V,3) of a plain adult: skin, darker lips and brows, white eyeballs, dark mouth, teeth.

    Regions that are absent are left out.
    """
    colours = np.tile(np.array(SKIN_RGB), (len(regions["lips"]), 1))
    for name, target in (
        ("lips", LIP_RGB),
        ("brows", BROW_RGB),
        ("mouth_interior", MOUTH_RGB),
        ("teeth", TEETH_RGB),
        ("eyes", WHITE_RGB),
    ):
        if name in regions:
            colours = colours + regions[name][:, None] * (np.array(target) - colours)
    return colours
