"""The trainer: schedule, a short run on photos and renders, refusals, and resuming at the same step."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from occface_core.distillation.clock import Clock, schedule
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.run import run_training
from occface_core.distillation.state import STATE_FILE
from occface_core.errors import CheckpointError, ConfigError, DataError
from occface_core.networks.checkpoints import load_encoder


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        out=tmp_path / "run",
        cache=tmp_path / "cache",
        steps=2,
        batch_size=4,
        input_size=64,
        mask_size=16,
        backbone="mobilenet_v3_small",
        workers=0,
        device="cpu",
        log_every=1,
    )


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order: several threads may add up in another, and Adam makes that visible."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def losses(config: TrainConfig) -> list[dict]:
    return [json.loads(line) for line in (config.out / "losses.jsonl").read_text().splitlines()]


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


def test_a_run_on_photos_and_renders(config: TrainConfig, photo_folder: Path) -> None:
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
def test_the_same_settings_give_the_same_losses(config: TrainConfig, tmp_path: Path) -> None:
    other = config.replace(out=tmp_path / "other")
    run_training(config)
    run_training(other)
    assert [r["total"] for r in losses(config)] == pytest.approx(
        [r["total"] for r in losses(other)], rel=1e-5
    )


def test_more_steps_go_on_where_the_run_stood(config: TrainConfig) -> None:
    run_training(config)
    metrics = run_training(config.replace(steps=3))
    assert metrics["resumed"] is True
    assert [row["step"] for row in losses(config)] == [1, 2, 3]


@pytest.mark.parametrize(
    "changes",
    [{"recipe": "focus"}, {"backbone": "resnet18"}, {"batch_size": 6}, {"seed": 9}, {"input_size": 96}],
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


def test_too_little_memory_says_what_to_try(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from occface_core.distillation.recipes import TeacherRecipe

    def greedy(self, predict, twin, progress):
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(TeacherRecipe, "losses", greedy)
    with pytest.raises(ConfigError, match="out of memory at batch size 4; try --batch-size 2"):
        run_training(config)
