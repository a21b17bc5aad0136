import numpy as np
import pytest
import torch

from occface_core.errors import MeshError
from occface_core.geometry.mesh import Mesh, face_areas, vertex_normals

SQUARE = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
SQUARE_FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


def test_counter_clockwise_square_faces_the_viewer():
    normals = vertex_normals(SQUARE[None], SQUARE_FACES)
    torch.testing.assert_close(normals, torch.tensor([0.0, 0, 1]).expand(1, 4, 3))
    torch.testing.assert_close(face_areas(SQUARE[None], SQUARE_FACES), torch.full((1, 2), 0.5))


def test_vertices_without_triangles_get_a_zero_normal():
    verts = torch.cat([SQUARE, torch.ones(1, 3)])
    assert vertex_normals(verts[None], SQUARE_FACES)[0, 4].tolist() == [0, 0, 0]


def test_normals_and_their_gradient_agree_with_the_reference(shared_dir):
    with np.load(shared_dir / "refs/camera_sh_normals.npz") as data:
        reference = {name: torch.from_numpy(data[name]) for name in data.files}
    with np.load(shared_dir / "refs/flame_format_open.npz") as data:
        faces = torch.from_numpy(data["f"]).long()
    verts = reference["verts"].clone().requires_grad_()
    normals = vertex_normals(verts, faces)
    torch.testing.assert_close(normals, reference["normals_verts"], atol=1e-5, rtol=0)
    (normals * reference["normals_grad_weight"]).sum().backward()
    expected = reference["normals_grad_verts"]
    assert (verts.grad - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"faces": torch.tensor([[0, 1, 4]])}, "outside 0..3"),
        ({"faces": torch.tensor([[0, -1, 2]])}, "outside 0..3"),
        ({"verts": SQUARE * torch.nan}, "NaN"),
        ({"uv": torch.zeros(4, 2)}, "together"),
        ({"uv": torch.zeros(2, 2), "uv_faces": SQUARE_FACES}, "uv_faces"),
    ],
)
def test_malformed_meshes_are_refused(changes, message):
    with pytest.raises(MeshError, match=message):
        Mesh(**{"verts": SQUARE, "faces": SQUARE_FACES, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"uv": torch.zeros(4, 2), "uv_faces": torch.tensor([[0, 1, 2]])},
        {"vertex_properties": {"sigma_mm": torch.zeros(3)}},
        {"vertex_colors": torch.zeros(3, 3)},
        {"verts": torch.zeros(4, 2)},
    ],
)
def test_shapes_that_disagree_are_refused(changes):
    # Run-time shape checking, where switched on, answers first with a TypeError.
    with pytest.raises((MeshError, TypeError)):
        Mesh(**{"verts": SQUARE, "faces": SQUARE_FACES, **changes})


def test_with_verts_keeps_everything_else():
    mesh = Mesh(SQUARE, SQUARE_FACES, vertex_colors=torch.rand(4, 3))
    moved = mesh.with_verts(SQUARE + 1)
    assert moved.vertex_colors is mesh.vertex_colors
    torch.testing.assert_close(moved.verts, SQUARE + 1)
