"""View consistency at the exact truth, and away from it."""

from pathlib import Path

import pytest
import torch

from occface_core.data.synthetic import SyntheticConfig, SyntheticFaces
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.recipes import MultiviewRecipe, join
from occface_core.distillation.scene import Scene
from occface_core.errors import ConfigError
from occface_core.losses.multiview import covisible, depth_consistency_loss, ssim_distance
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel

SIZE = 96


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(HeadModel.load(), AlbedoModel.load())


@pytest.fixture(scope="module")
def recipe(scene: Scene) -> MultiviewRecipe:
    config = TrainConfig(recipe="multiview", out=Path("unused"), batch_size=6, input_size=SIZE, steps=1)
    return MultiviewRecipe(config, scene)


def test_exact_parameters_are_consistent_and_wrong_ones_are_not(
    scene: Scene, recipe: MultiviewRecipe, generator: torch.Generator
) -> None:
    faces = SyntheticFaces(scene.head, scene.albedo, SIZE, SyntheticConfig(noise=0.0))
    batch = faces.sample_views(6, 3, generator=generator)
    assert torch.equal(batch.params.betas[0], batch.params.betas[2])
    assert not torch.equal(batch.params.pose[0, :3], batch.params.pose[1, :3])
    twin = join(None, batch, None, SIZE)
    rows = slice(0, None)
    exact = recipe.view_terms(batch.params, scene.decode(batch.params), twin, rows)
    assert float(exact["view_depth"].max()) < 1e-5
    assert float(exact["view_epipolar"].max()) < 1e-5
    turned = batch.params.pose.clone()
    turned[::3, 1] += 0.3
    shaped = batch.params.betas.clone()
    shaped[::3] *= -1
    wrong = batch.params.replace(pose=turned, betas=shaped)
    off = recipe.view_terms(wrong, scene.decode(wrong), twin, rows)
    for name in exact:
        assert float(off[name].mean()) > float(exact[name].mean()), name
    assert float(off["view_epipolar"].max()) > 1e-3


def test_covisible_needs_the_triangle_in_both_views() -> None:
    target = torch.tensor([[[0, 1], [2, -1]]])
    source = torch.tensor([[[2, 2], [0, -1]]])
    expected = torch.tensor([[[[True, False], [True, False]]]])
    assert torch.equal(covisible(target, source, 4), expected)


def test_depth_offset_is_free_and_ssim_is_zero_on_identity(generator: torch.Generator) -> None:
    depth = torch.rand(2, 8, 8, generator=generator)
    mask = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    assert float(depth_consistency_loss(depth, depth + 3, mask).max()) < 1e-6
    picture = torch.rand(1, 3, 8, 8, generator=generator)
    assert float(ssim_distance(picture, picture).max()) < 1e-6
    assert float(ssim_distance(picture, 1 - picture).mean()) > 0.3


def test_a_batch_that_cannot_be_cut_into_views_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of views"):
        TrainConfig(recipe="multiview", out=Path("unused"), batch_size=8, views=3)
