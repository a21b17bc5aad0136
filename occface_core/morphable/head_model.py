"""The head: from shape, expression and pose coefficients to vertices and landmarks.

One layer serves every head in FLAME's format (Li et al. 2017): the open head shipped with this package and
FLAME itself once imported. Frame: metres, x to the subject's left, y up, z out of the face. Rotations are
axis-angle, radians.

Letters: B batch, V verts, F faces, J joints, S shape, E expression, L landmarks.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.assets import Shape, asset_path, load_safetensors
from occface_core.errors import AssetError
from occface_core.morphable.embedding import YAW_BINS, LandmarkSet
from occface_core.morphable.posable import HeadOutput, PosableHead

__all__ = ["HEAD_FORMAT", "HEAD_OPTIONAL", "HEAD_SCHEMA", "HeadModel", "HeadOutput", "PosableHead"]

HEAD_FORMAT = "occface-head"
HEAD_SCHEMA: Mapping[str, Shape] = {
    "v_template": ("V", 3),
    "faces": ("F", 3),
    "shapedirs": ("V", 3, "S"),
    "expressiondirs": ("V", 3, "E"),
    "posedirs": ("V", 3, 36),
    "joint_regressor": (5, "V"),
    "skin_weights": ("V", 5),
    "parents": (5,),
}
HEAD_OPTIONAL: Mapping[str, Shape] = {
    "component": ("V",),
    "uv": ("Vt", 2),
    "uv_faces": ("F", 3),
    "region_*": ("V",),
    "lmk68_faces": (68,),
    "lmk68_bary": (68, 3),
    "lmk68_dynamic_faces": (YAW_BINS, 17),
    "lmk68_dynamic_bary": (YAW_BINS, 17, 3),
    "lmk468_faces": (468,),
    "lmk468_bary": (468, 3),
    "now7_faces": (7,),
    "now7_bary": (7, 3),
}


class HeadModel(PosableHead):
    """A whole FLAME-format head with its texture layout, regions and names.

    Attributes:
        joint_regressor: (J,V).
        component: (V,) 0 skin, 1 tongue, 2 left eye, 3 right eye, 4 teeth.
        uv: (Vt,2) in [0,1], v up; uv_faces: (F,3) triangles in it. None when the head has no texture layout.
        name, shape_names, expression_names, licence: As stored; the open head's expressions have ARKit names.
        expression_bounds: Range of valid expression coefficients; None when they are unbounded (FLAME).
    """

    joint_regressor: Tensor
    component: Tensor
    uv: Tensor | None
    uv_faces: Tensor | None

    def __init__(self, arrays: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        faces, shapedirs = arrays["faces"].long(), arrays["shapedirs"].float()
        template, regressor = arrays["v_template"].float(), arrays["joint_regressor"].float()
        shaped = torch.cat([shapedirs, arrays["expressiondirs"].float()], dim=2)
        # float64: thousands of products are summed once here, and every later joint inherits the rounding.
        exact = regressor.double()
        tensors = {
            "v_template": template,
            "directions": torch.cat([shaped, arrays["posedirs"].float()], dim=2).contiguous(),
            "joint_template": (exact @ template.double()).float(),
            "joint_directions": torch.einsum("jv,vck->jck", exact, shaped.double()).float(),
            "skin_weights": arrays["skin_weights"].float(),
            "faces": faces,
        }
        parents = tuple(int(p) for p in arrays["parents"])
        landmark_set = LandmarkSet.from_arrays(dict(arrays), faces)
        super().__init__(tensors, shapedirs.shape[2], parents, landmark_set)
        self.register_buffer("joint_regressor", regressor, persistent=False)
        component = arrays.get("component", torch.zeros(len(template)))
        self.register_buffer("component", component.long(), persistent=False)
        has_uv = "uv" in arrays and "uv_faces" in arrays
        self.register_buffer("uv", arrays["uv"].float() if has_uv else None, persistent=False)
        self.register_buffer("uv_faces", arrays["uv_faces"].long() if has_uv else None, persistent=False)
        self._region_names = sorted(
            key.removeprefix("region_") for key in arrays if key.startswith("region_")
        )
        for name in self._region_names:
            self.register_buffer(f"region_{name}", arrays[f"region_{name}"].float(), persistent=False)
        self.name = metadata.get("name", "unnamed")
        self.licence = metadata.get("licence", "unknown")
        self.shape_names = _names(metadata, "shape_names", self.n_shape)
        self.expression_names = _names(metadata, "expression_names", self.n_expression)
        bounds = json.loads(metadata.get("expression_bounds", "null"))
        self.expression_bounds: tuple[float, float] | None = (
            (float(bounds[0]), float(bounds[1])) if bounds else None
        )

    @property
    def regions(self) -> dict[str, Float[Tensor, "V"]]:
        """Region name -> weight of each vertex in it, [0,1]."""
        return {name: getattr(self, f"region_{name}") for name in self._region_names}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
    ) -> "HeadModel":
        """Build a head from tensors named as in the safetensors format (see `HEAD_SCHEMA`, `HEAD_OPTIONAL`).

        Args:
            arrays: The tensors.
            metadata: Strings: name, licence, and as JSON shape_names, expression_names, expression_bounds.

        Raises:
            AssetError: Indices out of range, or skinning weights that do not sum to 1.
        """
        _check_indices(arrays)
        return cls(arrays, metadata or {})

    @classmethod
    def from_file(cls, path: Path) -> "HeadModel":
        """Load a head in this package's safetensors format, for example an imported FLAME.

        Raises:
            AssetError: The file is missing, damaged, of another format or inconsistent.
        """
        arrays, metadata = load_safetensors(path, schema=HEAD_SCHEMA, optional=HEAD_OPTIONAL)
        if metadata.get("format") != HEAD_FORMAT:
            raise AssetError(
                f"{path} is not an {HEAD_FORMAT} file; convert FLAME's .pkl with `assets import-flame`"
            )
        try:
            return cls.from_arrays(arrays, metadata)
        except (AssetError, ValueError) as error:
            raise AssetError(f"{path}: {error}") from error

    @classmethod
    def load(cls, path: Path | None = None) -> "HeadModel":
        """The shipped open head, or the head in `path`."""
        return cls.from_file(asset_path("open_head") if path is None else path)


def _names(metadata: Mapping[str, str], key: str, count: int) -> tuple[str, ...]:
    stored: Sequence[str] = json.loads(metadata.get(key, "[]"))
    if stored and len(stored) != count:
        raise AssetError(f"{key} lists {len(stored)} names for {count} directions")
    return tuple(stored) or tuple(f"{key.removesuffix('_names')}_{i:03d}" for i in range(count))


def _check_indices(arrays: Mapping[str, Tensor]) -> None:
    limits = {"faces": len(arrays["v_template"]), "uv_faces": len(arrays["uv"]) if "uv" in arrays else 0}
    for key, value in arrays.items():
        if not key.endswith("faces"):
            continue
        limit = limits.get(key, len(arrays["faces"]))
        if value.numel() and (int(value.min()) < 0 or int(value.max()) >= limit):
            raise AssetError(f"{key} holds indices outside 0..{limit - 1}")
    sums = arrays["skin_weights"].float().sum(1)
    if not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise AssetError("the rows of skin_weights do not sum to 1")
    parents = [int(p) for p in arrays["parents"]]
    if parents[0] != -1 or any(not 0 <= parent < child for child, parent in enumerate(parents[1:], start=1)):
        raise AssetError(f"parents {parents} is not a tree that starts with the root (-1)")
