"""Converting FLAME files into this package's head format, once.

FLAME (Li et al. 2017) may not be redistributed; users bring `generic_model.pkl` (2020 or 2023) from its site.
Landmarks come from DECA's `landmark_embedding.npy`, or from FLAME_PyTorch's `flame_static_embedding.pkl` and
`flame_dynamic_embedding.npy`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from occface_core.errors import AssetError
from occface_core.morphable.embedding import YAW_BINS
from occface_core.morphable.flame_pickle import as_array, read_flame_file
from occface_core.morphable.head_model import HEAD_FORMAT, HeadModel

LICENCE = "that of the FLAME file it was converted from (flame.is.tue.mpg.de); do not redistribute"
_JOINTS = 5
_REQUIRED = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
# iBUG numbers of the seven NoW landmarks: eye corners from the subject's right to left, nose base, mouth.
_NOW7_IN_68 = (36, 39, 42, 45, 33, 48, 54)


def import_flame(
    pkl_path: Path,
    out_path: Path,
    *,
    n_shape: int = 100,
    n_expression: int = 50,
    expression_start: int = 300,
    landmark_embedding: Path | None = None,
    dynamic_embedding: Path | None = None,
) -> HeadModel:
    """Convert a FLAME pickle to a safetensors head and load it. No code in the files is executed.

    Args:
        pkl_path: `generic_model.pkl` or a file of the same format.
        out_path: Where to write the `.safetensors`.
        n_shape, n_expression: How many directions of each kind to keep.
        expression_start: First expression direction in `shapedirs`; 300 in FLAME's own files.
        landmark_embedding: DECA's `landmark_embedding.npy`, or FLAME_PyTorch's `flame_static_embedding.pkl`.
        dynamic_embedding: FLAME_PyTorch's `flame_dynamic_embedding.npy`, beside the static one.

    Raises:
        AssetError: A file is missing, damaged, contains code, or does not hold a FLAME-format head.
    """
    arrays = flame_arrays(
        read_flame_file(pkl_path),
        n_shape=n_shape,
        n_expression=n_expression,
        expression_start=expression_start,
    )
    if landmark_embedding is not None:
        fields = read_flame_file(landmark_embedding)
        dynamic = None if dynamic_embedding is None else read_flame_file(dynamic_embedding)
        arrays |= _landmark_arrays(fields, dynamic, landmark_embedding)
    metadata = {"format": HEAD_FORMAT, "version": "1", "name": f"flame:{pkl_path.stem}", "licence": LICENCE}
    try:
        HeadModel.from_arrays(arrays, metadata)
    except AssetError as error:
        raise AssetError(f"{pkl_path} with these landmarks is not a usable head: {error}") from error
    out_path.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, out_path, metadata)
    return HeadModel.from_file(out_path)


def flame_arrays(
    raw: Mapping[str, Any], *, n_shape: int = 100, n_expression: int = 50, expression_start: int = 300
) -> dict[str, Tensor]:
    """Rename and check the fields of a FLAME-format file (see `HEAD_SCHEMA` for the names returned).

    Raises:
        AssetError: Fields are missing or their sizes do not fit together.
    """
    missing = [key for key in _REQUIRED if key not in raw]
    if missing:
        raise AssetError(f"this is not a FLAME-format head: it has no {', '.join(missing)}")
    fields = {key: as_array(raw[key]) for key in _REQUIRED}
    _check_sizes(fields, n_shape, n_expression, expression_start)
    directions = fields["shapedirs"]
    weights = fields["weights"]
    # The parent of the root is stored as 2^32 - 1.
    parents = fields["kintree_table"][0].astype(np.int64).astype(np.int32)
    # Eyeballs turn with joints 3 and 4 alone; nothing else in the file says which vertices they are.
    component = np.where(weights[:, 3] > 0.5, 2, np.where(weights[:, 4] > 0.5, 3, 0))
    arrays = {
        "v_template": fields["v_template"].astype(np.float32),
        "faces": fields["f"].astype(np.int32),
        "shapedirs": directions[..., :n_shape].astype(np.float32),
        "expressiondirs": directions[..., expression_start : expression_start + n_expression].astype(
            np.float32
        ),
        "posedirs": fields["posedirs"].astype(np.float32),
        "joint_regressor": fields["J_regressor"].astype(np.float32),
        "skin_weights": weights.astype(np.float32),
        "parents": parents,
        "component": component.astype(np.int32),
    }
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()}


def _check_sizes(fields: Mapping[str, np.ndarray], n_shape: int, n_expression: int, start: int) -> None:
    count = len(fields["v_template"])
    expected = {
        "v_template": (count, 3),
        "f": (len(fields["f"]), 3),
        "posedirs": (count, 3, 9 * (_JOINTS - 1)),
        "J_regressor": (_JOINTS, count),
        "weights": (count, _JOINTS),
        "kintree_table": (2, _JOINTS),
    }
    faults = [
        f"{key} {fields[key].shape} is not {want}"
        for key, want in expected.items()
        if fields[key].shape != want
    ]
    held = fields["shapedirs"].shape
    if held[:2] != (count, 3) or len(held) != 3:
        faults.append(f"shapedirs {held} is not ({count}, 3, directions)")
    elif n_shape > start or start + n_expression > held[2]:
        faults.append(
            f"shapedirs has {held[2]} directions, which {n_shape} shapes before {start} and "
            f"{n_expression} expressions from there do not fit"
        )
    faults += [
        f"{key} has NaN or infinite values" for key, value in fields.items() if not np.isfinite(value).all()
    ]
    if faults:
        raise AssetError("this is not a FLAME-format head: " + "; ".join(faults))


def _landmark_arrays(
    fields: Mapping[str, Any], dynamic: Mapping[str, Any] | None, path: Path
) -> dict[str, Tensor]:
    """The 68 landmarks, their yaw-dependent contour and the seven of NoW, from either file format."""
    if "full_lmk_faces_idx" in fields:
        names = (
            "full_lmk_faces_idx",
            "full_lmk_bary_coords",
            "dynamic_lmk_faces_idx",
            "dynamic_lmk_bary_coords",
        )
        faces, bary, contour_faces, contour_bary = (_field(fields, name, path) for name in names)
    else:
        if dynamic is None:
            raise AssetError(f"{path} holds no jaw line; give flame_dynamic_embedding.npy too")
        contour_faces, contour_bary = (
            _field(dynamic, name, path) for name in ("lmk_face_idx", "lmk_b_coords")
        )
        faces, bary = (_field(fields, name, path) for name in ("lmk_face_idx", "lmk_b_coords"))
        # The frontal row of the contour completes the 51 inner points.
        faces = np.concatenate([contour_faces.reshape(YAW_BINS, -1)[0], faces.ravel()])
        bary = np.concatenate([contour_bary.reshape(YAW_BINS, -1, 3)[0], bary.reshape(-1, 3)])
    arrays = {
        "lmk68_faces": _sized(faces, (68,), path).astype(np.int32),
        "lmk68_bary": _sized(bary, (68, 3), path).astype(np.float32),
        "lmk68_dynamic_faces": _sized(contour_faces, (YAW_BINS, 17), path).astype(np.int32),
        "lmk68_dynamic_bary": _sized(contour_bary, (YAW_BINS, 17, 3), path).astype(np.float32),
    }
    for kind in ("faces", "bary"):
        arrays[f"now7_{kind}"] = arrays[f"lmk68_{kind}"][list(_NOW7_IN_68)]
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()}


def _field(fields: Mapping[str, Any], name: str, path: Path) -> np.ndarray:
    if name not in fields:
        raise AssetError(f"{path} or its companion has no {name!r}; it has {', '.join(fields)}")
    return as_array(fields[name])


def _sized(value: np.ndarray, shape: tuple[int, ...], path: Path) -> np.ndarray:
    if value.size != int(np.prod(shape)):
        raise AssetError(f"{path}: a landmark array has shape {value.shape}, not {shape}")
    return value.reshape(shape)
