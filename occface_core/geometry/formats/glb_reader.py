"""Reading binary glTF 2.0: one mesh of one triangle list, as other programs write it too."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from occface_core.errors import MeshError
from occface_core.geometry.formats.common import decode_image, float_tensor, index_tensor
from occface_core.geometry.mesh import Mesh

MAGIC, JSON, BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5125: "u4", 5126: "f4"}
# What reading fields of a document of any shape can raise.
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, struct.error)
_MOST_ROWS = 10**7  # of an accessor that is all zeros but for a few: its size costs a file nothing


def load(path: Path) -> Mesh:
    """Read a file with one mesh of one triangle primitive; seam vertices stay split."""
    try:
        document, data = _chunks(path.read_bytes())
        return _mesh(document, data, path)
    except _DAMAGE as error:
        raise MeshError(f"{path}: damaged or unusual GLB file ({error}); export it again") from error


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, length = struct.unpack_from("<3I", data)
    if magic != MAGIC or version != 2 or length > len(data):
        raise ValueError("not a complete glTF 2.0 binary")
    found: dict[int, bytes] = {}
    position = 12
    while position + 8 <= length:
        size, kind = struct.unpack_from("<2I", data, position)
        found.setdefault(kind, data[position + 8 : position + 8 + size])
        position += 8 + size
    return json.loads(found[JSON]), found.get(BIN, b"")


def _mesh(document: dict[str, Any], data: bytes, path: Path) -> Mesh:
    if document.get("extensionsRequired"):
        raise ValueError(f"needs extensions {document['extensionsRequired']}")
    primitives = [p for mesh in document["meshes"] for p in mesh["primitives"]]
    if len(primitives) != 1 or primitives[0].get("mode", 4) != 4:
        raise ValueError("only one mesh of one triangle list is read")
    if _moved(document.get("nodes", [])):
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
    weights = mesh.get("weights", [0.0] * len(targets))
    return Mesh(
        verts=verts,
        faces=faces,
        vertex_colors=_to_srgb(read(attributes["COLOR_0"])[:, :3]) if "COLOR_0" in attributes else None,
        uv=None if uv is None else torch.stack([uv[:, 0], 1 - uv[:, 1]], 1),
        uv_faces=None if uv is None else faces,
        texture=_texture(document, data, primitive, path),
        vertex_properties={k[1:]: read(i) for k, i in attributes.items() if k.startswith("_")},
        morph_targets=dict(zip(names, targets, strict=True)),
        morph_weights={name: float(w) for name, w in zip(names, weights, strict=True) if w},
    )


def _moved(nodes: list[dict[str, Any]]) -> bool:
    """Whether a mesh stands elsewhere than its vertices say. Joints may be moved: vertices are those at rest,
    and the standard has the node of a mesh with a skeleton ignored."""
    above = {child: number for number, node in enumerate(nodes) for child in node.get("children", [])}
    for number, node in enumerate(nodes):
        place: int | None = number if "mesh" in node and "skin" not in node else None
        for _ in nodes:  # at most: a damaged file may go in circles
            if place is None:
                break
            if {"matrix", "translation", "rotation", "scale"} & set(nodes[place]):
                return True
            place = above.get(place)
    return False


def _accessor(document: dict[str, Any], data: bytes, index: int) -> np.ndarray:
    """Values of an accessor: (count,) or (count, width), integers normalised where the file says so."""
    accessor = document["accessors"][index]
    kind, width = np.dtype("<" + _COMPONENTS[accessor["componentType"]]), WIDTHS[accessor["type"]]
    sparse = accessor.get("sparse")
    if "bufferView" in accessor:
        values = _rows(document, data, accessor, kind, width, accessor["count"])
    elif sparse is None or not 0 < accessor["count"] < _MOST_ROWS:
        raise ValueError(f"accessor {index} has no values")
    else:
        values = np.zeros((accessor["count"], width), kind)
    if sparse is not None:
        values = values.copy()
        where = np.dtype("<" + _COMPONENTS[sparse["indices"]["componentType"]])
        rows = _rows(document, data, sparse["indices"], where, 1, sparse["count"])[:, 0]
        values[rows] = _rows(document, data, sparse["values"], kind, width, sparse["count"])
    if accessor.get("normalized"):
        values = values / np.iinfo(kind).max
    return values[:, 0] if width == 1 else values


def _rows(
    document: dict[str, Any], data: bytes, place: dict[str, Any], kind: np.dtype, width: int, count: int
) -> np.ndarray:
    """(count, width) values where `place` (a buffer view and an offset into it) says."""
    view = document["bufferViews"][place["bufferView"]]
    if view.get("buffer", 0) != 0 or "uri" in document["buffers"][0]:
        raise ValueError("its data lies outside the file")
    packed = kind.itemsize * width
    stride = view.get("byteStride", packed)
    start = view.get("byteOffset", 0) + place.get("byteOffset", 0)
    end = start + stride * (count - 1) + packed
    if min(start, count - 1, stride - packed) < 0 or end > len(data):
        raise ValueError("an accessor points outside the buffer")
    return np.ndarray((count, width), kind, data, start, (stride, kind.itemsize))


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


def _to_srgb(linear: Tensor) -> Tensor:
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
