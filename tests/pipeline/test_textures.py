"""Filling the gaps of a texture: untouched where seen, in the right light elsewhere."""

import numpy as np
import pytest

from occface_core.pipeline.textures import Chart, SeenTexture, complete_texture, light_gain

SIZE = 96
RAMP = np.broadcast_to(np.linspace(0.3, 0.6, SIZE, dtype=np.float32)[None, :, None], (SIZE, SIZE, 3))


def seen(columns: slice, colour: np.ndarray = RAMP) -> SeenTexture:
    weight = np.zeros((SIZE, SIZE), np.float32)
    weight[:, columns] = 1
    return SeenTexture(np.where(weight[..., None] > 0, colour, 7.0).astype(np.float32), weight)


def test_what_is_seen_stays() -> None:
    texture = complete_texture(
        seen(slice(0, 50)), np.full((SIZE, SIZE, 3), 0.9, np.float32), [seen(slice(30, 80))]
    )
    np.testing.assert_allclose(texture[:, :50], RAMP[:, :50], atol=1e-6)
    assert texture.dtype == np.float32
    assert texture.min() >= 0
    assert texture.max() <= 1


@pytest.mark.parametrize("light", [0.5, 1.0, 1.6])
def test_another_photo_is_brought_to_this_photos_light(light: float) -> None:
    tint = np.array([light, 1.0, 0.8], np.float32)
    texture = complete_texture(seen(slice(0, 60)), np.zeros_like(RAMP), [seen(slice(30, SIZE), RAMP * tint)])
    np.testing.assert_allclose(texture, RAMP, rtol=0.02)


def test_light_may_change_over_the_face() -> None:
    lit = RAMP * np.linspace(1.0, 0.5, SIZE, dtype=np.float32)[:, None, None]  # from above
    texture = complete_texture(seen(slice(0, 60), lit), np.zeros_like(RAMP), [seen(slice(30, SIZE))])
    # Near the border of what is seen the fill follows the light of its own row, not of the whole face.
    border = texture[10:-10, 61:66] / lit[10:-10, 61:66]
    assert np.abs(border - 1).max() < 0.12
    assert np.abs(lit[10:-10].mean() / lit[10:-10].mean((1, 2)) - 1).max() > 0.25


def test_the_albedo_fills_what_no_photo_shows_in_the_photos_light() -> None:
    albedo = np.full((SIZE, SIZE, 3), 0.8, np.float32)
    dark = complete_texture(seen(slice(0, 50), albedo * 0.6), albedo)
    np.testing.assert_allclose(dark[:, 50:], 0.48, atol=0.01)
    patchy = complete_texture(seen(slice(0, 30)), albedo, [seen(slice(20, 60))])
    assert np.isfinite(patchy).all()
    assert np.abs(np.diff(patchy[SIZE // 2, :, 0])).max() < 0.1  # no seams


def test_nothing_in_common_changes_nothing() -> None:
    left, right = seen(slice(0, 40)), seen(slice(50, SIZE))
    assert np.array_equal(light_gain(left, right), np.ones((SIZE, SIZE, 3)))
    empty = complete_texture(seen(slice(0, 0)), RAMP)
    np.testing.assert_allclose(empty, RAMP)


def test_a_filling_meets_the_photo_at_the_border_of_a_gap() -> None:
    """Also where the skin beside the gap is darker than the rest: a beard, a shadow."""
    photo = np.full((SIZE, SIZE, 3), 0.6, np.float32)
    photo[:, 40:50] = 0.45
    filled = complete_texture(seen(slice(0, 50), photo), np.full_like(photo, 0.6))
    middle = filled[SIZE // 2, :, 0]
    assert abs(middle[50] - middle[49]) < 0.05
    assert np.abs(np.diff(middle[50:])).max() < 0.02
    assert middle[-10:] == pytest.approx(np.full(10, 0.6), abs=0.05)


def test_textures_of_several_sizes_fill_each_other() -> None:
    large = np.full((2 * SIZE, 2 * SIZE, 3), 0.5, np.float32)
    weight = np.zeros((2 * SIZE, 2 * SIZE), np.float32)
    weight[:, 80:] = 1
    texture = complete_texture(
        seen(slice(0, 50), np.full_like(RAMP, 0.5)),
        np.full((SIZE // 2, SIZE // 2, 3), 0.2, np.float32),
        [SeenTexture(large, weight)],
    )
    np.testing.assert_allclose(texture, 0.5, atol=0.01)


def test_what_one_side_hides_the_other_side_shows() -> None:
    freckled = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    freckled[20:24, 10:14] = 0.3
    symmetric = np.ones((SIZE, SIZE), bool)
    symmetric[60:] = False
    chart = Chart(symmetric, np.zeros((SIZE, SIZE), np.uint8))
    texture = complete_texture(seen(slice(0, 48), freckled), np.full_like(RAMP, 0.5), chart=chart)
    np.testing.assert_allclose(texture[:60], np.minimum(freckled, freckled[:, ::-1])[:60], atol=0.02)
    np.testing.assert_allclose(texture[60:, 48:], 0.5, atol=0.02)
    # In the light of the side it is on, as far as both sides are seen.
    lit = np.linspace(0.7, 0.3, SIZE, dtype=np.float32)[None, :, None] * np.ones_like(RAMP)
    texture = complete_texture(seen(slice(0, 60), lit), np.full_like(RAMP, 0.5), chart=chart)
    assert abs(texture[30, 62, 0] - lit[30, 62, 0]) < 0.05


def eyes_below(colour: np.ndarray, columns: slice) -> tuple[SeenTexture, Chart]:
    """Skin above, two eyes in the lowest rows; only some columns are seen."""
    part = np.zeros((SIZE, SIZE), np.uint8)
    part[80:, 10:40] = part[80:, 56:86] = 1
    return seen(columns, colour), Chart(np.zeros((SIZE, SIZE), bool), part)


def test_eyes_take_no_colour_from_the_skin_beside_them() -> None:
    albedo = np.full((SIZE, SIZE, 3), 0.8, np.float32)
    albedo[:, :, 2] = 0.4  # the model's skin is too yellow; eyes are white
    albedo[80:] = 0.7
    photo = np.full((SIZE, SIZE, 3), 0.6, np.float32)
    own, chart = eyes_below(photo, slice(42, 54))  # no eye is seen
    texture = complete_texture(own, albedo, chart=chart)
    eyes = texture[chart.part == 1]
    assert np.ptp(eyes, axis=1).max() < 0.01  # still without a tint
    assert 0.25 < eyes.mean() < 0.45  # in the photo's light and the lids' shade
    skin = texture[10:60]
    assert np.ptp(skin, axis=2).max() < 0.1  # skin does take the photo's colour
    tinted = complete_texture(own, albedo)[chart.part == 1]
    assert np.ptp(tinted, axis=1).max() > 0.1  # which the eyes had taken, were they not known


def test_unseen_teeth_take_half_of_the_lights_colour_and_none_of_the_lips() -> None:
    albedo = np.full((SIZE, SIZE, 3), 0.6, np.float32)
    photo = np.full((SIZE, SIZE, 3), 0.6, np.float32)
    photo[:, :, 0] = 0.3  # blue light
    own, chart = eyes_below(photo, slice(42, 54))
    part = np.zeros_like(chart.part)
    part[80:, 10:40], part[90:, 56:86] = 3, 2
    mouth = own.weight.copy()
    mouth[90:, 56:86] = 1  # the mouth's inside is seen, as red as can be; teeth are not
    colour = own.colour.copy()
    colour[90:, 56:86] = [0.6, 0.0, 0.0]
    texture = complete_texture(SeenTexture(colour, mouth), albedo, chart=Chart(chart.symmetric, part))
    teeth = texture[part == 3].mean(0)
    assert teeth[0] / teeth[2] == pytest.approx(0.5**0.5, rel=0.05)
    assert teeth[1] == pytest.approx(teeth[2], abs=0.01)


def test_one_eye_tells_the_light_of_the_other() -> None:
    albedo = np.full((SIZE, SIZE, 3), 0.8, np.float32)
    photo = np.full((SIZE, SIZE, 3), 0.8, np.float32)
    photo[80:] = np.array([0.5, 0.45, 0.4])
    own, chart = eyes_below(photo, slice(0, 50))
    texture = complete_texture(own, albedo, chart=chart)
    np.testing.assert_allclose(texture[85, 60:80], np.broadcast_to([0.5, 0.45, 0.4], (20, 3)), atol=0.01)
    # Other photos are brought to that light as well.
    other = SeenTexture(np.full((SIZE, SIZE, 3), 0.8, np.float32), np.ones((SIZE, SIZE), np.float32))
    gain = light_gain(own, other, chart.part)
    np.testing.assert_allclose(gain[85, 60], np.array([0.5, 0.45, 0.4]) / 0.8, rtol=0.02)


def test_another_photos_eyes_are_in_the_shade_already() -> None:
    photo = np.full((SIZE, SIZE, 3), 0.6, np.float32)
    photo[80:] = 0.4
    own, chart = eyes_below(photo, slice(42, 54))
    others = [seen(slice(0, SIZE), photo * 0.8)]
    texture = complete_texture(own, np.full_like(photo, 0.8), others, chart=chart)
    np.testing.assert_allclose(texture[chart.part == 1], 0.4, atol=0.01)
