"""Rests of things before the face: gone from what a texture takes for seen, and nothing else with them."""

import numpy as np
import pytest

from occface_core.pipeline.remnants import off_colour, without_remnants
from occface_core.pipeline.texture_prior import TexturePrior
from occface_core.pipeline.textures import Chart, SeenTexture

SIZE = 128
SKIN = np.array([0.7, 0.5, 0.42], np.float32)
CLOTH = np.array([0.2, 0.5, 0.6], np.float32)
UPPER, CHIN = (slice(10, 60), slice(10, 118)), (slice(90, 104), slice(50, 78))


def chart_of(part: np.ndarray, **known) -> Chart:
    return Chart(np.zeros(part.shape, bool), part, **known)


ALL_SKIN = chart_of(np.zeros((SIZE, SIZE), np.uint8))


@pytest.fixture
def albedo(rng: np.random.Generator) -> np.ndarray:
    return (SKIN * rng.normal(1, 0.03, (SIZE, SIZE, 1))).astype(np.float32)


def lit(albedo: np.ndarray) -> np.ndarray:
    """In warm light that falls off to one side."""
    falloff = np.linspace(1.2, 0.6, SIZE, dtype=np.float32)[None, :, None]
    return albedo * falloff * np.array([1, 0.9, 0.75], np.float32)


def shown(colour: np.ndarray, *places: tuple[slice, slice]) -> SeenTexture:
    weight = np.zeros((SIZE, SIZE), np.float32)
    for place in places:
        weight[place] = 1
    return SeenTexture(colour, weight)


def test_an_island_of_cloth_goes_and_one_of_skin_stays(albedo: np.ndarray) -> None:
    colour = lit(albedo)
    skin = shown(colour, UPPER, CHIN)
    np.testing.assert_allclose(without_remnants(skin, albedo, ALL_SKIN).weight, skin.weight, atol=0.01)
    colour[CHIN] = lit(np.broadcast_to(CLOTH, colour.shape))[CHIN]
    kept = without_remnants(shown(colour, UPPER, CHIN), albedo, ALL_SKIN).weight
    assert kept[CHIN].max() == 0
    assert kept[UPPER].mean() > 0.99


def test_a_black_island_goes_too(albedo: np.ndarray) -> None:
    colour = lit(albedo)
    colour[CHIN] *= 0.2
    assert without_remnants(shown(colour, UPPER, CHIN), albedo, ALL_SKIN).weight[CHIN].max() == 0


def test_a_crumb_goes_whatever_its_colour(albedo: np.ndarray) -> None:
    crumb = slice(90, 93), slice(60, 63)
    kept = without_remnants(shown(lit(albedo), UPPER, crumb), albedo, ALL_SKIN).weight
    assert kept[crumb].max() == 0


def test_a_coloured_rim_along_a_cover_goes_and_skin_inside_it_stays(albedo: np.ndarray) -> None:
    colour = lit(albedo)
    rim, inside = (slice(57, 60), slice(10, 118)), (slice(14, 46), slice(14, 114))
    colour[rim] = CLOTH
    kept = without_remnants(shown(colour, UPPER), albedo, ALL_SKIN).weight
    assert kept[rim].mean() < 0.1
    assert kept[inside].min() > 0.99


def test_what_belongs_to_the_face_stays(albedo: np.ndarray) -> None:
    """Brows, a beard, a mole, red lips, a narrow gap between them: all of it lies within what is seen."""
    colour = lit(albedo)
    everything = slice(4, 124), slice(4, 124)
    colour[30:35, 30:55] *= 0.25
    colour[95:115, 40:90] *= 0.5
    colour[70:73, 30:33] *= 0.3
    colour[80:86, 50:78] *= np.array([1, 0.6, 0.6], np.float32)
    face = shown(colour, everything)
    face.weight[83, 52:76] = 0
    np.testing.assert_array_equal(without_remnants(face, albedo, ALL_SKIN).weight, face.weight)


def test_eyes_are_not_judged(albedo: np.ndarray) -> None:
    colour, part = lit(albedo), np.zeros((SIZE, SIZE), np.uint8)
    part[CHIN] = 1
    colour[CHIN] = 0.95
    kept = without_remnants(shown(colour, UPPER, CHIN), albedo, chart_of(part)).weight
    assert kept[CHIN].min() == 1


def test_nothing_seen_and_an_albedo_of_another_size_are_fine(albedo: np.ndarray) -> None:
    nothing = without_remnants(shown(lit(albedo)), albedo, ALL_SKIN)
    assert not nothing.weight.any()
    assert np.isfinite(nothing.colour).all()
    some = without_remnants(shown(lit(albedo), UPPER), albedo[::2, ::2], ALL_SKIN)
    assert some.weight[UPPER].mean() > 0.99


def test_off_colour_is_in_standard_deviations_of_skin(albedo: np.ndarray) -> None:
    colour = lit(albedo)
    colour[60:64, 60:64] *= np.exp(-0.7)  # one of brightness
    chroma, brightness = off_colour(colour, albedo, np.ones((SIZE, SIZE), np.float32))
    assert np.abs(brightness[60:64, 60:64] + 1).max() < 0.2
    assert np.abs(brightness[:50]).max() < 0.6
    assert chroma.max() < 0.4


def test_large_textures_are_judged_alike(albedo: np.ndarray) -> None:
    colour = lit(albedo)
    colour[CHIN] = lit(np.broadcast_to(CLOTH, colour.shape))[CHIN]
    seen = shown(colour, UPPER, CHIN)
    large = SeenTexture(*(np.repeat(np.repeat(x, 4, 0), 4, 1) for x in (seen.colour, seen.weight)))
    chart = chart_of(np.zeros((4 * SIZE, 4 * SIZE), np.uint8))
    kept = without_remnants(large, albedo, chart).weight[2::4, 2::4]
    assert kept[CHIN].max() == 0
    assert kept[UPPER].mean() > 0.99


def even_prior(cells: int = 16) -> TexturePrior:
    """Light of any colour, the same all over the face."""
    count, tints = cells * cells, np.eye(3, dtype=np.float32)
    same = np.repeat(0.5 * tints[None], count, 0)
    flat = np.zeros((count, 3), np.float32)
    return TexturePrior(
        np.ones((cells, cells), bool), flat, same, flat + 0.05, np.ones(count, np.float32), "test"
    )


def test_with_a_prior_a_pale_rim_as_bright_as_skin_goes_too(albedo: np.ndarray) -> None:
    """A surgical mask's edge differs from skin by less than shadows do from guessed light."""
    colour = (albedo * np.array([1, 0.9, 0.75], np.float32)).astype(np.float32)
    rim, inside = (slice(56, 60), slice(10, 118)), (slice(14, 40), slice(14, 114))
    colour[rim] = 0.5 * colour[rim] + 0.5 * 0.6
    seen = shown(colour, UPPER)
    guessed = without_remnants(seen, albedo, ALL_SKIN).weight
    known = without_remnants(seen, albedo, chart_of(ALL_SKIN.part, prior=even_prior())).weight
    assert guessed[rim].mean() > 0.5
    assert known[rim].mean() < 0.1
    assert known[inside].min() > 0.99


def test_what_is_no_surface_hides_nothing(albedo: np.ndarray) -> None:
    """Lips lie beside the hole of the mouth, and are red."""
    colour = (albedo * np.array([1, 0.9, 0.75], np.float32)).astype(np.float32)
    mouth, lips = (slice(60, 76), slice(40, 88)), (slice(54, 60), slice(40, 88))
    colour[lips] *= np.array([1, 0.6, 0.6], np.float32)
    seen = shown(colour, (slice(4, 124), slice(4, 124)))
    seen.weight[mouth] = 0
    surface = np.ones((SIZE, SIZE), bool)
    taken = without_remnants(seen, albedo, chart_of(ALL_SKIN.part, prior=even_prior())).weight
    surface[mouth] = False
    kept = without_remnants(seen, albedo, chart_of(ALL_SKIN.part, prior=even_prior(), surface=surface)).weight
    assert taken[lips].mean() < 0.5
    assert kept[lips].min() > 0.99
