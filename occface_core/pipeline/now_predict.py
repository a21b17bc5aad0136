"""Predictions for a NoW dataset: each photo's neutral head, saved in the benchmark's layout."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from occface_core.data.images import load_image
from occface_core.errors import DataError, OccFaceError
from occface_core.evaluation.now_files import NowDataset, NowImage
from occface_core.geometry.mesh import Mesh
from occface_core.geometry.mesh_io import save_mesh
from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.inputs import BoxTable, Picture
from occface_core.pipeline.runner import BatchReconstructor

PICTURE_FOLDERS = ("iphone_pictures", "final_release_version/iphone_pictures", "images", "")


@dataclass(frozen=True)
class PredictionOutcome:
    """One photo: ``error`` is None when its prediction was written."""

    image: NowImage
    error: OccFaceError | None


def find_photo(root: Path, image: NowImage) -> Path:
    """The photo of one image of the list.

    Raises:
        DataError: it is in none of the folders NoW uses.
    """
    place = Path(image.subject) / image.challenge / Path(image.line.replace("\\", "/")).name
    for folder in PICTURE_FOLDERS:
        if (root / folder / place).is_file():
            return root / folder / place
    raise DataError(f"no photo {place} under {root} ({', '.join(PICTURE_FOLDERS[:-1])} or the folder itself)")


def write_prediction(
    verts: Float[np.ndarray, "V 3"],
    landmarks: Float[np.ndarray, "7 3"],
    head: HeadModel,
    folder: Path,
    image: NowImage,
) -> None:
    """Save a neutral head (metres) as OBJ without colours, on which the published reader would choke."""
    path = folder / f"{image.key}.obj"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{image.key}.npy", landmarks.astype(np.float32))
    save_mesh(Mesh(torch.from_numpy(verts).float(), head.faces.cpu()), path)  # last: a mesh means done


def predict_mean_head(dataset: NowDataset, folder: Path, head: HeadModel) -> Iterator[PredictionOutcome]:
    """The mean head for every image: the baseline that every model has to beat."""
    verts = head.v_template
    landmarks = head.landmarks(verts[None], "now7")[0].cpu().numpy()
    for image in dataset.images:
        write_prediction(verts.cpu().numpy(), landmarks, head, folder, image)
        yield PredictionOutcome(image, None)


def predict(
    dataset: NowDataset,
    folder: Path,
    head: HeadModel,
    reconstructor: BatchReconstructor,
    *,
    boxes: BoxTable | None = None,
    batch_size: int = 16,
    overwrite: bool = False,
) -> Iterator[PredictionOutcome]:
    """Reconstruct every photo of the list; photos already predicted are passed over.

    Args:
        dataset: image list and folder of the photos.
        folder: where predictions go.
        head: the head that ``reconstructor`` predicts.
        reconstructor: usually ``FaceReconstructor``.
        boxes: 68-point boxes by ``subject/challenge/file``; photos without one are searched for a face.
        batch_size: photos at a time.
        overwrite: predict again.
    """
    waiting = [image for image in dataset.images if overwrite or not (folder / f"{image.key}.obj").is_file()]
    for start in range(0, len(waiting), batch_size):
        loaded, found = [], list[tuple[NowImage, np.ndarray, list[float] | None]]()
        for image in waiting[start : start + batch_size]:
            try:
                found.append((image, *_load(dataset.root, image, boxes)))
            except OccFaceError as error:
                loaded.append(PredictionOutcome(image, error))
        yield from loaded
        yield from _predict_batch(found, folder, head, reconstructor)


def _load(root: Path, image: NowImage, boxes: BoxTable | None) -> tuple[np.ndarray, list[float] | None]:
    path = find_photo(root, image)
    picture = Picture(path, path.as_posix(), path.stem, lambda: load_image(path))
    return picture.load().pixels, None if boxes is None else boxes.find(picture)


def _predict_batch(
    photos: Sequence[tuple[NowImage, np.ndarray, list[float] | None]],
    folder: Path,
    head: HeadModel,
    reconstructor: BatchReconstructor,
) -> Iterable[PredictionOutcome]:
    if not photos:
        return
    results = reconstructor.reconstruct_batch([p[1] for p in photos], boxes=[p[2] for p in photos])
    for (image, _, _), result in zip(photos, results, strict=True):
        if isinstance(result, OccFaceError):
            yield PredictionOutcome(image, result)
        else:
            write_prediction(result.verts_neutral, result.landmarks_now7, head, folder, image)
            yield PredictionOutcome(image, None)
