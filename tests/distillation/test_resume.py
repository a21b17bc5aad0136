"""A run killed with SIGKILL inside a step or a checkpoint goes on with the losses it would have had."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.distillation.config import TrainConfig
from occface_core.distillation.run import run_training
from occface_core.distillation.state import STATE_FILE, read_state
from occface_core.distillation.trainer import Trainer
from occface_core.errors import CheckpointError

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = {
    "recipe": "teacher",
    "steps": 6,
    "batch_size": 3,
    "input_size": 64,
    "mask_size": 16,
    "log_every": 1,
    "checkpoint_minutes": 0.0,
    "sheet_minutes": 0.0,
    "workers": 0,
    "device": "cpu",
    "backbone": "mobilenet_v3_small",
}
# Where a run stops for good, so that it can be killed there: it says so in a file and waits.
SCRIPT = """
import functools, json, sys, time
from pathlib import Path
import torch
from occface_core.distillation import run
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.run import run_training
from occface_core.distillation.trainer import Trainer

out, where = Path(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
run.render_prior = functools.partial(run.render_prior, count=250)  # as `few_heads` in this process
fit, save_state, save = Trainer._gradients_fit, Trainer.save_state, torch.save

def wait():
    (out / "here").touch()
    time.sleep(600)

def inside_step(self):  # after the backward pass, before the optimizer
    if where == "step" and self.clock.step == 3:
        wait()
    return fit(self)

def every_other(self):
    if self.clock.step % 2 == 0:
        save_state(self)

def inside_save(state, path):
    save(state, path)
    if where == "checkpoint" and state["step"] == 4:
        data = Path(path).read_bytes()
        Path(path).write_bytes(data[: len(data) // 2])
        wait()

Trainer._gradients_fit, Trainer.save_state, torch.save = inside_step, every_other, inside_save
run_training(TrainConfig(out=out, **json.loads(sys.argv[3])))
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """Losses of the run that nobody disturbs."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    run_training(TrainConfig(out=out, **SETTINGS))
    return losses(out)


def losses(out: Path) -> dict[int, float]:
    lines = (out / "losses.jsonl").read_text().splitlines()
    return {row["step"]: row["total"] for row in map(json.loads, lines)}


def kill_when_there(out: Path, where: str) -> None:
    """Start the run and kill it with SIGKILL as soon as it is at `where`."""
    out.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(out), where, json.dumps(SETTINGS)]
    with (out / "stderr").open("w") as stream:
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stream)
    try:
        deadline = time.monotonic() + 240
        while not (out / "here").exists():
            assert child.poll() is None, (out / "stderr").read_text()[-2000:]
            assert time.monotonic() < deadline, "the run never got there"
            time.sleep(0.05)
    finally:
        child.kill()
    assert child.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(("where", "logged"), [("step", [1, 2, 3]), ("checkpoint", [1, 2, 3, 4])])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[int, float], where: str, logged: list[int]
) -> None:
    out = tmp_path / "run"
    kill_when_there(out, where)
    assert sorted(losses(out)) == logged  # the last of them are newer than the checkpoint of step 2
    assert torch.load(out / STATE_FILE, weights_only=True)["step"] == 2
    steps: list[int] = []
    step = Trainer.step
    monkeypatch.setattr(
        Trainer, "step", lambda self, supply: steps.append(self.clock.step) or step(self, supply)
    )
    metrics = run_training(TrainConfig(out=out, **SETTINGS))
    assert metrics["resumed"] is True
    assert steps == [2, 3, 4, 5]
    assert sorted(losses(out)) == sorted(whole) == [1, 2, 3, 4, 5, 6]
    assert losses(out) == pytest.approx(whole, rel=1e-5)
    assert len((out / "losses.jsonl").read_text().splitlines()) == 6
    assert len((out / "losses.csv").read_text().splitlines()) == 7
    again = run_training(TrainConfig(out=out, **SETTINGS))  # already finished: nothing to train, nothing lost
    assert again["final"] == metrics["final"] != {}


@pytest.mark.parametrize(
    ("recipe", "start", "refused"), [("focus", 0.0, False), ("focus", 0.25, True), ("damior", 0.25, False)]
)
def test_a_run_from_before_focus_had_a_start_goes_on_without_one(
    tmp_path: Path, recipe: str, start: float, refused: bool
) -> None:
    config = TrainConfig(recipe=recipe, out=tmp_path, focus_start=start)
    then = config.to_dict()
    del then["focus_start"]
    torch.save({"step": 3, "config": json.dumps(then)}, tmp_path / STATE_FILE)
    if refused:
        with pytest.raises(CheckpointError, match=r"focus_start 0\.0, this one has 0\.25"):
            read_state(config)
    else:
        state = read_state(config)
        assert state is not None
        assert state["step"] == 3


def test_a_run_does_not_go_on_with_other_data_of_the_same_names(tmp_path: Path, photo_folder: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(photo_folder, photos)
    data = {"photos": photos, "split": "", "synthetic_share": 0.5, "cache": tmp_path / "cache"}
    config = TrainConfig(out=tmp_path / "run", **{**SETTINGS, **data, "steps": 1})
    run_training(config)
    assert run_training(config.replace(steps=2))["resumed"] is True
    with np.load(photos / "landmarks.npz") as stored:
        kept = {name: values[:11] for name, values in stored.items()}
    np.savez(photos / "landmarks.npz", **kept)
    with pytest.raises(CheckpointError, match="run with other photos, though under the same names"):
        run_training(config.replace(steps=3))
    state = torch.load(config.out / STATE_FILE, weights_only=True)
    del state["data"]  # as written before 0.11
    torch.save(state, config.out / STATE_FILE)
    assert run_training(config.replace(steps=3))["resumed"] is True
