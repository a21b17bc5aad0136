"""What covers faces in the photos themselves: hair, hats, sunglasses. One bit per pixel of a packed crop.

Without such masks everything inside the outline of the landmarks counts as visible skin, and a network learns
that a fringe or a hat's brim is skin as long as nobody painted it there.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from occface_core.data.packed import PACK_SCALE, PackedPhotos
from occface_core.errors import DataError


def hidden_file(folder: Path, split: str) -> Path:
    """Where the masks of a split lie; `hidden.npz` for a folder of plain images taken whole."""
    return folder / (f"{split}-hidden.npz" if split else "hidden.npz")


def write_hidden(path: Path, names: Sequence[str], masks: Bool[np.ndarray, "N P P"]) -> None:
    """Write masks, True where something covers the face, for the packed crops of these photos."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary,
        name=np.array(names),
        bits=np.packbits(masks, axis=2),
        size=masks.shape[1],
        scale=PACK_SCALE,
    )
    temporary.replace(path)


def with_hidden_of(packed: PackedPhotos, folder: Path | None, split: str) -> PackedPhotos:
    """`with_hidden` from a folder of such files; without a folder nothing is known and the pack stays."""
    return packed if folder is None else with_hidden(packed, hidden_file(folder, split))


def with_hidden(packed: PackedPhotos, path: Path) -> PackedPhotos:
    """The pack with the masks of `path`. A photo that has none there counts as uncovered.

    Raises:
        DataError: the file cannot be read, belongs to crops of another size, or to none of these photos.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            names, bits = stored["name"], stored["bits"]
            size, scale = int(stored["size"]), float(stored["scale"])
    except (OSError, ValueError, LookupError, EOFError) as error:
        raise DataError(f"{path}: no file of hidden parts: {error}") from error
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
