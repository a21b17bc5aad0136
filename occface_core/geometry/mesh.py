"""Triangle meshes: the container, vertex normals and face areas."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from occface_core.errors import MeshError


@dataclass(frozen=True)
class Rig:
    """Joints that move a mesh by linear blend skinning, after its morph targets.

    Attributes:
        names: of the joints.
        parents: of each joint, -1 for the root; parents come before their children.
        joints: where they are at rest, metres.
        rotations: how far each is turned against its parent, axis-angle, radians.
        weights: of each joint on each vertex; rows sum to 1.

    Raises:
        MeshError: shapes disagree, or the parents are no tree.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    joints: Float[Tensor, "J 3"]
    rotations: Float[Tensor, "J 3"]
    weights: Float[Tensor, "V J"]

    def __post_init__(self) -> None:
        count = len(self.names)
        counts = (len(self.parents), len(self.joints), len(self.rotations), self.weights.shape[-1])
        if counts != (count,) * 4:
            raise MeshError(f"a rig of {count} joints has {counts} parents, places, rotations and weights")
        if any(not -1 <= parent < child for child, parent in enumerate(self.parents)):
            raise MeshError(f"rig parents {self.parents} do not come before their children")


@dataclass(frozen=True)
class Mesh:
    """One triangle mesh, optionally coloured or textured.

    Triangles are counter-clockwise seen from outside; positions are metres unless a file says otherwise.

    Attributes:
        verts: vertex positions.
        faces: vertex indices of each triangle.
        vertex_colors: RGB in [0, 1].
        uv: texture coordinates in [0, 1], v pointing up (OpenGL and OBJ convention).
        uv_faces: indices into ``uv``, corner for corner with ``faces``; needs ``uv``.
        texture: RGB image in [0, 1], first row = top (v = 1).
        vertex_properties: further named values per vertex, for example ``visibility`` or ``sigma_mm``.
        morph_targets: named vertex offsets (glTF morph targets, blendshapes).
        morph_weights: how much of each target the mesh is shown with; 0 for those not named.
        rig: joints that turn the mesh, and how far they are turned. `verts` are those at rest.

    Raises:
        MeshError: shapes disagree, an index is out of range, or a position is not finite.
    """

    verts: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    vertex_colors: Float[Tensor, "V 3"] | None = None
    uv: Float[Tensor, "Vt 2"] | None = None
    uv_faces: Int[Tensor, "F 3"] | None = None
    texture: Float[Tensor, "H W 3"] | None = None
    vertex_properties: Mapping[str, Float[Tensor, " V"]] = field(default_factory=dict)
    morph_targets: Mapping[str, Float[Tensor, "V 3"]] = field(default_factory=dict)
    morph_weights: Mapping[str, float] = field(default_factory=dict)
    rig: Rig | None = None

    def __post_init__(self) -> None:
        if self.verts.ndim != 2 or self.verts.shape[1] != 3:
            raise MeshError(f"mesh vertices must be (V, 3), got {tuple(self.verts.shape)}")
        if not bool(torch.isfinite(self.verts).all()):
            raise MeshError("mesh vertices hold NaN or infinite values")
        _check_indices(self.faces, len(self.verts), "faces")
        if (self.uv is None) != (self.uv_faces is None):
            raise MeshError("a mesh needs uv and uv_faces together, got only one of them")
        if self.uv is not None and self.uv_faces is not None:
            _check_indices(self.uv_faces, len(self.uv), "uv_faces")
            if self.uv_faces.shape != self.faces.shape:
                shapes = f"{tuple(self.uv_faces.shape)} and {tuple(self.faces.shape)}"
                raise MeshError(f"uv_faces and faces must have the same shape, got {shapes}")
        per_vertex = {"vertex_colors": self.vertex_colors, **self.vertex_properties, **self.morph_targets}
        per_vertex |= {} if self.rig is None else {"rig weights": self.rig.weights}
        for name, values in per_vertex.items():
            if values is not None and len(values) != len(self.verts):
                raise MeshError(f"mesh {name} has {len(values)} rows for {len(self.verts)} vertices")
        if unknown := sorted(self.morph_weights.keys() - self.morph_targets.keys()):
            raise MeshError(f"mesh has weights for morph targets it lacks: {', '.join(unknown)}")

    def with_verts(self, verts: Float[Tensor, "V 3"]) -> "Mesh":
        """The same mesh with other vertex positions."""
        return replace(self, verts=verts)


def _check_indices(faces: Tensor, count: int, name: str) -> None:
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.is_floating_point():
        raise MeshError(f"mesh {name} must be (F, 3) integers, got {tuple(faces.shape)} {faces.dtype}")
    if faces.numel() and (int(faces.min()) < 0 or int(faces.max()) >= count):
        raise MeshError(f"mesh {name} point outside 0..{count - 1}: {int(faces.min())}..{int(faces.max())}")


def face_cross_products(verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "B F 3"]:
    """Outward cross product of each triangle's edges; its length is twice the triangle's area."""
    first, second, third = (verts.index_select(1, faces[:, corner]) for corner in range(3))
    return torch.linalg.cross(second - first, third - first)


def face_areas(verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "B F"]:
    """Triangle areas in the square of the vertices' unit."""
    return face_cross_products(verts, faces).norm(dim=-1) / 2


def vertex_normals(verts: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "B V 3"]:
    """Unit vertex normals: area-weighted sum of the adjacent triangles' normals.

    The sum of un-normalised cross products is divided by max(length, 1e-6), as DECA does, so with
    vertices in metres a vertex whose triangles are all tiny (below about 1 mm^2 together) gets a shorter
    normal. Vertices without triangles get zero.

    Args:
        verts: positions in metres.
        faces: triangles, counter-clockwise seen from outside.
    """
    cross = face_cross_products(verts, faces)
    total = torch.zeros_like(verts)
    for corner in range(3):
        total = total.index_add(1, faces[:, corner], cross)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-6)
