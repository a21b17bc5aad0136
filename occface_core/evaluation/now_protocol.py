"""The NoW benchmark over a folder of predictions: on all cores, resumable, nothing skipped in silence.

Outcomes are kept per image in a cache beside the results and reused while the files behind them stay the
same.
"""

import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from occface_core.errors import ConfigError, DataError, OccFaceError
from occface_core.evaluation.now_alignment import UNITS, CroppedScan, crop_scan, scan_errors
from occface_core.evaluation.now_files import (
    NowDataset,
    NowImage,
    PredictionFiles,
    find_prediction,
    read_geometry,
    read_landmarks,
    read_picked_points,
    unexpected_files,
)
from occface_core.evaluation.parallel import results

PROTOCOL_VERSION = 1  # raise when a change moves distances: older cached results are then ignored
STATUSES = ("ok", "missing", "invalid", "scan", "vertex_count")
# What a broken file may raise on its way through the arithmetic; it must not stop the other images.
_FILE_TROUBLE = (OccFaceError, ArithmeticError, ValueError, OSError)

Progress = Callable[[Iterable, int], Iterable]


@dataclass(frozen=True)
class ImageOutcome:
    """What happened to one image of the list.

    Attributes:
        image: the image.
        status: "ok"; "missing" (no mesh or no landmarks); "invalid" (prediction unusable); "scan" (ground
            truth unusable); "vertex_count" (measured, but its mesh has another vertex count than the others).
        message: names the file and the trouble; empty when ok.
        distances: mm per kept scan vertex; None unless measured.
        vertex_count: vertices of the predicted mesh, 0 unless measured.
        procrustes_scale: mm per prediction unit by landmarks alone, NaN unless measured.
    """

    image: NowImage
    status: str
    message: str = ""
    distances: Float[np.ndarray, " N"] | None = None
    vertex_count: int = 0
    procrustes_scale: float = float("nan")


@dataclass(frozen=True)
class NowReport:
    """Outcomes in the order of the image list, and files that belong to no image."""

    outcomes: tuple[ImageOutcome, ...]
    unexpected: tuple[str, ...]
    unit: str | None

    @property
    def counts(self) -> dict[str, int]:
        """Status -> number of images, all statuses named."""
        found = Counter(outcome.status for outcome in self.outcomes)
        return {status: found[status] for status in STATUSES}

    @property
    def failed(self) -> tuple[ImageOutcome, ...]:
        """Images that give no distances."""
        return tuple(outcome for outcome in self.outcomes if outcome.status != "ok")

    def measured(self, challenge: str | None = None) -> tuple[ImageOutcome, ...]:
        """Images that count, of one challenge or of all."""
        return tuple(o for o in self.outcomes
                     if o.status == "ok" and challenge in (None, o.image.challenge))

    @property
    def challenges(self) -> tuple[str, ...]:
        """Challenges in the run, in order of appearance."""
        return tuple(dict.fromkeys(outcome.image.challenge for outcome in self.outcomes))


@dataclass(frozen=True)
class _Job:
    image: NowImage
    files: PredictionFiles
    scan: Path
    points: Path
    unit: str | None
    cache: Path


def evaluate(dataset: NowDataset, predictions: Path, *, cache: Path, unit: str | None = None,
             challenges: Sequence[str] = (), mixed_topology: bool = False, workers: int | None = None,
             progress: Progress | None = None) -> NowReport:
    """Measure every prediction.

    Args:
        dataset: scans and image list.
        predictions: folder in the NoW layout.
        cache: folder for results per image.
        unit: None = non-metrical; "m", "cm", "mm" = metrical with predictions in that unit.
        challenges: evaluate only these; empty = all.
        mixed_topology: accept meshes with different vertex counts.
        workers: processes; None = one per core.
        progress: wraps the stream of finished images, given it and its length (a progress bar).

    Raises:
        DataError: the predictions folder does not exist.
        ConfigError: unknown unit, or no image of the challenges asked for.
    """
    if not predictions.is_dir():
        raise DataError(f"the predictions folder {predictions} does not exist")
    if unit is not None and unit not in UNITS:
        raise ConfigError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
    images = [image for image in dataset.images if not challenges or image.challenge in challenges]
    if not images:
        known = ", ".join(sorted({image.challenge for image in dataset.images}))
        raise ConfigError(f"no image of {', '.join(challenges)} in the list; it has {known}")
    outcomes: dict[NowImage, ImageOutcome] = {}
    jobs = []
    for image in images:
        job = _prepare(dataset, predictions, image, unit, cache)
        if isinstance(job, ImageOutcome):
            outcomes[image] = job
        else:
            jobs.append(job)
    stream = results(run_job, sorted(jobs, key=lambda job: job.image), workers or os.cpu_count() or 1)
    for outcome in progress(stream, len(jobs)) if progress else stream:
        outcomes[outcome.image] = outcome
    ordered = [outcomes[image] for image in images]
    if not mixed_topology:
        ordered = _flag_other_topology(ordered)
    return NowReport(tuple(ordered), tuple(unexpected_files(predictions, dataset.images)), unit)


def _prepare(dataset: NowDataset, predictions: Path, image: NowImage, unit: str | None,
             cache: Path) -> "_Job | ImageOutcome":
    files = find_prediction(predictions, image)
    if files.mesh is None or files.landmarks is None:
        parts = (("mesh (.obj, .ply)", files.mesh), ("landmarks (.npy, .txt)", files.landmarks))
        lacking = " and ".join(name for name, path in parts if path is None)
        return ImageOutcome(image, "missing", f"no {lacking} for {predictions / image.key}")
    try:
        scan, points = dataset.scan_files(image.subject)
    except DataError as error:
        return ImageOutcome(image, "scan", str(error))
    return _Job(image, files, scan, points, unit, cache / f"{image.key}.npz")


def run_job(job: _Job) -> ImageOutcome:
    """Measure one image, or take its result from the cache. Runs in a worker process."""
    mark = _fingerprint(job)
    stored = _read_cache(job, mark)
    if stored is not None:
        return stored
    try:
        scan = _scan(job.scan, job.points)
    except _FILE_TROUBLE as error:
        return ImageOutcome(job.image, "scan", _named(error, job.scan))
    try:
        verts, faces = read_geometry(job.files.mesh)  # type: ignore[arg-type]
        landmarks = read_landmarks(job.files.landmarks)  # type: ignore[arg-type]
        errors = scan_errors(scan, verts, faces, landmarks, job.unit)
    except _FILE_TROUBLE as error:
        return ImageOutcome(job.image, "invalid", _named(error, job.files.mesh))
    outcome = ImageOutcome(job.image, "ok", "", errors.distances.astype(np.float32), len(verts),
                           errors.procrustes_scale)
    _write_cache(job.cache, mark, outcome)
    return outcome


def _named(error: Exception, path: Path | None) -> str:
    """The error's message, with the file in front unless it already names one in that folder."""
    text = str(error)
    return text if path is None or str(path.parent) in text else f"{path}: {text}"


@lru_cache(maxsize=2)
def _scan(scan: Path, points: Path) -> CroppedScan:
    """A subject's cropped scan; consecutive images mostly share it."""
    return crop_scan(read_geometry(scan)[0], read_picked_points(points))


def _fingerprint(job: _Job) -> str:
    """Changes when any file behind a result does."""
    paths = (job.files.mesh, job.files.landmarks, job.scan, job.points)
    stats = [path.stat() for path in paths if path is not None]
    sizes = " ".join(f"{s.st_size}:{s.st_mtime_ns}" for s in stats)
    return f"v{PROTOCOL_VERSION} {job.unit} {' '.join(str(path) for path in paths)} {sizes}"


def _read_cache(job: _Job, mark: str) -> ImageOutcome | None:
    try:
        with np.load(job.cache, allow_pickle=False) as data:
            if str(data["fingerprint"]) != mark:
                return None
            return ImageOutcome(job.image, "ok", "", data["distances"], int(data["vertex_count"]),
                                float(data["procrustes_scale"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # absent or damaged: measure again
        return None


def _write_cache(path: Path, mark: str, outcome: ImageOutcome) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "fingerprint": mark,
        "distances": outcome.distances,
        "vertex_count": outcome.vertex_count,
        "procrustes_scale": outcome.procrustes_scale,
    }
    partial = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez(partial, **values)
    os.replace(partial, path)  # whole or not at all, whenever the run is stopped


def _flag_other_topology(outcomes: Sequence[ImageOutcome]) -> list[ImageOutcome]:
    """Mark measured meshes whose vertex count is not the most common one."""
    found = Counter(outcome.vertex_count for outcome in outcomes if outcome.status == "ok")
    if len(found) < 2:
        return list(outcomes)
    usual, times = found.most_common(1)[0]
    text = f"vertices where {times} of {found.total()} have {usual}; allow mixed topology if intended"
    return [replace(o, status="vertex_count", message=f"the predicted mesh has {o.vertex_count} {text}")
            if o.status == "ok" and o.vertex_count != usual else o for o in outcomes]
