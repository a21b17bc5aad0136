"""The tree search against brute force, and the meshes it must refuse."""

import numpy as np
import pytest

from occface_core.errors import MeshError
from occface_core.evaluation.closest_point import TriangleTree


def brute_force(verts: np.ndarray, faces: np.ndarray, points: np.ndarray, grid: int = 60) -> np.ndarray:
    """Upper bound of the distance from densely sampled triangles."""
    u, v = np.meshgrid(np.linspace(0, 1, grid), np.linspace(0, 1, grid))
    keep = u + v <= 1 + 1e-12
    u, v = u[keep], v[keep]
    a, b, c = (verts[faces[:, k]] for k in range(3))
    samples = a[:, None] + u[None, :, None] * (b - a)[:, None] + v[None, :, None] * (c - a)[:, None]
    return np.array([np.linalg.norm(samples.reshape(-1, 3) - p, axis=1).min() for p in points])


@pytest.mark.parametrize("triangles", [1, 3, 5, 8, 9, 33])
def test_agrees_with_dense_sampling(triangles: int, rng: np.random.Generator) -> None:
    verts = rng.normal(size=(12, 3))
    faces = rng.integers(0, 12, (triangles, 3))  # some of them degenerate
    points = rng.normal(size=(40, 3)) * 2
    answer = TriangleTree(verts, faces).nearest(points)
    distance = np.sqrt(answer.squared_distance)
    sampled = brute_force(verts, faces, points)
    assert (distance <= sampled + 1e-9).all()
    assert (sampled - distance).max() < 0.1
    np.testing.assert_allclose(np.linalg.norm(points - answer.point, axis=1), distance, atol=1e-12)


def test_known_distances_to_one_triangle() -> None:
    tree = TriangleTree(np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]]), np.array([[0, 1, 2]]))
    points = np.array([[0.5, 0.5, 3], [-3, -4, 0], [1, -2, 0], [2, 2, 0], [5, 0, 0], [-1, 1, 0]])
    expected = [3, 5, 2, np.sqrt(2), 3, 1]
    np.testing.assert_allclose(np.sqrt(tree.nearest(points).squared_distance), expected, atol=1e-12)


def test_degenerate_triangles_count_as_segment_and_point() -> None:
    verts = np.array([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [10, 10, 10]])
    faces = np.array([[0, 1, 2], [0, 0, 2], [3, 3, 3]])
    answer = TriangleTree(verts, faces).nearest(np.array([[2.0, 4, 3], [10, 10, 12]]))
    np.testing.assert_allclose(np.sqrt(answer.squared_distance), [5, 2])


def test_hints_change_nothing(rng: np.random.Generator) -> None:
    verts, faces = rng.normal(size=(50, 3)), rng.integers(0, 50, (90, 3))
    tree, points = TriangleTree(verts, faces), rng.normal(size=(30, 3))
    plain = tree.nearest(points)
    hinted = tree.nearest(points, rng.integers(0, 90, 30))
    np.testing.assert_array_equal(plain.squared_distance, hinted.squared_distance)


@pytest.mark.parametrize(
    ("verts", "faces", "message"),
    [
        (np.zeros((3, 3)), np.zeros((0, 3), int), "without triangles"),
        (np.zeros((3, 3)), np.array([[0, 1, 3]]), "outside"),
        (np.full((3, 3), np.nan), np.array([[0, 1, 2]]), "NaN"),
    ],
)
def test_refuses_unusable_meshes(verts: np.ndarray, faces: np.ndarray, message: str) -> None:
    with pytest.raises(MeshError, match=message):
        TriangleTree(verts, faces)


def test_refuses_queries_that_are_not_finite() -> None:
    tree = TriangleTree(np.eye(3), np.array([[0, 1, 2]]))
    with pytest.raises(MeshError, match="query"):
        tree.nearest(np.array([[np.inf, 0, 0]]))
