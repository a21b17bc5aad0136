"""Files of region errors: scans cut into regions, keypoints, and predictions that belong to them.

Truth, REALY's layout (its own folder names are taken too)::

    regions/<subject>/nose.obj mouth.obj forehead.obj cheek.obj     or REALY_scan_region/<subject>/...
    keypoints/<subject>.npy|.txt|.obj                               or REALY_HIFI3D_keypoints/<subject>.obj
    metrical_scale.txt      mm per unit, one line per subject 1, 2, ...; without it lengths are mm

Predictions, meshes of one topology: `<subject>.obj`, `<subject>_<anything>.obj` or `<subject>/.../<name>.obj`
(`.ply` too).
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from occface_core.errors import DataError
from occface_core.evaluation.now_files import MESH_ENDINGS, read_geometry
from occface_core.evaluation.region_errors import REGIONS, RegionScan
from occface_core.morphable.head_model import HeadModel

Keypoints = Float[np.ndarray, "K 3"]
KeypointsOf = Callable[[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]], Keypoints]
REALY_REGIONS = "REALY_scan_region"
_REGION_FOLDERS = ("regions", REALY_REGIONS)
_KEYPOINT_FOLDERS = ("keypoints", "REALY_HIFI3D_keypoints")
_COUNTS = (68, 85)


@dataclass(frozen=True)
class SubjectTruth:
    """One subject's scan: regions, keypoints and mm per unit, None where files are in mm."""

    regions: dict[str, RegionScan]
    keypoints: Keypoints
    unit_mm: float | None


@dataclass(frozen=True)
class RegionDataset:
    """A folder of scans cut into regions."""

    regions: Path
    keypoints: Path
    scale: Float[np.ndarray, " N"] | None

    @classmethod
    def open(cls, root: Path) -> "RegionDataset":
        """Find the folders.

        Raises:
            DataError: either is missing, or the scale file is unreadable.
        """
        found = [
            next((root / name for name in names if (root / name).is_dir()), None)
            for names in (_REGION_FOLDERS, _KEYPOINT_FOLDERS)
        ]
        if found[0] is None or found[1] is None:
            raise DataError(
                f"{root} lacks {_REGION_FOLDERS[0]}/ or {_KEYPOINT_FOLDERS[0]}/; make a synthetic set anew "
                "with `benchmark now-synthetic`, or see docs/now.md for the layout"
            )
        path = root / "metrical_scale.txt"
        if not path.is_file():
            return cls(found[0], found[1], None)
        try:
            scale = np.atleast_1d(np.loadtxt(path, dtype=np.float64))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is not one number per line: {error}") from error
        if scale.ndim != 1 or not (np.isfinite(scale).all() and (scale > 0).all()):
            raise DataError(f"{path}: scales must be positive numbers, one per line")
        return cls(found[0], found[1], scale)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the subjects' folders."""
        return tuple(sorted(path.name for path in self.regions.iterdir() if path.is_dir()))

    def read(self, subject: str) -> SubjectTruth:
        """A subject's regions and keypoints.

        Raises:
            DataError, MeshError: a file is missing or unusable.
        """
        parts = {}
        for name in REGIONS:
            path = next(
                (p for end in MESH_ENDINGS if (p := self.regions / subject / (name + end)).is_file()), None
            )
            if path is None:
                raise DataError(f"{self.regions / subject} has no {name}.obj")
            parts[name] = RegionScan(*read_geometry(path))
        ends = (".npy", ".txt", *MESH_ENDINGS)
        path = next((p for end in ends if (p := self.keypoints / (subject + end)).is_file()), None)
        if path is None:
            raise DataError(f"{self.keypoints} has no {subject}.npy (or .txt, .obj)")
        return SubjectTruth(parts, read_keypoints(path), self._unit(subject))

    def _unit(self, subject: str) -> float | None:
        if self.scale is None:
            return None
        if not subject.isdigit() or not 1 <= int(subject) <= len(self.scale):
            raise DataError(f"metrical_scale.txt has {len(self.scale)} lines, none for subject {subject!r}")
        return float(self.scale[int(subject) - 1])


def read_keypoints(path: Path) -> Keypoints:
    """68 or 85 keypoints of a .npy, a text file of x y z rows, or a mesh file's vertices.

    Raises:
        DataError: unreadable, or another number.
        MeshError: a damaged mesh file.
    """
    try:
        if path.suffix.lower() in MESH_ENDINGS:
            values = read_geometry(path)[0]
        elif path.suffix.lower() == ".npy":
            values = np.asarray(np.load(path, allow_pickle=False), np.float64)
        else:
            values = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: unreadable keypoints ({error})") from error
    if values.ndim != 2 or values.shape[1] != 3 or len(values) not in _COUNTS:
        raise DataError(f"{path}: keypoints have shape {values.shape}, need (68, 3) or REALY's (85, 3)")
    return values


def head_keypoints(head: HeadModel) -> KeypointsOf:
    """Keypoints of predictions that are this very head: its 68 landmarks, jaw line fixed."""

    def keypoints(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
        if len(verts) != head.n_vertices:
            raise DataError(
                f"it has {len(verts)} vertices where head {head.name!r} has {head.n_vertices}; give "
                "--keypoints with the barycentric keypoints of its topology, or NAME.npy beside each mesh"
            )
        tensor = torch.from_numpy(verts).float()[None].to(head.v_template.device)
        return head.landmarks(tensor, "68_static")[0].double().cpu().numpy()

    return keypoints


def barycentric_keypoints(path: Path) -> KeypointsOf:
    """Keypoints by REALY's own files: JSON rows of triangle, weight of its first and of its second corner.

    Raises:
        DataError: not such a file.
    """
    try:
        table = np.asarray(json.loads(path.read_text(encoding="utf-8")), np.float64)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a JSON list of [triangle, weight, weight]: {error}") from error
    if table.ndim != 2 or table.shape[1] != 3 or len(table) not in _COUNTS or not np.isfinite(table).all():
        raise DataError(f"{path} holds a table {table.shape}, needs 68 or 85 rows of three numbers")
    triangle = table[:, 0].astype(np.int64)
    weights = np.concatenate([table[:, 1:], 1 - table[:, 1:].sum(1, keepdims=True)], axis=1)

    def keypoints(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
        if triangle.min() < 0 or triangle.max() >= len(faces):
            raise DataError(f"it has {len(faces)} triangles, and {path.name} names triangle {triangle.max()}")
        return (verts[faces[triangle]] * weights[:, :, None]).sum(1)

    return keypoints


@dataclass(frozen=True)
class RegionPrediction:
    """A predicted mesh of one subject; `name` is its path in the predictions' folder without ending."""

    name: str
    subject: str
    mesh: Path

    @property
    def own_keypoints(self) -> Path | None:
        """A file of 68 or 85 keypoints that lies beside the mesh."""
        path = self.mesh.with_suffix(".npy")
        if not path.is_file():
            return None
        try:
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        except (OSError, ValueError, EOFError):
            return path  # reading it will say what is wrong
        return path if len(shape) == 2 and shape[0] in _COUNTS else None  # NoW's seven points are others


def find_predictions(
    folder: Path, subjects: tuple[str, ...]
) -> tuple[list[RegionPrediction], list[tuple[str, str]]]:
    """Every mesh that belongs to a subject; (name, reason) of meshes and subjects left over.

    Raises:
        DataError: the folder is missing, or nothing in it belongs to a subject.
    """
    if not folder.is_dir():
        raise DataError(f"the predictions folder {folder} does not exist")
    found: dict[str, RegionPrediction] = {}
    left = []
    known = set(subjects)
    for ending in MESH_ENDINGS:  # OBJ wins over PLY
        for path in sorted(folder.rglob(f"*{ending}")):
            relative = path.relative_to(folder)
            name = relative.with_suffix("").as_posix()
            parts = (
                relative.parts[0],
                path.stem,
                *re.findall(r"^(.+?)_", path.stem),
                path.stem.rpartition("_")[0],
            )
            subject = next((part for part in parts if part in known), None)
            if subject is None:
                left.append((str(relative), "belongs to no subject"))
            elif name not in found:
                found[name] = RegionPrediction(name, subject, path)
    if not found:
        raise DataError(f"no mesh in {folder} is called like one of the {len(known)} subjects")
    left += [
        (s, "no prediction for this subject") for s in sorted(known - {p.subject for p in found.values()})
    ]
    return [found[name] for name in sorted(found)], left
