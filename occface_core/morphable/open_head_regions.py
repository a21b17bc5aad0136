"""Named regions of the open head, (V,) in [0,1], mirror-symmetric.

Lips, ears and eyelids come from MakeHuman's painted skin masks and mouth and eye cavities from the pieces
of its texture unwrap; brows, nose, neck, scalp and face are drawn relative to those on the mean head.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from occface_core.morphable.open_head_assets import read_mask
from occface_core.morphable.open_head_topology import (
    LEFT_EYE,
    RIGHT_EYE,
    SKIN,
    TONGUE,
    HeadTopology,
    smooth,
    vertex_normals,
)

Array = NDArray[np.float64]

REGION_NAMES = (
    "face",
    "eyes",
    "eye_region",
    "lips",
    "brows",
    "ears",
    "scalp",
    "neck",
    "nose",
    "mouth_interior",
)


def ramp(values: Array, start: float | Array, end: float | Array) -> Array:
    """Smooth step from 0 at ``start`` to 1 at ``end`` (``start`` may be the larger)."""
    t = ((values - start) / (end - start)).clip(0, 1)
    return t * t * (3 - 2 * t)


def _painted(folder: Path, topology: HeadTopology, name: str) -> Array:
    """Sample a painted mask at the vertices (V,); the largest value where a vertex lies on several charts."""
    values = read_mask(folder, name, topology.texcoords)
    vertex = np.zeros(len(topology.keep))
    np.maximum.at(vertex, topology.faces.ravel(), values[topology.texture_faces.ravel()])
    return vertex


def cavity_faces(
    folder: Path, topology: HeadTopology, mean: Array
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Triangles (F,) of the mouth cavity and of the eye cavities: pieces of their own in the unwrap."""
    painted = read_mask(folder, "inside-mouth", topology.texcoords)[topology.texture_faces].mean(1)
    eye_height = mean[topology.component == LEFT_EYE][:, 1].mean()
    mouth, eyes = np.zeros(len(topology.faces), dtype=bool), np.zeros(len(topology.faces), dtype=bool)
    sizes = {chart: int((topology.chart == chart).sum()) for chart in np.unique(topology.chart)}
    for chart, size in sizes.items():
        piece = topology.chart == chart
        if topology.component[topology.faces[piece][0, 0]] != SKIN or size == max(sizes.values()):
            continue
        if painted[piece].mean() > 0.5:
            mouth |= piece
        elif mean[topology.faces[piece]][..., 1].mean() > eye_height - 0.02:
            eyes |= piece
    return mouth, eyes


def outer_skin(topology: HeadTopology, inner: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Vertices (V,) of skin seen from outside, lids and lips included: on a triangle not ``inner``."""
    outside = np.zeros(len(topology.keep), dtype=bool)
    outside[topology.faces[~inner]] = True
    return outside & (topology.component == SKIN)


def _ellipsoid(mean: Array, centre: Array, radii: tuple[float, float, float], soft: float = 0.25) -> Array:
    distance = np.sqrt((((mean - centre) / np.array(radii)) ** 2).sum(1))
    return ramp(distance, 1.0 + soft, 1.0 - soft)


def _brows(mean: Array, eye: Array, side: float) -> Array:
    """An arched band above one eye; ``side`` is +1 for the subject's left."""
    across = (mean[:, 0] - side * eye[0]) * side  # 0 above the pupil, positive outwards
    arch = eye[1] + 0.0235 - 9.0 * (across - 0.004) ** 2
    thickness = 0.0042 - 0.07 * ramp(across, -0.02, 0.03) * 0.02
    band = ramp(np.abs(mean[:, 1] - arch), thickness + 0.002, thickness - 0.001)
    return band * ramp(across, -0.024, -0.019) * ramp(across, 0.028, 0.022) * (mean[:, 2] > eye[2] - 0.01)


def _face_neck_scalp(
    topology: HeadTopology, mean: Array, skin: NDArray[np.bool_], ears: Array, eye: Array, mouth_y: float
) -> tuple[Array, Array, Array]:
    """Divide the outer skin without the ears by height and by the azimuth around the head's upright axis."""
    chin_y = mouth_y - 0.05
    height = mean[:, 1]
    azimuth = np.degrees(np.arctan2(np.abs(mean[:, 0]), mean[:, 2] + 0.045))
    hairline = eye[1] + 0.068 - 0.035 * ramp(azimuth, 35.0, 80.0)
    jaw_line = chin_y - 0.004 + 0.062 * ramp(azimuth, 25.0, 85.0)
    face = ramp(azimuth, 84.0, 74.0) * ramp(height, hairline + 0.004, hairline - 0.006)
    face = face * ramp(height, jaw_line - 0.006, jaw_line + 0.003) * (1 - ears) * skin
    downwards = vertex_normals(mean, topology.faces)[:, 1]
    face = face * np.maximum(ramp(downwards, -0.75, -0.5), ramp(height, chin_y + 0.008, chin_y + 0.02))
    lobe = mean[ears > 0.5][:, 1].min()
    neck = ramp(height, jaw_line + 0.004, jaw_line - 0.008) * skin * (1 - face)
    neck = neck * ramp(height, lobe - 0.006, lobe - 0.018)
    scalp = skin * (1 - face) * (1 - neck) * (1 - ears)
    neck = neck + scalp * ramp(azimuth, 70.0, 50.0) * (height < mouth_y)  # underside of the chin
    return face, neck, scalp * (1 - neck)


def _nose(mean: Array, midline: NDArray[np.bool_], eye: Array, mouth_y: float) -> Array:
    """An ellipsoid around the ridge: from between the eyes to under the tip."""
    ridge = mean[midline & (mean[:, 1] > mouth_y)]
    tip = ridge[ridge[:, 2].argmax()]
    centre = np.array([0.0, 0.5 * (tip[1] + eye[1]) - 0.006, tip[2] - 0.012])
    return _ellipsoid(mean, centre, (0.021, 0.034, 0.03)) * (mean[:, 1] > mouth_y + 0.006)


def build_regions(folder: Path, topology: HeadTopology, mean: Array) -> dict[str, Array]:
    """Return every region of ``REGION_NAMES`` as (V,) weights on the mean head (V,3), metres."""
    in_mouth, in_eyes = cavity_faces(folder, topology, mean)
    skin = outer_skin(topology, in_mouth | in_eyes)
    mouth = np.isin(np.arange(len(mean)), topology.faces[in_mouth]) & ~skin
    eye = mean[topology.component == LEFT_EYE].mean(0)
    lips = _painted(folder, topology, "lips") * skin
    ears = _painted(folder, topology, "ears") * skin
    lids = _painted(folder, topology, "eyelids") * skin
    mouth_centre = (lips[:, None] * mean).sum(0) / lips.sum()
    face, neck, scalp = _face_neck_scalp(topology, mean, skin, ears, eye, float(mouth_centre[1]))
    eye_region = np.zeros(len(mean))
    for side in (1.0, -1.0):
        eye_region += _ellipsoid(mean, eye * np.array([side, 1, 1]), (0.026, 0.0165, 0.03)) * skin
    midline = skin & (np.abs(mean[:, 0]) < 1e-6)
    nose = _nose(mean, midline, eye, float(mouth_centre[1])) * skin * (1 - lips)
    regions = {
        "face": face,
        "eyes": ((topology.component == LEFT_EYE) | (topology.component == RIGHT_EYE)).astype(np.float64),
        "eye_region": np.maximum(eye_region, lids).clip(0, 1),
        "lips": lips,
        "brows": (_brows(mean, eye, 1.0) + _brows(mean, eye, -1.0)) * skin,
        "ears": ears,
        "scalp": scalp,
        "neck": neck,
        "nose": nose,
        "mouth_interior": (mouth | (topology.component == TONGUE)).astype(np.float64),
    }
    for name in ("face", "neck", "scalp", "ears"):
        regions[name] = smooth(regions[name], topology.faces, 1) * skin
    return {
        name: (0.5 * (regions[name] + regions[name][topology.mirror])).clip(0, 1) for name in REGION_NAMES
    }
