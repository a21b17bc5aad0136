"""Harsh pictures: a share of them changes as light and retouching do, the others keep their bits."""

import numpy as np
import pytest
import torch

from occface_core.data.degrade import as_shown, degrade
from occface_core.data.harsh import _Look, _smoothed, harsh


def pictures(count: int, side: int = 48) -> torch.Tensor:
    return 0.2 + 0.6 * torch.rand((count, 3, side, side), generator=torch.Generator().manual_seed(1))


def look(*numbers: float, edge: bool = False, smooth: bool = False) -> _Look:
    return _Look(np.array(numbers or (0.0, 0.5, 3 / 7, 7 / 12, 0.0, 0.5, 0.0, 0.4, 0.5)), edge, smooth)


def test_a_share_becomes_harsh_and_the_rest_keeps_its_bits() -> None:
    images = pictures(200)
    lit = harsh(images, 0.3, np.random.default_rng(0))
    same = (lit == images).flatten(1).all(1)
    assert 40 < int((~same).sum()) < 80
    assert 0 <= float(lit.min()) <= float(lit.max()) <= 1
    # As different as photos are: darker and brighter ones, flatter and harder ones.
    means, spreads = lit[~same].mean((1, 2, 3)), lit[~same].std((1, 2, 3))
    assert float(means.min()) < 0.35 < 0.55 < float(means.max())
    assert float(spreads.max()) > 1.5 * float(images.std())


def test_a_look_depends_on_the_place_alone() -> None:
    images = pictures(20)
    torch.testing.assert_close(
        harsh(images, 1.0, np.random.default_rng(3))[7:8],
        harsh(torch.cat([images[:7] * 0, images[7:]]), 1.0, np.random.default_rng(3))[7:8],
    )


def test_the_middle_of_all_numbers_changes_nothing() -> None:
    images = pictures(2)
    torch.testing.assert_close(look()(images), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("width", [0.0, 1.0])
def test_a_shadow_darkens_one_side_alone(width: float) -> None:
    grey = torch.full((1, 3, 64, 64), 0.8)
    shaded = look(0.0, 0.5, 3 / 7, 7 / 12, 0.0, 0.5, width, 0.4, 0.5, edge=True)(grey)[0, 0]
    assert float(shaded[:, :4].min()) > 0.72  # left of the edge: in the light
    assert float(shaded[:, -4:].max()) < 0.8 * 0.58  # right of it: half as bright
    steps = (shaded[:, 1:] - shaded[:, :-1]).abs().max()
    assert (float(steps) > 0.1) == (width == 0.0)


def test_smoothing_takes_texture_and_leaves_edges() -> None:
    generator = torch.Generator().manual_seed(0)
    skin = 0.6 + 0.02 * torch.randn((1, 3, 48, 48), generator=generator)
    skin[..., 24:] -= 0.5
    smooth = _smoothed(skin)
    assert float(smooth[..., 2:20].std()) < 0.4 * float(skin[..., 2:20].std())
    edge = smooth[..., 23] - smooth[..., 24]
    assert float(edge.mean()) > 0.4


def test_what_a_student_is_shown_is_harsh_first_poor_then_and_cut_at_last() -> None:
    images = pictures(30)
    size = images.shape[-1]
    points = size * (0.25 + 0.5 * torch.rand(30, 468, 2, generator=torch.Generator().manual_seed(2)))
    shares = {"poor_share": 1.0, "harsh_share": 1.0, "cut_share": 1.0}
    shown, inside = as_shown(images, points, **shares, seed=[5, 7])
    lit = harsh(images, 1.0, np.random.default_rng([5, 7, 1]))
    poor = degrade(lit, 1.0, np.random.default_rng([5, 7]))
    whole, everywhere = as_shown(images, points, **shares | {"cut_share": 0.0}, seed=[5, 7])
    assert torch.equal(whole, poor)
    assert bool((everywhere == 1).all())
    assert 0 < float(inside.mean()) < 1
    assert torch.equal(shown * inside, poor * inside)
    assert as_shown(images, points, **dict.fromkeys(shares, 0.0), seed=[5])[0] is images
