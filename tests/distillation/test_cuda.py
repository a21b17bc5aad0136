"""Every recipe on a GPU for two steps, with photos and renders. Skipped without one."""

import math
from pathlib import Path

import pytest
import torch

from occface_core.distillation.config import PROFILING, RECIPES, TrainConfig
from occface_core.distillation.run import run_training
from occface_core.networks.checkpoints import load_encoder
from occface_core.networks.guided import GuidedEncoder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def config(tmp_path: Path, photo_folder: Path) -> TrainConfig:
    """Two steps on photos and renders; replaces the CPU tests' fixture of that name."""
    return TrainConfig(
        out=tmp_path / "run",
        cache=tmp_path / "cache",
        photos=photo_folder,
        split="",
        steps=2,
        batch_size=6,
        synthetic_share=1 / 3,
        workers=0,
        device="cuda",
        log_every=1,
        sheet_faces=2,
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_two_steps_and_a_sheet(config: TrainConfig, recipe: str) -> None:
    config = config.replace(
        recipe=recipe,
        duplicates=2,
        views=2,
        focus_cycle=2,
        focus_start=0.0,
        input_size=64,
        mask_size=16,
        profile_share=0.5 if recipe in PROFILING else 0.0,
    )
    metrics = run_training(config)
    assert metrics["precision"] in ("bf16-mixed", "32-true")
    assert all(math.isfinite(value) for value in metrics["final"].values())
    assert (config.out / "sheets" / "step-000002.png").is_file()
    assert run_training(config.replace(steps=3))["resumed"] is True


def test_a_second_look(config: TrainConfig) -> None:
    metrics = run_training(config.replace(recipe="damior", start_from="student", guided_by="student"))
    assert all(math.isfinite(value) for value in metrics["final"].values())
    assert isinstance(load_encoder(metrics["model"], "cuda"), GuidedEncoder)
