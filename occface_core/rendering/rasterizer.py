"""Hard rasterization with differentiable interpolation.

A backend decides which triangle each pixel sees; everything with a gradient is recomputed from that in
PyTorch. Interpolation is affine in screen space (exact for weak perspective; for a perspective camera the
error stays far below a pixel on a mesh as fine as a head).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from occface_core.errors import BackendError
from occface_core.rendering import backends
from occface_core.rendering.backends.common import edge_weights


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees. No gradients flow through it.

    Attributes:
        pix_to_face: triangle number, -1 in the background.
        bary: barycentric weights of the pixel centre, 0 in the background.
        zbuf: depth, larger = farther, in the unit of the vertices; +inf in the background.
    """

    pix_to_face: Int64[Tensor, "B H W"]
    bary: Float[Tensor, "B H W 3"]
    zbuf: Float[Tensor, "B H W"]

    @property
    def mask(self) -> Float[Tensor, "B 1 H W"]:
        """1 where a triangle is seen."""
        return (self.pix_to_face >= 0).unsqueeze(1).to(self.bary.dtype)


@dataclass(frozen=True)
class SurfacePoints:
    """The covered pixels of a batch as one list of N surface points, differentiable in the vertices.

    Attributes:
        pixel: position of each point in the flattened (B, H, W) grid.
        image: batch index.
        face: triangle number.
        bary: barycentric weights, with gradients with respect to the vertices' x and y.
        shape: (B, H, W).
    """

    pixel: Int64[Tensor, " N"]
    image: Int64[Tensor, " N"]
    face: Int64[Tensor, " N"]
    bary: Float[Tensor, "N 3"]
    shape: tuple[int, int, int]

    def interpolate(
        self, attributes: Float[Tensor, "B V C"] | Float[Tensor, "V C"], faces: Int[Tensor, "F 3"]
    ) -> Float[Tensor, "N C"]:
        """Attributes at the points; ``faces`` may index other rows than the mesh's (texture coordinates)."""
        corners = faces.index_select(0, self.face)
        if attributes.ndim == 3:
            corners = corners + (self.image * attributes.shape[1])[:, None]
        flat = attributes.reshape(-1, attributes.shape[-1])
        values = flat.index_select(0, corners.reshape(-1)).unflatten(0, (-1, 3))
        return torch.linalg.vecdot(self.bary[..., None], values, dim=1)

    def scatter(self, values: Float[Tensor, "N C"], background: float = 0.0) -> Float[Tensor, "B H W C"]:
        """Put values of the points back into images."""
        batch, height, width = self.shape
        grid = values.new_full((batch * height * width, values.shape[1]), background)
        return grid.index_copy(0, self.pixel, values).unflatten(0, (batch, height, width))


def rasterize(
    verts_px: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    height: int,
    width: int,
    *,
    backend: str = "auto",
    cull_back: bool = False,
    near: float | None = None,
) -> Fragments:
    """Find the triangle each pixel centre sees.

    Args:
        verts_px: x right and y down in pixels (centres at +0.5), depth larger = farther.
        faces: triangles, counter-clockwise seen from outside.
        height: image rows.
        width: image columns.
        backend: ``auto`` (numba on CPU, Triton on CUDA), ``torch``, ``numba``, ``triton`` or ``pytorch3d``.
        cull_back: skip triangles that face away.
        near: skip triangles with a vertex at this depth or nearer; needed with a perspective camera that
            stands close enough to have geometry behind it.

    Returns:
        Fragments on the vertices' device. Triangles with a non-finite vertex are skipped.

    Raises:
        BackendError: the backend is unknown, not installed or not for this device; or the image is empty.
    """
    draw = backends.load(backend, verts_px.device)
    verts = _usable(verts_px, height, width, near)
    return Fragments(*draw(verts, faces.long().contiguous(), height, width, cull_back))


def visible_faces(
    verts_px: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    height: int,
    width: int,
    *,
    backend: str = "auto",
    cull_back: bool = False,
) -> Int64[Tensor, "B H W"]:
    """Only which triangle each pixel centre sees, -1 in the background; otherwise as :func:`rasterize`.

    On CUDA nothing waits for the GPU here.
    """
    draw = backends.load_visibility(backend, verts_px.device)
    verts = _usable(verts_px, height, width)
    return draw(verts, faces.long().contiguous(), height, width, cull_back)


def _usable(verts_px: Tensor, height: int, width: int, near: float | None = None) -> Tensor:
    """Detached vertices with NaN where their triangles are to be skipped; refuses empty images."""
    if min(height, width, len(verts_px)) < 1:
        size = f"{len(verts_px)} images of {width} x {height} pixels"
        raise BackendError(f"cannot rasterize into {size}; all must be at least 1")
    verts = verts_px.detach().float()
    usable = torch.isfinite(verts).all(-1)
    if near is not None:
        usable &= verts[..., 2] > near
    return verts.masked_fill(~usable[..., None], torch.nan).contiguous()


def surface_points(
    fragments: Fragments, verts_px: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]
) -> SurfacePoints:
    """List the covered pixels and recompute their barycentric weights differentiably."""
    batch, height, width = fragments.pix_to_face.shape
    flat = fragments.pix_to_face.flatten()
    pixel = (flat >= 0).nonzero().squeeze(1)
    face = flat.index_select(0, pixel)
    image = pixel // (height * width)
    if not (verts_px.requires_grad and torch.is_grad_enabled()):
        bary = fragments.bary.reshape(-1, 3).index_select(0, pixel).to(verts_px.dtype)
        return SurfacePoints(pixel, image, face, bary, (batch, height, width))
    x = (pixel % width).to(verts_px.dtype) + 0.5
    y = (pixel // width % height).to(verts_px.dtype) + 0.5
    rows = faces.long().index_select(0, face) + (image * verts_px.shape[1])[:, None]
    corners = verts_px.reshape(-1, 3).index_select(0, rows.reshape(-1)).unflatten(0, (-1, 3))
    weights = edge_weights(corners, x, y)
    total = weights.sum(-1, keepdim=True)
    bary = weights / torch.where(total == 0, torch.ones_like(total), total)
    return SurfacePoints(pixel, image, face, bary, (batch, height, width))


def interpolate(
    fragments: Fragments,
    verts_px: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    attributes: Float[Tensor, "B V C"],
) -> Float[Tensor, "B H W C"]:
    """Interpolate vertex attributes to pixels; background pixels get 0.

    Args:
        fragments: visibility of the same vertices and faces.
        verts_px: pixel positions; receive gradients through the barycentric weights (x and y only).
        faces: triangles.
        attributes: values per vertex; receive gradients.
    """
    points = surface_points(fragments, verts_px, faces)
    return points.scatter(points.interpolate(attributes, faces))
