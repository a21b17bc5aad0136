"""The occluder z-buffer: areas, hidden surfaces, facing, opacity."""

import numpy as np
import pytest

from occface_core.occlusion.raster import Part, mesh_coverage, paint_parts
from occface_core.occlusion.surfaces import grid_faces, grid_normals, grid_uv
from occface_core.occlusion.types import Sample


def quad(x0: float, y0: float, x1: float, y1: float, depth: float, colour: float, alpha: float = 1.0) -> Part:
    """A rectangle that faces the viewer, rows running down."""
    verts = np.array([[x0, y0, depth], [x1, y0, depth], [x0, y1, depth], [x1, y1, depth]], np.float32)
    texture = np.array([[[colour, colour, colour, alpha]]], np.float32)
    return Part(verts, grid_faces(2, 2), grid_uv(2, 2), np.ones((4, 3)), np.zeros(4), texture)


def test_area_of_a_rectangle_with_fractional_edges():
    _, alpha = paint_parts([quad(2.5, 3.0, 7.5, 8.0, 0.0, 0.5)], 12, 12)
    assert alpha.sum() == pytest.approx(25.0)
    assert alpha[5, 2] == pytest.approx(0.5)


def test_the_nearer_part_wins_in_any_order():
    near, far = quad(2, 2, 8, 8, -1.0, 0.9), quad(0, 0, 10, 10, 1.0, 0.1)
    for order in ([near, far], [far, near]):
        colour, alpha = paint_parts(order, 10, 10)
        assert colour[5, 5, 0] == pytest.approx(0.9)
        assert colour[0, 0, 0] == pytest.approx(0.1)
        assert alpha.min() == 1.0


def test_a_part_that_faces_away_is_not_drawn():
    part = quad(2, 2, 8, 8, 0.0, 0.5)
    away = Part(part.verts, part.faces[:, ::-1], part.uv, part.light, part.gloss, part.texture)
    assert paint_parts([away], 10, 10)[1].sum() == 0
    both = Part(
        part.verts, part.faces[:, ::-1], part.uv, part.light, part.gloss, part.texture, two_sided=True
    )
    assert paint_parts([both], 10, 10)[1].sum() == pytest.approx(36.0)


def test_opacity_comes_from_the_texture():
    colour, alpha = paint_parts([quad(0, 0, 10, 10, 0.0, 0.4, alpha=0.25)], 10, 10)
    np.testing.assert_allclose(alpha, 0.25)
    np.testing.assert_allclose(colour, 0.4, atol=1e-6)


def test_nothing_and_far_outside():
    assert paint_parts([], 5, 6)[1].shape == (5, 6)
    assert paint_parts([quad(100, 100, 120, 120, 0.0, 0.5)], 10, 10)[1].sum() == 0


def test_grid_normals_point_to_the_viewer():
    grid = quad(0, 0, 4, 4, 0.0, 0.5).verts.reshape(2, 2, 3)
    np.testing.assert_allclose(grid_normals(grid).reshape(-1, 3), [[0, 0, 1]] * 4, atol=1e-6)


def test_coarse_coverage_of_a_half():
    face = np.zeros((40, 40), np.float32)
    face[10:30, 10:30] = 1.0
    sample = Sample(np.zeros((40, 40, 3), np.float32), face, None, None, None)
    part = quad(0, 0, 20, 40, 0.0, 0.5)
    shares = mesh_coverage(sample, [(part.verts, part.faces)])
    assert shares.sum() == pytest.approx(0.5)
