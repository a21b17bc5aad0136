"""Every way a shipped file can be bad is refused with the reason."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from occface_core.assets import asset_path, load_manifest, load_safetensors, register_asset, weights_dir
from occface_core.errors import AssetError

SCHEMA = {"points": ("V", 3), "weights": ("V", 5)}
ENTRY = {"version": "1", "licence": "CC0-1.0", "made_by": "a test", "description": "two small tensors"}


class _Ran(Exception):
    """Raised if a test file's code were executed."""


def _explode() -> None:
    raise _Ran


class Trap:
    """Runs `_explode` when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _explode, ()


def save(path: Path, **changes: torch.Tensor) -> Path:
    tensors = {"points": torch.rand(6, 3), "weights": torch.rand(6, 5)} | changes
    save_file(tensors, path, {"format": "test"})
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OCCFACE_WEIGHTS", str(tmp_path))
    register_asset("thing", [save(tmp_path / "thing.safetensors")], **ENTRY)
    return tmp_path


def test_good_asset(folder: Path) -> None:
    assert weights_dir() == folder
    tensors, metadata = load_safetensors(asset_path("thing"), schema=SCHEMA)
    assert tensors["points"].shape == (6, 3)
    assert metadata == {"format": "test"}
    assert load_manifest()["assets"]["thing"]["licence"] == "CC0-1.0"


def test_default_folder_is_beside_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OCCFACE_WEIGHTS", raising=False)
    assert weights_dir() == Path(__file__).resolve().parent.parent / "weights"


def test_registering_again_keeps_other_entries(folder: Path) -> None:
    register_asset("another", [folder / "thing.safetensors"], metrics={"nme": 2.0}, **ENTRY)
    register_asset("thing", [save(folder / "thing.safetensors")], **ENTRY)
    assert list(load_manifest()["assets"]) == ["another", "thing"]
    assert asset_path("thing").name == "thing.safetensors"


def test_truncated(folder: Path) -> None:
    path = folder / "thing.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(AssetError, match=r"thing.safetensors has \d+ bytes, the manifest says"):
        asset_path("thing")
    with pytest.raises(AssetError, match="not a readable safetensors file"):
        load_safetensors(path)


def test_bit_flipped(folder: Path) -> None:
    path = folder / "thing.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(AssetError, match="does not match its SHA-256"):
        asset_path("thing")


def test_missing(folder: Path) -> None:
    (folder / "thing.safetensors").unlink()
    with pytest.raises(AssetError, match="is missing"):
        asset_path("thing")
    with pytest.raises(AssetError, match="does not exist"):
        load_safetensors(folder / "thing.safetensors")
    with pytest.raises(AssetError, match=r"no asset is called 'other'.*lists thing"):
        asset_path("other")


def test_all_schema_faults_are_listed(tmp_path: Path) -> None:
    bad = {"weights": torch.full((4, 5), float("nan")), "extra": torch.zeros(1)}
    path = save(tmp_path / "bad.safetensors", **bad)
    with pytest.raises(AssetError) as caught:
        load_safetensors(path, schema=SCHEMA | {"absent": (1,)})
    for fault in (
        "weights has NaN",
        "weights has shape (4, 5), not (V, 5) with V=6 as in points",
        "extra is not expected",
        "absent is missing",
    ):
        assert fault in str(caught.value)
    with pytest.raises(AssetError, match=r"points has shape \(6, 3\), not \(3, V, 3\)"):
        load_safetensors(save(path), schema={"points": (3, "V", 3), "weights": (6, 5)})


def test_optional_names_may_be_patterns(tmp_path: Path) -> None:
    path = save(tmp_path / "a.safetensors", region_face=torch.ones(6))
    tensors, _ = load_safetensors(path, schema=SCHEMA, optional={"region_*": ("V",), "uv": ("Vt", 2)})
    assert set(tensors) == {"points", "weights", "region_face"}
    with pytest.raises(AssetError, match="region_face is not expected"):
        load_safetensors(path, schema=SCHEMA)


def test_renamed_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(AssetError, match="not a readable safetensors file"):
        load_safetensors(path)
    torch.save({"points": torch.zeros(6, 3)}, path)
    with pytest.raises(AssetError, match="not a readable safetensors file"):
        load_safetensors(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(AssetError, match="not a readable safetensors file"):
        load_safetensors(tmp_path / "array.npy")


def test_shards_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCCFACE_WEIGHTS", str(tmp_path))
    shards = [tmp_path / f"net-{i:05d}-of-00002.safetensors" for i in (1, 2)]
    save_file({"points": torch.rand(6, 3)}, shards[0], {"part": "first"})
    save_file({"weights": torch.rand(6, 5)}, shards[1])
    register_asset("net", shards, **ENTRY)
    for path in (asset_path("net"), shards[1]):
        tensors, metadata = load_safetensors(path, schema=SCHEMA)
        assert set(tensors) == {"points", "weights"}
        assert metadata == {"part": "first"}
    shards[1].unlink()
    with pytest.raises(AssetError, match=r"missing: net-00002-of-00002"):
        load_safetensors(shards[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        ("{", "cannot be read as JSON"),
        ('{"version": 2, "assets": {}}', "not a version 1 manifest"),
        ('{"version": 1, "assets": {"thing": {}}}', "malformed"),
        ('{"version": 1, "assets": {"thing": {"files": []}}}', "lists no file"),
    ],
)
def test_bad_manifests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str
) -> None:
    monkeypatch.setenv("OCCFACE_WEIGHTS", str(tmp_path))
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(AssetError, match=message):
        asset_path("thing")


def test_manifest_cannot_point_outside_the_folder(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["assets"]["thing"]["files"][0]["file"] = "../thing.safetensors"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(AssetError, match="outside"):
        asset_path("thing")
