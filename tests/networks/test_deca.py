"""DECA-compatible networks against outputs of DECA's own code on weights filled from tensor names."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.errors import CheckpointError
from occface_core.networks.deca import DecaTeacher, load_deca


def _u01(name: str, count: int) -> np.ndarray:
    """The reference recipe: splitmix64 of the name's CRC and the index, as 24-bit floats in [0,1)."""
    with np.errstate(over="ignore"):
        z = (np.uint64(zlib.crc32(name.encode())) << np.uint64(32)) + np.arange(count, dtype=np.uint64)
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / 2.0**24).astype(np.float32)


def _fill(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    u = _u01(key, int(np.prod(shape)))
    if last == "running_var":
        v = np.float32(0.5) + u
    elif last in ("running_mean", "bias"):
        v = np.float32(0.2) * u - np.float32(0.1)
    elif key.endswith("bn3.weight"):
        v = np.float32(0.125) + np.float32(0.25) * u
    elif len(shape) == 1:
        v = np.float32(0.5) + u
    else:
        v = (np.float32(2) * u - np.float32(1)) * np.float32(np.sqrt(6.0 / int(np.prod(shape[1:]))))
    return torch.from_numpy(v.reshape(shape).astype(np.float32))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    teacher = DecaTeacher()
    parts = {
        name: {
            k: _fill(f"{name}.{k}", tuple(v.shape)) for k, v in getattr(teacher, name).state_dict().items()
        }
        for name in ("E_flame", "E_detail", "D_detail")
    }
    path = tmp_path_factory.mktemp("deca") / "deca_model.tar"
    torch.save({**parts, "global_step": 1}, path)
    return path


def test_state_dict_has_exactly_decas_entries(shared_dir: Path) -> None:
    keys = json.loads((shared_dir / "refs" / "deca_keys.json").read_text())
    teacher = DecaTeacher()
    for name, expected in keys.items():
        own = {k: list(v.shape) for k, v in getattr(teacher, name).state_dict().items()}
        assert own == expected


@pytest.mark.slow
def test_forward_agrees_with_upstream(shared_dir: Path, archive: Path) -> None:
    teacher = load_deca(archive)
    first = _u01("input.0", 3 * 224 * 224).reshape(3, 224, 224)
    coarse = _u01("input.1", 3 * 14 * 14).reshape(3, 14, 14)
    second = np.repeat(np.repeat(coarse, 16, 1), 16, 2) * np.array([1, 0.5, 0.25], np.float32)[:, None, None]
    image = torch.from_numpy(np.stack([first, second]))
    latent = torch.from_numpy(np.stack([2 * _u01(f"latent.{k}", 181) - 1 for k in range(2)]))
    with torch.inference_mode(), np.load(shared_dir / "refs" / "deca_forward.npz") as refs:
        out = teacher(image)
        np.testing.assert_allclose(out.features.numpy(), refs["features_E_flame"], atol=1e-4)
        np.testing.assert_allclose(out.code.numpy(), refs["E_flame"], atol=1e-4)
        np.testing.assert_allclose(teacher.E_detail(image)[0].numpy(), refs["E_detail"], atol=1e-4)
        maps = teacher.displacement(image)[:, 0].numpy()
        np.testing.assert_allclose(maps[:, :16, :16], refs["D_detail_from_codes_block"], atol=1e-6)
        np.testing.assert_allclose(maps.sum(2), refs["D_detail_from_codes_sum_rows"], atol=1e-4)
        maps = teacher.D_detail(latent)[:, 0].numpy()
        np.testing.assert_allclose(maps[:, :16, :16], refs["D_detail_from_latent_block"], atol=1e-7)
        np.testing.assert_allclose(maps.sum(2), refs["D_detail_from_latent_sum_rows"], atol=1e-5)


def test_load_refuses_what_is_not_deca(tmp_path: Path) -> None:
    text = tmp_path / "deca_model.tar"
    text.write_text("not an archive")
    with pytest.raises(CheckpointError, match=r"deca_model\.tar"):
        load_deca(text)
    whole = {name: getattr(DecaTeacher(), name).state_dict() for name in ("E_flame", "E_detail", "D_detail")}
    next(iter(whole["D_detail"].values())).fill_(torch.nan)
    torch.save(whole, text)
    with pytest.raises(CheckpointError, match="D_detail: NaN or infinite values in"):
        load_deca(text)
    torch.save({"E_flame": {"layers.0.weight": torch.zeros(1)}}, text)
    with pytest.raises(CheckpointError, match="E_detail"):
        load_deca(text)
