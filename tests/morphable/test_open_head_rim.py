"""The edge where the open head is cut from the body."""

import numpy as np

from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.open_head_rim import even_rim, rim_vertices
from occface_core.morphable.open_head_topology import SKIN


def test_neck_ends_in_an_even_line(open_head: HeadModel) -> None:
    faces, verts = open_head.faces.numpy().astype(np.int64), open_head.v_template.numpy().astype(np.float64)
    rim = rim_vertices(faces[open_head.component.numpy()[faces[:, 0]] == SKIN])
    assert len(rim) == 48
    height = verts[rim, 1]
    angle = np.arctan2(verts[rim, 0], verts[rim, 2] - verts[rim, 2].mean())
    steps = np.diff(height[np.argsort(angle)])
    assert np.abs(steps).max() < 0.004  # rows of quads there are 13 mm high


def test_evening_the_rim_keeps_the_root_joint(open_head: HeadModel) -> None:
    faces, verts = open_head.faces.numpy().astype(np.int64), open_head.v_template.numpy().astype(np.float64)
    root = open_head.joint_regressor.numpy()[0].astype(np.float64)
    torn = verts.copy()
    torn[rim_vertices(faces)[::3], 1] += 0.01
    mended = even_rim(torn, faces, root)
    np.testing.assert_allclose(root @ mended, root @ torn, atol=1e-9)
    assert np.abs(np.diff(mended[:, [0, 2]] - torn[:, [0, 2]], axis=0)).max() == 0
    rest = np.setdiff1d(np.arange(len(verts)), rim_vertices(faces))
    np.testing.assert_array_equal(mended[rest], torn[rest])
