"""Landmarks on triangles and the yaw-dependent contour."""

import pytest
import torch

from occface_core.errors import AssetError
from occface_core.morphable.embedding import LandmarkSet, PointEmbedding, yaw_bin
from occface_core.morphable.head_model import HeadModel


@pytest.mark.parametrize(
    ("degrees", "row"),
    [(0, 0), (1, 1), (38.6, 39), (39, 39), (80, 39), (-1, 40), (-39, 78), (-80, 78), (-0.4, 0)],
)
def test_yaw_bins(degrees: float, row: int) -> None:
    pose = torch.tensor([[0.0, degrees, 0.0]]).deg2rad()
    assert yaw_bin(pose).item() == row


def test_points_are_barycentric_means() -> None:
    verts = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [0, 4, 0]]])
    points = PointEmbedding(
        torch.tensor([[0, 1, 2], [2, 1, 0]]), torch.tensor([[0.5, 0.5, 0.0], [1.0, 0, 0]])
    )
    assert points(verts).tolist() == [[[1, 0, 0], [0, 4, 0]]]


def test_dynamic_contour_replaces_the_first_seventeen(tiny_head: HeadModel) -> None:
    verts = tiny_head.v_template.expand(2, -1, -1)
    pose = torch.tensor([[0.0, 0.0, 0.0], [0.0, -0.2, 0.0]])
    static, dynamic = tiny_head.landmarks(verts, "68"), tiny_head.landmarks(verts, "68", global_pose=pose)
    torch.testing.assert_close(static[:, 17:], dynamic[:, 17:])
    contour = tiny_head.landmark_set.contour
    assert contour is not None
    for i, row in enumerate(yaw_bin(pose).tolist()):
        expected = (verts[i][contour.vertex_ids[row]] * contour.bary[row].unsqueeze(-1)).sum(1)
        torch.testing.assert_close(dynamic[i, :17], expected)
    still = tiny_head.landmarks(verts, "68_static", global_pose=pose)
    torch.testing.assert_close(still, static)


def test_unknown_landmarks_are_named(tiny_head: HeadModel) -> None:
    with pytest.raises(AssetError, match=r"no '468' landmarks \(it has 68, now7\)"):
        tiny_head.landmarks(tiny_head.v_template.expand(1, -1, -1), "468")


def test_contour_needs_all_its_vertices(tiny_head: HeadModel) -> None:
    gone = torch.arange(20)
    gone[tiny_head.landmark_vertex_ids("68")[-1]] = -1
    assert "68" not in tiny_head.landmark_set.remap(gone).points
    assert isinstance(tiny_head.landmark_set.remap(torch.arange(20)), LandmarkSet)
