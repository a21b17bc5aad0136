"""Releasing a network writes files and a manifest entry that the loader accepts."""

import json
from pathlib import Path

import pytest
import torch

from occface_core.errors import CheckpointError
from occface_core.networks.checkpoints import load_encoder
from occface_core.networks.encoder import EncoderConfig, FaceEncoder
from occface_core.networks.release import release_encoder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OCCFACE_WEIGHTS", str(tmp_path))
    (tmp_path / "manifest.json").write_text('{"version": 1, "assets": {}}')
    (tmp_path / "student-00001-of-00002.safetensors").write_bytes(b"old")
    (tmp_path / "student-00002-of-00002.safetensors").write_bytes(b"old")
    return tmp_path


def test_release_and_load(folder: Path) -> None:
    torch.manual_seed(2)
    network = FaceEncoder(EncoderConfig(backbone="mobilenet_v3_small", input_size=64)).eval()
    files = release_encoder(
        network, "student", made_by="a test", description="small", metrics={"nme": 0.03}, version="1"
    )
    assert sorted(folder.glob("student*")) == sorted(files)
    entry = json.loads((folder / "manifest.json").read_text())["assets"]["student"]
    assert entry["metrics"] == {"nme": 0.03}
    assert "non-commercial" in entry["licence"]
    assert load_encoder("student").config == network.config


def test_a_changed_byte_is_noticed(folder: Path) -> None:
    network = FaceEncoder(EncoderConfig(backbone="mobilenet_v3_small", input_size=64))
    (file,) = release_encoder(network, "teacher", made_by="a", description="b", metrics={}, version="1")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_encoder("teacher")
