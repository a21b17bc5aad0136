"""A run killed with SIGKILL between two steps goes on with exactly the losses it would have had."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.run import run_training
from occface_core.distillation.trainer import Trainer

out, kill_at = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
step = Trainer.step

def killed_step(self, photo):
    if self.clock.step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, photo)

Trainer.step = killed_step
run_training(TrainConfig(recipe="teacher", out=out, photos=None, steps=5, batch_size=3, input_size=64,
                         log_every=1, checkpoint_minutes=0.0, workers=0, device="cpu",
                         backbone="mobilenet_v3_small"))
"""


def _run(out: Path, kill_at: int) -> int:
    command = [sys.executable, "-c", SCRIPT, str(out), str(kill_at)]
    return subprocess.run(command, capture_output=True, timeout=240, check=False).returncode


def _losses(out: Path) -> dict[int, float]:
    lines = (out / "losses.jsonl").read_text().splitlines()
    return {row["step"]: row["total"] for row in map(json.loads, lines)}


@pytest.mark.slow
def test_resume_after_sigkill_repeats_the_uninterrupted_losses(tmp_path: Path) -> None:
    assert _run(tmp_path / "whole", -1) == 0
    assert _run(tmp_path / "broken", 3) == -signal.SIGKILL
    assert sorted(_losses(tmp_path / "broken")) == [1, 2, 3]
    assert _run(tmp_path / "broken", -1) == 0
    whole, broken = _losses(tmp_path / "whole"), _losses(tmp_path / "broken")
    assert sorted(broken) == sorted(whole) == [1, 2, 3, 4, 5]
    assert broken == pytest.approx(whole, rel=1e-5)
    assert len((tmp_path / "broken" / "losses.jsonl").read_text().splitlines()) == 5
    metrics = json.loads((tmp_path / "broken" / "metrics.json").read_text())
    assert metrics["resumed"] is True
    assert _run(tmp_path / "broken", -1) == 0  # already finished: nothing to train, nothing lost
    assert json.loads((tmp_path / "broken" / "metrics.json").read_text())["final"] == metrics["final"] != {}
