"""The trainer: schedule, a short run on photos and renders, refusals, and resuming at the same step."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from occface_core.distillation.clock import Clock, schedule
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.feed import Supply
from occface_core.distillation.run import run_training
from occface_core.distillation.state import STATE_FILE
from occface_core.distillation.trainer import Trainer
from occface_core.errors import CheckpointError, ConfigError, DataError
from occface_core.networks.checkpoints import load_encoder, save_encoder
from occface_core.networks.encoder import EncoderConfig, FaceEncoder
from occface_core.occlusion.batched import api

Losses = Callable[[TrainConfig], list[dict]]


def test_schedule_warms_up_and_ends_at_zero() -> None:
    assert schedule(0.0, 0.1) == 0.02
    assert schedule(0.05, 0.1) == pytest.approx(0.5)
    assert schedule(0.1, 0.1) == 1.0
    assert schedule(0.55, 0.1) == pytest.approx(0.5)
    assert schedule(1.0, 0.1) == pytest.approx(0.0)
    assert schedule(0.0, 0.0) == 1.0


def test_the_budget_is_minutes_or_steps() -> None:
    assert Clock(step=3, seconds=30).progress(TrainConfig(minutes=1)) == 0.5
    assert Clock(step=3, seconds=30).progress(TrainConfig(minutes=1, steps=12)) == 0.25
    assert Clock(step=30).progress(TrainConfig(steps=12)) == 1.0


def test_a_run_on_photos_and_renders(losses: Losses, config: TrainConfig, photo_folder: Path) -> None:
    config = config.replace(photos=photo_folder, split="", synthetic_share=0.5, photometric=0.5)
    metrics = run_training(config)
    assert json.loads(json.dumps(metrics)) == json.loads((config.out / "metrics.json").read_text())
    assert (metrics["steps"], metrics["images"], metrics["resumed"]) == (2, 8, False)
    rows = losses(config)
    assert [row["step"] for row in rows] == [1, 2]
    assert all(math.isfinite(v) for row in rows for v in row.values())
    network = load_encoder(config.out / "model.safetensors")
    assert network.config.input_size == 64


@pytest.mark.usefixtures("one_thread")
def test_the_same_settings_give_the_same_losses(losses: Losses, config: TrainConfig, tmp_path: Path) -> None:
    other = config.replace(out=tmp_path / "other")
    run_training(config)
    run_training(other)
    assert [r["total"] for r in losses(config)] == pytest.approx(
        [r["total"] for r in losses(other)], rel=1e-5
    )


def test_a_run_killed_before_its_first_state_leaves_no_rows(losses: Losses, config: TrainConfig) -> None:
    config.out.mkdir(parents=True)
    (config.out / "losses.jsonl").write_text('{"step": 1, "total": 5.0}\n{"step": 2, "tot')
    assert run_training(config)["resumed"] is False
    assert [row["step"] for row in losses(config)] == [1, 2]
    assert losses(config)[0]["total"] != 5.0


def test_more_steps_go_on_where_the_run_stood(losses: Losses, config: TrainConfig) -> None:
    run_training(config)
    metrics = run_training(config.replace(steps=3))
    assert metrics["resumed"] is True
    assert [row["step"] for row in losses(config)] == [1, 2, 3]


@pytest.mark.usefixtures("one_thread")
def test_faces_covered_on_the_device_are_the_same_after_a_stop(
    losses: Losses,
    config: TrainConfig,
    photo_folder: Path,
    small_bank,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api, "shared_bank", lambda device: small_bank)
    teacher = tmp_path / "teacher.safetensors"
    save_encoder(FaceEncoder(EncoderConfig(backbone=config.backbone, input_size=64, mask_size=16)), teacher)
    config = config.replace(
        recipe="damior",
        teacher=str(teacher),
        photos=photo_folder,
        split="",
        synthetic_share=0.5,
        occluders="batched",
        checkpoint_minutes=0.0,
        sheet_minutes=0.0,
        steps=3,
    )
    whole = config.replace(out=tmp_path / "whole")
    run_training(whole)
    step = Trainer.step

    def stop(self: Trainer, supply: Supply) -> dict:
        if self.clock.step == 2:
            raise KeyboardInterrupt
        return step(self, supply)

    monkeypatch.setattr(Trainer, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        run_training(config)
    monkeypatch.setattr(Trainer, "step", step)
    assert run_training(config)["resumed"] is True
    assert [r["total"] for r in losses(config)] == pytest.approx(
        [r["total"] for r in losses(whole)], rel=1e-5
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": "focus"},
        {"backbone": "resnet18"},
        {"batch_size": 6},
        {"seed": 9},
        {"input_size": 96},
        {"photos": Path("other-faces").resolve()},
        {"teacher": "another"},
        {"occluder_family": "hand"},
        {"learning_rate": 0.5},
    ],
)
def test_a_run_of_other_settings_is_not_resumed(config: TrainConfig, changes: dict) -> None:
    config.out.mkdir()
    stored = json.dumps(config.to_dict())
    torch.save(
        {"config": stored, "model": {}, "optimizer": {}, "step": 1, "seconds": 1.0}, config.out / STATE_FILE
    )
    key, value = next(iter(changes.items()))
    with pytest.raises(CheckpointError) as caught:
        run_training(config.replace(**changes))
    assert key in str(caught.value)
    assert str(value) in str(caught.value)
    assert str(config.to_dict()[key]) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_damaged_state_is_named(config: TrainConfig, content: bytes) -> None:
    config.out.mkdir()
    (config.out / STATE_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.ckpt: cannot be resumed"):
        run_training(config)


def test_distilling_needs_a_readable_teacher(config: TrainConfig, tmp_path: Path) -> None:
    missing = str(tmp_path / "nobody.safetensors")
    with pytest.raises(CheckpointError, match=r"nobody\.safetensors"):
        run_training(config.replace(recipe="learner", teacher=missing))


def test_an_empty_folder_of_photos(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="no images"):
        run_training(config.replace(photos=tmp_path / "photos", split=""))


def test_a_loss_that_is_no_number_stops_the_run(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from occface_core.distillation.recipes import TeacherRecipe

    def broken(self, predict, twin, progress):
        return {"landmark": predict(twin.clean).code.mean(-1) * torch.nan}

    monkeypatch.setattr(TeacherRecipe, "losses", broken)
    with pytest.raises(ConfigError, match=r"loss is nan at step 0.*lower --learning-rate"):
        run_training(config)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
        MemoryError(),
    ],
)
def test_too_little_memory_says_what_to_try(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from occface_core.distillation.recipes import TeacherRecipe

    def greedy(self, predict, twin, progress):
        raise error

    monkeypatch.setattr(TeacherRecipe, "losses", greedy)
    with pytest.raises(ConfigError, match="out of memory at batch size 4; try --batch-size 2"):
        run_training(config)


def test_other_errors_are_not_called_memory(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from occface_core.distillation.recipes import TeacherRecipe

    def wrong(self, predict, twin, progress):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(TeacherRecipe, "losses", wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run_training(config)


def test_a_folder_that_is_not_there(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder of photos"):
        run_training(config.replace(photos=tmp_path / "nowhere"))


def test_photos_without_landmarks(config: TrainConfig, photo_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(photo_folder, tmp_path / "photos"))
    (folder / "landmarks.npz").unlink()
    with pytest.raises(DataError, match=r"no landmarks found; put landmarks\.npz or points\.csv"):
        run_training(config.replace(photos=folder, split=""))


def test_one_broken_photo_is_skipped_counted_and_named(
    config: TrainConfig, photo_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(photo_folder, tmp_path / "photos"))
    (folder / "04.png").write_bytes(b"not a picture")
    (folder / "07.png").rename(folder / "nobody.png")  # no landmarks under that name
    metrics = run_training(config.replace(photos=folder, split="", synthetic_share=0.0, steps=1))
    assert metrics["photos"] == 10
    assert metrics["photos_skipped"] == ["04.png"]
    assert "1 of 11 photos could not be read, first 04.png" in caplog.text
    assert "1 photos have no landmarks and are left out, first nobody.png" in caplog.text


def stored(tmp_path: Path, name: str, recipe: str, **config: object) -> str:
    """A small untrained network that says which recipe made it."""
    settings = {"backbone": "mobilenet_v3_small", "input_size": 64, "mask_size": 16, **config}
    path = tmp_path / name
    save_encoder(FaceEncoder(EncoderConfig(**settings)), path, metadata={"recipe": recipe})
    return str(path)


def test_networks_of_the_wrong_recipe_are_refused(config: TrainConfig, tmp_path: Path) -> None:
    teacher = stored(tmp_path, "frail.safetensors", "teacher")
    student = stored(tmp_path, "student.safetensors", "learner")
    with pytest.raises(CheckpointError, match="recipe 'learner'; damior needs one of 'teacher'"):
        run_training(config.replace(recipe="damior", teacher=student))
    with pytest.raises(CheckpointError, match="recipe 'teacher'; diamor needs one of 'damior'"):
        run_training(config.replace(recipe="diamor", teacher=teacher, damior=teacher))


def test_a_start_from_another_backbone_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    start = stored(tmp_path, "other.safetensors", "teacher", backbone="mobilenet_v3_large")
    with pytest.raises(CheckpointError, match="'mobilenet_v3_large', this run 'mobilenet_v3_small'"):
        run_training(config.replace(start_from=start))


def test_a_network_of_another_layout_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "deng.safetensors"
    values = {"backbone": "mobilenet_v3_small", "layout": "deng257"}
    save_file(
        {"x": torch.zeros(1)},
        path,
        metadata={"format": "occface-encoder", "config": json.dumps(values), "expression_bounds": "null"},
    )
    with pytest.raises(CheckpointError, match=r"deng\.safetensors.*deca236 layout, not deng257"):
        run_training(config.replace(start_from=str(path)))
