"""Face masks: the styles' shapes and fabrics, and how they sit."""

import numpy as np
import pytest

from occface_core.occlusion.mask_fabric import mask_texture
from occface_core.occlusion.mask_wear import Wear
from occface_core.occlusion.medical_mask import COLUMNS, ROWS, STYLES, mask_design


@pytest.mark.parametrize("style", STYLES)
def test_mask_styles_have_their_own_shape_and_opaque_fabric(style):
    grid = mask_design(style, 4, False).grid
    assert grid.shape == (ROWS, COLUMNS, 3)
    plain = mask_design("surgical", 4, False).grid
    ahead = float(grid[..., 2].max() - plain[..., 2].max())
    least = {"surgical": 0.0, "cloth": 0.0, "ffp": 0.006, "fold": 0.012}[style]
    assert least <= ahead < 0.03
    for seed in range(30):
        texture = mask_texture(style, np.random.default_rng(seed))
        assert float(texture[..., 3].min()) == 1
        assert float(texture.min()) >= 0
        assert float(texture.max()) <= 1


def test_a_folded_mask_has_a_keel():
    """At the middle the folded mask breaks where the moulded one is round."""
    kink = {}
    for style in ("ffp", "fold"):
        depth = mask_design(style, 4, False).grid[ROWS // 2, :, 2]
        middle = COLUMNS // 2
        kink[style] = 2 * depth[middle] - depth[middle - 1] - depth[middle + 1]
    assert kink["fold"] > 1.8 * kink["ffp"]


def test_a_mask_as_designed_does_not_move():
    still = Wear(np.ones(2), 0.0, np.zeros(3))
    grid = mask_design("cloth", 3, True).grid
    assert np.abs(still.displacement(grid, about=grid.mean((0, 1)))).max() < 1e-7


def test_wear_is_a_similarity_of_the_mask_about_its_middle():
    about = np.array([0.0, -0.04, 0.1])
    wear = Wear(np.array([1.1, 0.9]), np.radians(90), np.array([0.002, 0.0, 0.003]))
    places = about + np.array([[0.05, 0.0, 0.0], [0.0, 0.03, 0.01]])
    went = about + np.array([[0.002, 0.055, 0.003], [-0.025, 0.0, 0.013]])
    np.testing.assert_allclose(places + wear.displacement(places, about=about), went, atol=1e-7)


def test_masks_sit_differently_by_some_millimetres():
    design = mask_design("surgical", 4, False)
    moves = np.stack([design.worn(Wear.draw(np.random.default_rng(seed)))[0] for seed in range(60)])
    spread = 1000 * np.linalg.norm(moves - moves.mean(0), axis=-1).mean()
    assert 3 < spread < 8
    assert 1000 * np.linalg.norm(moves, axis=-1).max() < 25
    assert (moves[..., 2] >= -1e-7).all()  # never into the face


@pytest.mark.parametrize("style", STYLES)
def test_straps_go_with_the_mask_and_stay_at_the_ears(style):
    design = mask_design(style, 4, False)
    wear = Wear(np.array([1.08, 1.0]), 0.0, np.zeros(3))
    _, straps = design.worn(wear)
    assert len(straps) == 4
    for band, move in zip(design.bands, straps, strict=True):
        ear, corner = np.abs(band[:, 2] - design.grid[..., 2].mean()).argmax(), np.abs(move).sum(1).argmax()
        assert np.abs(move[ear]).max() < 0.3 * np.abs(move[corner]).max()
        np.testing.assert_allclose(
            move[corner], wear.displacement(band[corner], about=design.grid.mean((0, 1))), atol=1e-6
        )
