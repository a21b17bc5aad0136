"""Poor pictures: fewer pixels and noise for a share of them, the others untouched."""

import numpy as np
import pytest
import torch

from occface_core.data.degrade import degrade, shrunk
from occface_core.data.harsh import harsh


def pictures(count: int, side: int = 48) -> torch.Tensor:
    return torch.rand((count, 3, side, side), generator=torch.Generator().manual_seed(1))


def detail(images: torch.Tensor) -> torch.Tensor:
    return (images[..., 1:] - images[..., :-1]).abs().mean((1, 2, 3))


def test_a_share_becomes_poor_and_the_rest_keeps_its_bits():
    images = pictures(200)
    poor = degrade(images, 0.3, np.random.default_rng(0))
    same = (poor == images).all(dim=3).all(dim=2).all(dim=1)
    assert 40 < int((~same).sum()) < 80
    assert bool((detail(poor)[~same] < 0.6 * detail(images)[~same]).all())
    assert 0 <= float(poor.min()) <= float(poor.max()) <= 1
    torch.testing.assert_close(poor.mean((2, 3)), images.mean((2, 3)), atol=0.06, rtol=0)


@pytest.mark.parametrize("change", [degrade, harsh])
def test_the_source_decides_alone(change) -> None:
    images = pictures(20)
    first, second, other = (change(images, 0.5, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    rng, untouched = np.random.default_rng(3), np.random.default_rng(3)
    assert change(images, 0.0, rng) is images
    change(images, 1.0, untouched)
    assert rng.random() == untouched.random()


def test_shrunk_leaves_so_many_pixels():
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    torch.testing.assert_close(shrunk(ramp, 16, 0.0, generator), ramp, atol=0.03, rtol=0)
    images = pictures(4, 64)
    coarse, fine = (detail(shrunk(images, side, 0.0, generator)).mean() for side in (8, 32))
    assert float(coarse) < 0.4 * float(fine)
    wide = shrunk(torch.rand(1, 3, 40, 80), 20, 0.1, generator)
    assert wide.shape == (1, 3, 40, 80)
