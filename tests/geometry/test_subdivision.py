import pytest
import torch

from occface_core.geometry.mesh import face_areas, face_cross_products
from occface_core.geometry.subdivision import subdivide, whole

TETRAHEDRON = torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
CORNERS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])


def cut_twice(chosen: list[int]):
    """A tetrahedron, some triangles cut, then everything that lies near its first corner cut again."""
    once = subdivide(whole(TETRAHEDRON, 4), torch.isin(torch.arange(4), torch.tensor(chosen)))
    near = (once.faces == 0).any(1)
    return subdivide(once, near)


@pytest.mark.parametrize("chosen", [[0], [1, 2], [0, 1, 2, 3]])
def test_the_shape_stays_and_so_does_its_orientation(chosen: list[int]) -> None:
    mesh = cut_twice(chosen)
    points = mesh.extend(CORNERS)
    before, after = face_areas(CORNERS[None], TETRAHEDRON)[0], face_areas(points[None], mesh.faces)[0]
    torch.testing.assert_close(torch.zeros(4).index_add(0, mesh.source, after), before)
    normals = face_cross_products(CORNERS[None], TETRAHEDRON)[0][mesh.source]
    assert bool(((face_cross_products(points[None], mesh.faces)[0] * normals).sum(-1) > 0).all())


def test_there_are_no_cracks() -> None:
    mesh = cut_twice([0])
    ends = torch.stack([mesh.faces, mesh.faces.roll(-1, 1)], -1).flatten(0, 1)
    edges, count = torch.unique(ends.sort(1).values, dim=0, return_counts=True)
    assert bool((count == 2).all())
    assert len(mesh.extend(CORNERS)) - len(edges) + len(mesh.faces) == 2  # Euler


def test_a_chosen_triangle_becomes_four() -> None:
    mesh = subdivide(whole(TETRAHEDRON, 4), torch.tensor([True, False, False, False]))
    assert (mesh.source == 0).sum() == 4
    assert len(mesh.faces) == 4 + 3 * 2  # each neighbour is halved
    torch.testing.assert_close(mesh.extend(CORNERS)[4:], CORNERS[mesh.parents].mean(1))


def test_values_per_corner_follow_into_the_parts() -> None:
    mesh = cut_twice([0, 3])
    # Coordinates given per corner must give what coordinates per vertex give: no seam here.
    torch.testing.assert_close(mesh.at_vertices(CORNERS[TETRAHEDRON]), mesh.extend(CORNERS))
    seam = CORNERS[TETRAHEDRON].clone()
    seam[1:] += 10.0  # every triangle but the first lies elsewhere in the texture
    inside = (mesh.source == 0).nonzero()[0, 0]
    assert bool((mesh.corners[inside] @ seam[0] < 2).all())
