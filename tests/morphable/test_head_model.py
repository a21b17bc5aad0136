"""HeadModel against the field's own layers, and its own invariants."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from occface_core.errors import AssetError
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.posable import full_pose

from .conftest import tiny_head_arrays


@pytest.fixture(scope="session")
def flame_layer(shared_dir: Path) -> dict[str, Tensor]:
    with np.load(shared_dir / "refs" / "flame_layer.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.mark.parametrize("layer", ["deca", "smplx"])
def test_agrees_with_upstream_layers(
    reference_head: HeadModel, flame_layer: dict[str, Tensor], layer: str
) -> None:
    inputs = [flame_layer[name].clone().requires_grad_() for name in ("betas", "expression", "pose")]
    output = reference_head(*inputs)
    assert (output.verts - flame_layer[f"verts_{layer}"]).abs().max() < 5e-7
    assert (output.joints - flame_layer[f"joints_{layer}"]).abs().max() < 5e-7
    gradients = torch.autograd.grad(output.verts.square().sum(), inputs)
    for name, gradient in zip(("betas", "expression", "pose"), gradients, strict=True):
        expected = flame_layer[f"grad_{name}_{layer}"]
        assert (gradient - expected).abs().max() < 1e-5 * expected.abs().max()


def test_rest_pose_is_the_template(tiny_head: HeadModel) -> None:
    output = tiny_head(torch.zeros(2, 4), torch.zeros(2, 3), torch.zeros(2, 6))
    torch.testing.assert_close(output.verts, tiny_head.v_template.expand(2, -1, -1))
    torch.testing.assert_close(tiny_head.neutral(torch.zeros(1, 4))[0], tiny_head.v_template)


def test_global_rotation_moves_everything_rigidly(tiny_head: HeadModel, generator: torch.Generator) -> None:
    betas, expression = torch.randn(1, 4, generator=generator), torch.rand(1, 3, generator=generator)
    pose = torch.tensor([[0.0, 0.0, 0.0, 0.2, 0.0, 0.0]])
    turned = pose + torch.tensor([[0.3, -0.8, 0.2, 0.0, 0.0, 0.0]])
    still, moved = tiny_head(betas, expression, pose), tiny_head(betas, expression, turned)
    torch.testing.assert_close(torch.cdist(still.verts, still.verts), torch.cdist(moved.verts, moved.verts))
    torch.testing.assert_close(still.joints[:, 0], moved.joints[:, 0])


def test_short_pose_equals_long_pose_at_rest(tiny_head: HeadModel, generator: torch.Generator) -> None:
    pose = torch.randn(3, 6, generator=generator) * 0.3
    long = torch.zeros(3, 15)
    long[:, :3], long[:, 6:9] = pose[:, :3], pose[:, 3:]
    assert torch.equal(full_pose(pose), full_pose(long))
    with pytest.raises(ValueError, match=r"6 .* or 15"):
        tiny_head(torch.zeros(3, 4), torch.zeros(3, 3), torch.zeros(3, 7))


def test_gradcheck(tiny_head: HeadModel, generator: torch.Generator) -> None:
    head = tiny_head.double()
    inputs = [
        (torch.randn(2, size, generator=generator).double() * 0.4).requires_grad_() for size in (4, 3, 15)
    ]
    assert torch.autograd.gradcheck(lambda *x: head(*x).verts * 100, inputs)


def test_gradient_is_finite_at_rest(tiny_head: HeadModel) -> None:
    pose = torch.zeros(1, 6, requires_grad=True)
    tiny_head(torch.zeros(1, 4), torch.zeros(1, 3), pose).verts.square().sum().backward()
    assert pose.grad is not None
    assert torch.isfinite(pose.grad).all()


def test_subset_gives_the_same_vertices_and_joints(tiny_head: HeadModel, generator: torch.Generator) -> None:
    ids = tiny_head.landmark_vertex_ids("now7")
    light = tiny_head.subset(ids)
    inputs = [torch.randn(2, n, generator=generator) * 0.3 for n in (4, 3, 6)]
    whole, part = tiny_head(*inputs), light(*inputs)
    torch.testing.assert_close(part.verts, whole.verts[:, ids])
    torch.testing.assert_close(part.joints, whole.joints)
    torch.testing.assert_close(light.landmarks(part.verts, "now7"), tiny_head.landmarks(whole.verts, "now7"))
    torch.testing.assert_close(light.neutral(inputs[0]), tiny_head.neutral(inputs[0])[:, ids])
    assert torch.equal(ids[light.faces], tiny_head.faces[torch.isin(tiny_head.faces, ids).all(1)])


def test_subset_without_a_landmark_vertex_refuses_it(tiny_head: HeadModel) -> None:
    light = tiny_head.subset(torch.arange(3))
    with pytest.raises(AssetError, match="68"):
        light.landmarks(light.neutral(torch.zeros(1, 4)), "68")


def test_file_round_trip(tmp_path: Path, generator: torch.Generator) -> None:
    arrays = tiny_head_arrays() | {"region_face": torch.rand(20, generator=generator)}
    metadata = {"format": "occface-head", "name": "tiny", "licence": "CC0-1.0", "expression_bounds": "[0, 1]"}
    metadata["expression_names"] = json.dumps(["jawLeft", "jawRight", "mouthClose"])
    path = tmp_path / "head.safetensors"
    save_file(
        {key: value.half() if "dirs" in key else value for key, value in arrays.items()}, path, metadata
    )
    head = HeadModel.load(path)
    assert (head.name, head.licence, head.expression_bounds) == ("tiny", "CC0-1.0", (0.0, 1.0))
    assert head.expression_names == ("jawLeft", "jawRight", "mouthClose")
    assert head.shape_names == ("shape_000", "shape_001", "shape_002", "shape_003")
    assert head.directions.dtype == torch.float32
    assert torch.equal(head.regions["face"], arrays["region_face"])
    assert torch.equal(head.v_template, arrays["v_template"])
    assert head.uv is None


def test_bad_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    good = {"format": "occface-head"}
    cases: list[tuple[dict[str, Tensor], dict[str, str], str]] = [
        ({}, {"format": "other"}, "not an occface-head"),
        ({"faces": torch.full((20, 3), 20)}, good, "faces holds indices outside 0..19"),
        ({"skin_weights": torch.full((20, 5), 0.5)}, good, "do not sum to 1"),
        ({"parents": torch.tensor([-1, 2, 1, 1, 1])}, good, "tree"),
        ({"surprise": torch.zeros(2)}, good, "surprise is not expected"),
        ({"posedirs": torch.zeros(20, 3, 35)}, good, "posedirs has shape"),
        ({}, good | {"shape_names": '["one"]'}, "1 names for 4"),
    ]
    for change, metadata, message in cases:
        save_file(tiny_head_arrays() | change, path, metadata)
        with pytest.raises(AssetError, match=message):
            HeadModel.from_file(path)


def test_shipped_head(generator: torch.Generator) -> None:
    head = HeadModel.load()
    assert (head.n_vertices, len(head.faces), head.n_shape, head.n_expression) == (5181, 10108, 100, 50)
    assert head.expression_bounds == (0.0, 1.0)
    assert "mouthSmileLeft" in head.expression_names
    assert {"face", "lips", "brows", "scalp"} <= set(head.regions)
    light = head.subset(head.landmark_vertex_ids("68", "468", "now7"))
    assert light.n_vertices < head.n_vertices / 3
    inputs = torch.randn(2, 100, generator=generator), torch.rand(2, 50, generator=generator)
    pose = torch.randn(2, 6, generator=generator) * 0.2
    whole, part = head(*inputs, pose).verts, light(*inputs, pose).verts
    for which, count in (("68", 68), ("468", 468), ("now7", 7)):
        expected = head.landmarks(whole, which, global_pose=pose[:, :3])
        assert expected.shape == (2, count, 3)
        found = light.landmarks(part, which, global_pose=pose[:, :3])
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_contour_slides_to_the_visible_outline() -> None:
    """Turned to the subject's left, the left jaw line moves out to the silhouette, and mirrored."""
    head = HeadModel.load()
    for turn, side in ((0.5, 1), (-0.5, -1)):
        pose = torch.tensor([[0.0, turn, 0.0, 0.0, 0.0, 0.0]])
        verts = head(torch.zeros(1, 100), torch.zeros(1, 50), pose).verts
        still = head.landmarks(verts, "68_static")[0, :17, 0] * side
        slid = head.landmarks(verts, "68", global_pose=pose[:, :3])[0, :17, 0] * side
        far = slice(11, 16) if side > 0 else slice(1, 6)
        assert (slid[far] >= still[far] - 1e-4).all()
        assert (slid[far] - still[far]).max() > 0.004
