"""Binary glTF 2.0 with one mesh: vertex colours or texture, named values, morph targets.

glTF keeps one texture coordinate per vertex, so vertices on texture seams are written several times.
Colours are stored linear, as the standard demands, and converted from and to sRGB.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from occface_core.errors import MeshError
from occface_core.geometry.formats.common import (
    decode_image,
    encode_png,
    float_tensor,
    index_tensor,
    to_numpy,
)
from occface_core.geometry.mesh import Mesh, vertex_normals

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5125: "u4", 5126: "f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
# What reading fields of a document of any shape can raise.
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, struct.error)
_ARRAY, _ELEMENT_ARRAY = 34962, 34963


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

    def accessor(self, values: np.ndarray, *, bounds: bool = False) -> int:
        indices = values.dtype == np.uint32
        width = 1 if values.ndim == 1 else values.shape[1]
        accessor = {
            "bufferView": self.view(values.tobytes(), _ELEMENT_ARRAY if indices else _ARRAY),
            "componentType": 5125 if indices else 5126,
            "count": len(values),
            "type": next(name for name, w in _WIDTHS.items() if w == width),
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
        attributes[f"_{name}"] = writer.accessor(to_numpy(values[rows]))
    primitive: dict[str, Any] = {"attributes": attributes, "material": 0, "mode": 4}
    primitive["indices"] = writer.accessor(to_numpy(faces, np.uint32).ravel())
    entry: dict[str, Any] = {"primitives": [primitive]}
    if mesh.morph_targets:
        offsets = [to_numpy(offset[rows]) for offset in mesh.morph_targets.values()]
        primitive["targets"] = [{"POSITION": writer.accessor(o, bounds=True)} for o in offsets]
        entry |= {"weights": [0.0] * len(offsets), "extras": {"targetNames": list(mesh.morph_targets)}}
    _write(path, entry, writer, None if mesh.texture is None else encode_png(mesh.texture))


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


def _write(path: Path, mesh: dict[str, Any], writer: _Writer, png: bytes | None) -> None:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.8}
    document: dict[str, Any] = {"asset": {"version": "2.0", "generator": "occface"}}
    if png is not None:
        image = {"bufferView": writer.view(png), "mimeType": "image/png"}
        document |= {"images": [image], "textures": [{"source": 0}]}
        surface["baseColorTexture"] = {"index": 0}
    document |= {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": path.stem}],
        "meshes": [mesh],
        "materials": [{"pbrMetallicRoughness": surface, "doubleSided": True}],
        "accessors": writer.accessors,
        "bufferViews": writer.views,
        "buffers": [{"byteLength": len(writer.data)}],
    }
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<3I", _MAGIC, 2, 28 + len(text) + len(writer.data))
    chunks = [struct.pack("<2I", len(text), _JSON), text, struct.pack("<2I", len(writer.data), _BIN)]
    path.write_bytes(b"".join([head, *chunks, bytes(writer.data)]))


def load(path: Path) -> Mesh:
    """Read a file with one mesh of one triangle primitive; seam vertices stay split."""
    try:
        document, data = _chunks(path.read_bytes())
        return _mesh(document, data, path)
    except _DAMAGE as error:
        raise MeshError(f"{path}: damaged or unusual GLB file ({error}); export it again") from error


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, length = struct.unpack_from("<3I", data)
    if magic != _MAGIC or version != 2 or length > len(data):
        raise ValueError("not a complete glTF 2.0 binary")
    found: dict[int, bytes] = {}
    position = 12
    while position + 8 <= length:
        size, kind = struct.unpack_from("<2I", data, position)
        found.setdefault(kind, data[position + 8 : position + 8 + size])
        position += 8 + size
    return json.loads(found[_JSON]), found.get(_BIN, b"")


def _mesh(document: dict[str, Any], data: bytes, path: Path) -> Mesh:
    if document.get("extensionsRequired"):
        raise ValueError(f"needs extensions {document['extensionsRequired']}")
    primitives = [p for mesh in document["meshes"] for p in mesh["primitives"]]
    if len(primitives) != 1 or primitives[0].get("mode", 4) != 4:
        raise ValueError("only one mesh of one triangle list is read")
    moved = {"matrix", "translation", "rotation", "scale"}
    if any(moved & set(node) for node in document.get("nodes", [])):
        raise ValueError("its nodes are moved; apply transforms before exporting")
    primitive, mesh = primitives[0], document["meshes"][0]

    def read(index: int) -> Tensor:
        return float_tensor(_accessor(document, data, index))

    attributes = primitive["attributes"]
    verts = read(attributes["POSITION"])
    indices = _accessor(document, data, primitive["indices"]) if "indices" in primitive else None
    faces = index_tensor(np.arange(len(verts)) if indices is None else indices).reshape(-1, 3)
    uv = read(attributes["TEXCOORD_0"]) if "TEXCOORD_0" in attributes else None
    names = mesh.get("extras", {}).get("targetNames")
    targets = [read(target["POSITION"]) for target in primitive.get("targets", [])]
    names = names or [f"target_{number}" for number in range(len(targets))]
    return Mesh(
        verts=verts,
        faces=faces,
        vertex_colors=_to_srgb(read(attributes["COLOR_0"])[:, :3]) if "COLOR_0" in attributes else None,
        uv=None if uv is None else torch.stack([uv[:, 0], 1 - uv[:, 1]], 1),
        uv_faces=None if uv is None else faces,
        texture=_texture(document, data, primitive, path),
        vertex_properties={k[1:]: read(i) for k, i in attributes.items() if k.startswith("_")},
        morph_targets=dict(zip(names, targets, strict=True)),
    )


def _accessor(document: dict[str, Any], data: bytes, index: int) -> np.ndarray:
    """Values of an accessor: (count,) or (count, width), integers normalised where the file says so."""
    accessor = document["accessors"][index]
    if "sparse" in accessor or "bufferView" not in accessor:
        raise ValueError("sparse accessors are not read")
    view = document["bufferViews"][accessor["bufferView"]]
    if view.get("buffer", 0) != 0 or "uri" in document["buffers"][0]:
        raise ValueError("its data lies outside the file")
    kind, width = np.dtype("<" + _COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]]
    packed = kind.itemsize * width
    stride, count = view.get("byteStride", packed), accessor["count"]
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    end = start + stride * (count - 1) + packed
    if min(start, count - 1, stride - packed) < 0 or end > len(data):
        raise ValueError(f"accessor {index} points outside the buffer")
    values = np.ndarray((count, width), kind, data, start, (stride, kind.itemsize))
    if accessor.get("normalized"):
        values = values / np.iinfo(kind).max
    return values[:, 0] if width == 1 else values


def _texture(document: dict[str, Any], data: bytes, primitive: dict[str, Any], path: Path) -> Tensor | None:
    if "material" not in primitive:
        return None
    surface = document["materials"][primitive["material"]].get("pbrMetallicRoughness", {})
    if "baseColorTexture" not in surface:
        return None
    image = document["images"][document["textures"][surface["baseColorTexture"]["index"]]["source"]]
    view = document["bufferViews"][image["bufferView"]]
    start = view.get("byteOffset", 0)
    return decode_image(data[start : start + view["byteLength"]], path)


def _to_linear(srgb: Tensor) -> Tensor:
    srgb = srgb.clamp(0, 1)
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _to_srgb(linear: Tensor) -> Tensor:
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
