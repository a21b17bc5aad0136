"""Photo collections with landmarks: tar shards or a folder of images (CelebA's layout among them).

Accepted next to the images, first found wins:

- `landmarks.npz` or `*-landmarks.npz`: `name` (N,), `landmarks_q` (N,478,2) integers with pixel = q/64 - 64,
  optional `identity` and `label`;
- `points.csv`: header `image,identity,x0,y0,...`, 68 iBUG points in pixels.
"""

import csv
import logging
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from occface_core.data.archives import read_arrays
from occface_core.errors import DataError

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class PhotoRecord:
    """One photo: where its bytes are, its landmarks (pixels) and what is known about the person."""

    name: str
    source: Path  # the image file, or the tar shard that holds it
    offset: int  # byte offset in the shard, -1 for a plain file
    size: int
    points: Float[np.ndarray, "L 2"]
    identity: str = ""
    label: str = ""

    def read_bytes(self) -> bytes:
        """Encoded bytes of the image."""
        with self.source.open("rb") as stream:
            if self.offset < 0:
                return stream.read()
            stream.seek(self.offset)
            return stream.read(self.size)


@dataclass(frozen=True)
class PhotoSet:
    """Photos with landmarks. `missing` names images that have no landmarks and so are left out."""

    records: list[PhotoRecord]
    missing: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True)
class _Annotations:
    points: dict[str, np.ndarray]
    identity: dict[str, str]
    label: dict[str, str]


def _read_npz(path: Path) -> _Annotations:
    data = read_arrays(path, "a landmark archive with `name` and `landmarks_q`", "name", "landmarks_q")
    count, shape, kind = data["name"].size, data["landmarks_q"].shape, data["landmarks_q"].dtype
    if kind.kind not in "ui":
        raise DataError(f"{path}: landmarks_q holds {kind}, expected integers with pixel = q / 64 - 64")
    if len(shape) != 3 or shape[0] != count or shape[2] != 2 or (shape[1] < 468 and shape[1] != 68):
        raise DataError(f"{path}: landmarks_q has shape {shape}, expected ({count}, 468 or more, 2)")
    names = [str(name) for name in data["name"].ravel()]
    points = data["landmarks_q"].astype(np.float32) / 64.0 - 64.0
    columns = [data.get(key, np.full(count, "")).ravel() for key in ("identity", "label")]
    if any(len(column) != count for column in columns):
        raise DataError(f"{path}: identity and label must be there for each of the {count} names, or absent")
    identity, label = (dict(zip(names, map(str, column), strict=True)) for column in columns)
    return _Annotations(dict(zip(names, points, strict=True)), identity, label)


def _read_csv(path: Path) -> _Annotations:
    try:
        return _parse_csv(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from error


def _parse_csv(path: Path) -> _Annotations:
    points, identity = {}, {}
    with path.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets write a mark in front
        reader = csv.DictReader(stream)
        columns = [f"{axis}{i}" for i in range(68) for axis in "xy"]
        absent = {"image", *columns} - set(reader.fieldnames or ())
        if absent:
            raise DataError(
                f"{path}: lacks columns {sorted(absent)[:4]} ...; expected image,x0,y0,...,x67,y67"
            )
        for row in reader:
            try:
                values = [float(row[c]) for c in columns]
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}: {row['image']}: a landmark is not a number: {error}") from error
            points[row["image"]] = np.asarray(values, dtype=np.float32).reshape(68, 2)
            identity[row["image"]] = row.get("identity") or ""
    return _Annotations(points, identity, {})


def _annotations(folder: Path, prefix: str) -> _Annotations:
    names = [f"{prefix}-landmarks.npz", "landmarks.npz"] if prefix else ["landmarks.npz"]
    for name in names:
        if (folder / name).is_file():
            return _read_npz(folder / name)
    if (folder / "points.csv").is_file():
        return _read_csv(folder / "points.csv")
    archives = sorted(folder.glob("*-landmarks.npz"))
    if len(archives) == 1:
        return _read_npz(archives[0])
    raise DataError(
        f"{folder}: no landmarks found; put landmarks.npz or points.csv beside the images (docs/data.md)"
    )


def _shard_members(shard: Path) -> Iterator[tuple[str, int, int]]:
    try:
        with tarfile.open(shard, "r:") as archive:  # members are read at their place: no compression
            for member in archive:
                if member.isfile() and member.name.lower().endswith(IMAGE_SUFFIXES):
                    yield member.name, member.offset_data, member.size
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{shard}: not a readable tar shard without compression: {error}") from error


def load_photo_set(path: str | Path, *, split: str = "") -> PhotoSet:
    """Index a photo collection without decoding any image.

    Args:
        path: a folder of images, or a folder of tar shards.
        split: with shards, the prefix to take (`train` reads `train-*.tar` and `train-landmarks.npz`);
            with plain images, a sub-folder name; all photos where there is no such folder.

    Raises:
        DataError: the folder is missing, holds no images, or has no usable landmarks.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of photos")
    shards = sorted(folder.glob(f"{split}*.tar"))
    if shards:
        entries = [
            (name, shard, offset, size) for shard in shards for name, offset, size in _shard_members(shard)
        ]
        annotations = _annotations(folder, split)
    else:
        images = folder / split if split and (folder / split).is_dir() else folder
        if split and images is folder:
            log.warning("%s: no sub-folder and no shards called %r, so all photos are taken", folder, split)
        entries = [
            (p.relative_to(folder).as_posix(), p, -1, 0)
            for p in sorted(images.rglob("*"))
            if p.suffix.lower() in IMAGE_SUFFIXES
        ]
        if not entries:
            raise DataError(
                f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) and no {split}*.tar shards in it"
            )
        annotations = _annotations(folder, split)
    records, missing = _match(entries, annotations)
    if not records:
        raise DataError(f"{folder}: none of its {len(entries)} images has landmarks; image names must match")
    return PhotoSet(records, missing)


def _match(
    entries: list[tuple[str, Path, int, int]], annotations: _Annotations
) -> tuple[list[PhotoRecord], list[str]]:
    """Records of the images (name, file, offset, size) that have landmarks, and names of the others."""
    records, missing = [], []
    alike = Counter(Path(name).name for name, *_ in entries)
    for name, source, offset, size in entries:
        key = name if name in annotations.points else Path(name).name
        # Landmarks of `1.jpg` could be those of a/1.jpg or of b/1.jpg.
        if key not in annotations.points or (key != name and alike[key] > 1):
            missing.append(name)
            continue
        records.append(
            PhotoRecord(
                name,
                source,
                offset,
                size,
                annotations.points[key],
                annotations.identity.get(key, ""),
                annotations.label.get(key, ""),
            )
        )
    return records, missing


def decode(record: PhotoRecord) -> np.ndarray:
    """Decode one photo to uint8 RGB (H,W,3).

    Raises:
        ImageError: the bytes are not a readable image.
    """
    from occface_core.data.images import read_image  # local: that module pulls in OpenCV

    return read_image(record.read_bytes(), name=record.name)
