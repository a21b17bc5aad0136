"""Reading any photo people have into one form: uint8, RGB, upright, (H, W, 3).

Greyscale, palette, 16-bit, floating, transparent, CMYK, EXIF-rotated and animated files are brought to it;
what cannot be used raises `ImageError` with the file's name and the cure.
"""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from occface_core.errors import ImageError

Source = str | Path | bytes | BinaryIO
MIN_SIDE = 16
# Below Pillow's own hard limit (179 megapixels), so that the message is always ours. 150 MP is 450 MB of RGB.
MAX_PIXELS = 150_000_000
# A closed list: formats that start other programs (EPS) or are not photos stay out.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "MPO", "PPM", "JPEG2000", "AVIF")
SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif"),
        *(".mpo", ".ppm", ".pgm", ".pnm", ".jp2", ".j2k", ".avif"),
    }
)
_OVERSHOOT = 0.1
_DECODING_ERRORS = (
    OSError,
    RuntimeError,  # of AVIF's decoder
    MemoryError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class LoadedImage:
    """An upright RGB photo and what had to be done to get it.

    Attributes:
        pixels: uint8 (H, W, 3).
        notes: Sentences for the user, for example that only the first frame of an animation was taken.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    notes: tuple[str, ...] = ()


def read_image(source: Source, *, name: str | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """Read a photo as uint8 RGB, upright. See `load_image`."""
    return load_image(source, name=name).pixels


def load_image(source: Source, *, name: str | None = None) -> LoadedImage:
    """Read a photo from a path, from the bytes of a file, or from an open binary stream.

    Args:
        source: Path, encoded bytes, or stream.
        name: What messages call the photo; the path when absent.

    Raises:
        ImageError: The file is missing, not an image, truncated, below 16 px or over 150 megapixels.
    """
    if name is None:
        name = str(source) if isinstance(source, str | Path) else "uploaded image"
    name = f"'{name}'"
    if isinstance(source, str | Path):
        _check_file(Path(source))
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            # Size is checked below; Pillow's warnings about odd metadata are no concern of the user's.
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=_formats()) as picture:
                _check_size(name, picture.width, picture.height)
                return _decode(picture, name)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} is larger than {MAX_PIXELS // 10**6} megapixels; scale it down first"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image this program can read; give a JPEG, PNG, WebP, TIFF, BMP or GIF file "
            "(convert HEIC and camera raw files to JPEG first)"
        ) from error
    except _DECODING_ERRORS as error:
        raise ImageError(
            f"{name} is damaged or truncated ({error}); copy or export it again from its source"
        ) from error


def as_image(array: np.ndarray, name: str = "image array") -> UInt8[np.ndarray, "H W 3"]:
    """Bring an array to uint8 RGB (H, W, 3).

    Accepts (H, W), (H, W, 1), (H, W, 3) and (H, W, 4: alpha over white); bytes, 16-bit integers, booleans,
    and floats in [0, 1].

    Raises:
        ImageError: Another shape or type, a side below 16 px, or values that are not finite or out of range.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(f"{name} has shape {array.shape}; give (H, W, 3), (H, W), or (H, W, 4) with alpha")
    _check_size(name, array.shape[1], array.shape[0])
    array = _as_bytes(array, name)
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.float32) / 255
        array = np.rint(array[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _as_bytes(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return np.rint(array / 257.0).astype(np.uint8)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"{name} has type {array.dtype}; give uint8, uint16, or floats in [0, 1]")
    if not np.isfinite(array).all():
        raise ImageError(f"{name} holds NaN or infinite values; replace them before reconstruction")
    low, high = float(array.min()), float(array.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise ImageError(
            f"{name} holds floats from {low:.4g} to {high:.4g}; scale them to [0, 1] or give uint8"
        )
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ImageError(f"'{path}' is not a file; check the path")
    if path.stat().st_size == 0:
        raise ImageError(f"'{path}' is empty (0 bytes); copy it again from its source")


def _check_size(name: str, width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name} is {width}x{height} px; at least {MIN_SIDE} px each way are needed")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} is {width}x{height} px, over the limit of {MAX_PIXELS // 10**6} megapixels; "
            "scale it down first"
        )


def _decode(picture: Image.Image, name: str) -> LoadedImage:
    notes: list[str] = []
    frames = getattr(picture, "n_frames", 1)
    # An MPO file's further frames are previews of the same photo.
    if frames > 1 and picture.format != "MPO":
        notes.append(f"{name} holds {frames} frames or pages; the first one is used")
        picture.seek(0)
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):
        return LoadedImage(as_image(_wide_values(np.asarray(upright), name), name), tuple(notes))
    if upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info:
        return LoadedImage(as_image(np.asarray(upright.convert("RGBA")), name), tuple(notes))
    return LoadedImage(np.array(upright.convert("RGB"), dtype=np.uint8), tuple(notes))


def _wide_values(values: np.ndarray, name: str) -> np.ndarray:
    """Bring 16-bit, 32-bit and floating single-channel files to what `as_image` accepts."""
    if np.issubdtype(values.dtype, np.floating):
        # Floating files hold either [0, 1] or [0, 255], give or take what a filter overshoots. Anything else,
        # NaN among it, falls through to the check in `as_image`.
        scaled = values / 255 if np.isfinite(values).all() and values.max() > 2 else values
        fits = np.abs(scaled - 0.5).max() <= 0.5 + _OVERSHOOT
        return scaled.clip(0, 1) if fits else scaled
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            f"{name} holds 32-bit values up to {values.max()}; export it with 8 or 16 bits per channel"
        )
    return values.astype(np.uint8 if values.dtype.itemsize > 2 and values.max() < 256 else np.uint16)
