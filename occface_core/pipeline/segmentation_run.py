"""Masks of a user's set measured through the whole pipeline: detection, crop, network, rendered face."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool

from occface_core.data.images import load_image
from occface_core.errors import OccFaceError
from occface_core.evaluation.segmentation_sets import MaskedPhoto, SegmentationRow, read_mask, score
from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.inputs import BoxTable, Picture
from occface_core.pipeline.projection import face_triangles, window
from occface_core.pipeline.runner import BatchReconstructor
from occface_core.pipeline.types import Reconstruction
from occface_core.rendering.rasterizer import rasterize


@dataclass(frozen=True)
class _Loaded:
    photo: MaskedPhoto
    pixels: np.ndarray
    truth: np.ndarray
    box: list[float] | None


def rendered_face(
    result: Reconstruction, head: HeadModel, height: int, width: int
) -> Bool[np.ndarray, "H W"]:
    """Photo pixels that the fitted face would cover if nothing stood before it."""
    region = np.zeros((height, width), bool)
    view = window(height, width, result.crop)
    if view is None:
        return region
    rows, columns = view.drawn
    factor = np.array([columns / view.width, rows / view.height, view.scale])
    pixels = torch.from_numpy(((result.verts_image - [view.x0, view.y0, 0]) * factor).astype(np.float32))
    seen = rasterize(pixels[None], head.faces.cpu(), rows, columns).pix_to_face[0]
    drawn = (face_triangles(head).cpu()[seen.clamp(min=0)] & (seen >= 0)).numpy()
    # Nearest drawn pixel of each photo pixel; both grids cover the same window.
    y = (np.arange(view.height) + 0.5) * rows / view.height
    x = (np.arange(view.width) + 0.5) * columns / view.width
    part = drawn[np.minimum(y.astype(int), rows - 1)[:, None], np.minimum(x.astype(int), columns - 1)]
    region[view.y0 : view.y0 + view.height, view.x0 : view.x0 + view.width] = part
    return region


def measure(
    photos: Sequence[MaskedPhoto],
    reconstructor: BatchReconstructor,
    head: HeadModel,
    *,
    boxes: BoxTable | None = None,
    batch_size: int = 8,
) -> Iterator[SegmentationRow]:
    """Score every photo; one that fails carries its reason and stops nothing.

    Args:
        photos: photos and their masks.
        reconstructor: usually `FaceReconstructor`.
        head: the head it predicts.
        boxes: 68-point boxes by file name; photos without one are searched for a face.
        batch_size: photos at a time.
    """
    for start in range(0, len(photos), batch_size):
        loaded = []
        for photo in photos[start : start + batch_size]:
            try:
                loaded.append(_load(photo, boxes))
            except OccFaceError as error:
                yield SegmentationRow(photo, message=str(error))
        if not loaded:
            continue
        images, given = [item.pixels for item in loaded], [item.box for item in loaded]
        results = reconstructor.reconstruct_batch(images, boxes=given)
        for item, result in zip(loaded, results, strict=True):
            yield _row(item, result, head)


def _load(photo: MaskedPhoto, boxes: BoxTable | None) -> _Loaded:
    pixels = load_image(photo.image).pixels
    truth = read_mask(photo.mask, pixels.shape[0], pixels.shape[1])
    picture = Picture(photo.image, photo.image.as_posix(), photo.image.stem, lambda: load_image(photo.image))
    return _Loaded(photo, pixels, truth, None if boxes is None else boxes.find(picture))


def _row(item: _Loaded, result: Reconstruction | OccFaceError, head: HeadModel) -> SegmentationRow:
    if isinstance(result, OccFaceError):
        return SegmentationRow(item.photo, message=str(result))
    predicted = result.face_mask > 0
    region = rendered_face(result, head, item.pixels.shape[0], item.pixels.shape[1])
    try:
        return SegmentationRow(item.photo, score(predicted, item.truth, region))
    except OccFaceError as error:
        return SegmentationRow(item.photo, message=str(error))
