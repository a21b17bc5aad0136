"""How deep the mean face is, told from photos: found under wrong poses, and carried over to the mesh."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.data.landmarks import mirror_pairs
from occface_core.errors import ConfigError
from occface_core.evaluation import landmark_depth
from occface_core.evaluation.landmark_depth import depths, left_over, pose_motions
from occface_core.evaluation.landmark_places import Misses, misses_of
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import DECA_236, FaceParameters
from occface_core.networks.encoder import default_code_statistics
from occface_core.rendering.cameras import weak_perspective


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return HeadModel.load()


@pytest.fixture(scope="module")
def points(head: HeadModel) -> torch.Tensor:
    return head.landmarks(head.v_template[None], "468")[0]


def nose(places: torch.Tensor) -> torch.Tensor:
    """Depth that the test gives a face: 8 mm between the eyes, fading within three centimetres."""
    middle = places.new_tensor([0.0, 0.03, 0.045])
    return 0.008 * torch.exp(-(places - middle).square().sum(-1) / (2 * 0.02**2))


def people(count: int, turned: float = 0.3) -> torch.Tensor:
    mean, scale = default_code_statistics()
    generator = torch.Generator().manual_seed(0)
    code = mean + 0.3 * scale * torch.randn(count, len(mean), generator=generator)
    code[:, DECA_236.slices["exp"]] = 0
    pose = torch.randn(count, 6, generator=generator) * torch.tensor([0.15, turned, 0.1, 0.0, 0.0, 0.0])
    code[:, DECA_236.slices["pose"]] = pose
    return code


def misses(head: HeadModel, code: torch.Tensor, wrong: float) -> Misses:
    """Photos of people with deeper noses, told by a network that knows the head as it is and errs in pose."""
    deep = copy.deepcopy(head)
    deep.v_template[:, 2] += nose(head.v_template)
    true = FaceParameters.from_code(code, DECA_236)
    verts = deep(true.betas, true.expression, true.pose).verts
    seen = weak_perspective(deep.landmarks(verts, "468"), true.camera)[..., :2]
    told = code.clone()
    part = DECA_236.slices["pose"]
    noise = torch.randn(len(code), 3, generator=torch.Generator().manual_seed(1))
    told[:, part.start : part.start + 3] += wrong * noise
    told[:, part.start + 1] *= 0.95  # it also underestimates turns
    return misses_of(FaceParameters.from_code(told, DECA_236), head, seen)


def test_a_deeper_nose_is_found_although_poses_are_wrong(head: HeadModel, points: torch.Tensor) -> None:
    found = depths(
        misses(head, people(160), wrong=0.03), points, torch.as_tensor(mirror_pairs(points.numpy()))
    )
    true = nose(points)
    # A common depth and a tilt of the whole face cannot be told from poses: compare what is left without.
    plane = torch.cat([torch.ones(468, 1), points[:, 1:]], dim=1)
    gap = true - found
    gap = gap - plane @ torch.linalg.lstsq(plane, gap[:, None]).solution[:, 0]
    assert gap.abs().mean() < 0.15 * true.std()
    assert abs(float(found.mean())) < 1e-6


def test_photos_from_the_front_say_nothing(head: HeadModel, points: torch.Tensor) -> None:
    code = people(64)
    code[:, DECA_236.slices["pose"]] = 0
    found = depths(misses(head, code, wrong=0.0), points, torch.as_tensor(mirror_pairs(points.numpy())))
    assert found.abs().max() < 2e-4


def test_known_depth_lowers_the_error_at_the_best_pose(head: HeadModel, points: torch.Tensor) -> None:
    some = misses(head, people(64), wrong=0.02)
    assert left_over(some, points, nose(points)) < 0.4 * left_over(some, points, torch.zeros(468))


def test_motions_are_those_of_a_small_turn(head: HeadModel, points: torch.Tensor) -> None:
    code = people(8)
    truth = FaceParameters.from_code(code, DECA_236)
    told = code.clone()
    told[:, DECA_236.slices["cam"]] += torch.tensor([0.02, 0.001, -0.002])
    verts = head(truth.betas, truth.expression, truth.pose).verts
    seen = weak_perspective(head.landmarks(verts, "468"), truth.camera)[..., :2]
    moved = misses_of(FaceParameters.from_code(told, DECA_236), head, seen)
    before = float(moved.miss.norm(dim=-1).mean()) * 100
    # Size and place explain it, up to what makes these faces differ from the mean one.
    assert pose_motions(moved.turn, points).shape == (8, 468, 2, 6)
    assert left_over(moved, points, torch.zeros(468)) < 0.1 * before


def test_too_few_photos_are_refused(photo_folder: Path, tmp_path: Path) -> None:
    options = ["--images", str(photo_folder), "--split", "", "--photos", "3", "--cache", str(tmp_path)]
    with pytest.raises(ConfigError, match="--photos 3"):
        landmark_depth.main([*options, "--out", str(tmp_path / "depth.json")])


def test_the_command_adds_to_what_was_known(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from occface_core.morphable.open_head_depth import read_depth_file, write_depth_file

    out = tmp_path / "depth.json"
    write_depth_file(out, np.full(468, 0.004), "a test")
    monkeypatch.setattr(landmark_depth, "depths", lambda *_: torch.linspace(-0.001, 0.001, 468))
    options = ["--images", str(photo_folder), "--split", "", "--photos", "8", "--cache", str(tmp_path)]
    landmark_depth.main([*options, "--model", "student", "--out", str(out)])
    np.testing.assert_allclose(read_depth_file(out), np.linspace(0.003, 0.005, 468), atol=1e-5)
