"""pytorch3d's rasterizer, for comparison with published code (Ravi et al., arXiv:2007.08501).

No wheel of pytorch3d is on PyPI; requirements-gpu.txt says how to build it.
"""

import torch
from torch import Tensor

from occface_core.rendering.backends.common import fragments_from_faces


def rasterize(
    verts: Tensor, faces: Tensor, height: int, width: int, cull_back: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """See :mod:`occface_core.rendering.backends`.

    Edge cases differ: pytorch3d counts only pixel centres strictly inside, adds 1e-8 to areas in its own
    units (which moves small triangles forward), and skips triangles below that area.
    """
    from pytorch3d.renderer.mesh import rasterize_meshes
    from pytorch3d.structures import Meshes

    meshes = Meshes(to_ndc(verts, height, width), faces.expand(len(verts), -1, -1))
    packed, _, _, _ = rasterize_meshes(
        meshes,
        image_size=(height, width),
        blur_radius=0.0,
        faces_per_pixel=1,
        perspective_correct=False,
        cull_backfaces=cull_back,
    )
    # pytorch3d numbers the triangles of the whole batch in one row.
    offset = torch.arange(len(verts), device=verts.device)[:, None, None] * len(faces)
    pix_to_face = torch.where(packed[..., 0] < 0, -1, packed[..., 0] - offset)
    return fragments_from_faces(verts, faces, pix_to_face)


def to_ndc(verts: Tensor, height: int, width: int) -> Tensor:
    """Pixels to pytorch3d's coordinates: +x left, +y up, the shorter side spans [-1, 1], depth above 0."""
    scale = 2 / min(height, width)
    x, y = (width / 2 - verts[..., 0]) * scale, (height / 2 - verts[..., 1]) * scale
    skipped = torch.isnan(verts[..., 2])
    nearest = verts[..., 2].masked_fill(skipped, torch.inf).amin(1, keepdim=True)
    depth = verts[..., 2] - nearest + 1
    # Vertices to skip go behind the camera, where pytorch3d drops their triangles.
    ndc = torch.stack([x, y, depth], -1)
    return torch.where(skipped[..., None], ndc.new_tensor([0.0, 0.0, -1.0]), ndc)
