"""Shaded pictures of a head, differentiable in geometry, albedo and light (not in visibility)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occface_core.errors import MeshError
from occface_core.geometry.mesh import vertex_normals
from occface_core.rendering.cameras import to_pixels, weak_perspective
from occface_core.rendering.lighting import sh_shading
from occface_core.rendering.rasterizer import Fragments, SurfacePoints, rasterize, surface_points
from occface_core.rendering.uv import sample_texture

if TYPE_CHECKING:

    class Topology(Protocol):
        """What the renderer needs to know of a head model or a mesh."""

        faces: Tensor
        uv: Tensor | None
        uv_faces: Tensor | None

else:  # from Python 3.12 on, run-time protocol checks do not see a module's buffers
    Topology = Any


@dataclass(frozen=True)
class RenderOutput:
    """One rendered batch; everything is 0 in the background except ``image``.

    Attributes:
        image: RGB, not clamped, over the background when one was given (else over black).
        mask: 1 where the mesh is drawn.
        depth: interpolated depth in the unit of the vertices' third pixel coordinate; larger = farther.
        normals: unit normals in world coordinates (x left, y up, z out of the face).
        attributes: the extra vertex attributes asked for, or None.
        fragments: visibility of each pixel.
    """

    image: Float[Tensor, "B 3 H W"]
    mask: Float[Tensor, "B 1 H W"]
    depth: Float[Tensor, "B 1 H W"]
    normals: Float[Tensor, "B 3 H W"]
    attributes: Float[Tensor, "B C H W"] | None
    fragments: Fragments


class Renderer(nn.Module):
    """Draws meshes of one topology at one size.

    Args:
        topology: a head model or mesh; ``uv`` and ``uv_faces`` are needed for textures only.
        size: side of the square image in pixels, or (height, width).
        backend: rasterizer backend, see :func:`occface_core.rendering.rasterizer.rasterize`.
        cull_back: do not draw triangles that face away (a closed head looks the same, a little faster).
    """

    faces: Tensor
    uv: Tensor | None
    uv_faces: Tensor | None

    def __init__(
        self,
        topology: Topology,
        size: int | tuple[int, int],
        backend: str = "auto",
        *,
        cull_back: bool = False,
    ) -> None:
        super().__init__()
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.backend, self.cull_back = backend, cull_back
        self.register_buffer("faces", topology.faces.long(), persistent=False)
        self.register_buffer("uv", topology.uv, persistent=False)
        uv_faces = None if topology.uv_faces is None else topology.uv_faces.long()
        self.register_buffer("uv_faces", uv_faces, persistent=False)

    def forward(
        self,
        verts: Float[Tensor, "B V 3"],
        camera: Float[Tensor, "B 3"],
        albedo: Float[Tensor, "B V 3"] | Float[Tensor, "B 3 U U"],
        sh_coeffs: Float[Tensor, "B 9 3"] | None = None,
        *,
        background: Float[Tensor, "B 3 H W"] | None = None,
        attributes: Float[Tensor, "B V C"] | None = None,
    ) -> RenderOutput:
        """Draw through the weak-perspective camera, into a square image.

        Args:
            verts: posed vertices, metres.
            camera: s, tx, ty of each image.
            albedo: colour per vertex, or a texture.
            sh_coeffs: spherical-harmonics light; without it the albedo is drawn unlit.
            background: picture to draw over.
            attributes: further values per vertex to interpolate (region masks, uncertainty).

        Raises:
            MeshError: the image is not square (use :meth:`draw`), or a texture has no texture coordinates.
        """
        if self.height != self.width:
            size = f"{self.width} x {self.height}"
            raise MeshError(f"the weak-perspective camera needs a square image, got {size}; use draw()")
        verts_px = to_pixels(weak_perspective(verts, camera), self.width)
        return self.draw(verts, verts_px, albedo, sh_coeffs, background=background, attributes=attributes)

    def draw(
        self,
        verts: Float[Tensor, "B V 3"],
        verts_px: Float[Tensor, "B V 3"],
        albedo: Float[Tensor, "B V 3"] | Float[Tensor, "B 3 U U"],
        sh_coeffs: Float[Tensor, "B 9 3"] | None = None,
        *,
        background: Float[Tensor, "B 3 H W"] | None = None,
        attributes: Float[Tensor, "B V C"] | None = None,
        near: float | None = None,
    ) -> RenderOutput:
        """Draw vertices that any camera has already projected to pixels; otherwise as :meth:`forward`.

        Args:
            verts: posed vertices in metres, for the normals.
            verts_px: the same vertices in pixels and depth.
            near: see :func:`occface_core.rendering.rasterizer.rasterize`.
        """
        how: dict[str, Any] = {"backend": self.backend, "cull_back": self.cull_back, "near": near}
        fragments = rasterize(verts_px, self.faces, self.height, self.width, **how)
        points = surface_points(fragments, verts_px, self.faces)
        textured = albedo.ndim == 4
        columns = [vertex_normals(verts, self.faces), verts_px[..., 2:]]
        columns += [] if textured else [albedo]
        columns += [] if attributes is None else [attributes]
        values = points.interpolate(torch.cat(columns, -1), self.faces)
        normals, depth, rest = F.normalize(values[:, :3], dim=-1), values[:, 3:4], values[:, 4:]
        colour = self._textured(points, albedo) if textured else rest[:, :3]
        extra = rest[:, 0 if textured else 3 :]
        if sh_coeffs is not None:
            colour = colour * _shade(points, normals, sh_coeffs)
        grids = points.scatter(torch.cat([colour, normals, depth, extra], -1)).permute(0, 3, 1, 2)
        mask = fragments.mask.to(verts.dtype)
        image = grids[:, :3] if background is None else grids[:, :3] + (1 - mask) * background
        more = None if attributes is None else grids[:, 7:]
        return RenderOutput(image, mask, grids[:, 6:7], grids[:, 3:6], more, fragments)

    def _textured(self, points: SurfacePoints, texture: Float[Tensor, "B 3 U U"]) -> Float[Tensor, "N 3"]:
        if self.uv is None or self.uv_faces is None:
            raise MeshError("this mesh has no texture coordinates; give the albedo per vertex (B, V, 3)")
        uv = points.scatter(points.interpolate(self.uv.to(texture.dtype), self.uv_faces))
        colours = sample_texture(texture, uv).permute(0, 2, 3, 1)
        return colours.reshape(-1, 3).index_select(0, points.pixel)


def _shade(
    points: SurfacePoints, normals: Float[Tensor, "N 3"], sh_coeffs: Float[Tensor, "B 9 3"]
) -> Float[Tensor, "N 3"]:
    """Shading of points that belong to different images, hence to different lights."""
    grid = sh_shading(points.scatter(normals), sh_coeffs)
    return grid.reshape(-1, 3).index_select(0, points.pixel)
