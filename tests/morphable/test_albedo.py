"""The albedo model on made-up textures, its file format, and the shipped one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from occface_core.errors import AssetError
from occface_core.morphable.albedo import AlbedoModel, vertex_uv
from occface_core.morphable.head_model import HeadModel

from .conftest import tiny_head_arrays


@pytest.fixture
def textured_head(generator: torch.Generator) -> HeadModel:
    uv = torch.rand(20, 2, generator=generator)
    arrays = tiny_head_arrays()
    return HeadModel.from_arrays(arrays | {"uv": uv, "uv_faces": arrays["faces"]})


@pytest.fixture
def model(generator: torch.Generator) -> AlbedoModel:
    mean = torch.full((3, 16, 16), 0.5)
    return AlbedoModel(mean, torch.randn(4, 3, 16, 16, generator=generator) * 0.05)


def test_zero_coefficients_give_the_mean(model: AlbedoModel) -> None:
    assert torch.equal(model.texture(torch.zeros(2, 4)), model.mean.expand(2, -1, -1, -1))


def test_texture_is_linear_and_clamped(model: AlbedoModel) -> None:
    one = model.texture(torch.tensor([[0.0, 2.0, 0.0, 0.0]]))[0]
    torch.testing.assert_close(one, (model.mean + 2 * model.components[1]).clamp(0, 1))
    extreme = model.texture(torch.full((1, 4), 100.0))
    assert extreme.min() >= 0
    assert extreme.max() <= 1


def test_vertex_albedo_samples_the_texture(
    model: AlbedoModel, textured_head: HeadModel, generator: torch.Generator
) -> None:
    # A horizontal and a vertical ramp read back the texture coordinate itself, away from the border.
    ramp = (torch.arange(16) + 0.5) / 16
    across, upwards = ramp.expand(16, 16), ramp.flip(0)[:, None].expand(16, 16)
    ramps = AlbedoModel(torch.stack([across, upwards, torch.zeros(16, 16)]), torch.zeros(1, 3, 16, 16))
    uv = vertex_uv(textured_head)
    albedo = ramps.vertex_albedo(torch.zeros(1, 1), textured_head)[0]
    used = torch.isin(torch.arange(20), textured_head.faces) & ((uv > 0.05) & (uv < 0.95)).all(1)
    assert used.sum() > 5
    torch.testing.assert_close(albedo[used, :2], uv[used], atol=1e-5, rtol=0)
    coeffs = torch.randn(3, 4, generator=generator, requires_grad=True)
    colours = model.vertex_albedo(coeffs, textured_head)
    assert colours.shape == (3, 20, 3)
    colours.sum().backward()
    assert coeffs.grad is not None
    assert coeffs.grad.abs().sum() > 0


def test_seams_do_not_depend_on_threads(open_head: HeadModel) -> None:
    assert open_head.uv is not None
    assert open_head.uv_faces is not None
    expected = np.full((open_head.n_vertices, 2), 0.5, np.float32)
    for vertex, corner in zip(open_head.faces.flatten(), open_head.uv_faces.flatten(), strict=True):
        expected[vertex] = open_head.uv[corner]
    before = torch.get_num_threads()
    try:
        for threads in (1, 4, 4, 4):
            torch.set_num_threads(threads)
            assert np.array_equal(vertex_uv(open_head).numpy(), expected)
    finally:
        torch.set_num_threads(before)


def test_vertex_albedo_follows_the_head_given(model: AlbedoModel, textured_head: HeadModel) -> None:
    coeffs = torch.ones(1, 4)
    first = model.vertex_albedo(coeffs, textured_head)
    moved = HeadModel.from_arrays(
        tiny_head_arrays() | {"uv": torch.full((20, 2), 0.5), "uv_faces": textured_head.faces}
    )
    assert not torch.allclose(model.vertex_albedo(coeffs, moved), first)
    torch.testing.assert_close(model.vertex_albedo(coeffs, textured_head), first)


def test_head_without_layout_is_refused(model: AlbedoModel, tiny_head: HeadModel) -> None:
    with pytest.raises(AssetError, match="no texture layout"):
        model.vertex_albedo(torch.zeros(1, 4), tiny_head)


def albedo_file(path: Path, metadata: dict[str, str], **changes: Tensor) -> Path:
    tensors = {
        "mean": torch.full((3, 8, 8), 51, dtype=torch.uint8),
        "components": torch.full((2, 3, 4, 4), -127, dtype=torch.int8),
        "scales": torch.tensor([0.001, 0.002]),
    }
    save_file(tensors | changes, path, {"format": "occface-albedo"} | metadata)
    return path


def test_file_is_dequantised_and_enlarged(tmp_path: Path) -> None:
    names = {"component_names": json.dumps(["melanin", "other"]), "head": "open"}
    model = AlbedoModel.load(albedo_file(tmp_path / "a.safetensors", names))
    assert (model.size, model.n_components, model.names) == (8, 2, ("melanin", "other"))
    torch.testing.assert_close(model.mean, torch.full((3, 8, 8), 0.2))
    torch.testing.assert_close(model.components[1], torch.full((3, 8, 8), -0.254))


def test_bad_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(AssetError, match="not an occface-albedo"):
        AlbedoModel.load(albedo_file(path, {"format": "else"}))
    with pytest.raises(AssetError, match="names 1 components and holds 2"):
        AlbedoModel.load(albedo_file(path, {"component_names": '["one"]'}))
    with pytest.raises(AssetError, match="mean has shape"):
        AlbedoModel.load(albedo_file(path, {}, mean=torch.zeros(3, 8, 9, dtype=torch.uint8)))
    with pytest.raises(AssetError, match="scales has NaN"):
        AlbedoModel.load(albedo_file(path, {}, scales=torch.tensor([0.1, float("nan")])))


def test_shipped_model_looks_like_skin() -> None:
    model, head = AlbedoModel.load(), HeadModel.load()
    assert (model.size, model.n_components) == (256, 50)
    assert model.names[:4] == ("melanin", "haemoglobin", "undertone", "iris")
    colours = model.vertex_albedo(torch.zeros(1, 50), head)[0]
    cheek = colours[(head.regions["face"] > 0.9) & (head.regions["lips"] < 0.1)].median(0).values
    lips = colours[head.regions["lips"] > 0.9].median(0).values
    brows = colours[head.regions["brows"] > 0.5].median(0).values
    assert cheek[0] > cheek[1] > cheek[2] > 0.2
    assert lips[0] - lips[1] > cheek[0] - cheek[1]
    assert brows.mean() < 0.85 * cheek.mean()
    darker = model.vertex_albedo(torch.eye(50)[:1], head)[0]
    assert darker.mean() < colours.mean()
