"""A small face-like surface, and NoW folders made of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
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


LABELS = ("26_0_0", "31_1_1", "", "70_1_2", "26_0_0", "45_0_3", "19_1_4", "", "26_1_0", "33_0_0")


@pytest.fixture(scope="session")
def labelled_pack(open_head, small_albedo):
    """Ten rendered faces, 80 px, most with a label like UTKFace's."""
    import torch

    from occface_core.data.synthetic_pack import synthetic_pack

    pack = synthetic_pack(open_head, small_albedo, 10, generator=torch.Generator().manual_seed(0), size=80)
    return replace(pack, labels=list(LABELS))


@pytest.fixture(scope="session")
def make_twins(open_head, labelled_pack):
    """Twins of the ten faces: `make_twins(batch_size, **settings)`."""
    from occface_core.evaluation.twins import EvaluationTwins, TwinSettings

    mean = open_head.landmarks(open_head.v_template[None], "468")[0]

    def make(batch_size: int = 4, pack=labelled_pack, **settings):
        chosen = TwinSettings(**{"size": 64, "family": "irrational", **settings})
        return EvaluationTwins(pack, chosen, mean_points=mean, batch_size=batch_size)

    return make


@pytest.fixture(scope="session")
def made_up_network():
    """`made_up_network(strength, spread)`: shape from the picture's brightness, so covers change it.

    `strength` is the share of a cover's change that is let through, `spread` a factor on all shapes: below 1
    it shrinks them towards the mean.
    """
    import torch

    from occface_core.morphable.parameters import FaceParameters
    from occface_core.networks.encoder import EncoderOutput, default_code_statistics

    def make(strength: float = 1.0, spread: float = 1.0):
        def predict(image):
            code = default_code_statistics()[0].repeat(len(image), 1)
            centre = image[:, :, 24:40, 24:40].mean((1, 2, 3))  # an occluder changes this
            rim = image[:, :, :6].mean((1, 2, 3))  # and hardly this
            code[:, 0] = code[:, 100] = spread * 10 * (strength * centre + (1 - strength) * rim)
            logits = torch.full((len(image), 1, 8, 8), 5.0)
            return EncoderOutput(FaceParameters.from_code(code), code, code, logits)

        return predict

    return make
