"""Landmark conventions of the open head, all derived from MediaPipe's 468 points placed on it.

* 468: read from ``open_head_landmarks.json`` (measured by ``open_head_landmarks``), inner lip points
  moved to where the lips meet.
* 68 (iBUG): a 17-point contour and 51 inner points, each MediaPipe's matching point or a mix of two.
* dynamic contour: for each yaw of -39..39 degrees the points of the averted side slide to the silhouette,
  as in
  FLAME's embedding (Li et al. 2017); the points of the near side stay on the jaw.
* NoW's seven points: iBUG 36, 39, 42, 45, 33, 48, 54.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from occface_core.errors import AssetError
from occface_core.morphable.open_head_geometry import HeadGeometry
from occface_core.morphable.open_head_lips import meet_lips
from occface_core.morphable.open_head_surface import embed, locate

Array = NDArray[np.float64]
Embedding = tuple[NDArray[np.int64], Array]

MAX_YAW = 39
NOW7 = (36, 39, 42, 45, 33, 48, 54)
# iBUG index -> (MediaPipe point a, point b, share of b). The usual correspondences, with shares fitted to
# photos that carry both human-placed iBUG points and MediaPipe's, where that cut the distance (2.6 to 2.3 %
# of the face box on the inner points; 5.2 to 4.3 % on the contour, whose iBUG points sit lower on the jaw
# than MediaPipe's).
Mix = tuple[int, int, float]
CONTOUR17: tuple[Mix, ...] = (
    *((127, 127, 0.0), (234, 93, 0.19), (93, 132, 0.37), (132, 58, 0.42), (58, 172, 0.64), (136, 136, 0.0)),
    *((150, 149, 0.3), (176, 176, 0.0), (152, 152, 0.0), (400, 400, 0.0), (379, 378, 0.3)),
    *(
        (365, 365, 0.0),
        (288, 397, 0.64),
        (361, 288, 0.42),
        (323, 361, 0.37),
        (454, 323, 0.19),
        (356, 356, 0.0),
    ),
)
INNER51: tuple[Mix, ...] = (
    *((70, 70, 0.0), (63, 63, 0.0), (105, 66, 0.21), (66, 66, 0.0), (107, 66, 0.31)),
    *((336, 296, 0.31), (296, 296, 0.0), (334, 296, 0.21), (293, 293, 0.0), (300, 300, 0.0)),
    *((6, 8, 0.26), (197, 195, 0.33), (5, 5, 0.0), (4, 19, 0.27)),
    *((98, 99, 0.58), (97, 97, 0.0), (2, 164, 0.29), (326, 326, 0.0), (327, 328, 0.58)),
    *((33, 33, 0.0), (160, 160, 0.0), (158, 158, 0.0), (133, 173, 0.4), (153, 153, 0.0), (144, 144, 0.0)),
    *((362, 398, 0.4), (385, 385, 0.0), (387, 387, 0.0), (263, 263, 0.0), (373, 373, 0.0), (380, 380, 0.0)),
    *((61, 61, 0.0), (39, 40, 0.5), (37, 0, 0.23), (0, 0, 0.0), (267, 0, 0.23), (269, 270, 0.5)),
    *((291, 291, 0.0), (405, 321, 0.35), (314, 314, 0.0), (17, 17, 0.0), (84, 84, 0.0), (181, 91, 0.35)),
    *((62, 62, 0.0), (82, 82, 0.0), (13, 13, 0.0), (312, 312, 0.0)),
    *((292, 292, 0.0), (317, 317, 0.0), (14, 14, 0.0), (87, 87, 0.0)),
)


def read_landmark_file(path: Path, faces: int) -> Embedding:
    """Read triangle ids (468,) and weights (468,3) of MediaPipe's points.

    Raises:
        AssetError: the file is missing or does not fit a head of ``faces`` triangles.
    """
    cure = "make it with `python -m occface_core.morphable.open_head_landmarks`"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        ids, weights = (
            np.array(record["triangles"], dtype=np.int64),
            np.array(record["weights"], dtype=np.float64),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AssetError(f"{path} is not a landmark file of the open head ({error}); {cure}") from error
    if ids.shape != (468,) or weights.shape != (468, 3) or ids.min() < 0 or ids.max() >= faces:
        raise AssetError(f"{path} does not hold 468 points on a mesh of {faces} triangles; {cure}")
    return ids, weights / weights.sum(1, keepdims=True)


def _combine(geometry: HeadGeometry, points468: Embedding, table: tuple[Mix, ...]) -> Embedding:
    """Embed iBUG points: a single MediaPipe point keeps its place, a mix is put back on the outer skin."""
    ids = np.array([points468[0][a] for a, _, _ in table])
    weights = np.stack([points468[1][a] for a, _, _ in table])
    mixed = [row for row, (_, _, share) in enumerate(table) if share > 0]
    places = locate(geometry.mean, geometry.faces, *points468)
    middle = np.stack([(1 - t) * places[a] + t * places[b] for a, b, t in (table[row] for row in mixed)])
    ids[mixed], weights[mixed] = embed(middle, geometry.mean, geometry.faces, geometry.outer_faces)
    return ids, weights


def yaw_of_row(row: int) -> int:
    """Yaw in degrees of a row of the dynamic table: rows 0..39 are 0..39, rows 40..78 are -1..-39."""
    return row if row <= MAX_YAW else MAX_YAW - row


def _slice(mean: Array, faces: NDArray[np.int64], height: float) -> tuple[NDArray[np.int64], Array]:
    """Cut triangles with the plane y = height: ids (N,) and weights (N,3) of the points on cut edges."""
    ids, weights = [], []
    for start, end in ((0, 1), (1, 2), (2, 0)):
        low, high = mean[faces[:, start], 1], mean[faces[:, end], 1]
        cut = np.flatnonzero((low - height) * (high - height) < 0)
        share = (height - low[cut]) / (high[cut] - low[cut])
        weight = np.zeros((len(cut), 3))
        weight[:, start], weight[:, end] = 1 - share, share
        ids.append(cut)
        weights.append(weight)
    return np.concatenate(ids), np.concatenate(weights)


def dynamic_contour(geometry: HeadGeometry, contour: Embedding) -> Embedding:
    """Contour per yaw row: triangle ids (79,17) and weights (79,17,3).

    A positive yaw turns the face to the subject's left, so the subject's left side (iBUG 9..16) is the
    averted one.
    """
    mean, faces = geometry.mean, geometry.faces
    # In front of the ears and above the neck: the skull behind is wider than the face but is not its contour.
    cheek = np.flatnonzero(geometry.outer_faces & (geometry.regions["face"][faces].mean(1) > 0.2))
    places = locate(mean, faces, *contour)
    slices = [_slice(mean, faces[cheek], place[1]) for place in places]
    rows = 2 * MAX_YAW + 1
    ids, weights = np.tile(contour[0], (rows, 1)), np.tile(contour[1], (rows, 1, 1))
    for row in range(rows):
        yaw = np.radians(yaw_of_row(row))
        side = np.sign(yaw)  # +1: the subject's left, at x > 0, is averted
        for point in range(9, 17) if side > 0 else range(0, 8) if side < 0 else ():
            cut_ids, cut_weights = slices[point]
            where = (mean[faces[cheek[cut_ids]]] * cut_weights[..., None]).sum(1)
            across = side * (np.cos(yaw) * where[:, 0] + np.sin(yaw) * where[:, 2])
            own = side * (np.cos(yaw) * places[point, 0] + np.sin(yaw) * places[point, 2])
            across[side * where[:, 0] < 0] = -np.inf  # the silhouette of the averted half, not of the nose
            best = int(across.argmax())
            if across[best] > own:
                ids[row, point], weights[row, point] = cheek[cut_ids[best]], cut_weights[best]
    return ids, weights


def build_landmarks(geometry: HeadGeometry, path: Path) -> dict[str, NDArray]:
    """All landmark arrays of the head file: ``lmk68_*``, ``lmk68_dynamic_*``, ``lmk468_*``, ``now7_*``."""
    points468 = meet_lips(geometry, read_landmark_file(path, len(geometry.faces)))
    contour = _combine(geometry, points468, CONTOUR17)
    inner = _combine(geometry, points468, INNER51)
    ids, weights = np.concatenate([contour[0], inner[0]]), np.concatenate([contour[1], inner[1]])
    found = {
        "lmk68": (ids, weights),
        "lmk68_dynamic": dynamic_contour(geometry, contour),
        "lmk468": points468,
        "now7": (ids[list(NOW7)], weights[list(NOW7)]),
    }
    arrays: dict[str, NDArray] = {}
    for name, (triangles, bary) in found.items():
        arrays[f"{name}_faces"] = triangles.astype(np.int32)
        arrays[f"{name}_bary"] = bary.astype(np.float32)
    return arrays
