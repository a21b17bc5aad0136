"""What the trainer's tests share: a run small enough for a CPU, and sums in one order."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from occface_core.distillation.config import TrainConfig
from occface_core.distillation.scene import Scene


@pytest.fixture(scope="module")
def scene(open_head, small_albedo) -> Scene:
    """The shipped head with a made-up albedo."""
    return Scene(open_head, small_albedo)


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
def losses() -> Callable[[TrainConfig], list[dict]]:
    """Reads the logged rows of a run."""
    return lambda config: [
        json.loads(line) for line in (config.out / "losses.jsonl").read_text().splitlines()
    ]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order: several threads may add up in another, and Adam makes that visible."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
