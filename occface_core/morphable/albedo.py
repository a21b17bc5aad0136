"""Linear albedo model in texture space: the skin colour of a head without light on it.

albedo = mean + sum_t coeffs_t * component_t, clamped to [0,1], with coefficients about N(0,1). Colours are
sRGB values, not linear light: as in DECA, albedo times shading is compared with a photo directly.

Letters: B batch, V verts, T components, U uv size.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occface_core.assets import Shape, asset_path, load_safetensors
from occface_core.errors import AssetError
from occface_core.morphable.head_model import HeadModel

ALBEDO_FORMAT = "occface-albedo"
ALBEDO_SCHEMA: dict[str, Shape] = {"mean": (3, "U", "U"), "components": ("T", 3, "C", "C"), "scales": ("T",)}


class AlbedoModel(nn.Module):
    """Mean and components of skin colour over a head's texture layout.

    Attributes:
        mean: (3,U,U) sRGB in [0,1]; first row is v = 1.
        components: (T,3,U,U) change per unit coefficient.
        names: Name of each component: melanin, haemoglobin, ... then residual ones.
        head_name: Name of the head whose texture layout this is.
    """

    mean: Tensor
    components: Tensor

    def __init__(
        self,
        mean: Float[Tensor, "3 U U"],
        components: Float[Tensor, "T 3 U U"],
        *,
        names: tuple[str, ...] = (),
        head_name: str = "",
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("components", components, persistent=False)
        self.names = names or tuple(f"component_{i:02d}" for i in range(len(components)))
        self.head_name = head_name
        self._per_vertex: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def n_components(self) -> int:
        """T."""
        return self.components.shape[0]

    @property
    def size(self) -> int:
        """U."""
        return self.mean.shape[1]

    def texture(self, coeffs: Float[Tensor, "B T"]) -> Float[Tensor, "B 3 U U"]:
        """Albedo textures, sRGB clamped to [0,1]."""
        flat = torch.addmm(self.mean.reshape(1, -1), coeffs, self.components.flatten(1))
        return flat.clamp(0, 1).unflatten(1, self.mean.shape)

    def vertex_albedo(self, coeffs: Float[Tensor, "B T"], head: HeadModel) -> Float[Tensor, "B V 3"]:
        """Albedo at the vertices of a head, sRGB clamped to [0,1]; much cheaper than the texture.

        Raises:
            AssetError: The head has no texture layout.
        """
        mean, components = self.vertex_basis(head)
        flat = torch.addmm(mean.reshape(1, -1), coeffs, components.flatten(1))
        return flat.clamp(0, 1).unflatten(1, mean.shape)

    def vertex_basis(self, head: HeadModel) -> tuple[Tensor, Tensor]:
        """Mean (V,3) and components (T,V,3) at a head's vertices; kept until another head or device comes."""
        if head.uv is None or head.uv_faces is None:
            raise AssetError(
                f"the head {head.name!r} has no texture layout, so it cannot wear an albedo texture"
            )
        kept = self._per_vertex
        if kept is None or kept[0] is not head.uv or kept[1].device != self.mean.device:
            stack = torch.cat([self.mean[None], self.components]).flatten(0, 1)
            values = _sample(stack, vertex_uv(head).to(self.mean)).unflatten(1, (-1, 3)).transpose(0, 1)
            self._per_vertex = kept = (head.uv, values[0].contiguous(), values[1:].contiguous())
        return kept[1], kept[2]

    @classmethod
    def load(cls, path: Path | None = None) -> "AlbedoModel":
        """The shipped model, or one in `path`.

        Raises:
            AssetError: The file is missing, damaged or of another format.
        """
        path = asset_path("albedo") if path is None else path
        tensors, metadata = load_safetensors(path, schema=ALBEDO_SCHEMA)
        if metadata.get("format") != ALBEDO_FORMAT:
            raise AssetError(f"{path} is not an {ALBEDO_FORMAT} file; build one with `assets build-albedo`")
        components = tensors["components"].float() * tensors["scales"].view(-1, 1, 1, 1)
        mean = tensors["mean"].float() / (1 if tensors["mean"].is_floating_point() else 255)
        if components.shape[-1] != mean.shape[-1]:
            components = F.interpolate(components, mean.shape[-2:], mode="bilinear", align_corners=False)
        names = tuple(json.loads(metadata.get("component_names", "[]")))
        if names and len(names) != len(components):
            raise AssetError(f"{path} names {len(names)} components and holds {len(components)}")
        return cls(mean, components, names=names, head_name=metadata.get("head", ""))


def vertex_uv(head: HeadModel) -> Float[Tensor, "V 2"]:
    """One texture coordinate per vertex; on a seam, that of the last triangle that uses the vertex.

    Raises:
        AssetError: The head has no texture layout.
    """
    if head.uv is None or head.uv_faces is None:
        raise AssetError(f"the head {head.name!r} has no texture layout")
    vertex = head.faces.flatten()
    corners = torch.arange(len(vertex), device=vertex.device)
    # Not by assignment: with several threads, and on GPUs, any of a vertex's corners may come last there.
    last = corners.new_full((head.n_vertices,), -1).scatter_reduce(0, vertex, corners, "amax")
    used = head.uv[head.uv_faces.flatten()[last.clamp(min=0)]]
    return torch.where((last >= 0)[:, None], used, 0.5)


def _sample(images: Float[Tensor, "C U U"], uv: Float[Tensor, "N 2"]) -> Float[Tensor, "N C"]:
    """Bilinear lookup with v = 1 in the first row."""
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], dim=-1).view(1, 1, -1, 2)
    return F.grid_sample(images[None], grid, padding_mode="border", align_corners=False)[0, :, 0].T
