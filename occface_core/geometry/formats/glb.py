"""Binary glTF 2.0 with one mesh: vertex colours or texture, named values, morph targets, a skeleton.

glTF keeps one texture coordinate per vertex, so vertices on texture seams are written several times.
Colours are stored linear, as the standard demands, and converted from and to sRGB. The standard has no NaN: a
named value that is none is written as -1.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from occface_core.geometry.formats.common import encode_png, to_numpy
from occface_core.geometry.formats.glb_reader import BIN, JSON, MAGIC, WIDTHS, load
from occface_core.geometry.mesh import Mesh, Rig, vertex_normals

_TYPES = {np.dtype("f4"): 5126, np.dtype("u4"): 5125, np.dtype("u2"): 5123, np.dtype("u1"): 5121}
_ARRAY, _ELEMENT_ARRAY = 34962, 34963

__all__ = ["load", "save"]


class _Writer:
    """Collects buffer views and accessors."""

    def __init__(self) -> None:
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.data = bytearray()

    def view(self, data: bytes, target: int | None = None) -> int:
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.views.append(view | ({"target": target} if target else {}))
        self.data += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, *, bounds: bool = False, target: int | None = _ARRAY) -> int:
        view = self.view(values.tobytes(), target)
        return self._describe(values, {"bufferView": view}, bounds=bounds)

    def offsets(self, values: np.ndarray) -> int:
        """Offsets of a morph target: only those that are not zero, where that is shorter."""
        rows = np.flatnonzero((values != 0).any(1)).astype(np.uint32)
        if not 0 < len(rows) < 0.7 * len(values):
            return self.accessor(values, bounds=True)
        sparse = {
            "count": len(rows),
            "indices": {"bufferView": self.view(rows.tobytes()), "componentType": _TYPES[rows.dtype]},
            "values": {"bufferView": self.view(np.ascontiguousarray(values[rows]).tobytes())},
        }
        return self._describe(values, {"sparse": sparse}, bounds=True)

    def _describe(self, values: np.ndarray, place: dict[str, Any], *, bounds: bool) -> int:
        width = 1 if values.ndim == 1 else values.shape[1]
        accessor = place | {
            "componentType": _TYPES[values.dtype],
            "count": len(values),
            "type": next(name for name, w in WIDTHS.items() if w == width),
        }
        if bounds:
            accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def save(mesh: Mesh, path: Path) -> None:
    """Write ``path``."""
    rows, uv_rows, faces = _split_seams(mesh)
    writer = _Writer()
    normals = vertex_normals(mesh.verts[None].float(), mesh.faces)[0]
    attributes = {
        "POSITION": writer.accessor(to_numpy(mesh.verts[rows]), bounds=True),
        "NORMAL": writer.accessor(to_numpy(_unit(normals[rows]))),
    }
    if mesh.uv is not None and uv_rows is not None:
        uv = to_numpy(mesh.uv[uv_rows]) * np.array([1, -1], np.float32) + np.array([0, 1], np.float32)
        attributes["TEXCOORD_0"] = writer.accessor(uv)
    if mesh.vertex_colors is not None and mesh.texture is None:
        attributes["COLOR_0"] = writer.accessor(to_numpy(_to_linear(mesh.vertex_colors[rows])))
    for name, values in mesh.vertex_properties.items():
        attributes[f"_{name}"] = writer.accessor(to_numpy(values[rows].nan_to_num(nan=-1.0)))
    primitive: dict[str, Any] = {"attributes": attributes, "material": 0, "mode": 4}
    primitive["indices"] = writer.accessor(to_numpy(faces, np.uint32).ravel(), target=_ELEMENT_ARRAY)
    entry: dict[str, Any] = {"primitives": [primitive]}
    if mesh.morph_targets:
        offsets = [to_numpy(offset[rows]) for offset in mesh.morph_targets.values()]
        primitive["targets"] = [{"POSITION": writer.offsets(one)} for one in offsets]
        weights = [float(mesh.morph_weights.get(name, 0.0)) for name in mesh.morph_targets]
        entry |= {"weights": weights, "extras": {"targetNames": list(mesh.morph_targets)}}
    document: dict[str, Any] = {"meshes": [entry]}
    document["scenes"], document["nodes"] = [{"nodes": [0]}], [{"mesh": 0, "name": path.stem}]
    if mesh.rig is not None:
        _add_rig(document, mesh.rig, primitive["attributes"], rows, writer)
    _write(path, document, writer, None if mesh.texture is None else encode_png(mesh.texture))


def _add_rig(
    document: dict[str, Any], rig: Rig, attributes: dict[str, int], rows: Tensor, writer: _Writer
) -> None:
    """Joints as nodes after the mesh's own; the four that pull most at each vertex move it."""
    pull, joint = rig.weights[rows].topk(min(4, len(rig.names)), dim=1)
    pull = pull / pull.sum(1, keepdim=True).clamp(min=1e-9)
    missing = (0, 4 - pull.shape[1])
    # What does not pull names joint 0, as the standard wants.
    joint = torch.where(pull > 0, joint, torch.zeros_like(joint))
    attributes["JOINTS_0"] = writer.accessor(to_numpy(F.pad(joint, missing), np.uint8))
    attributes["WEIGHTS_0"] = writer.accessor(to_numpy(F.pad(pull, missing)))
    inverse = torch.eye(4).repeat(len(rig.names), 1, 1)
    inverse[:, 3, :3] = -rig.joints  # column-major: the last row in memory is the translation
    parents = torch.tensor(rig.parents)
    start = torch.where(parents[:, None] < 0, torch.zeros(3), rig.joints[parents.clamp(min=0)])
    angle = rig.rotations.norm(dim=1, keepdim=True)
    axis = rig.rotations / angle.clamp(min=1e-9)
    turns = torch.cat([axis * (angle / 2).sin(), (angle / 2).cos()], dim=1)
    for child, name in enumerate(rig.names):
        node: dict[str, Any] = {"name": name, "translation": (rig.joints - start)[child].tolist()}
        node["rotation"] = turns[child].tolist()
        below = [1 + k for k, parent in enumerate(rig.parents) if parent == child]
        document["nodes"].append(node | ({"children": below} if below else {}))
    matrices = writer.accessor(to_numpy(inverse.flatten(1)), target=None)
    document["skins"] = [
        {"joints": list(range(1, 1 + len(rig.names))), "inverseBindMatrices": matrices, "skeleton": 1}
    ]
    document["nodes"][0]["skin"] = 0
    document["scenes"][0]["nodes"] += [1 + k for k, parent in enumerate(rig.parents) if parent < 0]


def _split_seams(mesh: Mesh) -> tuple[Tensor, Tensor | None, Tensor]:
    """Rows of the vertices (and texture coordinates) to write, and triangles over them."""
    if mesh.uv is None or mesh.uv_faces is None:
        return torch.arange(len(mesh.verts)), None, mesh.faces
    corners = torch.stack([mesh.faces, mesh.uv_faces], -1).flatten(0, 1).cpu().long()
    pairs, inverse = torch.unique(corners, dim=0, return_inverse=True)
    return pairs[:, 0], pairs[:, 1], inverse.unflatten(0, (-1, 3))


def _unit(normals: Tensor) -> Tensor:
    """glTF wants unit normals even at vertices without a triangle."""
    length = normals.norm(dim=-1, keepdim=True)
    up = normals.new_tensor([0.0, 0.0, 1.0])
    return torch.where(length > 0.1, normals / length.clamp(min=1e-6), up)


def _write(path: Path, document: dict[str, Any], writer: _Writer, png: bytes | None) -> None:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.8}
    document = {"asset": {"version": "2.0", "generator": "occface"}, "scene": 0, **document}
    if png is not None:
        image = {"bufferView": writer.view(png), "mimeType": "image/png"}
        document |= {"images": [image], "textures": [{"source": 0}]}
        surface["baseColorTexture"] = {"index": 0}
    document |= {
        "materials": [{"pbrMetallicRoughness": surface, "doubleSided": True}],
        "accessors": writer.accessors,
        "bufferViews": writer.views,
        "buffers": [{"byteLength": len(writer.data)}],
    }
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<3I", MAGIC, 2, 28 + len(text) + len(writer.data))
    chunks = [struct.pack("<2I", len(text), JSON), text, struct.pack("<2I", len(writer.data), BIN)]
    path.write_bytes(b"".join([head, *chunks, bytes(writer.data)]))


def _to_linear(srgb: Tensor) -> Tensor:
    srgb = srgb.clamp(0, 1)
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
