"""Save and load meshes by file ending: ``.obj`` (+ ``.mtl`` and ``.png``), ``.ply``, ``.glb``.

==========================  =====  =====  =====
what is kept                 obj    ply    glb
==========================  =====  =====  =====
positions, triangles         yes    yes    yes
vertex colours               yes   8 bit   yes
texture                      yes    no     yes
named vertex values          no     yes    yes
morph targets and weights    no     no     yes
rig                          no     no   written
==========================  =====  =====  =====
"""

from pathlib import Path
from types import ModuleType

from occface_core.errors import MeshError
from occface_core.geometry.formats import glb, obj, ply
from occface_core.geometry.mesh import Mesh

_FORMATS = {".obj": obj, ".ply": ply, ".glb": glb}

MESH_SUFFIXES: tuple[str, ...] = tuple(_FORMATS)


def save_mesh(mesh: Mesh, path: Path | str) -> None:
    """Write a mesh in the format its file ending names; the folder must exist.

    Raises:
        MeshError: the ending is unknown, or the file cannot be written.
    """
    path = Path(path)
    module = _format(path)
    try:
        module.save(mesh, path)
    except OSError as error:
        raise MeshError(f"cannot write {path}: {error.strerror or error}") from error


def load_mesh(path: Path | str) -> Mesh:
    """Read a triangle mesh.

    Raises:
        MeshError: the ending is unknown, or the file is missing, damaged or not a triangle mesh.
    """
    path = Path(path)
    module = _format(path)
    try:
        return module.load(path)
    except OSError as error:
        raise MeshError(f"cannot read {path}: {error.strerror or error}") from error
    except MeshError as error:
        if str(path) in str(error):
            raise
        raise MeshError(f"{path}: {error}") from error


def _format(path: Path) -> ModuleType:
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise MeshError(f"{path}: unknown mesh format {suffix!r}; use {', '.join(_FORMATS)}")
    return _FORMATS[suffix]
