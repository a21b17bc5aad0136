from types import SimpleNamespace

import pytest
import torch

from occface_core.errors import MeshError
from occface_core.rendering.lighting import SH_FACTORS
from occface_core.rendering.renderer import Renderer

CAMERA = torch.tensor([[0.8, 0.0, 0.0]])


def light(batch: int = 1) -> torch.Tensor:
    """White light from all sides, stronger from the viewer."""
    coeffs = torch.zeros(batch, 9, 3)
    coeffs[:, 0], coeffs[:, 3] = 0.6 / SH_FACTORS[0], 0.3 / SH_FACTORS[3]
    return coeffs


def test_a_lit_ball(ball):
    albedo = torch.tensor([0.8, 0.5, 0.25]).expand(1, len(ball.verts), 3)
    out = Renderer(ball, 64)(ball.verts[None], CAMERA, albedo, light())
    assert out.image.shape == (1, 3, 64, 64)
    # Disc of radius 0.8 half-widths.
    assert out.mask.mean() == pytest.approx(torch.pi * 0.8**2 / 4, rel=0.03)
    centre = out.image[0, :, 32, 32]
    torch.testing.assert_close(centre, torch.tensor([0.8, 0.5, 0.25]) * 0.9, atol=0.01, rtol=0)
    torch.testing.assert_close(out.normals[0, :, 32, 32], torch.tensor([0.0, 0, 1]), atol=0.1, rtol=0)
    assert out.depth[0, 0, 32, 32].item() == pytest.approx(-0.8 * 32, rel=0.02)
    assert out.normals[0, 0, 32, 50] > 0.4  # x grows to the right
    assert out.normals[0, 1, 14, 32] > 0.4  # y grows upwards
    background = out.mask[0, 0] == 0
    assert not out.image[0, :, background].any()


def test_background_shows_where_the_mesh_is_not(ball, generator):
    picture = torch.rand(1, 3, 64, 64, generator=generator)
    albedo = torch.zeros(1, len(ball.verts), 3)
    out = Renderer(ball, 64)(ball.verts[None], CAMERA, albedo, background=picture)
    assert torch.equal(out.image, picture * (1 - out.mask))


def test_a_texture_looks_like_the_same_colours_per_vertex(ball):
    texel = (torch.arange(128) + 0.5) / 128
    u, v = texel.expand(128, 128), (1 - texel)[:, None].expand(128, 128)
    texture = torch.stack([u, v, torch.zeros_like(u)])[None]
    per_vertex = torch.cat([ball.uv, torch.zeros(len(ball.uv), 1)], 1)[None]
    renderer = Renderer(ball, 64)
    first = renderer(ball.verts[None], CAMERA, texture, light())
    second = renderer(ball.verts[None], CAMERA, per_vertex, light())
    torch.testing.assert_close(first.image, second.image, atol=0.01, rtol=0)


def test_each_image_has_its_own_light_camera_and_attributes(ball):
    verts, albedo = ball.verts.expand(2, -1, -1), torch.ones(2, len(ball.verts), 3)
    coeffs, cameras = light(2), CAMERA.repeat(2, 1)
    coeffs[1] *= 0.5
    cameras[1, 0] = 0.4
    extra = torch.stack([torch.zeros(len(ball.verts), 1), torch.ones(len(ball.verts), 1)])
    out = Renderer(ball, 32)(verts, cameras, albedo, coeffs, attributes=extra)
    torch.testing.assert_close(out.image[0, :, 16, 16], out.image[1, :, 16, 16] * 2, atol=0.02, rtol=0)
    assert out.mask[1].sum() < 0.3 * out.mask[0].sum()
    torch.testing.assert_close(out.attributes[:, 0], out.mask[:, 0] * torch.tensor([0.0, 1])[:, None, None])


def test_gradients_reach_every_input_and_match_finite_differences(ball):
    renderer = Renderer(ball, 24)
    inputs = [ball.verts[None], CAMERA, torch.full((1, len(ball.verts), 3), 0.5), light()]
    inputs = [value.double().clone().requires_grad_() for value in inputs]
    weight = torch.linspace(-1, 1, 24, dtype=torch.float64)

    def loss(verts, camera, albedo, coeffs):
        return (renderer(verts, camera, albedo, coeffs).image * weight).sum()

    loss(*inputs).backward()
    for value in inputs:
        assert torch.isfinite(value.grad).all()
        assert value.grad.any()
    # Albedo and light do not move visibility, so their finite differences are exact.
    step = 1e-4
    front = int(ball.verts[:, 2].argmax())
    for position, index in ((2, (0, front, 1)), (3, (0, 1, 2))):
        moved = [value.detach().clone() for value in inputs]
        moved[position][index] += step
        moved[0].requires_grad_()  # takes the same, exact path to the weights
        change = (loss(*moved) - loss(*inputs)).item() / step
        assert change == pytest.approx(inputs[position].grad[index].item(), rel=1e-3, abs=1e-6)


def test_draw_accepts_any_projection_and_image_shape(ball):
    pixels = (ball.verts * 10 + torch.tensor([30.0, 15, 20]))[None]
    out = Renderer(ball, (30, 60)).draw(ball.verts[None], pixels, torch.ones(1, len(ball.verts), 3))
    assert out.image.shape == (1, 3, 30, 60)
    assert out.mask.sum() == pytest.approx(torch.pi * 100, rel=0.05)


def test_what_cannot_be_drawn_is_refused(ball):
    albedo = torch.ones(1, len(ball.verts), 3)
    with pytest.raises(MeshError, match="square"):
        Renderer(ball, (30, 60))(ball.verts[None], CAMERA, albedo)
    bare = SimpleNamespace(faces=ball.faces, uv=None, uv_faces=None)
    with pytest.raises(MeshError, match="texture coordinates"):
        Renderer(bare, 32)(ball.verts[None], CAMERA, torch.ones(1, 3, 8, 8))
