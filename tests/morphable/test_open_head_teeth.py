"""The teeth of the open head: where they lie, how they move, and that nothing else noticed."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from occface_core.assets import weights_dir
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.open_head_picture import rasterize
from occface_core.morphable.open_head_teeth import LOWER, UPPER, carry, model_row, with_teeth
from occface_core.morphable.open_head_topology import TEETH
from occface_core.rendering.renderer import Renderer


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return load_file(weights_dir() / "open_head.safetensors")


def without_teeth(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The head as the rest of the builder leaves it."""
    count = int((arrays["component"] != TEETH).sum())
    faces = int((arrays["faces"] < count).all(1).sum())
    places = int(arrays["uv_faces"][:faces].max()) + 1
    cut = {"faces": faces, "uv_faces": faces, "uv": places}
    bare = {}
    for name, values in arrays.items():
        if name == "joint_regressor":
            bare[name] = values[:, :count]
        elif name in cut:
            bare[name] = values[: cut[name]]
        else:
            bare[name] = values[:count] if len(values) == len(arrays["component"]) else values
    del bare["region_teeth"]
    return bare


def seen(head: HeadModel, verts: torch.Tensor, yaw: float = 0.0) -> list[int]:
    """Pixels (0.4 mm wide) in which teeth are seen, for each head."""
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    mouth = verts[:, head.regions["lips"] > 0.5].mean(1, keepdim=True)
    turned = (verts - mouth) @ torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float32).T
    camera = torch.tensor([[2 / 0.1024, 0.0, 0.0]]).expand(len(verts), -1)
    teeth = (head.component == TEETH).float()[None, :, None].expand(len(verts), -1, 3)
    drawn = Renderer(head, 256)(turned, camera, teeth)
    return (drawn.image[:, 0] > 0.5).flatten(1).sum(1).tolist()


def test_shipped_teeth_are_what_the_builder_appends_and_the_rest_is_untouched(
    arrays: dict[str, np.ndarray],
) -> None:
    bare = without_teeth(arrays)
    assert len(bare["v_template"]) == 4665
    again = with_teeth(bare)
    assert set(again) == set(arrays)
    for name, values in again.items():
        if name in ("shapedirs", "expressiondirs"):  # least squares in another library's order
            np.testing.assert_allclose(values.astype(float), arrays[name].astype(float), atol=1e-6)
            np.testing.assert_array_equal(values[:4665], arrays[name][:4665])
        else:
            np.testing.assert_array_equal(values, arrays[name], err_msg=name)


def test_teeth_do_not_show_between_closed_lips_and_do_in_a_smile(open_head: HeadModel, posed) -> None:
    betas = torch.randn(8, open_head.n_shape, generator=torch.Generator().manual_seed(3))
    betas[0] = 0
    for yaw in (-50, -25, 0, 25, 50):
        assert max(seen(open_head, posed(betas=betas), yaw)) < 150
    smile = {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "mouthUpperUpLeft": 0.5, "mouthUpperUpRight": 0.5}
    assert min(seen(open_head, posed(jaw=4, betas=betas, **smile))) > 1000
    assert min(seen(open_head, posed(jaw=18, betas=betas))) > 300


def test_upper_teeth_stay_with_the_skull_and_lower_ones_turn_with_the_jaw(
    open_head: HeadModel, posed
) -> None:
    rest, opened = posed()[0], posed(jaw=20)[0]
    teeth = open_head.component == TEETH
    lower = teeth & (open_head.skin_weights[:, 2] == 1)
    upper = teeth & ~lower
    assert lower.sum() == upper.sum()
    assert (opened - rest)[upper].norm(dim=1).max() < 1e-6
    assert (opened - rest)[lower].norm(dim=1).min() > 0.01
    stretched = torch.cdist(opened[lower], opened[lower]) - torch.cdist(rest[lower], rest[lower])
    assert stretched.abs().max() < 1e-4


@pytest.mark.parametrize("action", ["jawLeft", "jawRight", "jawForward"])
def test_lower_teeth_go_where_the_chin_goes(open_head: HeadModel, posed, action: str) -> None:
    moved = (posed(**{action: 1.0}) - posed())[0]
    place = open_head.landmarks(open_head.v_template[None], "68")[0, 8]
    chin = moved[(open_head.v_template - place).norm(dim=1).argmin()]
    lower = (open_head.component == TEETH) & (open_head.skin_weights[:, 2] == 1)
    assert (moved[lower] - moved[lower][0]).abs().max() < 1e-6
    assert (moved[lower][0] - chin).norm() < 0.25 * chin.norm()
    assert moved[(open_head.component == TEETH) & ~lower].abs().max() < 1e-7


def test_teeth_have_a_place_of_their_own_in_the_texture(arrays: dict[str, np.ndarray]) -> None:
    side = 512
    uv = arrays["uv"].astype(np.float64)
    plane = np.stack([uv[:, 0] * side, (1 - uv[:, 1]) * side, np.zeros(len(uv))], axis=1)
    teeth = arrays["component"][arrays["faces"][:, 0]] == TEETH
    own = rasterize(plane, arrays["uv_faces"][teeth].astype(np.int64), side)[0] >= 0
    others = rasterize(plane, arrays["uv_faces"][~teeth].astype(np.int64), side)[0] >= 0
    assert own.sum() > 800
    assert not (own & others).any()


@pytest.mark.parametrize("plan", [UPPER, LOWER])
def test_a_row_faces_outwards_and_is_its_own_mirror_image(plan) -> None:
    row = model_row(plan, np.array([0.0, -0.04, 0.05]))
    flipped = row.vertices * [-1, 1, 1]
    gap = np.linalg.norm(flipped[:, None] - row.vertices[None], axis=2)
    assert gap.min(1).max() < 1e-12
    partner = gap.argmin(1)
    faces = {tuple(np.sort(face)) for face in row.faces}
    assert {tuple(np.sort(partner[face])) for face in row.faces} == faces
    corners = row.vertices[row.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front = (row.enamel[row.faces] > 0.9).all(1) & (np.abs(corners[..., 0]) < 0.01).all(1)
    gums = (row.enamel[row.faces] == 0).any(1) & (np.abs(corners[..., 0]) < 0.01).all(1)
    assert (normal[gums, 2] > 0).all()
    assert (normal[front, 2] > 0).sum() > (normal[front, 2] < 0).sum()


def test_carry_is_exact_for_affine_motion(rng: np.random.Generator) -> None:
    places, carriers = rng.normal(0, 0.01, (20, 3)), rng.normal(0, 0.015, (60, 3))
    turn, shift = rng.normal(size=(3, 3)), rng.normal(size=3)
    np.testing.assert_allclose(
        carry(places, carriers, carriers @ turn + shift), places @ turn + shift, atol=1e-9
    )
    stacked = carry(places, carriers, np.stack([carriers @ turn, np.ones_like(carriers)], axis=2))
    np.testing.assert_allclose(stacked[..., 0], places @ turn, atol=1e-9)
    np.testing.assert_allclose(stacked[..., 1], 1, atol=1e-9)
