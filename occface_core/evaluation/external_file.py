"""Reading and checking the npz of an external model. Layout and rules: docs/external_models.md."""

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from occface_core.errors import DataError

# Field -> shape after the photos' axis; V vertices, h w the mask's own size.
FIELDS: Mapping[str, tuple[int | str, ...]] = {
    "landmarks468": (468, 2),
    "landmarks68": (68, 2),
    "verts_neutral": ("V", 3),
    "verts_posed": ("V", 3),
    "albedo": ("V", 3),
    "mask": ("h", "w"),
}
_ABOUT = ("twins", "names", "faces", "face_region")
_NEEDED = ("clean", "occluded")

Problem = tuple[str, str]  # photo, what is wrong with it


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz; nothing is unpickled.

    Raises:
        DataError: not an npz of plain arrays, or `twins` or `names` is not in it.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: not an npz of plain arrays ({error}); text must be stored as np.array(list_of_str)"
        ) from error
    absent = [key for key in ("twins", "names") if key not in arrays]
    if absent:
        raise DataError(f"{path}: lacks {' and '.join(absent)} (docs/external_models.md)")
    names = arrays["names"]
    if names.ndim != 1 or names.dtype.kind != "U" or not len(names):
        raise DataError(f"{path}: names must be (N,) text, got {names.shape} {names.dtype}")
    if len(set(names.tolist())) < len(names):
        twice = sorted({n for n in names.tolist() if (names == n).sum() > 1})
        raise DataError(f"{path}: {len(twice)} names are there twice, e.g. {twice[0]}")
    return arrays


def check_twins(path: Path, arrays: Mapping[str, np.ndarray], identifier: str) -> None:
    """Refuse predictions for other pictures than these.

    Raises:
        DataError: they are.
    """
    made_for = str(arrays["twins"])
    if made_for != identifier:
        raise DataError(
            f"{path}: was made for twins {made_for}, this run has {identifier}: other photos, limit, size, "
            "family, coverage, duplicates or seed. Run with the settings of its twins.json, or export anew"
        )


def check_fields(path: Path, arrays: Mapping[str, np.ndarray], views: Sequence[str]) -> dict[str, np.ndarray]:
    """The predictions in an npz, `<field>_<view>`; floating point or bool.

    Raises:
        DataError: unknown keys, a view missing, a wrong shape or type; all are named.
    """
    known = {f"{field}_{view}": FIELDS[field] for field in FIELDS for view in views}
    fields = {key: value for key, value in arrays.items() if key in known}
    faults = [f"unknown key {key}" for key in sorted(arrays.keys() - known.keys() - set(_ABOUT))]
    given = {re.sub("_[a-z0-9]+$", "", key) for key in fields}
    faults += [f"lacks {f}_{v}" for f in sorted(given) for v in _NEEDED if f"{f}_{v}" not in fields]
    for field in sorted(given):
        further = [view for view in views if view not in _NEEDED]
        there = [view for view in further if f"{field}_{view}" in fields]
        if there and len(there) < len(further):
            faults.append(f"has {field} for {', '.join(there)} but not for all of {', '.join(further)}")
    if not fields:
        faults.append(f"holds no predictions; known: {', '.join(sorted(known))}")
    count, sizes = len(arrays["names"]), {"V": vertex_count(arrays, fields)}
    for key, value in sorted(fields.items()):
        want = (count, *(sizes.get(str(n), n) for n in known[key]))
        fits = value.ndim == len(want) and all(
            isinstance(w, str) or w == n for n, w in zip(value.shape, want, strict=True)
        )
        if not fits:
            faults.append(f"{key} has shape {value.shape}, expected ({', '.join(map(str, want))})")
        elif value.dtype.kind not in "fb" and not (key.startswith("mask") and value.max(initial=0) <= 1):
            faults.append(
                f"{key} is {value.dtype}, expected floating point{' or bool' if 'mask' in key else ''}"
            )
    if faults:
        raise DataError(f"{path}: {'; '.join(faults)} (docs/external_models.md)")
    return fields


def vertex_count(arrays: Mapping[str, np.ndarray], fields: Mapping[str, np.ndarray]) -> int | str:
    """Vertices of the file's meshes: what its region says, or else its first mesh."""
    if "face_region" in arrays:
        return len(arrays["face_region"].reshape(-1))
    for field in ("verts_neutral", "verts_posed", "albedo"):
        for key, value in fields.items():
            if key.startswith(field) and value.ndim == 3:
                return value.shape[1]
    return "V"


def own_topology(
    path: Path, arrays: Mapping[str, np.ndarray], count: int | str, head_faces: np.ndarray, head_verts: int
) -> np.ndarray | None:
    """Region (V,) of a model with a mesh of its own; None where it predicts the project's head.

    Raises:
        DataError: faces out of range, or no region says which vertices make the face.
    """
    faces, region = arrays.get("faces"), arrays.get("face_region")
    if isinstance(count, str):
        return None
    if faces is not None and (
        faces.ndim != 2
        or faces.shape[1] != 3
        or faces.dtype.kind not in "iu"
        or (len(faces) and not 0 <= faces.min() <= faces.max() < count)
    ):
        raise DataError(f"{path}: faces must be (F,3) integers within 0..{count - 1}")
    same = count == head_verts and (faces is None or np.array_equal(faces, head_faces))
    if same:
        return None
    if (
        region is None
        or region.shape != (count,)
        or not np.isfinite(region).all()
        or not (region > 0.5).any()
    ):
        raise DataError(
            f"{path}: its meshes have {count} vertices of their own (the project's head: {head_verts}), so "
            f"it needs face_region ({count},) with 1 on the face: ears, neck and skull hardly move and would "
            "flatter it"
        )
    return region.astype(np.float32).clip(0, 1)


def usable_rows(names: Sequence[str], fields: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list[Problem]]:
    """Which photos have finite values throughout, (N,), and the others by name."""
    good, problems = np.ones(len(names), dtype=bool), []
    for key, value in sorted(fields.items()):
        finite = np.isfinite(value).reshape(len(names), -1).all(1) if value.dtype.kind == "f" else good | True
        problems += [(names[int(i)], f"{key} is not finite") for i in np.flatnonzero(~finite)]
        good &= finite
    return good, problems


def match_names(names: Sequence[str], wanted: Sequence[str]) -> tuple[np.ndarray, list[Problem]]:
    """Row of each wanted photo among `names`, -1 where it is missing; and what does not fit."""
    place = {name: i for i, name in enumerate(names)}
    position = np.array([place.get(name, -1) for name in wanted])
    problems = [(name, "no prediction") for name in wanted if name not in place]
    here = set(wanted)
    problems += [(name, "no such photo among the twins") for name in names if name not in here]
    return position, problems
