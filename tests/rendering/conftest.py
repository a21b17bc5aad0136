"""A ball with many small triangles stands in for a head."""

from types import SimpleNamespace

import pytest
import torch


def make_ball(rings: int = 14, sectors: int = 24) -> SimpleNamespace:
    """Unit ball: verts, faces (counter-clockwise outside), and texture coordinates with a seam."""
    v, u = torch.meshgrid(torch.linspace(0, 1, rings + 1), torch.linspace(0, 1, sectors + 1), indexing="ij")
    # The poles' texture rows would be degenerate in 3D only, so every grid corner is its own vertex.
    height, turn = -torch.cos(v * torch.pi), u * 2 * torch.pi
    radius = (1 - height**2).clamp(min=0).sqrt()
    verts = torch.stack([-radius * torch.sin(turn), height, -radius * torch.cos(turn)], -1).reshape(-1, 3)
    corner = torch.arange(rings)[:, None] * (sectors + 1) + torch.arange(sectors)
    a, b, c, d = (x.flatten() for x in (corner, corner + 1, corner + sectors + 2, corner + sectors + 1))
    faces = torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])
    uv = torch.stack([u, v], -1).reshape(-1, 2)
    return SimpleNamespace(verts=verts, faces=faces, uv=uv, uv_faces=faces)


@pytest.fixture(scope="session")
def ball() -> SimpleNamespace:
    return make_ball()
