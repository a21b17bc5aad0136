import os
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import torch

from occface_core.errors import BackendError
from occface_core.rendering import backends
from occface_core.rendering.rasterizer import interpolate, rasterize

CPU_BACKENDS = ("torch", "numba")
HALVES = torch.tensor([[0, 2, 1], [0, 3, 2]])  # both halves of a square, facing the viewer


def square(size: float, depth: float = 1.0) -> torch.Tensor:
    corners = [[0.0, 0, depth], [size, 0, depth], [size, size, depth], [0, size, depth]]
    return torch.tensor([corners])


def soup(generator: torch.Generator, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Random triangles of all sizes, in front and behind, inside and outside a 44 x 24 image."""
    extent, corner = torch.tensor([60.0, 40.0, 20.0]), torch.tensor([8.0, 8.0, 10.0])
    verts = torch.rand(batch, 60, 3, generator=generator) * extent - corner
    return verts, torch.randint(60, (40, 3), generator=generator)


@pytest.fixture(scope="module")
def reference(shared_dir):
    with np.load(shared_dir / "refs/raster.npz") as data:
        return {name: torch.from_numpy(data[name]) for name in data.files if data[name].dtype.kind != "U"}


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_visibility_weights_and_depth_agree_with_the_reference(reference, backend):
    found = rasterize(reference["verts_px"], reference["faces"].long(), 224, 224, backend=backend)
    stable = reference["stable"]
    assert torch.equal(found.pix_to_face[stable], reference["pix_to_face"].long()[stable])
    drawn = stable & (found.pix_to_face >= 0)
    total = reference["bary"].sum(-1, keepdim=True)
    torch.testing.assert_close(found.bary[drawn], (reference["bary"] / total)[drawn], atol=2e-4, rtol=0)
    torch.testing.assert_close(
        found.zbuf[drawn], (reference["zbuf"] / total[..., 0])[drawn], atol=5e-5, rtol=0
    )


def test_gradients_agree_with_the_exact_reference(reference):
    faces = reference["faces"].long()
    verts = reference["verts_px"].clone().requires_grad_()
    attribute = reference["attribute"].expand(3, -1, -1).clone().requires_grad_()
    values = interpolate(rasterize(verts, faces, 224, 224), verts, faces, attribute)
    loss = (values * reference["weight"] * reference["stable"][..., None]).sum((1, 2, 3))
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), reference["loss"], rtol=1e-4, atol=0)
    assert not verts.grad[..., 2].any()
    for found, name in ((verts.grad[..., :2], "verts_px"), (attribute.grad, "attribute")):
        for image, expected in enumerate(reference[f"grad_{name}_exact"]):
            assert (found[image] - expected).norm() <= 1e-3 * expected.norm()


@pytest.mark.parametrize("cull_back", [False, True])
def test_numba_sees_what_the_reference_backend_sees(generator, cull_back):
    verts, faces = soup(generator)
    first = rasterize(verts, faces, 24, 44, backend="torch", cull_back=cull_back)
    second = rasterize(verts, faces, 24, 44, backend="numba", cull_back=cull_back)
    assert torch.equal(first.pix_to_face, second.pix_to_face)
    torch.testing.assert_close(first.bary, second.bary)
    torch.testing.assert_close(first.zbuf, second.zbuf)
    assert 0.2 < first.mask.mean() < 1


TRITON_SCRIPT = """
import sys
import torch
from occface_core.rendering.rasterizer import rasterize
heavy = {"numba", "triton.language", "pytorch3d"} & set(sys.modules)
assert not heavy, f"imported before use: {heavy}"
generator = torch.Generator().manual_seed(7)
verts = torch.rand(2, 20, 3, generator=generator) * torch.tensor([30.0, 20, 20]) - torch.tensor([6.0, 4, 10])
verts[0, 3] = torch.nan
faces = torch.randint(20, (9, 3), generator=generator)
for cull_back in (False, True):
    first = rasterize(verts, faces, 11, 17, backend="torch", cull_back=cull_back)
    second = rasterize(verts, faces, 11, 17, backend="triton", cull_back=cull_back)
    assert torch.equal(first.pix_to_face, second.pix_to_face), "visibility differs"
    torch.testing.assert_close(first.bary, second.bary)
    assert first.mask.mean() > 0.2
print("same")
"""


def test_triton_kernel_sees_the_same_in_its_interpreter():
    """In a process of its own: the interpreter is chosen at import. Also shows that import is light."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRITON_SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout.strip() == "same", done.stderr[-2000:]


@pytest.mark.gpu
def test_triton_on_cuda_agrees_with_numba(ball):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    verts = (ball.verts * 40 + 56).expand(3, -1, -1).contiguous()
    here = rasterize(verts, ball.faces, 112, 112)
    there = rasterize(verts.cuda(), ball.faces.cuda(), 112, 112, backend="triton")
    assert (here.pix_to_face == there.pix_to_face.cpu()).float().mean() > 0.999


@pytest.mark.parametrize("backend", CPU_BACKENDS)
class TestRules:
    def test_shared_edges_leave_no_gap_and_ties_go_to_the_lower_triangle(self, backend):
        # The diagonal passes exactly through pixel centres.
        found = rasterize(square(8), HALVES, 8, 8, backend=backend)
        assert (found.pix_to_face >= 0).all()
        assert (found.pix_to_face[0].diagonal() == 0).all()

    def test_nearest_depth_wins_also_when_negative(self, backend):
        verts = torch.cat([square(8, -1.0), square(8, -2.0), square(8, 3.0)], 1)
        faces = torch.cat([HALVES, HALVES + 4, HALVES + 8])
        found = rasterize(verts, faces, 8, 8, backend=backend)
        assert (found.zbuf == -2).all()
        assert ((found.pix_to_face == 2) | (found.pix_to_face == 3)).all()

    def test_background_values(self, backend):
        found = rasterize(square(4), HALVES, 8, 8, backend=backend)
        outside = found.pix_to_face < 0
        assert outside.sum() == 48
        assert not found.bary[outside].any()
        assert (found.zbuf[outside] == torch.inf).all()
        assert found.mask.sum() == 16

    def test_culling_drops_triangles_that_face_away(self, backend):
        faces = torch.cat([HALVES[:1], HALVES[1:].flip(1)])
        assert rasterize(square(8), faces, 8, 8, backend=backend).mask.mean() == 1
        found = rasterize(square(8), faces, 8, 8, backend=backend, cull_back=True)
        assert set(found.pix_to_face.unique().tolist()) == {-1, 0}

    def test_bad_vertices_only_lose_their_own_triangles(self, backend):
        verts = square(8)
        verts[0, 1, 2] = torch.inf  # used by the first half only
        found = rasterize(verts, HALVES, 8, 8, backend=backend)
        assert set(found.pix_to_face.unique().tolist()) == {-1, 1}

    def test_near_plane(self, backend):
        verts = square(8, 0.5)
        assert rasterize(verts, HALVES, 8, 8, backend=backend, near=0.4).mask.mean() == 1
        assert rasterize(verts, HALVES, 8, 8, backend=backend, near=0.5).mask.mean() == 0

    def test_huge_triangles_and_no_triangles(self, backend):
        verts = square(1) * torch.tensor([1e9, 1e9, 1.0]) - torch.tensor([4e8, 4e8, 0.0])
        assert rasterize(verts, HALVES, 5, 9, backend=backend).mask.mean() == 1
        none = rasterize(verts, HALVES[:0], 5, 9, backend=backend)
        assert none.mask.sum() == 0


def test_interpolation_gradients_match_finite_differences(generator):
    verts = (square(6).double() + 0.3).requires_grad_()
    with torch.no_grad():
        verts[..., :2] += 0.2 * torch.rand(1, 4, 2, generator=generator, dtype=torch.float64)
    attributes = torch.rand(1, 4, 2, generator=generator, dtype=torch.float64).requires_grad_()
    fragments = rasterize(verts, HALVES, 8, 8)
    assert fragments.mask.sum() > 20
    assert torch.autograd.gradcheck(lambda v, a: interpolate(fragments, v, HALVES, a), (verts, attributes))


def test_interpolating_positions_returns_pixel_centres(ball):
    verts = (ball.verts * 9 + 10)[None].requires_grad_()
    values = interpolate(rasterize(verts, ball.faces, 20, 20), verts, ball.faces, verts)
    centres = torch.stack(torch.meshgrid(torch.arange(20), torch.arange(20), indexing="xy"), -1) + 0.5
    drawn = values.detach()[0, ..., 0] > 0
    assert drawn.sum() > 200
    torch.testing.assert_close(values.detach()[0, drawn][:, :2], centres[drawn], atol=1e-4, rtol=0)


def test_pytorch3d_backend_converts_pixels_and_triangle_numbers(monkeypatch):
    """Against a stand-in that returns known triangle numbers; the library itself is rarely installed."""
    seen = {}

    def rasterize_meshes(meshes, **options):
        seen.update(options, verts=meshes[0], faces=meshes[1])
        packed = torch.full((2, 4, 6, 1), -1)
        packed[0, :, :3], packed[1, :, 3:] = 1, 2  # second image: triangle 2 of the batch = 0 of its own
        return packed, None, None, None

    meshes = types.SimpleNamespace(rasterize_meshes=rasterize_meshes)
    structures = types.SimpleNamespace(Meshes=lambda verts, faces: (verts, faces))
    monkeypatch.setitem(sys.modules, "pytorch3d", types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer", types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer.mesh", meshes)
    monkeypatch.setitem(sys.modules, "pytorch3d.structures", structures)
    monkeypatch.setattr(backends, "available", lambda name: True)
    verts = torch.tensor([[[0.0, 0, -5], [6, 0, -4], [6, 4, -3], [0, 4, -5]]]).expand(2, -1, -1)
    found = rasterize(verts, HALVES, 4, 6, backend="pytorch3d")
    assert found.pix_to_face[0, 0].tolist() == [1, 1, 1, -1, -1, -1]
    assert found.pix_to_face[1, 0].tolist() == [-1, -1, -1, 0, 0, 0]
    # +x left, +y up; the shorter side spans [-1, 1]; every depth is positive.
    expected = [[1.5, 1, 1], [-1.5, 1, 2], [-1.5, -1, 3], [1.5, -1, 1]]
    assert seen["verts"][1].tolist() == expected
    assert seen["perspective_correct"] is False


def test_unusable_backends_are_named():
    verts = square(4)
    with pytest.raises(BackendError, match="choose auto, torch"):
        rasterize(verts, HALVES, 4, 4, backend="opengl")
    with pytest.raises(BackendError, match="at least 1"):
        rasterize(verts, HALVES, 0, 4)
    if not backends.available("pytorch3d"):
        with pytest.raises(BackendError, match="needs the package pytorch3d"):
            rasterize(verts, HALVES, 4, 4, backend="pytorch3d")
    with pytest.raises(BackendError, match="CPU tensors"):
        backends.load("numba", torch.device("cuda"))
    if backends.available("triton") and os.environ.get("TRITON_INTERPRET") != "1":
        with pytest.raises(BackendError, match="CUDA tensors"):
            rasterize(verts, HALVES, 4, 4, backend="triton")


@pytest.mark.slow
def test_numba_is_fast_enough_for_training(ball):
    verts = (ball.verts * 40 + 56).expand(32, -1, -1).contiguous()
    rasterize(verts, ball.faces, 112, 112, backend="numba")
    started = time.perf_counter()
    rasterize(verts, ball.faces, 112, 112, backend="numba")
    assert (time.perf_counter() - started) / 32 < 0.02
