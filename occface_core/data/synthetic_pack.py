"""A pack of rendered faces, for evaluations and notebooks that must run where there are no photos."""

import numpy as np
import torch

from occface_core.data.crop import crop_image, square_from_box
from occface_core.data.packed import PACK_SCALE, PACK_SIZE, PackedPhotos, points_box68
from occface_core.data.pixels import to_bytes
from occface_core.data.synthetic import SyntheticConfig, SyntheticFaces
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel

CHUNK = 32
ZOOM = 0.6  # leaves room around the face for the pack's wider crop


def synthetic_pack(
    head: HeadModel, albedo: AlbedoModel, count: int, *, generator: torch.Generator, size: int = PACK_SIZE
) -> PackedPhotos:
    """Render `count` different people and crop them as photos are cropped.

    Args:
        head, albedo: what is rendered.
        count: number of faces.
        generator: source of all randomness; one seed gives one pack.
        size: side of the crops, pixels.

    Returns:
        Crops with 468 landmarks each, every face a person of its own.
    """
    # Rendered a little finer than the crop, so that cropping never enlarges.
    faces = SyntheticFaces(head, albedo, round(size / ZOOM), SyntheticConfig(scale_jitter=0, shift_jitter=0))
    images = np.empty((count, size, size, 3), np.uint8)
    points = np.empty((count, 468, 2), np.float32)
    for start in range(0, count, CHUNK):
        n = min(CHUNK, count - start)
        drawn = faces.sample(n, generator=generator, zoom=ZOOM)
        pixels = to_bytes(drawn.image)
        marks = drawn.points[..., :2].cpu().numpy()
        for i in range(n):
            transform = square_from_box(points_box68(marks[i]), PACK_SCALE)
            images[start + i] = crop_image(np.ascontiguousarray(pixels[i]), transform, size)
            points[start + i] = transform.apply(marks[i], size)
    names = [f"rendered/{i:05d}" for i in range(count)]
    return PackedPhotos(images, points, names, names, [""] * count, [])
