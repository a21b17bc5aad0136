"""What a step is fed with: the same from worker processes as without, other batches for every process."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.data.packed import pack
from occface_core.data.photos import load_photo_set
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.feed import Feed, Supply
from occface_core.distillation.run import make_sampler
from occface_core.distillation.scene import Scene
from occface_core.errors import ConfigError
from occface_core.occlusion.batched import api


@pytest.fixture
def config(photo_folder: Path) -> TrainConfig:
    return TrainConfig(
        recipe="damior",
        photos=photo_folder,
        batch_size=4,
        synthetic_share=0.5,
        input_size=64,
        workers=0,
        occluder_family="irrational",
        clean_share=0.0,
    )


def feed(config: TrainConfig, scene: Scene, rank: int = 0, world: int = 1) -> Feed:
    assert config.photos is not None
    sampler = make_sampler(config, scene, pack(load_photo_set(config.photos), size=96))
    return Feed(config, scene, sampler, occludes=True, rank=rank, world=world)


def total(supply: Supply) -> float:
    assert supply.photo is not None
    assert supply.covered is not None
    return float(supply.photo.occluded.double().sum() + supply.covered[0].double().sum())


def test_a_supply_holds_photos_renders_and_their_twins(config: TrainConfig, scene: Scene) -> None:
    made = feed(config, scene)
    supply = next(made.supplies(0))
    twin = made.twin(supply)
    assert (len(twin.clean), twin.photos) == (4, 2)
    assert (twin.clean != twin.occluded).flatten(1).any(1).all()
    assert twin.truth is not None
    assert twin.clean.is_contiguous(memory_format=torch.channels_last)


def test_steps_are_the_same_wherever_a_run_starts(config: TrainConfig, scene: Scene) -> None:
    steps = feed(config, scene).supplies(0)
    whole = [total(next(steps)) for _ in range(3)]
    assert total(next(feed(config, scene).supplies(2))) == whole[2]
    assert len(set(whole)) == 3


def test_processes_share_nothing(config: TrainConfig, scene: Scene) -> None:
    first, second = (feed(config, scene, rank, 2).supplies(0) for rank in (0, 1))
    assert len({total(next(source)) for source in (first, second) for _ in range(2)}) == 4


@pytest.mark.slow
def test_workers_make_the_same_batches(config: TrainConfig, scene: Scene) -> None:
    alone = next(feed(config, scene).supplies(1))
    helped = next(feed(config.replace(workers=1), scene).supplies(1))
    for supply in (alone, helped):
        assert supply.photo is not None
        assert supply.rendered is not None
        assert supply.covered is not None
    assert torch.equal(alone.photo.occluded, helped.photo.occluded)  # type: ignore[union-attr]
    assert torch.equal(alone.rendered.params.betas, helped.rendered.params.betas)  # type: ignore[union-attr]
    # Sums round differently in another process, and a pixel on an edge may then show the triangle beside it.
    for mine, theirs in zip(alone.covered, helped.covered, strict=True):  # type: ignore[arg-type]
        assert float((mine - theirs).abs().mean()) < 1e-3
        assert float((mine != theirs).float().mean()) < 0.01


def test_nothing_to_fill_a_batch_with(config: TrainConfig, scene: Scene) -> None:
    with pytest.raises(ConfigError, match="nothing to fill it with"):
        Feed(config, scene, None, occludes=True)


@pytest.fixture
def on_device(config: TrainConfig, small_bank, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.setattr(api, "shared_bank", lambda device: small_bank)
    return config.replace(occluders="batched", occluder_family="random", clean_share=0.3, batch_size=6)


def test_the_device_covers_photos_and_renders(on_device: TrainConfig, scene: Scene) -> None:
    made = feed(on_device, scene)
    for supply, _ in zip(made.supplies(0), range(4), strict=False):
        assert supply.photo is not None
        assert supply.rendered is not None
        assert supply.covered is not None
        photo = supply.photo
        before = photo.face_mask.sum((1, 2, 3))
        torch.testing.assert_close(photo.coverage, 1 - photo.visible.sum((1, 2, 3)) / before)
        for clean, image, face, visible in (
            (photo.clean, photo.occluded, photo.face_mask, photo.visible),
            (supply.rendered.image, supply.covered[0], supply.rendered.mask, supply.covered[1]),
        ):
            touched = (clean != image).flatten(1).any(1)
            assert torch.equal(touched, (face != visible).flatten(1).any(1))
        same = [name == "clean" for name in photo.family]
        assert same == (photo.clean == photo.occluded).flatten(1).all(1).tolist()
        twin = made.twin(supply)
        assert torch.equal(twin.occluded, torch.cat([photo.occluded, supply.covered[0]]))


def test_covers_go_over_the_whole_face_and_hair_of_the_photo_is_never_visible_skin(
    on_device: TrainConfig, scene: Scene
) -> None:
    packed = pack(load_photo_set(on_device.photos), size=96)
    bits = np.zeros((len(packed), 96, 96), np.uint8)
    bits[:, :48] = 1  # the upper half of every photo
    packed = replace(packed, hidden=np.packbits(bits, axis=2))
    config = on_device.replace(coverage=(0.3, 0.5), clean_share=0.0, synthetic_share=0.0)
    sampler = make_sampler(config, scene, packed)
    photo = next(Feed(config, scene, sampler, occludes=True).supplies(0)).photo
    assert photo is not None
    inside, skin, visible = (x[:, 0] > 0.5 for x in (photo.outline, photo.face_mask, photo.visible))
    assert (skin & ~inside).sum() == 0
    assert (visible & ~skin).sum() == 0
    assert (visible.sum((1, 2)) < skin.sum((1, 2))).any()
    changed = (photo.clean != photo.occluded).any(1)
    assert (changed & inside & ~skin).sum() > 0  # hair is covered like skin
    # Coverage is a share of the whole face, as of painted covers; shadows change pixels beside them.
    share = (changed & inside).sum((1, 2)) / inside.sum((1, 2))
    assert (photo.coverage <= share + 0.02).all()
    assert (photo.coverage > 0.2).any()


def test_covering_on_the_device_is_the_same_wherever_a_run_starts(
    on_device: TrainConfig, scene: Scene
) -> None:
    steps = feed(on_device, scene).supplies(0)
    whole = [total(next(steps)) for _ in range(3)]
    assert total(next(feed(on_device, scene).supplies(2))) == whole[2]
    other = total(next(feed(on_device, scene, 1, 2).supplies(0)))
    assert len({*whole, other}) == 4


def test_recipes_without_twins_are_left_alone(on_device: TrainConfig, scene: Scene) -> None:
    supply = next(Feed(on_device, scene, feed(on_device, scene).maker.sampler, occludes=False).supplies(0))
    assert supply.covered is None
    assert supply.photo is not None
    assert torch.equal(supply.photo.clean, supply.photo.occluded)
