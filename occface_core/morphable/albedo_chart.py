"""Where albedo is learned: a cylindrical chart of the mean head's face, upright and exactly mirror-symmetric.

Learning in a chart of its own keeps the learned colours independent of the head's texture layout; painting
looks them up again by position.

Letters: H W chart size, N chart cells on the face, L landmarks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.open_head_picture import rasterize
from occface_core.morphable.open_head_topology import SKIN, vertex_normals

Array = NDArray[np.float64]

# MediaPipe's face outline, clockwise from the top of the forehead.
_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
_FADE = (0.002, 0.028)  # metres inside the outline over which learned colour fades in
_GRAZING = (0.10, 0.50)  # the same by the normal's share towards the viewer: photos smear the sides of a face
_INNER = 0.035  # metres inside the outline beyond which no side of the face lies
_AXIS_Z, _RADIUS = -0.03, 0.085  # metres: axis of the cylinder, and the radius at which arcs are measured
_HALF = 0.105  # metres from the chart's centre to its border
SIZE = 152


@dataclass(frozen=True)
class FaceChart:
    """The chart's grid on the mean head; row 0 is the forehead, the subject's left is to the right.

    Attributes:
        centre: Height (metres) of the middle row.
        position, normal: (H,W,3) surface under each cell, metres and unit length; zero where there is none.
        face: (H,W) weight of a cell in learning: 1 well inside the outline, 0 at it and between the lids.
        paint: (H,W) the same with the eyes filled in: share of learned colour in the painted texture.
        landmarks: (468,3) MediaPipe points on the mean head, metres.
    """

    centre: float
    position: Array
    normal: Array
    face: Array
    paint: Array
    landmarks: Array

    @property
    def cells(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns (N,) of the cells on the face."""
        rows, columns = np.nonzero(self.face > 0)
        return rows, columns

    def grid(self, values: NDArray) -> Array:
        """(N,C) values at `cells` as (H,W,C), zero elsewhere."""
        result = np.zeros((*self.face.shape, values.shape[1]))
        result[self.cells] = values
        return result

    def fill(self, values: Array) -> Array:
        """A grid (H,W,C) with the eyes filled smoothly from the lids around them (Laplace's equation)."""
        rows, columns = np.nonzero((self.paint > 0) & (self.face == 0))
        number = np.full(self.face.shape, -1)
        number[rows, columns] = np.arange(len(rows))
        system, known = 4.0 * np.eye(len(rows)), np.zeros((len(rows), values.shape[2]))
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            near = number[rows + dy, columns + dx]
            system[np.flatnonzero(near >= 0), near[near >= 0]] -= 1
            known[near < 0] += values[rows + dy, columns + dx][near < 0]
        values = values.copy()
        values[rows, columns] = np.linalg.solve(system, known)
        return values

    def lookup(self, values: Array, points: Array) -> Array:
        """Bilinear values (N,C) of a grid (H,W,C) at points (N,3); 0 off the chart or behind."""
        place = to_chart(points, self.centre)
        inside = ((place > 1) & (place < SIZE - 1)).all(1) & (points[:, 2] > _AXIS_Z)
        x, y = (place - 0.5).clip(0, SIZE - 1.001).T
        x0, y0 = x.astype(np.int64), y.astype(np.int64)
        fx, fy = (x - x0)[:, None], (y - y0)[:, None]
        top = values[y0, x0] * (1 - fx) + values[y0, x0 + 1] * fx
        bottom = values[y0 + 1, x0] * (1 - fx) + values[y0 + 1, x0 + 1] * fx
        return (top * (1 - fy) + bottom * fy) * inside[:, None]


def to_chart(points: Array, centre: float) -> Array:
    """Chart place (N,2: column, row) of points (N,3), in cells."""
    arc = np.arctan2(points[:, 0], points[:, 2] - _AXIS_Z) * _RADIUS
    return (np.stack([arc, centre - points[:, 1]], axis=1) / _HALF + 1) * (SIZE / 2)


def face_chart(head: HeadModel) -> FaceChart:
    """Build the chart of a head.

    Raises:
        AssetError: The head has no MediaPipe landmarks.
    """
    verts, faces = head.v_template.double().numpy(), head.faces.numpy()
    landmarks = head.landmarks(head.v_template[None], "468")[0].double().numpy()
    outline = landmarks[list(_OVAL)]
    centre = float(outline[:, 1].min() + outline[:, 1].max()) / 2
    # Triangles behind the axis would wrap around the chart's seam.
    front = (verts[faces, 2] > _AXIS_Z).all(1) & (head.component.numpy()[faces] == SKIN).all(1)
    radius = np.hypot(verts[:, 0], verts[:, 2] - _AXIS_Z)
    plane = np.concatenate([to_chart(verts, centre), -radius[:, None]], axis=1)
    found, bary = rasterize(plane, faces[front], SIZE)
    corners = faces[front][found]
    hit = (found >= 0)[..., None]
    position = np.einsum("hwk,hwkc->hwc", bary, verts[corners]) * hit
    normal = np.einsum("hwk,hwkc->hwc", bary, vertex_normals(verts, faces)[corners]) * hit
    rows, columns = np.indices((SIZE, SIZE))
    cells = np.stack([columns + 0.5, rows + 0.5], axis=-1).reshape(-1, 2)
    # The outline may reach beyond the chart, whose border then ends the face.
    border = np.minimum(cells, SIZE - cells).min(1)
    inside = np.minimum(inside_polygon(cells, to_chart(outline, centre)), border) * (2 * _HALF / SIZE)
    inside = inside.reshape(SIZE, SIZE)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    # Nostrils and lips turn away too, but well inside the face.
    frontal = np.where(inside > _INNER, 1.0, _ramp(normal[..., 2], *_GRAZING))
    paint = _ramp(inside, *_FADE) * frontal
    paint = np.minimum(paint, paint[:, ::-1])
    hit = hit[..., 0] & hit[:, ::-1, 0]
    eyes = _eye_openings(cells, landmarks, centre)
    return FaceChart(
        centre=centre,
        position=position,
        normal=normal,
        face=paint * hit * ~(eyes | eyes[:, ::-1]),
        paint=paint,
        landmarks=landmarks,
    )


def _ramp(values: Array, start: float, end: float) -> Array:
    """Smooth step from 0 at `start` to 1 at `end`."""
    t = ((values - start) / (end - start)).clip(0, 1)
    return t * t * (3 - 2 * t)


# Lid margins, closed loops of MediaPipe points.
_RIGHT_LIDS = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
_LEFT_LIDS = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)


def _eye_openings(cells: Array, landmarks: Array, centre: float) -> NDArray[np.bool_]:
    """Cells (H,W) between the lids, where a photo shows the eye and not skin."""
    inside = np.zeros(len(cells), dtype=bool)
    for lids in (_RIGHT_LIDS, _LEFT_LIDS):
        inside |= inside_polygon(cells, to_chart(landmarks[list(lids)], centre)) > 0
    return inside.reshape(SIZE, SIZE)


def inside_polygon(points: Array, polygon: Array) -> Array:
    """Distance (N,) of points (N,2) to a closed polygon (K,2), positive inside (winding number rule)."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    edge, arm = end - start, points[:, None] - start
    t = ((arm * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-20)).clip(0, 1)
    distance = np.linalg.norm(arm - t[..., None] * edge, axis=-1).min(1)
    rising = (start[:, 1] <= points[:, None, 1]) & (end[:, 1] > points[:, None, 1])
    falling = (start[:, 1] > points[:, None, 1]) & (end[:, 1] <= points[:, None, 1])
    side = edge[:, 0] * arm[..., 1] - edge[:, 1] * arm[..., 0]
    winding = (rising & (side > 0)).sum(1) - (falling & (side < 0)).sum(1)
    return np.where(winding != 0, distance, -distance)
