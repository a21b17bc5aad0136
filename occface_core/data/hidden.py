"""What covers faces in the photos themselves: hair, hats, sunglasses. One bit per pixel of a packed crop.

Without such masks everything inside the outline of the landmarks counts as visible skin, and a network learns
that a fringe or a hat's brim is skin as long as nobody painted it there.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from occface_core.data.archives import read_arrays
from occface_core.data.packed import PACK_SCALE, PackedPhotos
from occface_core.data.partial import refuse_other_settings
from occface_core.errors import DataError


def hidden_file(folder: Path, split: str) -> Path:
    """Where the masks of a split lie; `hidden.npz` for a folder of plain images taken whole."""
    return folder / (f"{split}-hidden.npz" if split else "hidden.npz")


def write_hidden(path: Path, names: Sequence[str], masks: Bool[np.ndarray, "N P P"]) -> None:
    """Write masks, True where something covers the face, for the packed crops of these photos."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_bits(path, names, np.packbits(masks, axis=2), masks.shape[1])


def _write_bits(path: Path, names: Sequence[str], bits: UInt8[np.ndarray, "N P Q"], size: int) -> None:
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, name=np.array(names), bits=bits, size=size, scale=PACK_SCALE)
    temporary.replace(path)


class PartialHidden:
    """Masks that are being made, in SPLIT-hidden.partial beside the finished file.

    The file begins with a line of JSON, what the masks depend on; packed bits follow, photo by photo. A kill
    costs the batch that was being written; `resume` cuts off what there is of it.

    Args:
        path: the finished file.
        names: of all photos. size: side of their packed crops, pixels.
        settings: everything the masks depend on, as JSON values.
    """

    def __init__(self, path: Path, names: Sequence[str], size: int, settings: Mapping) -> None:
        self.path, self.names, self.size = path, names, size
        self.settings = json.loads(json.dumps(settings))
        self.partial = path.with_suffix(".partial")
        self._start = json.dumps(self.settings, sort_keys=True).encode() + b"\n"
        self._row = size * -(-size // 8)  # bytes per photo

    def resume(self, batch_size: int, *, restart: bool = False) -> int:
        """How many photos are done, a whole number of batches; the next one is expected first.

        Args:
            batch_size: photos of one `append`.
            restart: throw away what is there.

        Raises:
            ConfigError: masks with other settings are there.
            DataError: the file is damaged.
        """
        if restart or not self.partial.is_file():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.partial.with_suffix(".partial.tmp")
            temporary.write_bytes(self._start)
            temporary.replace(self.partial)
            return 0
        with self.partial.open("rb") as stream:
            self._check_settings(stream.readline())
        count = (self.partial.stat().st_size - len(self._start)) // self._row
        if count > len(self.names):
            raise DataError(
                f"{self.partial}: {count} masks of {len(self.names)} photos; start anew with --restart"
            )
        if count < len(self.names):
            count -= count % batch_size
        os.truncate(self.partial, len(self._start) + count * self._row)
        return count

    def _check_settings(self, line: bytes) -> None:
        try:
            there = dict(json.loads(line))
        except (ValueError, TypeError) as error:
            raise DataError(f"{self.partial}: damaged ({error}); start anew with --restart") from error
        refuse_other_settings(self.partial, "unfinished masks", there, self.settings)
        if line != self._start:
            raise DataError(f"{self.partial}: damaged in its first line; start anew with --restart")

    def append(self, masks: Bool[np.ndarray, "B P P"]) -> None:
        """Store the masks of the next photos."""
        with self.partial.open("ab") as stream:
            stream.write(np.packbits(masks, axis=2).tobytes())
            stream.flush()
            os.fsync(stream.fileno())

    def finish(self) -> None:
        """Write the finished file, whole or not at all, and remove the unfinished one."""
        shape = (len(self.names), self.size, self._row // self.size)
        bits = np.memmap(self.partial, np.uint8, "r", offset=len(self._start), shape=shape)
        _write_bits(self.path, self.names, bits, self.size)
        del bits  # closes the file, which some systems ask for before it may go
        self.partial.unlink()


def with_hidden_of(packed: PackedPhotos, folder: Path | None, split: str) -> PackedPhotos:
    """`with_hidden` from a folder of such files; without a folder nothing is known and the pack stays."""
    return packed if folder is None else with_hidden(packed, hidden_file(folder, split))


def with_hidden(packed: PackedPhotos, path: Path) -> PackedPhotos:
    """The pack with the masks of `path`. A photo that has none there counts as uncovered.

    Raises:
        DataError: the file cannot be read, belongs to crops of another size, or to none of these photos.
    """
    stored = read_arrays(path, "a file of hidden parts", "name", "bits", "size", "scale")
    names, bits = stored["name"], stored["bits"]
    if stored["size"].shape or stored["scale"].shape or bits.dtype != np.uint8:
        raise DataError(f"{path}: not a file of hidden parts: bits must be uint8, size and scale numbers")
    size, scale = int(stored["size"]), float(stored["scale"])
    row_bytes = -(-packed.size // 8)
    if size != packed.size or abs(scale - PACK_SCALE) > 1e-6 or bits.shape != (len(names), size, row_bytes):
        raise DataError(
            f"{path}: masks of {size} pixels at scale {scale:g}, the packed photos have {packed.size} at "
            f"{PACK_SCALE:g}; make it again"
        )
    place = {str(name): row for row, name in enumerate(names)}
    rows = [(i, place[name]) for i, name in enumerate(packed.names) if name in place]
    if not rows:
        raise DataError(f"{path}: has none of the {len(packed)} photos, for example not {packed.names[0]}")
    hidden = np.zeros((len(packed), size, row_bytes), np.uint8)
    own, theirs = np.array(rows).T
    hidden[own] = bits[theirs]
    return replace(packed, hidden=hidden)
