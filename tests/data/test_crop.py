"""Crop geometry: exact inverse, half-pixel centres, antialiasing, padding."""

import numpy as np
import pytest

from occface_core.data.crop import (
    GREY,
    CropTransform,
    check_box,
    crop_image,
    square_from_box,
)
from occface_core.errors import BoxError


def ramp(height: int, width: int) -> np.ndarray:
    """Red = x, green = y of the pixel's centre, scaled to fit a byte."""
    ys, xs = np.mgrid[:height, :width]
    return np.stack([xs, ys, np.full_like(xs, 50)], axis=-1).astype(np.uint8)


def test_square_has_the_mean_side_times_the_scale() -> None:
    square = square_from_box(np.array([10.0, 20.0, 50.0, 80.0]))
    assert (square.centre_x, square.centre_y, square.side) == (30.0, 50.0, 75.0)


def test_inverse_brings_landmarks_back(rng: np.random.Generator) -> None:
    points = rng.uniform(-50, 2000, size=(68, 3))
    square = square_from_box(np.array([103.7, 40.2, 811.1, 999.9]))
    crop = square.apply(points, 224)
    np.testing.assert_allclose(square.inverse(crop, 224), points, atol=1e-9)
    homogeneous = np.c_[points[:, :2], np.ones(68)] @ square.matrix(224).T
    np.testing.assert_allclose(homogeneous[:, :2], crop[:, :2], atol=1e-9)
    np.testing.assert_allclose(crop[:, 2] / points[:, 2], 224 / square.side)


def test_a_whole_pixel_crop_copies_pixels() -> None:
    image = ramp(100, 120)
    crop = crop_image(image, CropTransform(50.0, 40.0, 32.0), 32)
    np.testing.assert_array_equal(crop, image[24:56, 34:66])


@pytest.mark.parametrize("side", [20.25, 64.0, 61.7, 150.3])
def test_pattern_is_sampled_at_pixel_centres(side: float) -> None:
    image = ramp(240, 250)
    square = CropTransform(120.3, 110.9, side)
    crop = crop_image(image, square, 64).astype(float)
    ys, xs = np.mgrid[:64, :64] + 0.5
    original = square.inverse(np.stack([xs, ys], -1), 64)
    # A pixel with index i holds its centre's coordinate minus one half.
    assert np.abs(crop[..., :2] - (original - 0.5)).max() <= 0.51  # rounding to a byte


def test_strong_shrinking_keeps_the_geometry_and_averages(rng: np.random.Generator) -> None:
    ys, xs = np.mgrid[:2400, :2400]
    image = np.stack([xs / 10, ys / 10, (xs + ys) % 2 * 255.0], axis=-1).astype(np.uint8)
    square = CropTransform(1203.4, 1190.2, 1713.0)
    crop = crop_image(image, square, 112).astype(float)
    gy, gx = np.mgrid[:112, :112] + 0.5
    original = square.inverse(np.stack([gx, gy], -1), 112)
    assert np.abs(crop[..., :2] - (original / 10 - 0.5)).max() < 0.7
    assert np.abs(crop[..., 2] - 127.5).max() < 4  # the checkerboard averages out: no aliasing


def test_padding_grey_and_edge() -> None:
    image = np.full((50, 60, 3), 200, np.uint8)
    square = CropTransform(0.0, 25.0, 40.0)
    grey = crop_image(image, square, 40, "grey")
    assert (grey[:, :19] == GREY).all()
    assert (grey[:, 21:] == 200).all()
    assert (crop_image(image, square, 40) == 200).all()


@pytest.mark.parametrize(
    "square",
    [
        CropTransform(-500.0, 20.0, 40.0),  # wholly outside
        CropTransform(30.0, 900.0, 10.0),
        CropTransform(30.0, 20.0, 1e6),  # absurdly large: bounded memory
        CropTransform(30.0, 20.0, 0.5),  # less than a pixel
    ],
)
def test_odd_squares_still_give_a_crop(square: CropTransform) -> None:
    assert crop_image(np.zeros((50, 60, 3), np.uint8), square, 24).shape == (24, 24, 3)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([np.nan, 0, 5, 5], "not finite"),
        ([5, 5, 5, 9], "empty"),
        ([9, 0, 5, 9], "empty"),
        ([200, 10, 260, 60], "outside the 100x80 image"),
        ([-90, 10, -10, 60], "outside"),
    ],
)
def test_bad_boxes_are_refused(box: list[float], words: str) -> None:
    with pytest.raises(BoxError, match=words):
        check_box(np.array(box, dtype=float), height=80, width=100)
    if "outside" not in words:
        with pytest.raises(BoxError, match=words):
            square_from_box(np.array(box, dtype=float))


def test_a_turned_square_shows_the_picture_turned() -> None:
    """A head lying on its left (turned clockwise by a quarter) stands upright in the crop."""
    image = ramp(80, 100)
    square = CropTransform(50.0, 40.0, 40.0)
    quarter = crop_image(image, square, 40, roll=np.pi / 2).astype(int)
    expected = np.rot90(crop_image(image, square, 40), 1).astype(int)
    assert np.abs(quarter - expected)[1:-1, 1:-1].max() <= 1


def test_a_turned_square_keeps_its_centre_and_scale() -> None:
    """Red is x: along a row of a crop turned by 30 degrees it grows by cos 30 per pixel."""
    square = CropTransform(60.0, 60.0, 30.0)
    turned = crop_image(ramp(120, 120), square, 30, roll=np.pi / 6)[..., :2].astype(float)
    np.testing.assert_allclose(turned[14:16, 14:16].mean((0, 1)), [59.5, 59.5], atol=0.6)
    slope = np.polyfit(np.arange(28), turned[15, 1:-1, 0], 1)[0]
    assert slope == pytest.approx(np.cos(np.pi / 6), abs=0.02)
