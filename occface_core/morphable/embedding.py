"""Landmarks as fixed points on the triangles of a mesh.

Letters: B batch, V verts, F faces, L landmarks, K yaw bins.
"""

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from occface_core.errors import AssetError
from occface_core.geometry.transforms import axis_angle_to_matrix

MAX_YAW_DEGREES = 39
YAW_BINS = 2 * MAX_YAW_DEGREES + 1


def yaw_bin(global_pose: Float[Tensor, "B 3"]) -> Int[Tensor, "B"]:
    """Row of the dynamic contour table for a head rotation.

    Yaw is the rotation about +y in degrees (positive: the face turns to the subject's left), rounded and
    clamped to +-39. Rows 0..39 hold yaw 0..39, rows 40..78 hold yaw -1..-39. Sign and order follow DECA, for
    which FLAME's contour files are used in this field.

    Args:
        global_pose: Total head rotation, axis-angle, radians.
    """
    rotation = axis_angle_to_matrix(global_pose)
    planar = torch.hypot(rotation[:, 0, 0], rotation[:, 1, 0])
    degrees = torch.rad2deg(torch.atan2(-rotation[:, 2, 0], planar)).detach()
    yaw = degrees.nan_to_num(0.0).round().clamp(-MAX_YAW_DEGREES, MAX_YAW_DEGREES).long()
    return torch.where(yaw < 0, MAX_YAW_DEGREES - yaw, yaw)


class PointEmbedding(nn.Module):
    """Points given by three vertices and barycentric weights each.

    Attributes:
        vertex_ids: (L,3) corners, or (K,L,3) for a table with one row per yaw bin.
        bary: Weights of the same shape.
    """

    vertex_ids: Tensor
    bary: Tensor

    def __init__(self, vertex_ids: Int[Tensor, "*rows L 3"], bary: Float[Tensor, "*rows L 3"]) -> None:
        super().__init__()
        self.register_buffer("vertex_ids", vertex_ids.long(), persistent=False)
        self.register_buffer("bary", bary, persistent=False)

    def forward(
        self, verts: Float[Tensor, "B V 3"], rows: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "B L 3"]:
        """The points on a batch of meshes.

        Args:
            verts: Vertices in any frame and unit.
            rows: Row of the table for each mesh; only for tables.
        """
        if rows is None:
            corners = verts.index_select(1, self.vertex_ids.flatten()).unflatten(1, (-1, 3))
            return (corners * self.bary.unsqueeze(-1)).sum(2)
        ids = self.vertex_ids[rows].flatten(1)
        corners = verts.gather(1, ids.unsqueeze(-1).expand(-1, -1, verts.shape[2])).unflatten(1, (-1, 3))
        return (corners * self.bary[rows].unsqueeze(-1)).sum(2)

    def remap(self, new_ids: Int[Tensor, "V"]) -> "PointEmbedding | None":
        """The same points on a mesh whose vertices were renumbered; None when a corner is gone (-1)."""
        ids = new_ids[self.vertex_ids]
        return None if bool((ids < 0).any()) else PointEmbedding(ids, self.bary)


class LandmarkSet(nn.Module):
    """The landmark conventions a head carries: "68", "468", "now7" and the yaw-dependent contour of "68"."""

    def __init__(self, points: dict[str, PointEmbedding], contour: PointEmbedding | None = None) -> None:
        super().__init__()
        self.points = nn.ModuleDict(points)
        self.contour = contour

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor], faces: Int[Tensor, "F 3"]) -> "LandmarkSet":
        """Read `lmk68_*`, `lmk468_*` and `now7_*` (triangle ids, barycentrics); absent ones are left out."""

        def embedding(prefix: str) -> PointEmbedding | None:
            if f"{prefix}_faces" not in arrays:
                return None
            return PointEmbedding(faces[arrays[f"{prefix}_faces"].long()], arrays[f"{prefix}_bary"].float())

        found = {
            which: embedding(key) for which, key in (("68", "lmk68"), ("468", "lmk468"), ("now7", "now7"))
        }
        return cls({k: v for k, v in found.items() if v is not None}, embedding("lmk68_dynamic"))

    def forward(
        self, verts: Float[Tensor, "B V 3"], which: str, global_pose: Float[Tensor, "B 3"] | None = None
    ) -> Float[Tensor, "B L 3"]:
        """Landmarks of one convention; see `HeadModel.landmarks`."""
        points = self.get(which)(verts)
        if which != "68" or global_pose is None or self.contour is None:
            return points
        contour = self.contour(verts, yaw_bin(global_pose))
        return torch.cat([contour, points[:, contour.shape[1] :]], dim=1)

    def get(self, which: str) -> PointEmbedding:
        """One embedding by name ("68_static" is "68" without the dynamic contour).

        Raises:
            AssetError: This head, or this subset of it, has no such landmarks.
        """
        name = "68" if which == "68_static" else which
        if name not in self.points:
            held = ", ".join(self.points) or "none"
            raise AssetError(
                f"this head has no {which!r} landmarks (it has {held}); a subset must hold their vertices"
            )
        return cast(PointEmbedding, self.points[name])

    def vertex_ids(self, *which: str) -> Int[Tensor, "N"]:
        """All vertices that the named conventions touch, ascending; "68" includes the dynamic contour."""
        ids = [self.get(name).vertex_ids.flatten() for name in which]
        if "68" in which and self.contour is not None:
            ids.append(self.contour.vertex_ids.flatten())
        return torch.cat(ids).unique()

    def remap(self, new_ids: Int[Tensor, "V"]) -> "LandmarkSet":
        """For a mesh whose vertices were renumbered (-1 = gone). Conventions that lost one are left out."""
        points = {name: self.get(name).remap(new_ids) for name in self.points}
        contour = self.contour.remap(new_ids) if self.contour is not None else None
        if self.contour is not None and contour is None:
            points.pop("68", None)
        return LandmarkSet({name: item for name, item in points.items() if item is not None}, contour)
