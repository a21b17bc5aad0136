"""Writing a reconstruction: `NAME.npz` (arrays), `NAME.json` (named parameters) and mesh files.

The JSON is written last, so its presence means that the rest is complete.
"""

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from occface_core import __version__
from occface_core.geometry.mesh_io import MESH_SUFFIXES, save_mesh
from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.animation import animatable_mesh
from occface_core.pipeline.types import Reconstruction

# Everything of DESIGN section 7 by its name there; optional ones are left out where nothing made them.
ARRAYS = (
    "verts",
    "verts_neutral",
    "verts_image",
    "faces",
    "landmarks68_2d",
    "landmarks_now7",
    "face_mask",
    "vertex_visibility",
    "vertex_sigma_mm",
    "albedo",
    "texture",
    "texture_visibility",
    "uv",
    "uv_faces",
    "code",
    "code_layout",
)
FORMATS = tuple(suffix.removeprefix(".") for suffix in MESH_SUFFIXES)


def arrays(result: Reconstruction) -> dict[str, np.ndarray]:
    """The arrays of the npz file; none of them needs pickle."""
    values = {name: getattr(result, name) for name in ARRAYS}
    return {name: np.asarray(value) for name, value in values.items() if value is not None}


def summary(result: Reconstruction) -> dict[str, Any]:
    """Everything of the JSON file that is known without files: names, numbers, notes."""
    groups = {name: _numbers(values) for name, values in result.parameters.items()}
    named = dict(zip(result.expression_names, groups.get("exp", []), strict=False))
    parameters: dict[str, Any] = {
        "shape": groups.get("shape"),
        "albedo": groups.get("tex"),
        "expression": named,
        "light": groups.get("light"),
    }
    if "pose" in groups:
        parameters["pose"] = {"global": groups["pose"][:3], "jaw": groups["pose"][3:6]}
    camera = dict(zip(("scale", "tx", "ty"), groups.get("cam", []), strict=False))
    crop = result.crop
    return {
        "model": result.model,
        "head": result.head,
        "code_layout": result.code_layout,
        "parameters": parameters,
        "camera": {"kind": "weak perspective over the crop square", **camera},
        "crop": {"centre": [crop.centre_x, crop.centre_y], "side": crop.side, "size": result.crop_size},
        "crop_to_original": result.crop_to_original.tolist(),
        "image_size": {"width": result.face_mask.shape[1], "height": result.face_mask.shape[0]},
        "box": result.box.tolist(),
        "confidence": {"detection": result.detection_score, "visible_fraction": result.visible_fraction},
        "notes": list(result.notes),
        "versions": {
            "occface": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def save_reconstruction(
    result: Reconstruction,
    folder: Path,
    name: str,
    *,
    head: HeadModel | None = None,
    formats: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write the files of one reconstruction; none is ever seen half written.

    Args:
        result: What to write.
        folder: Where; must exist.
        name: File name without ending.
        head: Head model of the result: with it a GLB file can be animated, see `pipeline/animation.py`.
        formats: Mesh formats, some of `FORMATS`; the mesh is the posed, textured head in metres.
        extra: Further entries of the JSON file, for example the source image.

    Returns:
        The files, the JSON last.

    Raises:
        MeshError: Unknown mesh format.
        OSError: The disk is full or the folder not writable.
    """
    work = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        # Compressed: faces and masks repeat themselves; the file is about 40 % of its raw size.
        np.savez_compressed(work / f"{name}.npz", **arrays(result))  # type: ignore[arg-type]
        for suffix in formats:
            moves = head if suffix == "glb" else None
            mesh = result.mesh("posed") if moves is None else animatable_mesh(result, moves)
            save_mesh(mesh, work / f"{name}.{suffix}")
        made = sorted(path.name for path in work.iterdir())
        text = json.dumps({**(extra or {}), **summary(result), "files": made}, indent=1, allow_nan=False)
        (work / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        ordered = [*made, f"{name}.json"]
        for file in ordered:
            os.replace(work / file, folder / file)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return [folder / file for file in ordered]


def _numbers(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]
