"""The mean face at the depth photos show: eyes stay between their lids, the rest of the head stays."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from occface_core.errors import AssetError
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.open_head import DEPTH_FILE
from occface_core.morphable.open_head_depth import deepened, read_depth_file, write_depth_file


def parts(head: HeadModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    points = head.landmarks(head.v_template[None], "468")[0].double().numpy()
    return head.v_template.double().numpy(), head.component.numpy(), points


def test_points_get_the_depth_they_were_given(open_head: HeadModel) -> None:
    verts, component, points = parts(open_head)
    depth = 0.005 * np.exp(-((points[:, 1] + 0.09) ** 2) / (2 * 0.02**2))  # the chin, 5 mm forward
    moved = torch.from_numpy(deepened(verts, component, points, depth)).float()
    got = (open_head.landmarks(moved[None], "468")[0] - torch.from_numpy(points).float()).numpy()
    assert np.abs(got[:, 2] - depth).max() < 8e-4
    assert np.abs(got[:, :2]).max() < 1e-6


def test_back_of_the_head_and_neck_stay(open_head: HeadModel) -> None:
    verts, component, points = parts(open_head)
    moved = deepened(verts, component, points, np.full(468, 0.005))
    far = np.linalg.norm(verts[:, None] - points[None], axis=-1).min(1) > 0.07
    assert far.sum() > 200
    assert np.abs(moved[far] - verts[far]).max() < 1e-4


def test_eyes_move_as_a_whole_with_their_lids(open_head: HeadModel) -> None:
    verts, component, points = parts(open_head)
    # Steep around the eyes: the inner corners forward, the outer ones back.
    moved = deepened(verts, component, points, 0.004 * np.cos(np.pi * np.abs(points[:, 0]) / 0.06))
    forward = (moved - verts)[:, 2]
    for eye, lids in ((2, (386, 374, 385, 380)), (3, (159, 145, 158, 153))):
        ball = forward[component == eye]
        assert np.ptp(ball) < 1e-12
        lid = open_head.landmarks(torch.from_numpy(moved).float()[None], "468")[0].numpy()
        assert np.abs((lid - points)[list(lids), 2] - ball[0]).max() < 3e-4


def test_shipped_lids_still_cover_the_eyeballs(open_head: HeadModel) -> None:
    """No eyeball shows in front of the lid above or below it."""
    verts, points = open_head.v_template, open_head.landmarks(open_head.v_template[None], "468")[0]
    for eye, lids in ((2, (386, 374)), (3, (159, 145))):
        ball = verts[open_head.component == eye]
        centre = ball.mean(0)
        radius = float((ball - centre).norm(dim=1).max())
        for lid in lids:
            assert (points[lid] - centre).norm() > 0.9 * radius


def test_profile_of_the_shipped_mean_is_no_flat_face(open_head: HeadModel) -> None:
    """Against the outer corners of the eyes, millimetres: what anthropometry calls depth of the face."""
    points = open_head.landmarks(open_head.v_template[None], "68_static")[0] * 1000
    depth = points[:, 2] - points[[36, 45], 2].mean()
    assert 20 < depth[27] < 28  # root of the nose
    assert 39 < depth[30] < 48  # tip
    assert 2 < depth[8] < 15  # under the chin
    assert 27 < depth[51] < 34  # upper lip


def test_file_is_read_back_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "depth.json"
    write_depth_file(path, np.linspace(-0.006, 0.006, 468), "three photos")
    np.testing.assert_allclose(read_depth_file(path), np.linspace(-0.006, 0.006, 468), atol=5e-6)
    assert "three photos" in json.loads(path.read_text())["made_by"]
    path.write_text(json.dumps({"millimetres": [0.0] * 467}))
    with pytest.raises(AssetError, match="468 depths"):
        read_depth_file(path)
    path.write_text("{")
    with pytest.raises(AssetError, match="landmark_depth"):
        read_depth_file(path)
    with pytest.raises(AssetError, match="landmark_depth"):
        read_depth_file(tmp_path / "none.json")


def test_shipped_depths_are_symmetric_and_small() -> None:
    depths = read_depth_file(DEPTH_FILE)
    assert abs(depths.mean()) < 1e-5
    assert np.abs(depths).max() < 0.012
    for one, other in ((33, 263), (61, 291), (234, 454)):
        assert depths[one] == pytest.approx(depths[other], abs=1e-5)
