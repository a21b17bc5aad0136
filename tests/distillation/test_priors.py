"""What training knows about landmarks before looking."""

from pathlib import Path

import pytest
import torch

from occface_core.data.batches import BatchConfig, TwinSampler
from occface_core.data.landmarks import IBUG68_FROM_MEDIAPIPE
from occface_core.data.packed import pack
from occface_core.data.photos import load_photo_set
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.priors import photo_prior, points_to_find, render_prior
from occface_core.distillation.run import make_model
from occface_core.distillation.scene import Scene
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(HeadModel.load(), AlbedoModel.load())


def test_rendered_prior_is_a_face_in_the_middle_of_the_crop(scene: Scene) -> None:
    prior = render_prior(scene, count=250)
    low, high = prior.mean.amin(0), prior.mean.amax(0)
    assert torch.allclose((low + high) / 2, torch.zeros(2), atol=0.15)
    assert ((high - low) > 1.0).all()
    assert ((high - low) < 1.6).all()  # 1 / 1.5 of the crop's side of 2 is 1.33
    assert float(prior.basis[..., 0].abs().max()) > float(prior.basis[..., -1].abs().max())


def test_photo_prior_is_symmetric_and_repeats(scene: Scene, photo_folder: Path) -> None:
    packed = pack(load_photo_set(photo_folder), size=96)
    sampler = TwinSampler(
        packed, BatchConfig(batch_size=2, size=64), seed=1, mirror=scene.mirror, mean_points=scene.mean_points
    )
    prior = photo_prior(sampler, count=400)
    mirrored = prior.mean[torch.from_numpy(scene.mirror)] * torch.tensor([-1.0, 1.0])
    assert torch.allclose(prior.mean, mirrored, atol=1e-5)
    assert torch.equal(prior.mean, photo_prior(sampler, count=400).mean)


def test_only_recipes_that_train_evidence_get_it(scene: Scene) -> None:
    prior = render_prior(scene, count=250)
    student = make_model(TrainConfig(recipe="damior", evidence_points=60), None, prior)
    assert student.evidence is not None
    assert torch.equal(student.evidence.index, points_to_find(prior, 60))
    assert student.evidence.index[:51].tolist() == list(IBUG68_FROM_MEDIAPIPE[17:])
    assert torch.equal(student.evidence.basis, prior.basis)
    assert make_model(TrainConfig(recipe="learner"), None, prior).evidence is None
    assert make_model(TrainConfig(recipe="damior", evidence_points=0), None, prior).evidence is None
