"""Building the albedo model of a head, from photos or, without any, from pigments and smooth patches.

Photos come as (image, MediaPipe points) pairs, so this module needs no data set code;
`python -m occface_core.data.build_albedo` feeds it a photo collection. Nothing of a single photo is stored:
46 residual components are pooled over thousands of them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from occface_core.errors import ConfigError
from occface_core.morphable.albedo import ALBEDO_FORMAT
from occface_core.morphable.albedo_basis import GLOBAL_NAMES, FaceBasis, learn_face, smooth_face
from occface_core.morphable.albedo_chart import FaceChart, face_chart
from occface_core.morphable.albedo_paint import paint, texels_of
from occface_core.morphable.albedo_photos import FaceSampler
from occface_core.morphable.head_model import HeadModel

Photo = tuple[NDArray[np.uint8], NDArray]


@dataclass(frozen=True)
class AlbedoArrays:
    """A built model, quantised as it is stored.

    Attributes:
        mean: (3,U,U) uint8, sRGB * 255.
        components: (T,3,C,C) int8; times `scales` gives the change per unit coefficient.
        scales: (T,) float32.
        names: Component names.
        photos: How many photos taught it; 0 for the photo-free model.
    """

    mean: NDArray[np.uint8]
    components: NDArray[np.int8]
    scales: NDArray[np.float32]
    names: tuple[str, ...]
    photos: int


def build_albedo(
    head: HeadModel,
    photos: Iterable[Photo] = (),
    *,
    n_components: int = 50,
    max_photos: int = 3000,
    size: int = 256,
    component_size: int = 192,
) -> AlbedoArrays:
    """Build a model for a head's texture layout.

    Args:
        head: The head; it needs a texture layout and MediaPipe landmarks.
        photos: RGB uint8 images with (468 or more, 2) points in pixels. Unsuitable ones are passed over. With
            no photo at all the model is made of pigments and smooth patches.
        n_components: T.
        max_photos: Stop after so many suitable photos.
        size: Texels per side of the mean.
        component_size: Texels per side of the components, which are smoother.

    Raises:
        ConfigError: Too few components.
        DataError: Photos were given and none is suitable.
        AssetError: The head has no texture layout or landmarks.
    """
    n_residual = n_components - len(GLOBAL_NAMES) - 1
    if n_residual < 1:
        raise ConfigError(
            f"{n_components} components are too few; the first {len(GLOBAL_NAMES) + 1} are fixed"
        )
    chart = face_chart(head)
    return arrays_from_basis(head, chart, _basis(chart, photos, n_residual, max_photos), size, component_size)


def _basis(chart: FaceChart, photos: Iterable[Photo], n_residual: int, max_photos: int) -> FaceBasis:
    sampler, offered = FaceSampler(chart), 0
    for image, points in photos:
        offered += 1
        sampler.add(image, points)
        if len(sampler) >= max_photos:
            break
    return learn_face(chart, sampler.result(), n_residual) if offered else smooth_face(chart, n_residual)


def arrays_from_basis(
    head: HeadModel, chart: FaceChart, basis: FaceBasis, size: int, component_size: int
) -> AlbedoArrays:
    """Paint a learned face onto a head's layout and quantise it."""
    texels = texels_of(head, size)
    mean, _, _ = paint(texels, chart, basis)
    coarse = texels_of(head, component_size)
    _, components, names = paint(coarse, chart, basis)
    grids = np.stack([coarse.image(component) for component in components])
    scales = np.maximum(np.abs(grids).max((1, 2, 3)), 1e-6) / 127
    return AlbedoArrays(
        mean=(texels.image(mean) * 255 + 0.5).clip(0, 255).astype(np.uint8),
        components=np.rint(grids / scales[:, None, None, None]).astype(np.int8),
        scales=scales.astype(np.float32),
        names=names,
        photos=basis.photos,
    )


def write_albedo(arrays: AlbedoArrays, head: HeadModel, path: Path) -> None:
    """Write a model as safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "format": ALBEDO_FORMAT,
        "version": "1",
        "head": head.name,
        "component_names": json.dumps(arrays.names),
        "colour_space": "sRGB values; albedo * shading is compared with photos directly",
        "photos": str(arrays.photos),
    }
    tensors = {"mean": arrays.mean, "components": arrays.components, "scales": arrays.scales}
    # safetensors writes the memory as it lies, so channel-last views would come back scrambled.
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path, metadata)
