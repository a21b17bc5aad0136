"""NoW's folders: the image list, scans with picked points, and a method's predictions.

Dataset (https://now.is.tue.mpg.de)::

    imagepathsvalidation.txt            lines  .../<subject>/<challenge>/<image file>
    scans/<subject>/*.obj               mm
    scans_lmks_onlypp/<subject>/*.pp    seven picked points, mm

Predictions, for each image: ``<subject>/<challenge>/<stem>.obj`` (or ``.ply``) and ``<stem>.npy`` (or
``.txt``) with seven landmarks. OBJ wins over PLY and NPY over TXT when both are there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from occface_core.errors import DataError, MeshError
from occface_core.geometry.mesh_io import load_mesh

CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")
IMAGE_LISTS = {"val": "imagepathsvalidation.txt", "test": "imagepathstest.txt"}
MESH_ENDINGS, LANDMARK_ENDINGS = (".obj", ".ply"), (".npy", ".txt")
_POINT = re.compile(r"<point\b[^>]*>")
_PP_LINES = slice(8, 15)  # where the seven points stand when a file holds more


@dataclass(frozen=True, order=True)
class NowImage:
    """One line of the image list."""

    subject: str
    challenge: str
    stem: str
    line: str

    @property
    def key(self) -> str:
        """``subject/challenge/stem``."""
        return f"{self.subject}/{self.challenge}/{self.stem}"


@dataclass(frozen=True)
class PredictionFiles:
    """Where one image's prediction lies; None where there is no such file."""

    mesh: Path | None
    landmarks: Path | None


@dataclass(frozen=True)
class NowDataset:
    """A NoW folder and the images of one list."""

    root: Path
    images: tuple[NowImage, ...]

    @classmethod
    def open(cls, root: Path, *, image_set: str = "val", image_list: Path | None = None) -> "NowDataset":
        """Read the image list of ``root``.

        Args:
            root: dataset folder.
            image_set: "val" or "test", names the list in ``root``.
            image_list: another list, wins over ``image_set``.

        Raises:
            DataError: the folder or list is missing, empty, malformed or names an image twice.
        """
        if not root.is_dir():
            raise DataError(f"{root} is not a folder; give the NoW dataset's folder")
        path = image_list or root / IMAGE_LISTS[image_set]
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the image list {path}: {error}") from error
        images = tuple(_image(path, n, line.strip()) for n, line in enumerate(lines, 1) if line.strip())
        if not images:
            raise DataError(f"the image list {path} is empty")
        keys = [image.key for image in images]
        twice = sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
        if twice:
            raise DataError(f"{path} lists {len(twice)} images twice, first {twice[0]}")
        return cls(root, images)

    def scan_files(self, subject: str) -> tuple[Path, Path]:
        """Scan and picked points of a subject.

        Raises:
            DataError: either is missing, or there are several scans.
        """
        return (_only(self.root / "scans" / subject, ".obj"),
                _only(self.root / "scans_lmks_onlypp" / subject, ".pp"))


def _image(path: Path, number: int, line: str) -> NowImage:
    parts = line.replace("\\", "/").split("/")[-3:]
    if len(parts) < 3 or any(part in ("", ".", "..") for part in parts):
        raise DataError(f"{path}, line {number}: {line!r} is not subject/challenge/image")
    return NowImage(parts[0], parts[1], Path(parts[2]).stem, line)


def _only(folder: Path, ending: str) -> Path:
    found = sorted(folder.glob(f"*{ending}"))
    if len(found) != 1:
        raise DataError(f"{folder} holds {len(found)} {ending} files, needs exactly one")
    return found[0]


def find_prediction(folder: Path, image: NowImage) -> PredictionFiles:
    """The files of one image's prediction."""
    place = folder / image.subject / image.challenge

    def first(endings: Sequence[str]) -> Path | None:
        paths = (place / (image.stem + ending) for ending in endings)
        return next((path for path in paths if path.is_file()), None)

    return PredictionFiles(first(MESH_ENDINGS), first(LANDMARK_ENDINGS))


def unexpected_files(folder: Path, images: Sequence[NowImage]) -> list[str]:
    """Prediction files whose image is not in the list, relative to ``folder``."""
    known = {image.key for image in images}
    endings = (*MESH_ENDINGS, *LANDMARK_ENDINGS)
    paths = (path.relative_to(folder) for path in folder.glob("*/*/*") if path.suffix.lower() in endings)
    return sorted(str(path) for path in paths if path.with_suffix("").as_posix() not in known)


def read_picked_points(path: Path) -> Float[np.ndarray, "7 3"]:
    """Seven scan landmarks of a MeshLab ``.pp`` file, rounded to float32 as the published evaluator does.

    Raises:
        DataError: unreadable, or not seven points.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    tags = _POINT.findall(text)
    if len(tags) > 7:
        tags = _POINT.findall("\n".join(text.splitlines()[_PP_LINES]))
    if len(tags) != 7:
        raise DataError(f"{path} holds {len(tags)} picked points, needs seven")
    try:
        rows = [[float(re.search(rf'\s{axis}="([^"]*)"', tag)[1]) for axis in "xyz"] for tag in tags]  # type: ignore[index]
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: a picked point lacks a readable x, y or z") from error
    return np.array(rows, np.float32).astype(np.float64)


def read_landmarks(path: Path) -> Float[np.ndarray, "7 3"]:
    """Seven predicted landmarks, ``.npy`` of (7,3) or (1,7,3) or a text file of seven rows.

    Raises:
        DataError: unreadable, or of another shape.
    """
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            values = np.array(path.read_text().replace(",", " ").split(), np.float64)
            values = values.reshape(-1, 3) if values.size % 3 == 0 else values
        values = np.asarray(values, np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: unreadable landmarks ({error})") from error
    if values.shape == (1, 7, 3):
        values = values[0]
    if values.shape != (7, 3):
        raise DataError(f"{path}: landmarks have shape {values.shape}, need (7, 3)")
    return values


def read_geometry(path: Path) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Positions (float64) and triangles of an OBJ or PLY file; a scan of points alone has no triangles.

    Regular OBJ files take a fast path (scans are large and textures are not wanted); the rest goes through
    the general reader.

    Raises:
        MeshError: unreadable or damaged.
    """
    if path.suffix.lower() == ".obj":
        try:
            simple = _read_plain_obj(path.read_bytes())
        except OSError as error:
            raise MeshError(f"cannot read {path}: {error.strerror or error}") from error
        if simple is not None:
            return simple
    mesh = load_mesh(path)
    return mesh.verts.numpy().astype(np.float64), mesh.faces.numpy()


def _read_plain_obj(data: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Arrays of an OBJ file whose faces are all triangles counted from the start; None when it is not one."""
    lines = data.split(b"\n")
    rows = [line[2:] for line in lines if line.startswith(b"v ")]
    triangles = b" ".join(line[2:] for line in lines if line.startswith(b"f "))
    if b"/" in triangles:
        triangles = re.sub(rb"/\S*", b"", triangles)
    count = sum(line.startswith(b"f ") for line in lines)
    try:
        verts = np.array(b" ".join(rows).split(), np.float64)
        faces = np.array(triangles.split(), np.int64) - 1
    except ValueError:
        return None
    width = len(rows[0].split()) if rows else 3
    if width < 3 or len(verts) != width * len(rows) or len(faces) != 3 * count:
        return None
    if len(faces) and (faces.min() < 0 or faces.max() >= len(rows)):
        return None
    return verts.reshape(-1, width)[:, :3].copy(), faces.reshape(-1, 3)
