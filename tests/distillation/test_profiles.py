"""Batches with photos turned out of their plane: only those change, and they come with the truth."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from occface_core.data.batches import TwinBatch
from occface_core.data.packed import pack
from occface_core.data.photos import load_photo_set
from occface_core.distillation import profiles as profiles_module
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.curves import Row
from occface_core.distillation.feed import Feed, Supply
from occface_core.distillation.profiles import Profiles
from occface_core.distillation.recipes import LearnerRecipe, TeacherRecipe
from occface_core.distillation.recipes.common import mask_bce
from occface_core.distillation.run import make_sampler, run_training
from occface_core.distillation.scene import Scene
from occface_core.distillation.trainer import Trainer
from occface_core.errors import ConfigError
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderConfig, FaceEncoder
from occface_core.occlusion.batched import api

SIZE = 64


@pytest.fixture(autouse=True)
def any_fit_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks here are untrained: none of their fits lies on the photo."""
    monkeypatch.setattr(profiles_module, "MISFIT", float("inf"))


@pytest.fixture(scope="module")
def teacher() -> FaceEncoder:
    torch.manual_seed(3)
    network = FaceEncoder(EncoderConfig("resnet18", input_size=SIZE, mask_size=16))
    torch.nn.init.normal_(network.layers[2].weight, std=0.05)  # untrained, but not blind to its input
    return network.eval().requires_grad_(False)


@pytest.fixture
def config(photo_folder: Path) -> TrainConfig:
    return TrainConfig(
        recipe="damior",
        photos=photo_folder,
        batch_size=8,
        synthetic_share=0.0,
        input_size=SIZE,
        workers=0,
        occluder_family="irrational",
        clean_share=0.0,
        profile_share=0.5,
    )


def feed(config: TrainConfig, scene: Scene, teacher: FaceEncoder | None, *, occludes: bool = True) -> Feed:
    assert config.photos is not None
    sampler = make_sampler(config, scene, pack(load_photo_set(config.photos), size=96))
    profiles = None
    if teacher is not None:
        covers = occludes and config.occluders == "painted"
        profiles = Profiles(config, scene, teacher, covers=covers)
    return Feed(config, scene, sampler, occludes=occludes, profiles=profiles)


def batch(made: Feed, step: int = 0) -> TwinBatch:
    photo = next(made.supplies(step)).photo
    assert photo is not None
    return photo


def test_a_share_is_turned_and_the_rest_is_left_alone(
    config: TrainConfig, scene: Scene, teacher: FaceEncoder
) -> None:
    plain, made = batch(feed(config, scene, None)), batch(feed(config, scene, teacher))
    assert plain.turned is None
    assert made.turned is not None
    assert made.fit is not None
    assert int(made.turned.sum()) == 4
    for name in ("clean", "occluded", "face_mask", "visible", "points", "coverage"):
        before, after = getattr(plain, name), getattr(made, name)
        assert torch.equal(before[~made.turned], after[~made.turned]), name
        assert (before != after).reshape(8, -1).any(1)[made.turned].all(), name
    assert not made.fit[~made.turned].any()
    assert (made.visible <= made.face_mask + 1e-6).all()
    assert (made.clean != made.occluded).flatten(1).any(1).all()
    hidden = 1 - made.visible.sum((1, 2, 3)) / made.face_mask.sum((1, 2, 3))
    torch.testing.assert_close(made.coverage[made.turned], hidden[made.turned], atol=1e-4, rtol=0)


def test_the_fit_is_what_the_teacher_said_before(
    config: TrainConfig, scene: Scene, teacher: FaceEncoder
) -> None:
    plain, made = batch(feed(config, scene, None)), batch(feed(config, scene, teacher))
    assert made.turned is not None
    assert made.fit is not None
    with torch.no_grad():
        said = teacher.parameters_of(plain.clean[made.turned])
    fit = FaceParameters.from_code(made.fit[made.turned])
    for name in ("betas", "albedo", "expression"):
        torch.testing.assert_close(getattr(fit, name), getattr(said, name))
    assert not torch.allclose(fit.pose[:, :3], said.pose[:, :3], atol=0.1)
    twin = replace(made, clean=made.clean * 0)  # whatever the teacher makes of the turned photo
    maker = feed(config, scene, teacher)
    joined = maker.twin(replace(next(maker.supplies(0)), photo=twin))
    target = LearnerRecipe(config, scene, teacher).target(joined)
    torch.testing.assert_close(target.betas[made.turned], said.betas)
    torch.testing.assert_close(target.pose[made.turned], fit.pose)
    assert not torch.allclose(target.betas[~made.turned], said.betas)


def test_turning_is_the_same_wherever_a_run_starts(
    config: TrainConfig, scene: Scene, teacher: FaceEncoder
) -> None:
    steps = feed(config, scene, teacher).supplies(0)
    whole = [next(steps).photo for _ in range(2)]
    again = batch(feed(config, scene, teacher), 1)
    assert whole[1] is not None
    assert torch.equal(whole[1].occluded, again.occluded)
    assert whole[0] is not None
    assert not torch.equal(whole[0].turned, whole[1].turned)  # type: ignore[arg-type]


def test_duplicates_of_a_photo_turn_alike(config: TrainConfig, scene: Scene, teacher: FaceEncoder) -> None:
    made = batch(feed(config.replace(recipe="diamor", duplicates=4), scene, teacher))
    assert made.turned is not None
    assert made.turned.tolist() in ([True] * 4 + [False] * 4, [False] * 4 + [True] * 4)
    rows = made.turned.nonzero()[:, 0]
    assert torch.equal(made.clean[rows], made.clean[rows[:1]].expand(4, -1, -1, -1))
    assert not torch.equal(made.occluded[rows[0]], made.occluded[rows[1]])


def test_the_device_covers_turned_photos_too(
    config: TrainConfig, scene: Scene, teacher: FaceEncoder, small_bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "shared_bank", lambda device: small_bank)
    made = batch(feed(config.replace(occluders="batched", profile_share=1.0), scene, teacher))
    assert (made.clean != made.occluded).flatten(1).any(1).all()
    assert (made.visible.sum((1, 2, 3)) < made.face_mask.sum((1, 2, 3))).all()


def test_a_teacher_keeps_to_the_earlier_one(config: TrainConfig, scene: Scene, teacher: FaceEncoder) -> None:
    config = config.replace(recipe="teacher")
    made = feed(config, scene, teacher, occludes=False)
    supply = next(made.supplies(0))
    assert supply.photo is not None
    assert torch.equal(supply.photo.clean, supply.photo.occluded)
    twin = made.twin(supply)
    losses = TeacherRecipe(config, scene, teacher).losses(teacher, twin, 0.5)
    assert twin.turned is not None
    kept = losses["kept_shape"]
    assert len(kept) == twin.photos == 8
    assert float(kept[~twin.turned].abs().max()) < 5e-4  # the earlier one itself, where nothing was turned
    assert float(kept[twin.turned].min()) > 1e-3
    with pytest.raises(ValueError, match="earlier teacher"):
        TeacherRecipe(config, scene).losses(teacher, twin, 0.5)


@pytest.mark.parametrize("recipe", ["focus", "multiview"])
def test_recipes_that_do_not_learn_from_turned_photos_say_so(recipe: str) -> None:
    with pytest.raises(ConfigError, match=f"recipe {recipe} does not learn from turned photos"):
        TrainConfig(recipe=recipe, profile_share=0.1)


def test_fits_that_do_not_fit_are_not_turned(
    config: TrainConfig, scene: Scene, teacher: FaceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles_module, "MISFIT", 0.0)
    plain, made = batch(feed(config, scene, None)), batch(feed(config, scene, teacher))
    assert made.turned is None
    assert torch.equal(made.occluded, plain.occluded)


@pytest.mark.parametrize(
    "nothing", [{"profile_share": 0.05}, {"synthetic_share": 1.0}, {"photos": None}]
)
def test_a_share_that_turns_nothing_is_refused(config: TrainConfig, nothing: dict) -> None:
    with pytest.raises(ConfigError, match="turns none"):
        config.replace(**nothing)


def test_turned_photos_and_renders_in_one_batch(
    config: TrainConfig, scene: Scene, teacher: FaceEncoder
) -> None:
    config = config.replace(synthetic_share=0.25)
    made = feed(config, scene, teacher)
    twin = made.twin(next(made.supplies(0)))
    assert twin.turned is not None
    assert twin.fit is not None
    assert (len(twin.clean), twin.photos, int(twin.turned.sum())) == (8, 6, 3)
    with torch.no_grad():
        said = teacher.parameters_of(twin.clean)
    target = LearnerRecipe(config, scene, teacher).target(twin).to_code()
    torch.testing.assert_close(target[:6][twin.turned], twin.fit[twin.turned])
    torch.testing.assert_close(target[6:], said.to_code()[6:])


def test_the_mask_is_asked_for_all_of_a_turned_face(
    config: TrainConfig, scene: Scene, teacher: FaceEncoder
) -> None:
    """Seen from the side the landmarks' outline lies inside the face; what is not judged must not."""
    made = feed(config.replace(profile_share=1.0), scene, teacher)
    twin = made.twin(next(made.supplies(0)))
    right = (twin.visible * 2 - 1) * 20.0
    inside = torch.where(twin.face > 0.99, -right, right)  # wrong on the face alone
    beyond = torch.where(twin.face > 0.01, right, -right)  # wrong everywhere else
    face = (twin.face > 0.99).flatten(1).sum(1)
    per_pixel = mask_bce(inside, twin.visible, twin)
    asked = (mask_bce(inside, twin.visible, twin) + mask_bce(beyond, twin.visible, twin)) / 20
    assert (per_pixel / 20 * SIZE * SIZE > 0.9 * face).all()
    assert (asked > 0.8).all()


@pytest.mark.parametrize("recipe", ["teacher", "damior"])
def test_a_run_turns_photos(
    config: TrainConfig, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TwinBatch] = []
    step = Trainer.step

    def watched(self: Trainer, supply: Supply) -> Row:
        assert supply.photo is not None
        seen.append(supply.photo)
        return step(self, supply)

    monkeypatch.setattr(Trainer, "step", watched)
    config = config.replace(
        recipe=recipe,
        out=tmp_path / "run",
        cache=tmp_path / "cache",
        steps=2,
        batch_size=4,
        input_size=64,
        backbone="mobilenet_v3_small",
        person_share=0.0,
        sheet_minutes=0.0,
        device="cpu",
        log_every=1,
    )
    final = run_training(config)["final"]
    for photo in seen:
        assert photo.turned is not None
        assert int(photo.turned.sum()) == 2
        covered = (photo.clean != photo.occluded).flatten(1).any(1)[photo.turned].all()
        assert bool(covered) == (recipe == "damior")
    assert len(seen) == 2
    assert ("kept_shape" in final) == (recipe == "teacher")
