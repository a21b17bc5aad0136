"""Decode a photo set once into same-sized crops, so that training never waits for JPEG decoding."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock
from jaxtyping import Float, Int, UInt8

from occface_core.data.crop import CROP_SCALE, crop_image, square_from_box
from occface_core.data.landmarks import landmark_box, points68
from occface_core.data.photos import PhotoRecord, PhotoSet, decode
from occface_core.errors import ConfigError, DataError, OccFaceError

log = logging.getLogger(__name__)

PACK_SIZE = 176
PACK_SCALE = CROP_SCALE * 1.3  # room for the training jitter around the standard crop


@dataclass(frozen=True)
class PackedPhotos:
    """Crops with landmarks in crop pixels.

    Attributes:
        images: (N,P,P,3) RGB, possibly memory-mapped.
        points: (N,L,2) float32 landmarks, pixels of the crop.
        names: photo names; identities, labels: strings as in the photo set.
        skipped: (name, reason) of photos that could not be used.
        hidden: (N,P,ceil(P/8)) bits, 1 = something in the photo covers the face there; None: not known.
    """

    images: UInt8[np.ndarray, "N P P 3"]
    points: Float[np.ndarray, "N L 2"]
    names: list[str]
    identities: list[str]
    labels: list[str]
    skipped: list[tuple[str, str]]
    hidden: UInt8[np.ndarray, "N P Q"] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict:
        # A memory map would be pickled with all its pixels; worker processes reopen the file instead.
        state = dict(self.__dict__)
        if isinstance(self.images, np.memmap) and self.images.filename:
            state["images"] = Path(self.images.filename)
        return state

    def __setstate__(self, state: dict) -> None:
        if isinstance(state["images"], Path):
            state["images"] = np.load(state["images"], mmap_mode="r", allow_pickle=False)
        self.__dict__.update(state)

    @property
    def size(self) -> int:
        """Side P of the crops, pixels."""
        return int(self.images.shape[1])

    def digest(self) -> str:
        """Names these very crops: photo names, landmarks and pixels."""
        digest = hashlib.sha256(json.dumps(self.names).encode())
        digest.update(self.points.tobytes())
        for start in range(0, len(self), 256):  # a memory map need not be in memory whole
            digest.update(self.images[start : start + 256].tobytes())
        return digest.hexdigest()[:16]

    def rows(self, chosen: Int[np.ndarray, "K"]) -> "PackedPhotos":
        """A pack of some of the photos, in the order given."""
        columns = {k: [getattr(self, k)[row] for row in chosen] for k in ("names", "identities", "labels")}
        hidden = None if self.hidden is None else self.hidden[chosen]
        return replace(
            self, images=self.images[chosen], points=self.points[chosen], hidden=hidden, **columns
        )

    def hidden_mask(self, row: int) -> UInt8[np.ndarray, "P P"]:
        """255 where something covers the face in this photo itself; all 0 when nothing is known."""
        if self.hidden is None:
            return np.zeros((self.size, self.size), np.uint8)
        return np.unpackbits(self.hidden[row], axis=1, count=self.size) * np.uint8(255)


def points_box68(points: Float[np.ndarray, "L 2"]) -> Float[np.ndarray, "4"]:
    """The 68-landmark box, from 68 iBUG points or from 468/478 MediaPipe points."""
    return landmark_box(points68(points)).astype(np.float64)


def pack_photo(record: PhotoRecord, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Crop one photo: (size,size,3) uint8 and its points in crop pixels (float32)."""
    transform = square_from_box(points_box68(record.points), PACK_SCALE)
    image = crop_image(decode(record), transform, size, padding="edge")
    return image, transform.apply(record.points, size).astype(np.float32)


def _first(photos: PhotoSet, limit: int | None) -> list[PhotoRecord]:
    if limit is not None and limit < 1:
        raise ConfigError(f"limit {limit} must be at least 1 photo; leave it out to take all")
    return photos.records[:limit]


def pack(
    photos: PhotoSet,
    *,
    size: int = PACK_SIZE,
    limit: int | None = None,
    threads: int = 4,
    progress: Callable[[Iterable], Iterable] = iter,
) -> PackedPhotos:
    """Decode and crop a photo set. Photos that fail are skipped, counted and named, never fatal.

    Raises:
        ConfigError: the limit is below 1.
        DataError: no photo at all could be read.
    """
    records = _first(photos, limit)
    kept: list[PhotoRecord] = []
    skipped: list[tuple[str, str]] = []
    images = np.empty((len(records), size, size, 3), np.uint8)
    points = np.empty((len(records), len(records[0].points), 2), np.float32)

    def one(record: PhotoRecord) -> tuple[np.ndarray, np.ndarray] | str:
        try:
            return pack_photo(record, size)
        except (OccFaceError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(threads) as pool:
        for record, result in progress(zip(records, pool.map(one, records), strict=True)):
            if isinstance(result, str):
                skipped.append((record.name, result))
                log.warning("skipped %s: %s", record.name, result)
                continue
            images[len(kept)], points[len(kept)] = result
            kept.append(record)
    if not kept:
        raise DataError(
            f"none of {len(records)} photos could be read; first: {skipped[0][0]}: {skipped[0][1]}"
        )
    n = len(kept)
    return PackedPhotos(
        images[:n],
        points[:n],
        [r.name for r in kept],
        [r.identity for r in kept],
        [r.label for r in kept],
        skipped,
    )


def save_pack(packed: PackedPhotos, folder: Path) -> None:
    """Write a pack as plain arrays plus JSON; nothing in it needs unpickling."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in (("images", packed.images), ("points", packed.points)):
        # Another process may have this very pack mapped into memory: its file must not shrink under it.
        unfinished = folder / f"{name}.tmp.npy"
        np.save(unfinished, values)
        unfinished.replace(folder / f"{name}.npy")
    meta = {
        "names": packed.names,
        "identities": packed.identities,
        "labels": packed.labels,
        "skipped": packed.skipped,
    }
    # Written last: its presence marks the pack as complete after a kill at any moment.
    temporary = folder / "pack.json.tmp"
    temporary.write_text(json.dumps(meta))
    temporary.rename(folder / "pack.json")


def load_pack(folder: Path) -> PackedPhotos:
    """Read a pack written by `save_pack`, images memory-mapped.

    Raises:
        DataError: it is incomplete or damaged.
    """
    try:
        meta = json.loads((folder / "pack.json").read_text())
        names, identities, labels = meta["names"], meta["identities"], meta["labels"]
        skipped = [tuple(one) for one in meta["skipped"]]
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        points = np.load(folder / "points.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError, LookupError, TypeError) as error:
        raise DataError(f"{folder}: not a complete photo pack, delete it to rebuild: {error}") from error
    if not len(images) == len(points) == len(names):
        raise DataError(
            f"{folder}: {len(images)} images, {len(points)} landmark sets, {len(names)} names; "
            "delete it to rebuild"
        )
    return PackedPhotos(images, points, names, identities, labels, skipped)


def cached_pack(
    photos: PhotoSet,
    cache: Path,
    *,
    size: int = PACK_SIZE,
    limit: int | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> PackedPhotos:
    """`pack`, remembered in `cache`; images memory-mapped.

    The key is made of names, landmarks, size, limit, and size and time of the files: other pictures of the
    same names are other packs, and one that was repaired is read. Identities and labels are not part of it:
    they come from `photos` every time, so correcting one costs no decoding. Processes that ask for a pack at
    the same time make it once.

    Raises:
        ConfigError, DataError: as `pack`.
    """
    digest = hashlib.sha256(f"{size}:{limit}:{PACK_SCALE}".encode())
    records = _first(photos, limit)
    stamps = {source: _stamp(source) for source in {record.source for record in records}}
    for record in records:
        digest.update(record.name.encode())
        digest.update(np.ascontiguousarray(record.points).tobytes())
        digest.update(f"{stamps[record.source]}:{record.offset}:{record.size}".encode())
    folder = cache / digest.hexdigest()[:16]
    complete = folder / "pack.json"
    if not complete.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):  # runs that start together: one packs, the others wait for it
            if not complete.is_file():
                save_pack(pack(photos, size=size, limit=limit, progress=progress), folder)
    # Read back: pixels in memory would stay there, and go to every worker process once more.
    return _relabelled(load_pack(folder), photos)


def _stamp(source: Path) -> str:
    """What tells one state of a file from another; nothing for one that is gone, which packing will say."""
    try:
        found = source.stat()
    except OSError:
        return ""
    return f"{found.st_size}:{found.st_mtime_ns}"


def _relabelled(packed: PackedPhotos, photos: PhotoSet) -> PackedPhotos:
    """The pack with what `photos` says about each person today."""
    known = {record.name: record for record in photos.records}
    return replace(
        packed,
        identities=[known[name].identity for name in packed.names],
        labels=[known[name].label for name in packed.names],
    )
