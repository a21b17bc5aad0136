"""Stanford PLY: positions, 8-bit vertex colours and any number of named float values per vertex.

Writes binary little-endian files; reads ASCII and both binary byte orders. Textures do not fit PLY and are
left out: use OBJ or GLB for those.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from occface_core.errors import MeshError
from occface_core.geometry.formats.common import (
    fan_triangles,
    float_tensor,
    index_tensor,
    to_bytes,
    to_numpy,
)
from occface_core.geometry.mesh import Mesh

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_POSITION, _COLOUR = ("x", "y", "z"), ("red", "green", "blue")


@dataclass
class _Element:
    name: str
    count: int
    scalars: list[tuple[str, str]] = field(default_factory=list)  # (property, numpy type)
    lists: list[tuple[str, str, str]] = field(default_factory=list)  # (property, count type, item type)


def save(mesh: Mesh, path: Path) -> None:
    """Write ``path``; property names must be single words."""
    bad = [name for name in mesh.vertex_properties if not name.isidentifier() or name in _POSITION + _COLOUR]
    if bad:
        raise MeshError(f"{path}: cannot write vertex properties named {bad}; use plain identifiers")
    fields = [(name, "<f4") for name in _POSITION]
    fields += [(name, "u1") for name in _COLOUR] if mesh.vertex_colors is not None else []
    fields += [(name, "<f4") for name in mesh.vertex_properties]
    rows = np.zeros(len(mesh.verts), dtype=fields)
    verts = to_numpy(mesh.verts)
    for axis, name in enumerate(_POSITION):
        rows[name] = verts[:, axis]
    if mesh.vertex_colors is not None:
        for axis, name in enumerate(_COLOUR):
            rows[name] = to_bytes(mesh.vertex_colors)[:, axis]
    for name, values in mesh.vertex_properties.items():
        rows[name] = to_numpy(values)
    triangles = np.zeros(len(mesh.faces), dtype=[("count", "u1"), ("index", "<i4", (3,))])
    triangles["count"], triangles["index"] = 3, to_numpy(mesh.faces, np.int32)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in fields]
    header += [f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header\n"]
    path.write_bytes("\n".join(header).encode() + rows.tobytes() + triangles.tobytes())


def load(path: Path) -> Mesh:
    """Read positions, colours, triangles (polygons as fans) and every other value per vertex."""
    data = path.read_bytes()
    try:
        order, elements, start = _header(data)
        columns, faces = _body(data[start:], order, elements)
    except (ValueError, KeyError, IndexError) as error:
        raise MeshError(f"{path}: damaged or unusual PLY file ({error}); export it again") from error
    missing = [name for name in _POSITION if name not in columns]
    if missing or not len(faces):
        raise MeshError(f"{path}: PLY file without {'vertex ' + missing[0] if missing else 'faces'}")
    colours = None
    if all(name in columns for name in _COLOUR):
        scale = 255 if columns["red"].dtype.kind == "u" else 1
        colours = float_tensor(np.stack([columns[name] for name in _COLOUR], 1)) / scale
    rest = {name: float_tensor(v) for name, v in columns.items() if name not in _POSITION + _COLOUR}
    verts = float_tensor(np.stack([columns[name] for name in _POSITION], 1))
    return Mesh(verts, index_tensor(faces), vertex_colors=colours, vertex_properties=rest)


def _header(data: bytes) -> tuple[str, list[_Element], int]:
    """Byte order, elements, and where the body starts."""
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise ValueError("no PLY header")
    order, elements = "", list[_Element]()
    for line in data[:end].decode("ascii", errors="replace").splitlines()[1:]:
        words = line.split()
        match words:
            case ["format", kind, _]:
                order = _ORDERS[kind]
            case ["element", name, count]:
                elements.append(_Element(name, int(count)))
            case ["property", "list", counts, items, name]:
                elements[-1].lists.append((name, _TYPES[counts], _TYPES[items]))
            case ["property", kind, name]:
                elements[-1].scalars.append((name, _TYPES[kind]))
    if not order or any(element.count < 0 for element in elements):
        raise ValueError("header lacks a format line or has a negative count")
    return order, elements, data.index(b"\n", end) + 1


def _body(data: bytes, order: str, elements: list[_Element]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Vertex columns and triangles."""
    columns: dict[str, np.ndarray] = {}
    faces = np.zeros((0, 3), np.int64)
    words = data.split() if order == "=" else []
    position = 0
    for element in elements:
        if element.lists:
            polygons, position = _polygons(words or data, position, order, element)
            if element.name == "face":
                faces = polygons
            continue
        kinds = [(name, order + kind) for name, kind in element.scalars]
        if order == "=":
            used = element.count * len(kinds)
            table = np.array(words[position : position + used], np.float64).reshape(element.count, -1)
            values = {name: table[:, i].astype(kind) for i, (name, kind) in enumerate(kinds)}
        else:
            rows = np.frombuffer(data, np.dtype(kinds), element.count, position)
            used, values = rows.nbytes, {name: rows[name] for name, _ in kinds}
        position += used
        if element.name == "vertex":
            columns = values
    return columns, faces


def _polygons(
    source: bytes | list[bytes], position: int, order: str, element: _Element
) -> tuple[np.ndarray, int]:
    """Triangles of an element with lists, and the position behind it."""
    if element.scalars or len(element.lists) != 1:
        raise ValueError(f"element {element.name} mixes lists with other properties")
    _, count_type, item_type = element.lists[0]
    triangles: list[tuple[int, int, int]] = []
    if isinstance(source, list):
        for _ in range(element.count):
            size = int(source[position])
            triangles += fan_triangles([int(word) for word in source[position + 1 : position + 1 + size]])
            position += 1 + size
        return np.array(triangles, np.int64).reshape(-1, 3), position
    counts, items = np.dtype(order + count_type), np.dtype(order + item_type)
    uniform = np.dtype([("count", counts), ("index", items, (3,))])
    if position + element.count * uniform.itemsize <= len(source):
        rows = np.frombuffer(source, uniform, element.count, position)
        if (rows["count"] == 3).all():
            return rows["index"].astype(np.int64), position + rows.nbytes
    for _ in range(element.count):
        size = int(np.frombuffer(source, counts, 1, position)[0])
        if size < 0:
            raise ValueError("a polygon with a negative number of corners")
        position += counts.itemsize
        triangles += fan_triangles(np.frombuffer(source, items, size, position).tolist())
        position += size * items.itemsize
    return np.array(triangles, np.int64).reshape(-1, 3), position
