"""Build the albedo model of the open head from a photo collection with MediaPipe points, or without photos.

`python -m occface_core.data.build_albedo --photos FOLDER --out weights/albedo.safetensors`
"""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from occface_core.assets import register_asset
from occface_core.data.photos import PhotoSet, decode, load_photo_set
from occface_core.errors import ImageError
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.albedo_builder import Photo, build_albedo, write_albedo
from occface_core.morphable.albedo_chart import face_chart
from occface_core.morphable.albedo_photos import align, usable
from occface_core.morphable.head_model import HeadModel

log = logging.getLogger(__name__)

PHOTO_FREE_LICENCE = "CC0-1.0"
PHOTO_LICENCE = "statistics of {source}; painted parts CC0-1.0"


def usable_photos(photos: PhotoSet, head: HeadModel, *, seed: int = 0) -> Iterator[Photo]:
    """Decode, in a seeded order, the photos whose points show a calm frontal face; the others stay packed."""
    landmarks = face_chart(head).landmarks
    for index in np.random.default_rng(seed).permutation(len(photos)):
        record = photos.records[index]
        points = np.asarray(record.points[:468], dtype=np.float64)
        if len(points) < 468 or not usable(points, align(points, landmarks)):
            continue
        try:
            yield decode(record), record.points
        except ImageError as error:
            log.warning("passed over %s: %s", record.name, error)


def main(arguments: list[str] | None = None) -> None:
    """Command line: build, write, and record the model in the manifest beside it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, help="photo folder or tar shards; without it no photo is used")
    parser.add_argument("--split", default="train", help="shard prefix or sub-folder of --photos")
    parser.add_argument(
        "--source", default="photos of unnamed terms", help="what the photos are, and their terms"
    )
    parser.add_argument("--max-photos", type=int, default=3000)
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    head = HeadModel.load()
    photos: Iterator[Photo] = iter(())
    if options.photos is not None:
        photos = usable_photos(load_photo_set(options.photos, split=options.split), head)
    arrays = build_albedo(head, photos, max_photos=options.max_photos)
    write_albedo(arrays, head, options.out)
    model = AlbedoModel.load(options.out)
    register_asset(
        "albedo",
        [options.out],
        options.out.parent,
        version="2",
        licence=PHOTO_LICENCE.format(source=options.source) if arrays.photos else PHOTO_FREE_LICENCE,
        made_by="python -m occface_core.data.build_albedo"
        + (f" --photos FOLDER --max-photos {options.max_photos}" if options.photos else ""),
        description=f"Linear albedo, {model.n_components} components at {model.size} px for the head "
        f"{head.name!r}: pigments, iris and residuals pooled over {arrays.photos} photos",
    )
    log.info("wrote %s: %d components from %d photos", options.out, model.n_components, arrays.photos)


if __name__ == "__main__":
    main()
