"""Precision and devices: what "auto" means, and what is refused."""

import pytest
import torch

from occface_core.distillation import engine
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.engine import make_fabric, process_counts, resolve_precision
from occface_core.distillation.run import run_training
from occface_core.errors import ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("backbone", "native", "expected"),
    [
        ("resnet18", True, "bf16-mixed"),
        ("resnet50", True, "bf16-mixed"),
        ("resnet18", False, "32-true"),
        ("mobilenet_v3_small", True, "32-true"),  # half as fast in bfloat16
    ],
)
def test_automatic_precision_on_cpus(
    monkeypatch: pytest.MonkeyPatch, backbone: str, native: bool, expected: str
) -> None:
    monkeypatch.setattr(engine, "native_bf16", lambda: native)
    assert resolve_precision("auto", CPU, backbone) == expected
    assert resolve_precision("32-true", CPU, backbone) == "32-true"
    assert resolve_precision("bf16-mixed", CPU, backbone) == "bf16-mixed"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_automatic_precision_on_gpus(monkeypatch: pytest.MonkeyPatch, supported: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert resolve_precision("auto", CUDA, "mobilenet_v3_small") == expected


@pytest.mark.parametrize("native", [True, False])
def test_networks_that_are_only_run_follow_the_hardware(
    monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    monkeypatch.setattr(engine, "native_bf16", lambda: native)
    assert engine.fast_bf16(CPU) == native
    assert not engine.fast_bf16(torch.device("meta"))
    assert resolve_precision("auto", CPU) == ("bf16-mixed" if native else "32-true")
    assert resolve_precision("bf16-mixed", CPU) == "bf16-mixed"


def test_native_bfloat16_is_a_yes_or_no() -> None:
    assert engine.native_bf16() in (True, False)


def test_devices_that_are_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    with pytest.raises(ConfigError, match="torch sees no CUDA GPU"):
        make_fabric(TrainConfig(device="cuda"))


def test_devices_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_counts(3) == (3, 1)
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert process_counts(1) == process_counts(4) == (4, 2)
    with pytest.raises(ConfigError, match="--devices 3, but torchrun started 4"):
        process_counts(3)


@pytest.mark.parametrize("recipe", ["teacher", "learner"])
def test_bf16_trains_and_stays_near_fp32(tmp_path, recipe: str) -> None:
    finals = {}
    for precision in ("32-true", "bf16-mixed"):
        config = TrainConfig(
            recipe=recipe,
            out=tmp_path / precision,
            steps=2,
            batch_size=2,
            input_size=64,
            mask_size=16,
            start_from="scratch",
            workers=0,
            device="cpu",
            precision=precision,
            sheet_minutes=0.0,
        )
        metrics = run_training(config)
        assert metrics["precision"] == precision
        finals[precision] = metrics["final"]
    assert finals["bf16-mixed"]["total"] == pytest.approx(finals["32-true"]["total"], rel=0.05)
