"""Every kind of file people upload, and every kind they should not have."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occface_core.data.images import MAX_PIXELS, as_image, load_image, read_image
from occface_core.errors import ImageError


@pytest.fixture
def pattern() -> np.ndarray:
    """A 40x30 picture, smooth so that JPEG keeps it, whose corners tell its orientation."""
    ys, xs = np.mgrid[:30, :40]
    return np.stack([xs * 6, ys * 8, 255 - xs * 3 - ys * 3], axis=-1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_png_is_exact_from_path_and_bytes(pattern: np.ndarray, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(pattern), "PNG")
    path = tmp_path / "a photo.png"
    path.write_bytes(data)
    for source in (path, str(path), data):
        np.testing.assert_array_equal(read_image(source), pattern)


def test_greyscale_palette_and_one_bit(pattern: np.ndarray) -> None:
    grey = Image.fromarray(pattern).convert("L")
    np.testing.assert_array_equal(
        read_image(encoded(grey, "PNG")), np.repeat(np.asarray(grey)[..., None], 3, -1)
    )
    palette = Image.fromarray(pattern).quantize(64)
    np.testing.assert_array_equal(read_image(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))
    assert set(np.unique(read_image(encoded(grey.convert("1"), "PNG")))) <= {0, 255}


def test_sixteen_bit_grey_is_scaled_not_clipped(pattern: np.ndarray) -> None:
    values = pattern[..., 0].astype(np.uint16) * 257
    for kind in ("PNG", "TIFF"):
        image = read_image(encoded(Image.fromarray(values), kind))
        np.testing.assert_array_equal(image, np.repeat(pattern[..., :1], 3, -1))


def test_transparency_is_laid_over_white(pattern: np.ndarray) -> None:
    alpha = np.zeros((30, 40, 1), np.uint8)
    alpha[:, 20:] = 255
    image = read_image(encoded(Image.fromarray(np.concatenate([pattern, alpha], -1)), "PNG"))
    assert (image[:, :20] == 255).all()
    np.testing.assert_array_equal(image[:, 20:], pattern[:, 20:])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(pattern: np.ndarray, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(pattern)
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(encoded(stored, "JPEG", quality=100, subsampling=0, exif=exif))
    assert image.shape == (30, 40, 3)
    assert np.abs(image.astype(int) - pattern).max() < 8


def test_cmyk(pattern: np.ndarray) -> None:
    image = read_image(encoded(Image.fromarray(pattern).convert("CMYK"), "JPEG", quality=100))
    assert np.abs(image.astype(int) - pattern).mean() < 4


def test_animation_gives_its_first_frame_and_says_so(pattern: np.ndarray) -> None:
    first, second = Image.fromarray(pattern), Image.fromarray(255 - pattern)
    data = encoded(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    loaded = load_image(data)
    np.testing.assert_array_equal(loaded.pixels, pattern)
    assert "2 frames" in loaded.notes[0]


def test_a_wide_strip_is_accepted() -> None:
    strip = Image.new("RGB", (20_000, 64), "grey")
    assert read_image(encoded(strip, "PNG")).shape == (64, 20_000, 3)


def test_decompression_bombs_are_refused_before_decoding() -> None:
    data = encoded(Image.new("1", (20_000, MAX_PIXELS // 20_000 + 1)), "PNG")
    with pytest.raises(ImageError, match="megapixels; scale it down"):
        read_image(data)
    with pytest.raises(ImageError, match="megapixels; scale it down"):
        read_image(encoded(Image.new("1", (60_000, 8_000)), "PNG"))


def test_files_that_are_no_photos(tmp_path: Path, pattern: np.ndarray) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("not an image")
    with pytest.raises(ImageError, match=r"notes\.jpg' is not an image .* JPEG"):
        read_image(text)
    with pytest.raises(ImageError, match=r"gone\.png' is not a file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="not a file"):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match="0 bytes"):
        read_image(tmp_path / "empty.png")
    with pytest.raises(ImageError, match="not an image"):
        read_image(encoded(Image.fromarray(pattern), "EPS"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path: Path, rng: np.random.Generator, kind: str, share: float) -> None:
    noise = Image.fromarray(rng.integers(0, 256, size=(64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"cut\..*(truncated|not an image)"):
        read_image(path)


@pytest.mark.parametrize("size", [(1, 1), (15, 200), (200, 3)])
def test_tiny_images(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"{size[0]}x{size[1]} px; at least 16"):
        read_image(encoded(Image.new("RGB", size), "PNG"))


def test_arrays(pattern: np.ndarray) -> None:
    np.testing.assert_array_equal(as_image(pattern), pattern)
    np.testing.assert_array_equal(as_image(pattern / 255.0), pattern)
    np.testing.assert_array_equal(as_image(pattern.astype(np.uint16) * 257), pattern)
    assert as_image(pattern[..., 0]).shape == pattern.shape


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((20, 20, 3), np.nan), "NaN"),
        (np.full((20, 20, 3), 200.0), "scale them to"),
        (np.zeros((20, 20, 3), np.int64), "int64"),
        (np.zeros((20, 20, 2), np.uint8), r"\(20, 20, 2\)"),
        (np.zeros((3, 20, 20), np.uint8), r"\(3, 20, 20\)"),
        (np.zeros((1, 1, 3), np.uint8), "1x1"),
    ],
)
def test_bad_arrays(array: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        as_image(array)


def test_floating_tiff_with_nan(tmp_path: Path) -> None:
    values = np.full((20, 20), 0.5, np.float32)
    path = tmp_path / "depth.tiff"
    Image.fromarray(values).save(path)
    assert (read_image(path) == 128).all()
    values[3, 3] = np.nan
    Image.fromarray(values).save(path)
    with pytest.raises(ImageError, match=r"depth\.tiff' holds NaN"):
        read_image(path)


def test_floating_tiffs_that_overshoot_are_not_black(tmp_path: Path) -> None:
    values = np.linspace(0, 1.01, 40 * 40, dtype=np.float32).reshape(40, 40)
    for scale in (1.0, 255.0):
        Image.fromarray(values * np.float32(scale)).save(tmp_path / "x.tif")
        image = read_image(tmp_path / "x.tif")
        assert 120 < image.mean() < 136
        assert image.max() == 255


def test_32_bit_files_with_8_bit_values(tmp_path: Path) -> None:
    values = (np.arange(40 * 40, dtype=np.int32) % 256).reshape(40, 40)
    Image.fromarray(values).save(tmp_path / "x.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif")[..., 0], values)
    Image.fromarray(values * 257).save(tmp_path / "y.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "y.tif")[..., 0], values)


@pytest.mark.parametrize("error", [RuntimeError("Failed to decode image"), MemoryError()])
def test_a_decoder_that_gives_up_is_an_image_error(
    pattern: np.ndarray, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    data = encoded(Image.fromarray(pattern), "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ImageError):
        load_image(data)
