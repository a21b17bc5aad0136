"""FOCUS's segmentation terms on pictures whose answer is known."""

import pytest
import torch

from occface_core.losses.segmentation import (
    binary_loss,
    colour_distances,
    hidden_area_loss,
    neighbour_distances,
    perceptual_distances,
    preserve_loss,
    visible_distance_loss,
)

REGION = torch.ones(1, 1, 8, 8)


def test_neighbour_distance_forgives_shifts_within_its_window(generator: torch.Generator) -> None:
    render = torch.rand(1, 3, 16, 16, generator=generator)
    shifted = torch.roll(render, shifts=(2, -1), dims=(2, 3))
    inner = neighbour_distances(shifted, render)[0][..., 3:-3, 3:-3]
    assert float(inner.max()) == pytest.approx(0.0, abs=2e-4)
    assert float(neighbour_distances(shifted, render, radius=0)[0][..., 3:-3, 3:-3].mean()) > 0.2


def test_neighbour_distance_of_flat_colours_is_their_distance() -> None:
    image, render = torch.zeros(1, 3, 6, 6), torch.full((1, 3, 6, 6), 0.5)
    expected = torch.full((1, 1, 6, 6), 0.75**0.5)
    colour, chroma = neighbour_distances(image, render)
    torch.testing.assert_close(colour, expected)
    torch.testing.assert_close(chroma, torch.full_like(expected, 1e-4))


def test_chroma_is_blind_to_brightness(generator: torch.Generator) -> None:
    image, render = torch.rand(2, 2, 3, 8, 8, generator=generator)
    brighter = neighbour_distances(image + 0.3, render)
    torch.testing.assert_close(brighter[1], neighbour_distances(image, render)[1], atol=1e-3, rtol=0)
    assert float((brighter[0] - neighbour_distances(image, render)[0]).abs().mean()) > 0.05


def test_chroma_is_the_distance_of_colours_less_their_means(generator: torch.Generator) -> None:
    image, render = torch.rand(2, 2, 3, 8, 8, generator=generator)
    own = neighbour_distances(image - image.mean(1, keepdim=True), render - render.mean(1, keepdim=True))
    torch.testing.assert_close(neighbour_distances(image, render)[1], own[0], atol=1e-3, rtol=0)


def test_terms_have_their_known_values() -> None:
    mask = torch.full((1, 1, 8, 8), 0.25)
    distance = torch.full((1, 1, 8, 8), 0.4)
    assert float(visible_distance_loss(mask, distance, REGION)) == pytest.approx(0.1)
    assert float(hidden_area_loss(mask, REGION)) == pytest.approx(0.75)
    assert float(binary_loss(mask, REGION)) == pytest.approx(0.1875)
    assert float(preserve_loss(mask, torch.zeros_like(mask), REGION)) == pytest.approx(0.75)
    assert float(preserve_loss(mask, distance, REGION, sigma=0.01)) == pytest.approx(0.0, abs=1e-6)


def test_pixels_outside_the_region_do_not_count() -> None:
    region = torch.zeros(1, 1, 8, 8)
    region[..., :4] = 1
    mask = torch.cat([torch.ones(1, 1, 8, 4), torch.zeros(1, 1, 8, 4)], dim=3)
    assert float(hidden_area_loss(mask, region)) == 0.0


def test_minimising_the_terms_hides_exactly_what_is_not_explained() -> None:
    distance = torch.full((1, 1, 8, 8), 0.01)
    distance[..., 4:] = 0.6
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(80):
        mask = logits.sigmoid()
        loss = (
            1.5 * visible_distance_loss(mask, distance, REGION)
            + 0.12 * hidden_area_loss(mask, REGION)
            + 0.1 * preserve_loss(mask, distance, REGION)
            + 0.3 * binary_loss(mask, REGION)
        )
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    visible = logits.sigmoid() > 0.5
    assert bool(visible[..., :4].all())
    assert not bool(visible[..., 4:].any())


def test_a_thin_stripe_is_no_skin_though_skin_lies_beside_it() -> None:
    render = torch.full((1, 3, 24, 24), 0.5)
    image = render.clone()
    image[..., 10:12] = 1.0
    assert float(neighbour_distances(image, render)[0][..., 10:12].max()) < 1e-3
    colour, chroma = colour_distances(image, render)
    torch.testing.assert_close(colour[..., 10:12], torch.full((1, 1, 24, 2), 0.75**0.5))
    assert float(colour[..., :8].max()) < 1e-3
    assert float(chroma.max()) < 1e-3  # grey on grey


def test_perceptual_distances_are_where_the_maps_differ(generator: torch.Generator) -> None:
    maps = [torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 6, 4, 4, generator=generator)]
    other = [maps[0].clone(), maps[1].clone()]
    other[0][..., :4] *= -1  # opposite on the left: 1 - cos = 2
    fine, coarse = perceptual_distances([m.bfloat16() for m in maps], [m.bfloat16() for m in other], (32, 32))
    assert fine.shape == coarse.shape == (1, 1, 32, 32)
    torch.testing.assert_close(fine[..., :12], torch.full((1, 1, 32, 12), 2.0), atol=0.01, rtol=0)
    torch.testing.assert_close(fine[..., 20:], torch.zeros(1, 1, 32, 12), atol=0.01, rtol=0)
    torch.testing.assert_close(coarse, torch.zeros(1, 1, 32, 32), atol=0.01, rtol=0)
    swapped = perceptual_distances(other, maps, (32, 32))
    torch.testing.assert_close(fine, swapped[0], atol=0.01, rtol=0)
