"""AFLW2000-3D (Zhu et al., CVPR 2016): photos with fitted 3D landmarks, errors by head yaw.

Official layout: one folder of `<name>.jpg` and `<name>.mat`. Of each `.mat` two variables are read:

- `pt3d_68` (3,68): landmarks, x and y in pixels as MATLAB counts them (the first pixel's centre is 1, 1);
- `Pose_Para` (1,7): pitch, yaw, roll in radians, then translation and scale.

The published protocol (cleardusk/3DDFA, `benchmark_aflw2000.py`): mean distance of the 68 points over
sqrt(width x height) of the annotation's box, averaged within |yaw| of 0-30, 30-60 and 60-90 degrees, then
over the three bins, so that the many frontal faces do not decide. Its yaws are a recomputed list, not the
`.mat` files'; it can be given.
"""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from occface_core.data.images import read_image
from occface_core.errors import DataError
from occface_core.evaluation.landmarks import AnnotatedPhoto

YAW_BINS: tuple[tuple[float, float], ...] = ((0.0, 30.0), (30.0, 60.0), (60.0, 90.0))
VARIABLES = ("pt3d_68", "Pose_Para")
MATLAB_TO_PIXELS = -0.5  # MATLAB's first centre is 1, ours 0.5
_PHOTO_ENDINGS = (".jpg", ".jpeg", ".png")
_LARGEST = 16 * 2**20  # bytes; the published files have some tens of kilobytes
_UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, OverflowError, MemoryError),
)


@dataclass(frozen=True)
class AflwFace:
    """One annotated face.

    Attributes:
        name: file name of the photo.
        image: the photo.
        points: 68 points in pixels, centres at +0.5; the jaw line does not slide with the view.
        yaw: degrees.
    """

    name: str
    image: Path
    points: Float[np.ndarray, "68 2"]
    yaw: float

    def annotated(self) -> AnnotatedPhoto:
        """For `evaluate_landmarks`."""
        return AnnotatedPhoto(self.name, lambda: read_image(self.image), self.points)


def read_annotation(path: Path) -> tuple[Float[np.ndarray, "68 2"], float]:
    """Points (pixels, centres at +0.5) and yaw (degrees) of one `.mat` file.

    `scipy.io.loadmat` parses MATLAB's own format: it never unpickles or runs anything, and only the two
    variables named above are read.

    Raises:
        DataError: missing, damaged, too large, or without usable values.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path} has over {_LARGEST >> 20} MB; no AFLW2000-3D annotation is that large")
        found = loadmat(path, variable_names=VARIABLES)
    except (*_UNREADABLE, MatReadError) as error:
        raise DataError(f"{path} is not a readable MATLAB file ({error}); download it again") from error
    absent = [name for name in VARIABLES if name not in found]
    if absent:
        raise DataError(f"{path} lacks {' and '.join(absent)}; AFLW2000-3D has both in every file")
    points, pose = found["pt3d_68"], found["Pose_Para"]
    if points.shape not in ((3, 68), (2, 68)) or points.dtype.kind not in "fiu":
        raise DataError(f"{path}: pt3d_68 has shape {points.shape}, needs numbers (3, 68)")
    if pose.size < 3 or pose.dtype.kind not in "fiu":
        raise DataError(f"{path}: Pose_Para has shape {pose.shape}, needs numbers (1, 7)")
    yaw = float(np.degrees(float(pose.ravel()[1])))
    pixels = points[:2].T.astype(np.float64) + MATLAB_TO_PIXELS
    if not (np.isfinite(pixels).all() and np.isfinite(yaw)):
        raise DataError(f"{path}: its landmarks or pose are not finite")
    return pixels, yaw


def read_folder(folder: Path, yaws: Path | None = None) -> tuple[list[AflwFace], list[tuple[str, str]]]:
    """Every face of a folder in the order of file names, and (name, reason) of files that cannot be used.

    Args:
        folder: photos and annotations.
        yaws: 3DDFA's `AFLW2000-3D.pose.npy`, one yaw in degrees for each name in order; without it the yaw of
            each `.mat` file counts.

    Raises:
        DataError: no folder, no usable pair of photo and annotation in it, or an unusable list of yaws.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the one with AFLW2000-3D's .jpg and .mat files")
    paths = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    photos = {p.stem: p for p in sorted(paths, reverse=True) if p.suffix.lower() in _PHOTO_ENDINGS}
    annotations = {p.stem: p for p in paths if p.suffix.lower() == ".mat"}
    stems = sorted({*photos, *annotations})
    listed = None if yaws is None else read_yaws(yaws, len(stems))
    faces, bad = list[AflwFace](), list[tuple[str, str]]()
    for i, stem in enumerate(stems):
        if stem not in annotations:
            bad.append((photos[stem].name, f"no {stem}.mat beside it"))
        elif stem not in photos:
            bad.append((annotations[stem].name, f"no photo {stem}.jpg beside it"))
        else:
            try:
                points, yaw = read_annotation(annotations[stem])
                yaw = yaw if listed is None else float(listed[i])
                faces.append(AflwFace(photos[stem].name, photos[stem], points, yaw))
            except DataError as error:
                bad.append((annotations[stem].name, str(error)))
    if not faces:
        reason = f"; first reason: {bad[0][0]}: {bad[0][1]}" if bad else ""
        raise DataError(f"{folder} holds no usable pair of .jpg and .mat{reason}")
    return faces, bad


def read_yaws(path: Path, count: int) -> Float[np.ndarray, " N"]:
    """One yaw in degrees for each of `count` faces.

    Raises:
        DataError: unreadable (pickled arrays are not opened), or not one number per face.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except _UNREADABLE as error:
        raise DataError(f"{path} is not a plain array of yaws ({error})") from error
    if not isinstance(values, np.ndarray) or values.shape != (count,) or values.dtype.kind not in "fiu":
        shape = getattr(values, "shape", None)
        raise DataError(f"{path} holds {shape}, needs one yaw in degrees for each of the {count} names")
    return values.astype(np.float64)


def yaw_bin(yaw: float) -> int | None:
    """Which bin a yaw in degrees falls into; upper borders belong to the lower bin; None beyond 90."""
    size = abs(yaw)
    return next((i for i, (_, high) in enumerate(YAW_BINS) if size <= high), None)


def by_yaw(values: Float[np.ndarray, " N"], yaw: Float[np.ndarray, " N"]) -> dict[str, float | int]:
    """Mean per bin with its count, their mean (the published figure) and the plain mean.

    The bins' mean is NaN while a bin is empty: it would be another figure. As published, faces turned by more
    than 90 degrees count in the last bin.
    """
    bins = np.array([len(YAW_BINS) - 1 if (b := yaw_bin(y)) is None else b for y in yaw], int)
    result: dict[str, float | int] = {}
    means = []
    for i, (low, high) in enumerate(YAW_BINS):
        inside = values[bins == i]
        means.append(float(inside.mean()) if len(inside) else float("nan"))
        result[f"{low:.0f}-{high:.0f}"] = means[-1]
        result[f"{low:.0f}-{high:.0f} count"] = len(inside)
    result["balanced"] = float(np.mean(means))
    result["plain"] = float(values.mean()) if len(values) else float("nan")
    return result


def annotated(faces: list[AflwFace]) -> Iterator[AnnotatedPhoto]:
    """Faces for `evaluate_landmarks`."""
    return (face.annotated() for face in faces)
