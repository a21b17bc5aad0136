"""Painting a whole head's texture: learned colour on the face, sensible colour everywhere else.

Letters: N covered texels, U uv size, T components.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from occface_core.errors import AssetError
from occface_core.morphable.albedo_basis import GLOBAL_NAMES, FaceBasis, global_fields
from occface_core.morphable.albedo_chart import FaceChart
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.open_head_picture import rasterize
from occface_core.morphable.open_head_topology import LEFT_EYE, RIGHT_EYE, SKIN, TEETH, TONGUE

Array = NDArray[np.float64]

SCLERA, PUPIL = np.array([0.76, 0.72, 0.70]), np.array([0.04, 0.035, 0.03])
IRIS = np.array([0.37, 0.27, 0.20])
IRIS_STEP = np.array([0.03, 0.075, 0.11])  # one standard deviation from brown towards blue-grey
IRIS_DEGREES, PUPIL_DEGREES, LIMBUS_DEGREES = (
    21.0,
    8.0,
    2.5,
)  # seen from the eyeball's centre; width of the dark rim
MOUTH, TONGUE_COLOUR = np.array([0.34, 0.13, 0.13]), np.array([0.50, 0.26, 0.26])
ENAMEL, GUM = np.array([0.66, 0.61, 0.55]), np.array([0.52, 0.29, 0.28])
EAR_TINT, LIP_TINT, BROW_TINT = (
    np.array(t) for t in ((0.99, 0.93, 0.92), (0.90, 0.70, 0.72), (0.50, 0.46, 0.44))
)
_BLEED = 8  # texels painted around each island, so that bilinear lookups at seams stay inside its colour


@dataclass(frozen=True)
class Texels:
    """Covered texels of a layout.

    Attributes:
        size: U.
        rows, columns: (N,) place in the texture image; row 0 is v = 1.
        position: (N,3) on the mean head, metres.
        component: (N,) 0 skin, 1 tongue, 2 left eye, 3 right eye, 4 teeth.
        regions: Region name -> (N,) weight.
        eye_angle: (N,) degrees from the optical axis on eyeballs, 180 elsewhere.
    """

    size: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    position: Array
    component: NDArray[np.int64]
    regions: dict[str, Array]
    eye_angle: Array

    def region(self, name: str) -> Array:
        """(N,1) weight of a region; zero when the head does not name it."""
        return self.regions.get(name, np.zeros(len(self.rows)))[:, None]

    def image(self, values: Array) -> Array:
        """(N,C) values as (C,U,U); texels around the islands repeat the nearest covered one."""
        result = np.zeros((self.size, self.size, values.shape[1]))
        known = np.zeros((self.size, self.size))
        result[self.rows, self.columns] = values
        known[self.rows, self.columns] = 1
        for _ in range(_BLEED):
            total = np.sum([_shifted(result * known[..., None], *step) for step in _NEIGHBOURS], axis=0)
            count = np.sum([_shifted(known, *step) for step in _NEIGHBOURS], axis=0)
            new = (known == 0) & (count > 0)
            result[new] = total[new] / count[new][:, None]
            known = np.maximum(known, new)
        return np.moveaxis(result, -1, 0)


_NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def _shifted(image: Array, dy: int, dx: int) -> Array:
    padded = np.pad(image, ((1, 1), (1, 1)) + ((0, 0),) * (image.ndim - 2))
    return padded[1 + dy : 1 + dy + image.shape[0], 1 + dx : 1 + dx + image.shape[1]]


def texels_of(head: HeadModel, size: int) -> Texels:
    """Find the surface point under each texel of a head's layout.

    Raises:
        AssetError: The head has no texture layout.
    """
    if head.uv is None or head.uv_faces is None:
        raise AssetError(f"the head {head.name!r} has no texture layout")
    verts, faces = head.v_template.double().numpy(), head.faces.numpy()
    uv = head.uv.double().numpy()
    plane = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, np.zeros(len(uv))], axis=1)
    found, bary = rasterize(plane, head.uv_faces.numpy(), size)
    rows, columns = np.nonzero(found >= 0)
    corners, weights = faces[found[rows, columns]], bary[rows, columns]

    def spread(values: Array) -> Array:
        return np.einsum("nk,nk...->n...", weights, values[corners])

    position = spread(verts)
    component = head.component.numpy()
    texel_component = component[corners[:, 0]]
    angle = np.full(len(rows), 180.0)
    for eye in (LEFT_EYE, RIGHT_EYE):
        here = texel_component == eye
        if here.any():
            arm = position[here] - verts[component == eye].mean(0)
            angle[here] = np.degrees(np.arctan2(np.hypot(arm[:, 0], arm[:, 1]), arm[:, 2]))
    regions = {name: spread(values.double().numpy()) for name, values in head.regions.items()}
    return Texels(size, rows, columns, position, texel_component, regions, angle)


def paint(texels: Texels, chart: FaceChart, basis: FaceBasis) -> tuple[Array, Array, tuple[str, ...]]:
    """The albedo model on the covered texels: mean (N,3), components (T,N,3), component names."""
    learned = _learned_share(texels, chart)
    known = (chart.face > 0)[..., None]
    filled = chart.fill(np.concatenate([basis.mean * known, known.astype(np.float64)], axis=2))
    colours = chart.lookup(filled, texels.position)
    face = colours[:, :3] / np.maximum(colours[:, 3:], 1e-6)
    if basis.photos == 0:
        face = _with_features(face, texels)
    mean = _outside(texels, basis.tone) * (1 - learned) + face * learned
    iris = _ramp(texels.eye_angle, IRIS_DEGREES, 1.0)[:, None] * (1 - _pupil(texels))
    pigment = _skin_share(texels) * (1 - 0.25 * texels.region("lips"))
    components = list(global_fields(mean) * pigment * basis.spread[:, None, None])
    components.append(iris * IRIS_STEP)
    stacked = np.concatenate(list(basis.residuals), axis=2)
    residuals = chart.lookup(chart.fill(stacked), texels.position) * (learned > 0) * _skin_share(texels)
    components += np.split(residuals, len(basis.residuals), axis=1)
    names = (*GLOBAL_NAMES, "iris", *(f"residual_{i:02d}" for i in range(1, len(basis.residuals) + 1)))
    return mean.clip(0, 1), np.stack(components), names


def _skin_share(texels: Texels) -> Array:
    """(N,1) 1 on skin and lips, 0 in the mouth and on eyeballs and tongue."""
    return (texels.component == SKIN)[:, None] * (1 - texels.region("mouth_interior"))


def _learned_share(texels: Texels, chart: FaceChart) -> Array:
    """(N,1) how much of the colour comes from the learned face."""
    return chart.lookup(chart.paint[..., None], texels.position) * _skin_share(texels)


def _outside(texels: Texels, tone: Array) -> Array:
    """Colours (N,3) where nothing is learned: plain skin, ears, mouth, tongue and eyeballs."""
    colour = tone * (1 - texels.region("ears") * (1 - EAR_TINT))
    colour = colour + texels.region("mouth_interior") * (MOUTH - colour)
    colour[texels.component == TONGUE] = TONGUE_COLOUR
    teeth = texels.component == TEETH
    colour[teeth] = (GUM + texels.region("teeth") * (ENAMEL - GUM))[teeth]
    eyes = np.isin(texels.component, (LEFT_EYE, RIGHT_EYE))
    colour[eyes] = _eyeball(texels)[eyes]
    return colour


def _eyeball(texels: Texels) -> Array:
    iris = _ramp(texels.eye_angle, IRIS_DEGREES, 1.0)[:, None]
    rim = _ramp(texels.eye_angle, IRIS_DEGREES - LIMBUS_DEGREES, 1.5)[:, None]
    colour = SCLERA + iris * (IRIS * (0.55 + 0.45 * rim) - SCLERA)
    return colour + _pupil(texels) * (PUPIL - colour)


def _pupil(texels: Texels) -> Array:
    return _ramp(texels.eye_angle, PUPIL_DEGREES, 1.0)[:, None]


def _ramp(angle: Array, edge: float, softness: float) -> Array:
    """1 below an angle, 0 above it, over `softness` degrees either side."""
    return ((edge + softness - angle) / (2 * softness)).clip(0, 1)


def _with_features(face: Array, texels: Texels) -> Array:
    """Lips and brows drawn from the head's regions, for a face that no photo taught."""
    for name, tint in (("lips", LIP_TINT), ("brows", BROW_TINT)):
        face = face * (1 - texels.region(name) * (1 - tint))
    return face
