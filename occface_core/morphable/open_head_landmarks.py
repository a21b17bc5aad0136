"""Measure where MediaPipe's 468 face-mesh points lie on the open head.

``python -m occface_core.morphable.open_head_landmarks --mediapipe-python PYTHON --out
weights/open_head_landmarks.json``

Pictures of the mean head (several turns, closed and slightly opened mouth) are given to MediaPipe; every
point is carried back to the surface under its pixel, averaged over the pictures by how squarely the surface
faced the camera, made mirror-symmetric and put on the nearest allowed triangle. MediaPipe needs an
environment of its own, so the result is kept as a small file and the head itself is built without it.
"""

import argparse
import json
import logging
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from occface_core.errors import AssetError
from occface_core.morphable import open_head_mediapipe
from occface_core.morphable.open_head_geometry import HeadGeometry, build_geometry
from occface_core.morphable.open_head_picture import View, head_colours, paint
from occface_core.morphable.open_head_surface import embed, locate

log = logging.getLogger(__name__)
Array = NDArray[np.float64]

INNER_UPPER_LIP = (191, 80, 81, 82, 13, 312, 311, 310, 415)
INNER_LOWER_LIP = (95, 88, 178, 87, 14, 317, 402, 318, 324)
OUTER_UPPER_LIP = (185, 40, 39, 37, 0, 267, 269, 270, 409)
OUTER_LOWER_LIP = (146, 91, 181, 84, 17, 314, 405, 321, 375)
UPPER_LIDS = (246, 161, 160, 159, 158, 157, 173, 466, 388, 387, 386, 385, 384, 398)
LOWER_LIDS = (7, 163, 144, 145, 153, 154, 155, 249, 390, 373, 374, 380, 381, 382)
LIPS = INNER_UPPER_LIP + INNER_LOWER_LIP + OUTER_UPPER_LIP + OUTER_LOWER_LIP + (61, 291, 78, 308)

SIZE = 640
TURNS = [(yaw, 0.0) for yaw in (0.0, 0.17, -0.17, 0.35, -0.35, 0.6, -0.6)] + [(0.0, 0.13), (0.0, -0.13)]
JAW_OPENINGS = [(0.0, turn) for turn in TURNS] + [
    (a, (y, 0.0)) for a in (6.0, 10.0) for y in (0.0, 0.17, -0.17)
]
# A point at azimuth phi of the head is trusted most in pictures turned by about -TURN_SHARE * phi.
TURN_SHARE, TURN_SD = 0.5, 0.2
PITCH_SD = 0.15


@dataclass(frozen=True)
class Measurement:
    """What one picture says: MediaPipe's answer and where its points lie on the mean head."""

    opening: float  # jaw, degrees
    view: View
    detected: Array  # (468,3) pixels
    placed: Array  # (468,3) metres on the mean head
    miss: Array  # (468,) squared pixels from the detection to the pixel it was carried back from


def _measure(geometry: HeadGeometry, python: str) -> list[Measurement]:
    """Paint the pictures, have MediaPipe detect its points in them and carry these back to the mean head."""
    pictures = []
    eyes = (geometry.rig.joints[3:], np.tile([0.0, 0.0, 1.0], (2, 1)))
    with tempfile.TemporaryDirectory() as folder:
        for index, (opening, (yaw, pitch)) in enumerate(JAW_OPENINGS):
            posed = geometry.open_jaw(np.radians(opening))
            view = View(SIZE, yaw, pitch)
            image, found, weights = paint(posed, geometry.faces, head_colours(geometry.regions), view, eyes)
            cv2.imwrite(str(Path(folder) / f"{index:02d}.png"), image[..., ::-1])
            pictures.append((opening, view, found, weights))
        answer = Path(folder) / "points.json"
        command = [python, open_head_mediapipe.__file__, folder, str(answer)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=600)
        except (OSError, subprocess.SubprocessError) as error:
            raise AssetError(
                f"{python} could not run MediaPipe ({error}): give one with mediapipe==0.10.21"
            ) from error
        detections = json.loads(answer.read_text(encoding="utf-8"))
    measured = []
    for index, (opening, view, found, weights) in enumerate(pictures):
        points = detections[f"{index:02d}.png"]
        if points is None:
            log.warning("MediaPipe found no face in picture %d (jaw %g degrees)", index, opening)
            continue
        detected = np.array(points)
        measured.append(
            Measurement(opening, view, detected, *_carry_back(geometry, found, weights, detected))
        )
    if len(measured) < len(pictures) // 2:
        raise AssetError("MediaPipe found the face in fewer than half of the pictures of the mean head")
    return measured


def _carry_back(
    geometry: HeadGeometry, found: NDArray[np.int64], weights: Array, points: Array
) -> tuple[Array, Array]:
    """Mean-head position of each point, at the nearest pixel showing outer skin, and that distance^2."""
    shown = (found >= 0) & geometry.outer_faces[found]
    pixels = np.argwhere(shown)
    centres = pixels[:, ::-1] + 0.5
    placed, miss = np.empty((len(points), 3)), np.empty(len(points))
    for index, point in enumerate(points[:, :2]):
        gap = ((centres - point) ** 2).sum(1)
        row, column = pixels[gap.argmin()]
        corners, weight = geometry.faces[found[row, column]], weights[row, column]
        placed[index] = weight @ geometry.mean[corners]
        miss[index] = gap.min()
    return placed, miss


def mirror_pairs(measured: list[Measurement]) -> NDArray[np.int64]:
    """Left/right partner (468,) of every point: the cheapest matching of the points with their mirror.

    Raises:
        AssetError: the matching is not its own inverse.
    """
    cost = np.zeros((468, 468))
    for item in measured:
        if item.view.yaw == item.view.pitch == 0.0:
            points = item.detected - np.array([SIZE / 2, SIZE / 2, 0.0])
            flipped = points * np.array([-1.0, 1.0, 1.0])
            cost += ((points[:, None] - flipped[None]) ** 2).sum(-1)
    _, partner = linear_sum_assignment(cost + cost.T)
    lonely = np.flatnonzero(partner[partner] != np.arange(468))
    if lonely.size:
        raise AssetError(f"no consistent left/right pairs for MediaPipe points {lonely.tolist()}")
    return partner


def _combine(measured: list[Measurement]) -> Array:
    """Weighted mean (468,3); lips only from the open-mouth pictures, the rest only from the closed ones.

    Points on the side of the head count most in pictures that show that side: in the others the outline of
    the face covers them, and the pixel they are carried back from belongs to the cheek.
    """
    lips = np.zeros(468, dtype=bool)
    lips[list(LIPS)] = True
    first = next(item for item in measured if item.opening == item.view.yaw == item.view.pitch == 0.0)
    azimuth = np.arctan2(first.placed[:, 0], first.placed[:, 2] + 0.045)
    total, weight = np.zeros((468, 3)), np.zeros(468)
    for item in measured:
        off = (item.view.yaw + TURN_SHARE * azimuth) / TURN_SD
        trust = np.exp(-0.5 * off**2 - 0.5 * (item.view.pitch / PITCH_SD) ** 2) / (1.0 + item.miss / 4.0)
        use = np.where(lips, item.opening > 0, item.opening == 0) * trust
        total += use[:, None] * item.placed
        weight += use
    return total / weight[:, None]


def allowed_faces(geometry: HeadGeometry) -> NDArray[np.bool_]:
    """Triangles (468,F) each point may lie on: outer skin; for lip and lid points that lip or lid."""
    faces = geometry.faces
    skin = geometry.outer_faces
    allowed = np.tile(skin, (468, 1))
    lip = skin & (geometry.regions["lips"][faces].mean(1) > 0.35)
    lower = geometry.rig.weights[:, 2][faces].mean(1) > 0.4
    allowed[list(INNER_UPPER_LIP + OUTER_UPPER_LIP)] = lip & ~lower
    allowed[list(INNER_LOWER_LIP + OUTER_LOWER_LIP)] = lip & lower
    blink = np.linalg.norm(geometry.blink[faces], axis=2).mean(1)
    drop = -geometry.blink[faces][..., 1].mean(1)
    upper_lid = skin & (blink > 0.0025) & (drop > 0)
    near_eye = skin & (geometry.regions["eye_region"][faces].mean(1) > 0.3)
    allowed[list(UPPER_LIDS)] = near_eye & upper_lid
    allowed[list(LOWER_LIDS)] = near_eye & ~upper_lid
    return allowed


def measure_landmarks(geometry: HeadGeometry, python: str) -> tuple[NDArray[np.int64], Array]:
    """Return the triangle (468,) and barycentric weights (468,3) of every point on the mean head."""
    measured = _measure(geometry, python)
    points, partner = _combine(measured), mirror_pairs(measured)
    points = 0.5 * (points + points[partner] * np.array([-1.0, 1.0, 1.0]))
    log.info("%d points on the midline", int((partner == np.arange(468)).sum()))
    ids, weights = embed(points, geometry.mean, geometry.faces, allowed_faces(geometry))
    moved = np.linalg.norm(locate(geometry.mean, geometry.faces, ids, weights) - points, axis=1)
    log.info(
        "projection moved the points by %.2f mm on average, at most %.2f mm",
        1e3 * moved.mean(),
        1e3 * moved.max(),
    )
    return ids, weights


def main(arguments: list[str] | None = None) -> None:
    """Command line: write the landmark file that ``open_head`` reads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mediapipe-python", required=True, help="a Python with mediapipe==0.10.21")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    ids, weights = measure_landmarks(build_geometry(), options.mediapipe_python)
    record = {
        "format": "occface-head-landmarks",
        "version": 1,
        "made_by": "occface_core.morphable.open_head_landmarks with mediapipe 0.10.21, "
        f"{len(JAW_OPENINGS)} pictures of the mean head at {SIZE} px",
        "triangles": ids.tolist(),
        "weights": np.round(weights, 5).tolist(),
    }
    options.out.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
