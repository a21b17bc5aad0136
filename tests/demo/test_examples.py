import numpy as np
import pytest

from demo.examples import FROM_THE_SIDE, astronaut, renders
from occface_core.errors import AssetError
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel


def test_portrait_is_square_and_in_colour() -> None:
    pixels = astronaut().pixels
    assert pixels.shape == (512, 512, 3)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 20


def test_renders_differ_and_repeat() -> None:
    try:
        head, albedo = HeadModel.load(), AlbedoModel.load()
    except AssetError as error:
        pytest.skip(f"assets are not built: {error}")
    first, second, side = renders(head, albedo, (3, 5))
    assert first.pixels.shape == second.pixels.shape == side.pixels.shape
    assert side.name == "Render from the side"
    assert (side.pixels != renders(head, albedo, FROM_THE_SIDE[:1])[0].pixels).mean() > 0.3
    assert (first.pixels != second.pixels).mean() > 0.3
    np.testing.assert_array_equal(renders(head, albedo, (3,))[0].pixels, first.pixels)
