"""Two processes started by torchrun train one network: own batches, equal weights, one set of files."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
from pathlib import Path
import torch
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.run import run_training
from occface_core.distillation.trainer import Trainer

out = Path(sys.argv[1])
torch.set_num_threads(1)
seen, made = [], []
backward, step, init = Trainer._backward, Trainer.step, Trainer.__init__

def noted(self, supply, progress):
    twin = self.feed.twin(supply)
    seen.append(float(twin.clean.double().sum()))
    return backward(self, supply, progress)

def known(self, *args, **kwargs):
    made.append(self)
    init(self, *args, **kwargs)

Trainer._backward, Trainer.__init__ = noted, known

def train(recipe, steps):
    seen.clear()
    metrics = run_training(TrainConfig(
        recipe=recipe, out=out / recipe, steps=steps, batch_size=2, input_size=64, mask_size=16,
        backbone="mobilenet_v3_small", occluder_family="irrational", workers=0, device="cpu", log_every=1,
        sheet_faces=1, focus_cycle=2))
    trainer = made[-1]
    weights = [*trainer.network.parameters(), *trainer.extra.parameters()]
    return {"batches": list(seen), "resumed": metrics["resumed"], "images": metrics["images"],
            "processes": metrics["processes"], "rank": trainer.fabric.global_rank,
            "weights": [float(p.detach().double().abs().sum()) for p in weights],
            "moved": float(sum(p.detach().double().sum() for p in weights))}

result = {"teacher": train("teacher", 1), "more": train("teacher", 3), "focus": train("focus", 4)}
rank = result["teacher"]["rank"]
(out / f"rank{rank}.json").write_text(json.dumps(result))
"""


@pytest.fixture
def loopback() -> None:
    """Processes talk over a local port; some sandboxes forbid that."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            pass
    except OSError as error:
        pytest.skip(f"no local ports here: {error}")
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")


@pytest.mark.slow
@pytest.mark.usefixtures("loopback")
def test_two_processes_train_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    for run in ("teacher", "more", "focus"):
        one, other = first[run], second[run]
        assert not set(one["batches"]) & set(other["batches"]), f"{run}: both processes saw the same faces"
        assert one["weights"] == other["weights"], f"{run}: the processes' networks differ"
        assert one["processes"] == 2
    assert len(first["teacher"]["batches"]) == 1
    assert first["teacher"]["images"] == 1 * 2 * 2
    assert (first["more"]["resumed"], second["more"]["resumed"]) == (True, True)
    assert len(first["more"]["batches"]) == len(second["more"]["batches"]) == 2
    assert first["more"]["moved"] != first["teacher"]["moved"]
    for run, steps in (("teacher", 3), ("focus", 4)):
        lines = (tmp_path / run / "losses.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, steps + 1))
        assert len(list((tmp_path / run).glob("metrics.json"))) == 1
    assert [p.name for p in sorted((tmp_path / "teacher" / "sheets").iterdir())] == [
        "step-000001.png",
        "step-000003.png",
    ]
