"""The throughput benchmark measures what it says, and refuses bad settings at once."""

import json
from pathlib import Path

import pytest
import torch

from occface_core.cli import main
from occface_core.distillation import throughput
from occface_core.distillation.throughput import measure

TINY = ["--backbone", "mobilenet_v3_small", "--input-size", "64", "--batch-size", "4", "--device", "cpu"]


def test_a_rate_is_images_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.5, 11.0])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    turns: list[int] = []
    rate = measure(lambda turn: turns.append(turn) or 20, torch.device("cpu"), 0.9)
    assert (rate.images_per_s, rate.images) == (40.0, 40)
    assert turns == [0, 1, 2]  # the first is not counted


def test_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "FACES", 8)
    out = tmp_path / "sub" / "rates.json"
    words = ["--seconds", "0.05", "--size", "64", "--family", "stripes", *TINY, "--out", str(out)]
    assert main(["benchmark", "throughput", *words]) == 0
    figures = json.loads(out.read_text())["images_per_s"]
    assert list(figures) == [
        "occlude stripes, 64 px",
        "photo batches, one process, 64 px",
        "renders with their twins, 64 px",
        "training steps, mobilenet_v3_small 32-true",
    ]
    assert all(rate > 0 for rate in figures.values())
    assert "images/s" in capsys.readouterr().out


def test_both_kinds_of_occluders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "FACES", 8)
    out = tmp_path / "rates.json"
    words = ["--only", "occlusion", "--occluders", "painted", "--occluders", "batched", "--family", "stripes"]
    words += ["--seconds", "0.05", "--size", "64", "--device", "cpu", "--out", str(out)]
    assert main(["benchmark", "throughput", *words]) == 0
    figures = json.loads(out.read_text())["images_per_s"]
    assert set(figures) == {"occlude stripes, 64 px", "occlude batched stripes, 64 px"}
    assert all(rate > 0 for rate in figures.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seconds", "0"], "give a positive time"),
        (["--backbone", "vgg"], "backbone 'vgg'"),
        (["--only", "occlusion", "--processes", "0"], "processes 0"),
        (["--only", "occlusion", "--family", "sock"], "unknown occlusion family 'sock'"),
    ],
)
def test_bad_settings(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "throughput", "--device", "cpu", *words]) == 2
    assert message in capsys.readouterr().err
