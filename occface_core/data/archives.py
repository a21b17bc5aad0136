"""Reading npz archives that anybody may have written: plain arrays only, every kind of damage told alike."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from occface_core.errors import DataError

_DAMAGE = (
    *(OSError, ValueError, LookupError, EOFError, TypeError),
    *(RuntimeError, MemoryError, OverflowError),  # an encrypted member; a size that no memory holds
    *(zipfile.BadZipFile, zlib.error),
)


def read_arrays(path: Path, what: str, *needed: str) -> dict[str, np.ndarray]:
    """Every array of an npz archive by name.

    Args:
        path: the archive. what: what it should be, for the message.
        needed: names it must hold.

    Raises:
        DataError: it is missing or damaged, holds Python objects, or lacks a needed array.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        absent = [name for name in needed if name not in arrays]
        if absent:
            raise ValueError(f"it holds no {', '.join(absent)}")
    except _DAMAGE as error:
        raise DataError(f"{path}: not {what}: {error}") from error
    return arrays
