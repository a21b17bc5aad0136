"""Wavefront OBJ with its material and texture.

Vertex colours use the common extension of three more numbers per ``v`` line.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from occface_core.errors import MeshError
from occface_core.geometry.formats.common import (
    decode_image,
    encode_png,
    fan_triangles,
    float_tensor,
    index_tensor,
    to_numpy,
)
from occface_core.geometry.mesh import Mesh

_MATERIAL = "newmtl face\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\n"


def save(mesh: Mesh, path: Path) -> None:
    """Write ``path``, and with a texture also the ``.mtl`` and ``.png`` of the same name beside it."""
    columns = [to_numpy(mesh.verts)]
    if mesh.vertex_colors is not None:
        columns.append(to_numpy(mesh.vertex_colors))
    lines = list(_rows("v", np.concatenate(columns, 1)))
    faces = to_numpy(mesh.faces, np.int64) + 1
    if mesh.uv is None or mesh.uv_faces is None:
        lines += [f"f {a} {b} {c}" for a, b, c in faces.tolist()]
    else:
        lines += _rows("vt", to_numpy(mesh.uv))
        corners = np.concatenate([faces, to_numpy(mesh.uv_faces, np.int64) + 1], 1).tolist()
        lines += [f"f {a}/{ta} {b}/{tb} {c}/{tc}" for a, b, c, ta, tb, tc in corners]
    if mesh.texture is not None:
        stem = _material_stem(path)
        path.with_name(stem + ".png").write_bytes(encode_png(mesh.texture))
        path.with_name(stem + ".mtl").write_text(f"{_MATERIAL}map_Kd {stem}.png\n", encoding="utf-8")
        lines = [f"mtllib {stem}.mtl", "usemtl face", *lines]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _material_stem(path: Path) -> str:
    """Name of the material and its picture. These files have no quoting, so it is without white space.

    Some letters more keep "a b" away from the files of "a_b" in the same folder.
    """
    plain = "_".join(path.stem.split())
    if plain == path.stem:
        return plain
    return f"{plain}-{hashlib.sha256(path.stem.encode()).hexdigest()[:6]}"


def _rows(keyword: str, values: np.ndarray) -> Iterator[str]:
    template = keyword + " %.9g" * values.shape[1]  # nine digits keep float32 exactly
    return (template % tuple(row) for row in values.tolist())


def load(path: Path) -> Mesh:
    """Read positions, colours, texture coordinates, polygons (as fans) and the first texture."""
    verts: list[list[float]] = []
    uv: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    uv_faces: list[tuple[int, int, int]] = []
    texture = None
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        keyword, _, rest = line.partition(" ")
        try:
            if keyword == "v":
                verts.append([float(word) for word in rest.split()])
            elif keyword == "vt":
                uv.append([float(word) for word in rest.split()[:2]])
            elif keyword == "f":
                corners = [word.split("/") for word in rest.split()]
                faces += fan_triangles([_index(c[0], len(verts)) for c in corners])
                if all(len(c) > 1 and c[1] for c in corners):
                    uv_faces += fan_triangles([_index(c[1], len(uv)) for c in corners])
            elif keyword == "mtllib" and texture is None:
                texture = _texture(path, rest.strip())
        except ValueError as error:
            raise MeshError(f"{path}, line {number}: {error} in {line[:60]!r}") from error
    return _assemble(path, verts, faces, uv, uv_faces, texture)


def _index(word: str, count: int) -> int:
    """OBJ counts from 1, and from the end with negative numbers."""
    value = int(word)
    return value - 1 if value > 0 else count + value


def _assemble(path: Path, verts: list, faces: list, uv: list, uv_faces: list, texture: Tensor | None) -> Mesh:
    widths = {len(row) for row in verts}
    if not faces or len(widths) != 1 or min(widths) < 3 or any(len(row) != 2 for row in uv):
        raise MeshError(f"{path}: not a triangle mesh (no faces, or vertex lines of unequal length)")
    values = np.array(verts, np.float64)
    mapped = bool(uv) and len(uv_faces) == len(faces)
    return Mesh(
        verts=float_tensor(values[:, :3]),
        faces=index_tensor(np.array(faces)),
        vertex_colors=float_tensor(values[:, 3:6]) if values.shape[1] >= 6 else None,
        uv=float_tensor(np.array(uv)) if mapped else None,
        uv_faces=index_tensor(np.array(uv_faces)) if mapped else None,
        texture=texture if mapped else None,
    )


def _texture(path: Path, name: str) -> Tensor | None:
    """Texture of the material library, or None when its files are absent."""
    library = _beside(path, name)
    if not library.is_file():
        return None
    for line in library.read_text(encoding="utf-8", errors="replace").splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword == "map_Kd":
            image = _beside(path, rest.strip())
            return decode_image(image.read_bytes(), image) if image.is_file() else None
    return None


def _beside(path: Path, name: str) -> Path:
    """A file named inside a mesh file; it may not lead out of the mesh's folder."""
    folder = path.parent.resolve()
    target = (folder / name).resolve()
    if not target.is_relative_to(folder):
        raise MeshError(f"{path} refers to {name!r} outside its own folder; put the file beside the mesh")
    return target
