"""Points of the head moved to where photos say they are: a mistake is found, a bad photo moves nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.data.landmarks import mirror_pairs
from occface_core.data.packed import PackedPhotos
from occface_core.evaluation import landmark_places
from occface_core.evaluation.landmark_places import Misses, measure, misses_of, moved_places, surface_moves
from occface_core.geometry.mesh import vertex_normals
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.open_head import LANDMARK_FILE
from occface_core.morphable.parameters import DECA_236, FaceParameters
from occface_core.networks.encoder import EncoderConfig, FaceEncoder, default_code_statistics
from occface_core.rendering.cameras import weak_perspective


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return HeadModel.load()


@pytest.fixture(scope="module")
def pairs(head: HeadModel) -> torch.Tensor:
    return torch.as_tensor(mirror_pairs(head.landmarks(head.v_template[None], "468")[0].numpy()))


def heads(count: int) -> FaceParameters:
    """Heads of different people, turned up to about 25 degrees."""
    mean, scale = default_code_statistics()
    generator = torch.Generator().manual_seed(0)
    code = mean + 0.5 * scale * torch.randn(count, len(mean), generator=generator)
    pose = DECA_236.slices["pose"]
    code[:, pose] = torch.randn(count, 6, generator=generator) * torch.tensor([0.15, 0.3, 0.1, 0.0, 0.0, 0.0])
    code[:, DECA_236.slices["exp"]] = 0
    return FaceParameters.from_code(code, DECA_236)


def shifted(head: HeadModel, params: FaceParameters, moves: torch.Tensor) -> torch.Tensor:
    """Landmarks in the image of points that sit elsewhere on the unturned head, metres."""
    neutral = head.neutral(params.betas)
    points = head.landmarks(neutral, "468")
    rotated = head.landmarks(head(params.betas, params.expression, params.pose).verts, "468")
    # The rotation about the root joint, read off the landmarks themselves.
    a, b = points - points.mean(1, keepdim=True), rotated - rotated.mean(1, keepdim=True)
    u, _, v = torch.linalg.svd(b.transpose(1, 2) @ a)
    return weak_perspective(rotated + moves @ (u @ v).transpose(1, 2), params.camera)[..., :2]


def normals_of(head: HeadModel) -> torch.Tensor:
    template = head.v_template[None]
    normals = head.landmarks(vertex_normals(template, head.faces), "468")[0]
    return normals / normals.norm(dim=-1, keepdim=True)


def a_mistake(head: HeadModel) -> torch.Tensor:
    """The forehead's points 4 mm too low, along the surface."""
    moves = torch.zeros(468, 3)
    for point in (10, 151, 108, 337):
        normal = normals_of(head)[point]
        up = torch.tensor([0.0, 0.004, 0.0])
        moves[point] = up - normal * (up @ normal)
    return moves


def test_a_known_mistake_is_found(head: HeadModel, pairs: torch.Tensor) -> None:
    params, moves = heads(96), a_mistake(head)
    misses = misses_of(params, head, shifted(head, params, moves))
    found = surface_moves(misses, normals_of(head), pairs)
    assert (found - moves).norm(dim=-1).max() < 4e-4  # metres
    assert misses.nme(found) < 0.1 * misses.nme(torch.zeros_like(found))


def test_photos_that_miss_everything_are_outvoted(head: HeadModel, pairs: torch.Tensor) -> None:
    params, moves = heads(96), a_mistake(head)
    points = shifted(head, params, moves)
    points[::10] += 0.2
    found = surface_moves(misses_of(params, head, points), normals_of(head), pairs)
    assert (found - moves).norm(dim=-1).mean() < 4e-4


def test_what_lies_off_the_surface_is_left_alone(head: HeadModel, pairs: torch.Tensor) -> None:
    params = heads(64)
    deep = torch.zeros(468, 3)
    deep[4] = 0.01 * normals_of(head)[4]  # a longer nose: no other place on this one
    found = surface_moves(misses_of(params, head, shifted(head, params, deep)), normals_of(head), pairs)
    assert (found[4] @ normals_of(head)[4]).abs() < 0.002


def test_a_network_is_measured_on_its_own_crops(head: HeadModel) -> None:
    network = FaceEncoder(EncoderConfig(backbone="mobilenet_v3_small", input_size=64)).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (5, 88, 88, 3), dtype=np.uint8)
    mean, _ = default_code_statistics()
    params = FaceParameters.from_code(mean[None], DECA_236)
    crop = shifted(head, params, torch.zeros(468, 3))[0].numpy()
    # A packed crop is wider than the network's: its landmarks take up less of it.
    from occface_core.data.crop import CROP_SCALE
    from occface_core.data.packed import PACK_SCALE

    points = np.repeat((crop * CROP_SCALE / PACK_SCALE * 44 + 44)[None], 5, 0).astype(np.float32)
    packed = PackedPhotos(images, points, list("abcde"), [""] * 5, [""] * 5, [])
    misses = measure(network, head, packed, np.array([3, 1, 4]))
    assert misses.miss.shape == (3, 468, 2)
    # The untrained network answers with nearly the mean head, which is where the points are.
    assert misses.nme(torch.zeros(468, 3)) < 1.5


def test_the_shipped_points_stay_put_when_nothing_is_missed(head: HeadModel) -> None:
    pytest.importorskip("anny", reason="the head's builder needs the anny package")
    none = Misses(torch.zeros(8, 468, 2), torch.eye(3)[:2].repeat(8, 1, 1), torch.ones(8, 468))
    _ids, weights, moves = moved_places(none, LANDMARK_FILE, head)
    assert moves.norm(dim=-1).max() < 1e-5
    assert weights.shape == (468, 3)
    assert np.allclose(weights.sum(1), 1)


def test_the_file_says_how_it_was_made() -> None:
    record = json.loads(LANDMARK_FILE.read_text())
    assert "landmark_places" in record["made_by"]
    assert "mediapipe" in record["made_by"]


def test_too_few_photos_are_refused(photo_folder: Path, tmp_path: Path) -> None:
    from occface_core.errors import ConfigError

    options = ["--images", str(photo_folder), "--split", "", "--photos", "3", "--cache", str(tmp_path)]
    with pytest.raises(ConfigError, match="--photos 3"):
        landmark_places.main([*options, "--out", str(tmp_path / "points.json")])
