"""Rendered faces written to a folder with everything that is known about them; layout in docs/data.md.

Pictures go out in chunks of people. A chunk depends on nothing but the seed and its number, and its truth
file is written last, so an interrupted export goes on where it stopped, and a longer one extends a shorter.
"""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt16
from torch import Tensor

from occface_core.data.archives import read_arrays
from occface_core.data.pixels import to_bytes
from occface_core.data.synthetic import SyntheticBatch, SyntheticFaces
from occface_core.errors import ConfigError, DataError
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import DECA_236
from occface_core.rendering.cameras import to_pixels, weak_perspective
from occface_core.rendering.rasterizer import rasterize

log = logging.getLogger(__name__)

CHUNK = 16  # people drawn together
SETTINGS = "synthesis.json"
DEPTH_ZERO, DEPTH_STEPS = 32768, 100.0  # 16-bit depth: value = 32768 + 100 * millimetres; 0 = no head
MIN_SIZE, MAX_SIZE = 64, 896  # landmarks.npz holds pixels up to 960
FORMAT = 1


@dataclass(frozen=True)
class ExportConfig:
    """What is exported. All but `count` must stay the same when an export is continued.

    Attributes:
        count: people; each has `views` pictures.
        views: pictures of one person and moment, from different directions and in different places.
        size: side of the pictures, pixels.
        zoom: size of the face against a training crop; below 1 leaves room around it, as in a photo.
        seed: the same seed gives the same pictures.
        vertices: also store the posed vertices of every picture (56 kB each).
    """

    count: int = 1000
    views: int = 1
    size: int = 256
    zoom: float = 0.6
    seed: int = 0
    vertices: bool = False

    def __post_init__(self) -> None:
        for name in ("count", "views"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} {getattr(self, name)} must be at least 1")
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ConfigError(f"size {self.size} must be within {MIN_SIZE}..{MAX_SIZE} pixels")
        if not 0.2 <= self.zoom <= 1.5:
            raise ConfigError(f"zoom {self.zoom} must be within 0.2..1.5")
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} must be at least 0")


@dataclass(frozen=True)
class ExportResult:
    """How many pictures were rendered now, and how many were there already."""

    rendered: int
    kept: int


def encode_depth(millimetres: Float[np.ndarray, "H W"], mask: np.ndarray) -> UInt16[np.ndarray, "H W"]:
    """Depth as 16-bit values in hundredths of a millimetre around 32768; 0 outside the mask (H,W) bool."""
    values = np.rint(DEPTH_ZERO + DEPTH_STEPS * millimetres).clip(1, 65535)
    return np.where(mask, values, 0).astype(np.uint16)


def decode_depth(values: UInt16[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Depth in millimetres from a stored depth picture, NaN where there is no head."""
    depth = (values.astype(np.float32) - DEPTH_ZERO) / np.float32(DEPTH_STEPS)
    return np.where(values > 0, depth, np.float32(np.nan))


def export_synthetic(
    head: HeadModel,
    albedo: AlbedoModel,
    folder: Path,
    config: ExportConfig,
    *,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> ExportResult:
    """Render people into a folder, continuing an interrupted export of the same settings.

    Args:
        head, albedo: what is rendered, on the device to render on.
        folder: an empty or new folder, or one that an export of the same settings left.
        config: what to render.
        progress: wraps the chunk numbers, for example tqdm.

    Raises:
        DataError: the folder holds something else, or an export of other settings.
    """
    _claim(folder, config)
    faces = SyntheticFaces(head, albedo, config.size)
    rendered = kept = 0
    for chunk in progress(range(-(-config.count // CHUNK))):
        people = min(CHUNK, config.count - chunk * CHUNK)
        truth = folder / "truth" / f"{chunk:05d}.npz"
        there = _stored(truth)
        if there == people * config.views:
            kept += there
            continue
        _write_chunk(faces, folder, truth, config, chunk, people)
        rendered += people * config.views
    _write_landmarks(folder, config)
    return ExportResult(rendered, kept)


def _claim(folder: Path, config: ExportConfig) -> None:
    """Make the folders of an export, or see that they are those of this one."""
    own = {"format": FORMAT, "chunk": CHUNK, **asdict(config)}
    path = folder / SETTINGS
    temporary = path.with_suffix(".tmp")
    if path.is_file():
        try:
            stored = json.loads(path.read_text())
            count = int(stored["count"])
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{path}: not the settings of an export ({error}); choose another folder"
            ) from error
        changed = [k for k in own if k != "count" and stored.get(k) != own[k]]
        if changed:
            key = changed[0]
            raise DataError(
                f"{folder} holds an export with {key} {stored.get(key)!r}, this one has {own[key]!r}; "
                "choose another folder"
            )
        if count > config.count:
            raise DataError(f"{folder} already holds {count} people, more than {config.count}")
    elif folder.exists() and any(entry != temporary for entry in folder.iterdir()):
        raise DataError(f"{folder} is not empty and not an export of rendered faces; choose another folder")
    # First of all, and whole: a folder without settings is taken for somebody else's.
    folder.mkdir(parents=True, exist_ok=True)
    temporary.write_text(json.dumps(own, indent=2) + "\n")
    temporary.replace(path)
    for name in ("photos", "masks", "depth", "truth"):
        (folder / name).mkdir(exist_ok=True)


def _stored(truth: Path) -> int:
    """How many pictures a finished chunk holds; 0 when it must be made."""
    return len(_read_chunk(truth)["name"]) if truth.is_file() else 0


def _read_chunk(truth: Path) -> dict[str, np.ndarray]:
    try:
        return read_arrays(truth, "a chunk of an export", "name", "identity", "landmarks468")
    except DataError as error:
        raise DataError(f"{error}; delete it and export again") from error


def _write_chunk(
    faces: SyntheticFaces, folder: Path, truth: Path, config: ExportConfig, chunk: int, people: int
) -> None:
    seed = int(np.random.default_rng([config.seed, chunk]).integers(2**62))
    generator = torch.Generator().manual_seed(seed)
    # The whole chunk is computed, also when fewer people are wanted: sums over another batch size may differ
    # in the last bit, and a longer export must continue this one.
    with torch.no_grad():
        if config.views > 1:
            batch = faces.sample_views(
                CHUNK * config.views, config.views, generator=generator, zoom=config.zoom
            )
        else:
            batch = faces.sample(CHUNK, generator=generator, zoom=config.zoom)
        params = batch.params
        verts = faces.head(params.betas, params.expression, params.pose).verts
        depth, head_mask = depth_maps(verts, params.camera, faces.head.faces, config.size)
        numbers = _numbers(faces.head, batch, verts)
    names, identities = [], []
    for row in range(people * config.views):
        person, view = chunk * CHUNK + row // config.views, row % config.views
        names.append(f"{person:06d}-{view}.png")
        identities.append(f"{person:06d}")
    _write_pictures(folder, names, batch, depth, head_mask)
    if config.vertices:
        numbers["vertices"] = verts.cpu().numpy()
    stored = {key: value[: len(names)] for key, value in numbers.items()}
    _save(truth, {"name": np.array(names), "identity": np.array(identities), **stored})


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an archive whole or not at all."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


def depth_maps(
    verts: Float[Tensor, "B V 3"], camera: Float[Tensor, "B 3"], faces: Tensor, size: int
) -> tuple[Float[Tensor, "B H W"], Tensor]:
    """Depth of the whole head in millimetres from its origin, larger = farther, and where there is one."""
    verts_px = to_pixels(weak_perspective(verts, camera), size)
    fragments = rasterize(verts_px, faces, size, size)
    mask = fragments.pix_to_face >= 0
    pixels_per_mm = camera[:, 0] * size / 2000.0
    depth = torch.where(mask, fragments.zbuf, torch.zeros_like(fragments.zbuf)) / pixels_per_mm[:, None, None]
    return depth, mask


def _write_pictures(
    folder: Path, names: list[str], batch: SyntheticBatch, depth: Tensor, head_mask: Tensor
) -> None:
    pixels = to_bytes(batch.image)
    skin = (batch.mask[:, 0] > 0.5).cpu().numpy().astype(np.uint8) * 255
    far, seen = depth.cpu().numpy(), head_mask.cpu().numpy()
    for row, name in enumerate(names):
        pictures = {
            "photos": pixels[row][..., ::-1],  # OpenCV writes BGR
            "masks": skin[row],
            "depth": encode_depth(far[row], seen[row]),
        }
        for part, picture in pictures.items():
            if not cv2.imwrite(str(folder / part / name), picture):
                raise DataError(f"{folder / part / name}: could not be written; is the disk full?")


def _numbers(head: HeadModel, batch: SyntheticBatch, verts: Tensor) -> dict[str, np.ndarray]:
    params, size = batch.params, batch.image.shape[-1]
    marks68 = head.landmarks(verts, "68", global_pose=params.pose[:, :3])
    values = {
        "code": params.to_code(DECA_236),
        "camera": params.camera,
        "landmarks468": batch.points,
        "landmarks68": to_pixels(weak_perspective(marks68, params.camera), size),
    }
    return {name: value.cpu().numpy().astype(np.float32) for name, value in values.items()}


def _write_landmarks(folder: Path, config: ExportConfig) -> None:
    """`photos/landmarks.npz`: what training reads, put together from the chunks."""
    columns: dict[str, list[np.ndarray]] = {"name": [], "identity": [], "landmarks_q": []}
    for chunk in range(-(-config.count // CHUNK)):
        data = _read_chunk(folder / "truth" / f"{chunk:05d}.npz")
        points = data["landmarks468"][..., :2]
        columns["name"].append(data["name"])
        columns["identity"].append(data["identity"])
        columns["landmarks_q"].append(np.rint((points + 64) * 64).astype(np.int32))
    merged = {name: np.concatenate(parts) for name, parts in columns.items()}
    _save(folder / "photos" / "landmarks.npz", merged)


def read_truth(folder: Path) -> dict[str, np.ndarray]:
    """Everything the chunks of an export hold, by key, in the order of the pictures' names.

    Raises:
        DataError: there is no finished chunk, or one is damaged.
    """
    files = sorted((folder / "truth").glob("*.npz"))
    if not files:
        raise DataError(f"{folder}: no truth/*.npz, so no export of rendered faces")
    parts = [_read_chunk(path) for path in files]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
