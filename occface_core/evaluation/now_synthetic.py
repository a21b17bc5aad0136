"""Synthetic NoW: scans, photos and landmarks of open heads, in exactly NoW's folders.

It lets anyone run reconstruct-then-evaluate without registering for the real data, and gives baselines with
exact truth. Identities come from a seed of their own, so no training run has seen them; the scans carry
detail that the shape space cannot express. It is no substitute for NoW: the faces are rendered.

Besides NoW's files (``iphone_pictures``, ``detected_face``, ``scans``, ``scans_lmks_onlypp``,
``imagepathsvalidation.txt``) it writes ``boxes.csv`` (68-point boxes), ``regions`` and ``keypoints`` (for
``benchmark regions``), ``truth/<subject>.npz`` and ``synthetic.json``.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from occface_core.data.synthetic import SyntheticBatch, SyntheticFaces
from occface_core.errors import ConfigError
from occface_core.evaluation.now_files import CHALLENGES, IMAGE_LISTS
from occface_core.evaluation.now_synthetic_scan import Scan, ScanConfig, keep_vertices, make_scan
from occface_core.evaluation.region_errors import REGIONS
from occface_core.evaluation.region_parts import face_parts
from occface_core.geometry.mesh import Mesh
from occface_core.geometry.mesh_io import save_mesh
from occface_core.morphable.head_model import HeadModel
from occface_core.occlusion.api import occlude
from occface_core.rendering.cameras import to_pixels, weak_perspective

PICTURES, BOXES = "iphone_pictures", "boxes.csv"
MM = 1000.0
_HIDDEN_REGIONS = ("mouth_interior",)
_QUALITY = 95


@dataclass(frozen=True)
class SyntheticNowConfig:
    """Size and look of the set.

    Attributes:
        subjects: people.
        photos: photos of each person in each challenge.
        seed: identities and everything else follow from it; keep it apart from training seeds.
        zoom: face size in the photo relative to a network crop.
        coverage: share of the visible face hidden in ``multiview_occlusions``.
        scan: how scans depart from the model.
    """

    subjects: int = 20
    photos: int = 3
    seed: int = 770_001
    zoom: float = 0.6
    coverage: tuple[float, float] = (0.2, 0.5)
    scan: ScanConfig = field(default_factory=ScanConfig)

    def __post_init__(self) -> None:
        if self.subjects < 1 or self.photos < 1 or not 0.1 <= self.zoom <= 1:
            raise ConfigError(f"{self} needs at least one subject and photo, and zoom in 0.1..1")


@dataclass(frozen=True)
class _Person:
    """One identity and its random source."""

    name: str
    betas: Float[Tensor, "1 S"]
    albedo: Float[Tensor, "1 T"]
    generator: torch.Generator
    rng: np.random.Generator


def write_synthetic_now(faces: SyntheticFaces, root: Path, config: SyntheticNowConfig) -> Iterator[str]:
    """Write the set, one subject at a time.

    Args:
        faces: renderer of people, at the photos' size.
        root: folder to write, made if absent.
        config: what to make.

    Yields:
        Each subject's name once all of its files are there.

    Raises:
        AssetError: the head model lacks the seven NoW landmarks.
    """
    lines, boxes = list[str](), list[tuple[str, list[float]]]()
    for index in range(config.subjects):
        person = _person(faces, config.seed, index)
        _write_truth(faces.head, person, root, config.scan)
        for challenge in CHALLENGES:
            batch = _photos(faces, person, challenge, config)
            for k, box in enumerate(_boxes(faces.head, batch, faces.size)):
                line = f"{person.name}/{challenge}/IMG_{k:04d}.jpg"
                _write_photo(batch.image[k], root / PICTURES / line)
                _write_detection(box, (root / "detected_face" / line).with_suffix(".npy"))
                lines.append(line)
                boxes.append((line, box))
        yield person.name
    (root / IMAGE_LISTS["val"]).write_text("\n".join(lines) + "\n")
    with (root / BOXES).open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "x0", "y0", "x1", "y1"])
        table.writerows([line, *(f"{value:.2f}" for value in box)] for line, box in boxes)
    about = {"what": "rendered open heads in NoW's layout", "head": faces.head.name, "size": faces.size}
    (root / "synthetic.json").write_text(json.dumps({**about, **asdict(config)}, indent=2) + "\n")


def _person(faces: SyntheticFaces, seed: int, index: int) -> _Person:
    """Each identity depends on the seed and its own number only."""
    rng = np.random.default_rng([seed, index])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    betas = torch.randn(1, faces.head.n_shape, generator=generator).clamp(-3, 3)
    albedo = torch.randn(1, faces.albedo.n_components, generator=generator).clamp(-2.5, 2.5)
    device = faces.head.v_template.device
    return _Person(f"SYN_{index:04d}", betas.to(device), albedo.to(device), generator, rng)


def _photos(
    faces: SyntheticFaces, person: _Person, challenge: str, config: SyntheticNowConfig
) -> SyntheticBatch:
    """Photos of one person as the challenge wants them: neutral unless it is about expressions."""
    count, generator, device = config.photos, person.generator, person.betas.device
    pose = faces.poses(count, generator).to(device)
    expression = faces.expressions(count, generator).to(device)
    if challenge != "multiview_expressions":
        expression, pose = torch.zeros_like(expression), pose * pose.new_tensor([1, 1, 1, 0, 0, 0])
    people = person.betas.expand(count, -1), person.albedo.expand(count, -1)
    batch = faces.photograph(*people, expression, pose, generator=generator, zoom=config.zoom)
    if challenge != "multiview_occlusions":
        return batch
    covered = occlude(batch.image.cpu(), batch.mask.cpu(), points=batch.points.cpu(), family="empirical",
                      coverage=config.coverage, generator=generator)
    return SyntheticBatch(covered.image, batch.params, covered.mask, batch.points)


def _boxes(head: HeadModel, batch: SyntheticBatch, size: int) -> list[list[float]]:
    """Box of the 68 landmarks in each photo, x0 y0 x1 y1 pixels."""
    params = batch.params
    verts = head(params.betas, params.expression, params.pose).verts
    points = head.landmarks(verts, "68", global_pose=params.pose[:, :3])
    pixels = to_pixels(weak_perspective(points, params.camera), size)[..., :2]
    return torch.cat([pixels.amin(1), pixels.amax(1)], 1).tolist()


def _write_truth(head: HeadModel, person: _Person, root: Path, config: ScanConfig) -> None:
    neutral = head.neutral(person.betas)
    scan = _scan(head, neutral[0], config, person.rng)
    folder = root / "scans" / person.name
    folder.mkdir(parents=True, exist_ok=True)
    mesh = Mesh(torch.from_numpy(scan.verts).float(), torch.from_numpy(scan.faces))
    save_mesh(mesh, folder / f"{person.name}.obj")
    picked = root / "scans_lmks_onlypp" / person.name / f"{person.name}_picked_points.pp"
    write_picked_points(scan.landmarks, picked)
    _write_regions(scan, person, root)
    (root / "truth").mkdir(exist_ok=True)
    np.savez(root / "truth" / f"{person.name}.npz", verts_neutral=neutral[0].cpu().numpy(),
             betas=person.betas[0].cpu().numpy(), albedo_coeffs=person.albedo[0].cpu().numpy(),
             landmarks_now7=head.landmarks(neutral, "now7")[0].cpu().numpy())


def _scan(
    head: HeadModel, neutral: Float[Tensor, "V 3"], config: ScanConfig, rng: np.random.Generator
) -> Scan:
    skin = head.component == 0
    for name in _HIDDEN_REGIONS:
        skin = skin & (head.regions[name] < 0.5) if name in head.regions else skin

    def points_of(verts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        placed = torch.from_numpy(verts).to(neutral)[None]
        seven, keypoints = (head.landmarks(placed, which)[0].double().cpu().numpy()
                            for which in ("now7", "68_static"))
        return seven, keypoints

    verts, parts = neutral.double().cpu().numpy() * MM, face_parts(head).cpu().numpy()
    return make_scan(verts, head.faces.cpu().numpy(), skin.cpu().numpy(), parts, points_of, config, rng)


def _write_regions(scan: Scan, person: _Person, root: Path) -> None:
    """The scan cut into REALY's regions, and its 68 keypoints, for ``benchmark regions``."""
    folder = root / "regions" / person.name
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(REGIONS):
        verts, faces = keep_vertices(scan.verts, scan.faces, scan.parts == number)
        save_mesh(Mesh(torch.from_numpy(verts).float(), torch.from_numpy(faces)), folder / f"{name}.obj")
    (root / "keypoints").mkdir(exist_ok=True)
    np.save(root / "keypoints" / f"{person.name}.npy", scan.keypoints)


def write_picked_points(landmarks: Float[np.ndarray, "7 3"], path: Path) -> None:
    """Write seven landmarks as MeshLab does, the points on lines 9 to 15."""
    head = ["<!DOCTYPE PickedPoints>", "<PickedPoints>", " <DocumentData>",
            '  <DateTime date="2019-01-01" time="00:00:00"/>', '  <User name="synthetic"/>',
            f'  <DataFileName name="{path.parent.name}.obj"/>', '  <templateName name=""/>',
            " </DocumentData>"]
    points = [f' <point x="{x:.9g}" y="{y:.9g}" z="{z:.9g}" name="{number}" active="1"/>'
              for number, (x, y, z) in enumerate(landmarks)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*head, *points, "</PickedPoints>"]) + "\n")


def _write_photo(image: Float[Tensor, "3 H W"], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (image.clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(path, quality=_QUALITY)


def _write_detection(box: list[float], path: Path) -> None:
    """A face box as in NoW's ``detected_face``: a pickled dictionary, for other readers, never read here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sides = dict(zip(("left", "top", "right", "bottom"), box, strict=True))
    np.save(path, np.array(sides, dtype=object))
