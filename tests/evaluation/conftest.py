"""A small face-like surface, and NoW folders made of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest


@dataclass(frozen=True)
class Bump:
    """A curved patch with a nose, in mm, and seven of its vertices as landmarks."""

    verts: np.ndarray
    faces: np.ndarray
    landmarks: np.ndarray


@pytest.fixture(scope="session")
def bump() -> Bump:
    side = 25
    x, y = np.meshgrid(np.linspace(-120, 120, side), np.linspace(-120, 120, side))
    z = 60 - (x**2 + 0.7 * y**2) / 200 + 25 * np.exp(-(x**2 + (y + 10) ** 2) / 600) + 0.03 * y
    verts = np.stack([x.ravel(), y.ravel(), z.ravel()], 1)
    corner = np.arange(side * side).reshape(side, side)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    places = [(-50, 30), (-20, 30), (20, 30), (50, 30), (0, -20), (-30, -50), (30, -50)]
    ids = [int(np.argmin((verts[:, 0] - px) ** 2 + (verts[:, 1] - py) ** 2)) for px, py in places]
    return Bump(verts, faces, verts[ids])


def write_obj(path: Path, verts: np.ndarray, faces: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {a:.9g} {b:.9g} {c:.9g}" for a, b, c in verts]
    lines += [f"f {a} {b} {c}" for a, b, c in faces + 1]
    path.write_text("\n".join(lines) + "\n")


def write_points(path: Path, landmarks: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = ["<!DOCTYPE PickedPoints>", "<PickedPoints>", " <DocumentData>", '  <DateTime date="2019-06-01"/>',
            '  <User name="someone"/>', '  <DataFileName name="scan.obj"/>', '  <templateName name=""/>',
            " </DocumentData>"]
    points = [f' <point x="{a:.9g}" y="{b:.9g}" z="{c:.9g}" name="{i}" active="1"/>'
              for i, (a, b, c) in enumerate(landmarks)]
    path.write_text("\n".join([*head, *points, "</PickedPoints>"]) + "\n")


@dataclass(frozen=True)
class NowFolders:
    """A dataset of two subjects with two images each, and perfect predictions in metres."""

    dataset: Path
    predictions: Path
    keys: tuple[str, ...]
    write_obj: Callable[[Path, np.ndarray, np.ndarray], None]
    write_points: Callable[[Path, np.ndarray], None]


@pytest.fixture
def now_folders(tmp_path: Path, bump: Bump) -> NowFolders:
    dataset, predictions = tmp_path / "now", tmp_path / "predictions"
    keys = []
    for subject in ("anna", "bert"):
        write_obj(dataset / "scans" / subject / "scan.obj", bump.verts, bump.faces)
        write_points(dataset / "scans_lmks_onlypp" / subject / "scan_picked_points.pp", bump.landmarks)
        for challenge in ("multiview_neutral", "selfie"):
            keys.append(f"{subject}/{challenge}/IMG_1")
            write_obj(predictions / f"{keys[-1]}.obj", bump.verts / 1000, bump.faces)
            np.save(predictions / f"{keys[-1]}.npy", bump.landmarks / 1000)
    (dataset / "imagepathsvalidation.txt").write_text("".join(f"{key}.jpg\n" for key in keys))
    return NowFolders(dataset, predictions, tuple(keys), write_obj, write_points)
