"""Texture space: sampling textures, looking texels up on the mesh, lifting a photo into a texture.

Texture coordinates run over [0, 1] with v pointing up; texture images have v = 1 in their first row.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from occface_core.geometry.mesh import vertex_normals
from occface_core.rendering.rasterizer import Fragments, rasterize

_DEPTH_MARGIN_PX = 0.5  # tolerance of the visibility test on surfaces that face the camera
_GRAZING = (0.1, 0.4)  # cosines between which visibility fades in; below, a pixel smears over many texels


def sample_texture(
    texture: Float[Tensor, "B C U1 U2"], uv: Float[Tensor, "B H W 2"]
) -> Float[Tensor, "B C H W"]:
    """Bilinear texture lookup, clamped at the border; differentiable in both arguments."""
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)
    return F.grid_sample(texture, grid, mode="bilinear", padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class UvLookup:
    """The surface point under each texel.

    Attributes:
        face: triangle number, -1 where no triangle maps.
        bary: barycentric weights in that triangle, 0 where there is none.
    """

    face: Int64[Tensor, "U U"]
    bary: Float[Tensor, "U U 3"]

    @property
    def mask(self) -> Float[Tensor, "1 U U"]:
        """1 where a texel belongs to the surface."""
        return (self.face >= 0)[None].to(self.bary.dtype)

    def from_vertices(
        self, attributes: Float[Tensor, "B V C"], faces: Int[Tensor, "F 3"]
    ) -> Float[Tensor, "B C U U"]:
        """Vertex attributes painted into texture space, 0 where nothing maps; differentiable."""
        rows = faces[self.face.clamp(min=0)].long()
        flat = attributes.index_select(1, rows.flatten()).unflatten(1, rows.shape)
        return torch.einsum("buvkc,uvk->bcuv", flat, self.bary)


def uv_lookup(
    uv: Float[Tensor, "Vt 2"], uv_faces: Int[Tensor, "F 3"], size: int, *, padding: int = 2
) -> UvLookup:
    """Find the triangle and barycentric weights under the centre of each texel.

    Args:
        uv: texture coordinates.
        uv_faces: their triangles, in the order of the mesh's triangles.
        size: texels per side.
        padding: texels around each island that repeat its nearest border texel, so that bilinear lookups
            near a seam do not mix in the background.
    """
    pixels = torch.stack([uv[:, 0], 1 - uv[:, 1], torch.zeros_like(uv[:, 0])], -1) * size
    fragments = rasterize(pixels[None], uv_faces, size, size)
    face, bary = fragments.pix_to_face[0], fragments.bary[0]
    for _ in range(padding):
        face, bary = _grow(face, bary)
    return UvLookup(face, bary)


def symmetric_texels(
    lookup: UvLookup, template: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], *, tolerance: float = 5e-4
) -> Bool[Tensor, "U U"]:
    """Texels whose mirror image in the texture is also that on the head (x turned).

    Args:
        lookup: the texture layout.
        template: a symmetric head, metres. faces: its triangles.
        tolerance: metres.
    """
    place = lookup.from_vertices(template[None], faces)[0]
    mirrored = place.flip(-1) * place.new_tensor([-1, 1, 1])[:, None, None]
    there = lookup.mask[0] > 0
    return there & there.flip(-1) & ((place - mirrored).norm(dim=0) < tolerance)


def _grow(face: Tensor, bary: Tensor) -> tuple[Tensor, Tensor]:
    """Copy each covered texel into its uncovered neighbours (edge neighbours win over diagonal ones)."""
    size = len(face)
    padded_face = F.pad(face, (1, 1, 1, 1), value=-1)
    padded_bary = F.pad(bary, (0, 0, 1, 1, 1, 1))
    for row, column in ((1, 0), (1, 2), (0, 1), (2, 1), (0, 0), (0, 2), (2, 0), (2, 2)):
        near = padded_face[row : row + size, column : column + size]
        take = (face < 0) & (near >= 0)
        bary = torch.where(take[..., None], padded_bary[row : row + size, column : column + size], bary)
        face = torch.where(take, near, face)
    return face, bary


def extract_texture(
    image: Float[Tensor, "B C H W"],
    verts_px: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    fragments: Fragments,
    lookup: UvLookup,
    *,
    mask: Float[Tensor, "B 1 H W"] | None = None,
) -> tuple[Float[Tensor, "B C U U"], Float[Tensor, "B 1 U U"]]:
    """Lift the pixels of a photo into texture space.

    Args:
        image: the photo.
        verts_px: the fitted mesh in its pixels, depth also in pixels (as ``to_pixels`` gives).
        faces: triangles.
        fragments: rasterization of that mesh at the photo's size.
        lookup: the texture layout.
        mask: 1 where the photo shows the face itself rather than something in front of it.

    Returns:
        The texture, and a visibility in [0, 1] for each of its texels: 0 where the surface is hidden by
        itself, outside the photo, masked out or seen at a grazing angle. Colours of invisible texels are
        whatever the photo has there; weigh them by the visibility.
    """
    attributes = torch.cat([verts_px, vertex_normals(verts_px, faces)], -1)
    values = lookup.from_vertices(attributes, faces).permute(0, 2, 3, 1)
    points, normals = values[..., :3], values[..., 3:]
    height, width = image.shape[-2:]
    scale = torch.tensor([2 / width, 2 / height], dtype=points.dtype, device=points.device)
    texture = F.grid_sample(image, points[..., :2] * scale - 1, padding_mode="border", align_corners=False)
    visibility = _visibility(points.flatten(1, 2), normals.flatten(1, 2), fragments, mask)
    visibility = visibility.unflatten(1, lookup.face.shape)[:, None] * lookup.mask
    return texture * lookup.mask, visibility


def vertex_visibility(
    verts_px: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    fragments: Fragments,
    *,
    mask: Float[Tensor, "B 1 H W"] | None = None,
) -> Float[Tensor, "B V"]:
    """How well each vertex is seen, in [0, 1]; arguments and meaning as in :func:`extract_texture`."""
    return _visibility(verts_px, vertex_normals(verts_px, faces), fragments, mask)


def _visibility(
    points: Float[Tensor, "B N 3"],
    normals: Float[Tensor, "B N 3"],
    fragments: Fragments,
    mask: Float[Tensor, "B 1 H W"] | None,
) -> Float[Tensor, "B N"]:
    """Depth test of surface points against the z-buffer, faded out at grazing angles."""
    height, width = fragments.zbuf.shape[1:]
    column, row = points[..., 0].floor().long(), points[..., 1].floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    nearest = fragments.zbuf.flatten(1).gather(1, pixel)
    # Depth points away from the viewer, so surfaces that face the viewer have a negative z.
    cosine = -F.normalize(normals, dim=-1)[..., 2]
    slope = (1 - cosine**2).clamp(min=0).sqrt() / cosine.clamp(min=_GRAZING[0])
    # The point lies up to 0.71 px from the pixel's centre, where the z-buffer was sampled.
    hit = inside & torch.isfinite(nearest) & (points[..., 2] <= nearest + _DEPTH_MARGIN_PX + slope)
    low, high = _GRAZING
    fade = ((cosine - low) / (high - low)).clamp(0, 1)
    visibility = hit.to(points.dtype) * fade * fade * (3 - 2 * fade)
    if mask is not None:
        visibility = visibility * mask.flatten(1).gather(1, pixel)
    return visibility
