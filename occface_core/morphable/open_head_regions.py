"""Named regions of the open head, (V,) in [0,1], mirror-symmetric.

Lips, ears and eyelids come from MakeHuman's painted skin masks and mouth and eye cavities from the pieces of its
texture unwrap; brows, nose, neck, scalp and face are drawn relative to those on the mean head.
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


def ramp(values: Array, start: float, end: float) -> Array:
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
    """Triangles (F,) of the mouth cavity and of the eye cavities, which are pieces of their own in the unwrap."""
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
    """Vertices (V,) of skin seen from outside (lids, lips, neck included): on a triangle that is not ``inner`` (F,)."""
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
    ear_box = mean[ears > 0.5]
    tip = mean[skin & (np.abs(mean[:, 0]) < 1e-6) & (mean[:, 1] > mouth_centre[1])][:, [1, 2]]
    tip_y, tip_z = tip[tip[:, 1].argmax()]
    chin_y = mouth_centre[1] - 0.05
    azimuth = np.degrees(np.arctan2(np.abs(mean[:, 0]), mean[:, 2] + 0.045))
    hairline = eye[1] + 0.068 - 0.035 * ramp(azimuth, 35.0, 80.0)
    jaw_line = chin_y - 0.004 + 0.062 * ramp(azimuth, 25.0, 85.0)
    face = ramp(azimuth, 84.0, 74.0) * ramp(mean[:, 1], hairline + 0.004, hairline - 0.006)
    face = face * ramp(mean[:, 1], jaw_line - 0.006, jaw_line + 0.003) * (1 - ears) * skin
    downwards = vertex_normals(mean, topology.faces)[:, 1]
    face = face * np.maximum(ramp(downwards, -0.75, -0.5), ramp(mean[:, 1], chin_y + 0.008, chin_y + 0.02))
    neck = ramp(mean[:, 1], jaw_line + 0.004, jaw_line - 0.008) * skin * (1 - face)
    neck = neck * ramp(mean[:, 1], ear_box[:, 1].min() - 0.006, ear_box[:, 1].min() - 0.018)
    scalp = skin * (1 - face) * (1 - neck) * (1 - ears)
    neck = neck + scalp * ramp(azimuth, 70.0, 50.0) * (mean[:, 1] < mouth_centre[1])  # underside of the chin
    scalp = scalp * (1 - neck)
    eye_region = np.zeros(len(mean))
    for side in (1.0, -1.0):
        eye_region += _ellipsoid(mean, eye * np.array([side, 1, 1]), (0.026, 0.0165, 0.03)) * skin
    nose_centre = np.array([0.0, 0.5 * (tip_y + eye[1]) - 0.006, tip_z - 0.012])
    nose = _ellipsoid(mean, nose_centre, (0.021, 0.034, 0.03)) * skin * (1 - lips)
    regions = {
        "face": face,
        "eyes": ((topology.component == LEFT_EYE) | (topology.component == RIGHT_EYE)).astype(np.float64),
        "eye_region": np.maximum(eye_region, lids).clip(0, 1),
        "lips": lips,
        "brows": (_brows(mean, eye, 1.0) + _brows(mean, eye, -1.0)) * skin,
        "ears": ears,
        "scalp": scalp,
        "neck": neck,
        "nose": nose * (mean[:, 1] > mouth_centre[1] + 0.006),
        "mouth_interior": (mouth | (topology.component == TONGUE)).astype(np.float64),
    }
    for name in ("face", "neck", "scalp", "ears"):
        regions[name] = smooth(regions[name], topology.faces, 1) * skin
    return {
        name: (0.5 * (regions[name] + regions[name][topology.mirror])).clip(0, 1) for name in REGION_NAMES
    }
