"""Networks survive storage; everything that does not fit is refused by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from occface_core.errors import CheckpointError
from occface_core.networks import checkpoints
from occface_core.networks.checkpoints import load_encoder, save_encoder
from occface_core.networks.encoder import EncoderConfig, FaceEncoder

CONFIG = EncoderConfig(
    backbone="mobilenet_v3_small", input_size=64, mask_size=16, sigma_regions=("nose", "jaw")
)


@pytest.fixture(scope="module")
def network() -> FaceEncoder:
    torch.manual_seed(1)
    return FaceEncoder(CONFIG).eval()


@pytest.fixture
def stored(network: FaceEncoder, tmp_path: Path) -> Path:
    save_encoder(network, tmp_path / "net.safetensors", half=False)
    return tmp_path / "net.safetensors"


def rewrite(path: Path, *, tensors: dict | None = None, meta: dict | None = None) -> None:
    """Store the file again with some tensors (None: dropped) or metadata exchanged."""
    state = load_file(path)
    with checkpoints_open(path) as file:
        metadata = file.metadata()
    for key, value in (tensors or {}).items():
        if value is None:
            del state[key]
        else:
            state[key] = value
    save_file(state, path, metadata={**metadata, **(meta or {})})


def checkpoints_open(path: Path):
    from safetensors import safe_open

    return safe_open(path, framework="pt")


def test_round_trip_is_exact_in_full_precision(network: FaceEncoder, stored: Path) -> None:
    again = load_encoder(stored)
    assert again.config == CONFIG
    assert not again.training
    image = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again(image).code, network(image).code)


def test_half_precision_is_half_the_size_and_close(
    network: FaceEncoder, stored: Path, tmp_path: Path
) -> None:
    save_encoder(network, tmp_path / "half.safetensors")
    assert (tmp_path / "half.safetensors").stat().st_size < 0.55 * stored.stat().st_size
    image = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        a, b = network(image), load_encoder(tmp_path / "half.safetensors")(image)
    torch.testing.assert_close(a.code, b.code, atol=5e-3, rtol=5e-3)


def test_large_networks_are_stored_in_shards(
    network: FaceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SHARD_BYTES", 2 * 2**20)
    files = save_encoder(network, tmp_path / "big.safetensors", half=False)
    assert [f.name for f in files][:1] == [f"big-00001-of-{len(files):05d}.safetensors"]
    assert len(files) > 2
    again = load_encoder(tmp_path / "big.safetensors")  # the name without shard numbers
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in again.state_dict().items())
    files[1].unlink()
    with pytest.raises(CheckpointError, match=files[1].name):
        load_encoder(tmp_path / "big.safetensors")


def test_what_is_written_replaces_what_was_there(
    network: FaceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "net.safetensors", tmp_path / "net-2.safetensors"
    save_encoder(network, other)
    for limit in (2 * 2**20, 15 * 2**20, 3 * 2**20, 1 * 2**20):  # some shards, none, fewer, more
        monkeypatch.setattr(checkpoints, "SHARD_BYTES", limit)
        files = save_encoder(network, path, metadata={"limit": str(limit)}, half=False)
        assert sorted(tmp_path.iterdir()) == sorted([*files, other])
        assert checkpoints.checkpoint_metadata(path)["limit"] == str(limit)
        load_encoder(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        load_encoder(tmp_path / "gone.safetensors")


def test_unknown_shipped_name() -> None:
    with pytest.raises(CheckpointError, match="professor"):
        load_encoder("professor")


@pytest.mark.parametrize("content", [b"", b"rubbish" * 100])
def test_files_that_are_no_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        load_encoder(path)


def test_truncated_file(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"net\.safetensors"):
        load_encoder(stored)


def test_nan_weights(stored: Path) -> None:
    rewrite(
        stored, tensors={"layers.0.weight": torch.full_like(load_file(stored)["layers.0.weight"], torch.nan)}
    )
    with pytest.raises(CheckpointError, match=r"layers\.0\.weight.*NaN"):
        load_encoder(stored)


def test_missing_extra_and_misshapen_tensors_are_all_named(stored: Path) -> None:
    rewrite(
        stored,
        tensors={"layers.0.bias": None, "stranger": torch.zeros(1), "layers.2.bias": torch.zeros(3)},
    )
    with pytest.raises(CheckpointError) as caught:
        load_encoder(stored)
    for part in (
        "missing: layers.0.bias",
        "not in this network: stranger",
        "layers.2.bias (3,) instead of (236,)",
    ):
        assert part in str(caught.value)


def test_another_format(stored: Path) -> None:
    rewrite(stored, meta={"format": "occface-head"})
    with pytest.raises(CheckpointError, match=r"not an OccFace network.*occface-head"):
        load_encoder(stored)


@pytest.mark.parametrize(
    "config", ["{", "{}x", json.dumps({"backbone": "vgg"}), json.dumps({"unknown_setting": 1})]
)
def test_damaged_configuration(stored: Path, config: str) -> None:
    rewrite(stored, meta={"config": config})
    with pytest.raises(CheckpointError, match="its configuration is damaged"):
        load_encoder(stored)


def test_network_of_another_head(stored: Path) -> None:
    with pytest.raises(CheckpointError, match="trained for head 'open', not 'flame'"):
        load_encoder(stored, head="flame")
