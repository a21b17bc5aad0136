import pytest
import torch

from occface_core.rendering.rasterizer import rasterize
from occface_core.rendering.renderer import Renderer
from occface_core.rendering.uv import extract_texture, sample_texture, uv_lookup, vertex_visibility

SIZE = 96


@pytest.fixture(scope="module")
def lookup(ball):
    return uv_lookup(ball.uv, ball.uv_faces, 64)


def ramp(size: int = 64) -> torch.Tensor:
    """Texture whose red is u, green is v, blue is 0.5 (texel centres)."""
    centre = (torch.arange(size) + 0.5) / size
    u, v = centre.expand(size, size), (1 - centre)[:, None].expand(size, size)
    return torch.stack([u, v, torch.full_like(u, 0.5)])[None]


def on_screen(ball) -> torch.Tensor:
    """The ball seen from +z, radius 40 px in the middle of the image, depth in pixels."""
    return (ball.verts * torch.tensor([1.0, -1, -1]) * 40 + torch.tensor([48.0, 48, 0]))[None]


def test_sampling_reads_u_right_and_v_up(generator):
    uv = torch.rand(1, 5, 6, 2, generator=generator) * 0.9 + 0.05
    found = sample_texture(ramp(), uv).permute(0, 2, 3, 1)
    torch.testing.assert_close(found[..., :2], uv, atol=1e-5, rtol=0)


def test_lookup_covers_the_square_and_returns_each_texels_surface_point(ball, lookup):
    assert lookup.mask.mean() == 1
    values = lookup.from_vertices(ball.uv[None], ball.faces)
    torch.testing.assert_close(values, ramp()[:, :2], atol=1e-5, rtol=0)


def test_padding_grows_islands_by_whole_texels():
    uv = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    assert uv_lookup(uv, faces, 16, padding=0).mask.sum() == 8 * 8
    assert uv_lookup(uv, faces, 16, padding=2).mask.sum() == 12 * 12


def test_extraction_inverts_rendering_where_visible(ball, lookup):
    verts_px = on_screen(ball)
    drawn = Renderer(ball, SIZE).draw(ball.verts[None], verts_px, ramp())
    texture, visibility = extract_texture(drawn.image, verts_px, ball.faces, drawn.fragments, lookup)
    # Half of a ball is visible, the front: u near 0.5.
    assert 0.3 < visibility.mean() < 0.5
    assert visibility[0, 0, 32, 32] == 1
    assert not visibility[..., :8].any()
    assert not visibility[..., -8:].any()
    error = (texture - ramp()).abs().amax(1, keepdim=True)
    assert (error * visibility).sum() / visibility.sum() < 0.01
    assert error[visibility == 1].max() < 0.05


def test_hidden_masked_and_outside_texels_are_invisible(ball, lookup):
    verts_px = on_screen(ball)
    nearer = rasterize(verts_px - torch.tensor([0.0, 0, 100]), ball.faces, SIZE, SIZE)
    image = torch.rand(1, 3, SIZE, SIZE)
    _, hidden = extract_texture(image, verts_px, ball.faces, nearer, lookup)
    assert not hidden.any()
    fragments = rasterize(verts_px, ball.faces, SIZE, SIZE)
    mask = torch.ones(1, 1, SIZE, SIZE)
    mask[..., 48:, :] = 0
    _, half = extract_texture(image, verts_px, ball.faces, fragments, lookup, mask=mask)
    assert half[..., :30, :].any()
    assert not half[..., 34:, :].any()
    moved = verts_px + torch.tensor([500.0, 0, 0])
    _, outside = extract_texture(image, moved, ball.faces, rasterize(moved, ball.faces, SIZE, SIZE), lookup)
    assert not outside.any()


def test_vertex_visibility_is_one_in_front_and_zero_behind(ball):
    verts_px = on_screen(ball)
    found = vertex_visibility(verts_px, ball.faces, rasterize(verts_px, ball.faces, SIZE, SIZE))[0]
    assert (found[ball.verts[:, 2] > 0.6] == 1).all()
    assert not found[ball.verts[:, 2] < 0].any()
