"""Region errors of a folder of predictions: one process per core, resumable, nothing skipped in silence."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from occface_core.errors import OccFaceError
from occface_core.evaluation.now_files import read_geometry
from occface_core.evaluation.parallel import results
from occface_core.evaluation.region_errors import REGIONS, region_errors
from occface_core.evaluation.region_files import (
    KeypointsOf,
    RegionDataset,
    RegionPrediction,
    SubjectTruth,
    barycentric_keypoints,
    head_keypoints,
    read_keypoints,
)
from occface_core.morphable.head_model import HeadModel

VERSION = 2  # part of the fingerprint: a change of the measure makes older results void
OPEN = "open"
_TROUBLE = (OccFaceError, ArithmeticError, ValueError, OSError, RuntimeError)
Progress = Callable[[Iterable, int], Iterable]


@dataclass(frozen=True)
class RegionOutcome:
    """One prediction: mm per region, or what went wrong.

    Attributes:
        name: its path in the predictions' folder, without ending.
        subject: whose scan it was measured against.
        mean_mm: region -> error after bending the correspondences (REALY's figure).
        rigid_mm: region -> error to the closest point after rigid alignment.
        message: empty when measured.
    """

    name: str
    subject: str
    mean_mm: dict[str, float] = field(default_factory=dict)
    rigid_mm: dict[str, float] = field(default_factory=dict)
    message: str = ""

    @property
    def group(self) -> str:
        """Folder between subject and file (NoW's challenge), or nothing."""
        return "/".join(self.name.split("/")[1:-1])


@dataclass(frozen=True)
class _Job:
    dataset: RegionDataset
    prediction: RegionPrediction
    keypoints: str  # "open" or a file of barycentric keypoints
    cache: Path


def evaluate(
    dataset: RegionDataset,
    predictions: Sequence[RegionPrediction],
    *,
    keypoints: str = OPEN,
    cache: Path,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[RegionOutcome]:
    """Measure every prediction, in the order given.

    Args:
        dataset: scans cut into regions.
        predictions: meshes and their subjects.
        keypoints: "open" for the shipped head, or REALY's barycentric file of the meshes' topology. A mesh
            with its own .npy of 68 or 85 keypoints beside it uses that.
        cache: folder for results so far.
        workers: processes; None = one per core.
        progress: wraps the stream of finished predictions.
    """
    jobs = [_Job(dataset, p, keypoints, cache / f"{p.name}.json") for p in predictions]
    by_subject = sorted(jobs, key=lambda job: job.prediction.subject)  # so that a worker rarely changes scans
    stream = results(run_job, by_subject, workers or os.cpu_count() or 1)
    found = {o.name: o for o in (progress(stream, len(jobs)) if progress else stream)}
    return [found[p.name] for p in predictions]


def run_job(job: _Job) -> RegionOutcome:
    """Measure one prediction, or take its result from the cache. Runs in a worker process."""
    p = job.prediction
    try:
        mark = _fingerprint(job)
        stored = _read_cache(job.cache, mark)
        if stored is not None:
            return stored
        truth = _truth(job.dataset.regions, job.dataset.keypoints, _scale(job.dataset), p.subject)
        verts, faces = read_geometry(p.mesh)
        own = p.own_keypoints
        points = read_keypoints(own) if own is not None else _keypoints_of(job.keypoints)(verts, faces)
        scan_points = truth.keypoints[: len(points)]  # a prediction with 68 of REALY's 85
        errors = region_errors(truth.regions, scan_points, verts, faces, points, unit_mm=truth.unit_mm)
    except _TROUBLE as error:
        text = str(error)
        return RegionOutcome(p.name, p.subject, message=text if p.mesh.name in text else f"{p.mesh}: {text}")
    mean, rigid = ({k: getattr(e, part) for k, e in errors.items()} for part in ("mean_mm", "rigid_mm"))
    outcome = RegionOutcome(p.name, p.subject, mean, rigid)
    _write_cache(job.cache, mark, outcome)
    return outcome


def _scale(dataset: RegionDataset) -> tuple[float, ...] | None:
    return None if dataset.scale is None else tuple(dataset.scale.tolist())


@lru_cache(maxsize=2)
def _truth(regions: Path, keypoints: Path, scale: tuple[float, ...] | None, subject: str) -> SubjectTruth:
    """A subject's scan; consecutive predictions mostly share it."""
    return RegionDataset(regions, keypoints, None if scale is None else np.array(scale)).read(subject)


@lru_cache(maxsize=2)
def _keypoints_of(source: str) -> KeypointsOf:
    return head_keypoints(HeadModel.load()) if source == OPEN else barycentric_keypoints(Path(source))


def _fingerprint(job: _Job) -> str:
    """Changes when any file behind a result does."""
    p, dataset = job.prediction, job.dataset
    paths = [
        p.mesh,
        *sorted((dataset.regions / p.subject).iterdir()),
        *dataset.keypoints.glob(f"{p.subject}.*"),
    ]
    paths += [path for path in (p.mesh.with_suffix(".npy"), Path(job.keypoints)) if path.is_file()]
    stats = [(str(path), (s := path.stat()).st_size, s.st_mtime_ns) for path in paths]
    text = json.dumps([VERSION, job.keypoints, p.subject, _scale(dataset), stats])
    return hashlib.sha256(text.encode()).hexdigest()


def _read_cache(path: Path, mark: str) -> RegionOutcome | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return RegionOutcome(**stored["outcome"]) if stored["mark"] == mark else None
    except (OSError, ValueError, KeyError, TypeError):  # absent or damaged: measure again
        return None


def _write_cache(path: Path, mark: str, outcome: RegionOutcome) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps({"mark": mark, "outcome": asdict(outcome)}), encoding="utf-8")
    os.replace(partial, path)  # whole or not at all, whenever the run is stopped


def summarise(outcomes: Sequence[RegionOutcome]) -> dict[str, dict]:
    """Over all predictions, and by folder where there are several: per region mean and standard deviation
    (sample) of the predictions' errors; "all" is the mean of the four regions' means, as REALY prints."""
    names = sorted({o.group for o in outcomes})
    picks: Mapping[str, Sequence[RegionOutcome]] = {"all": outcomes} | (
        {name or ".": [o for o in outcomes if o.group == name] for name in names} if len(names) > 1 else {}
    )
    return {name: _figures(members) for name, members in picks.items()}


def _figures(outcomes: Sequence[RegionOutcome]) -> dict:
    measured = [o for o in outcomes if not o.message]
    row: dict = {"count": len(measured), "failed": len(outcomes) - len(measured)}
    for kind in ("mean_mm", "rigid_mm"):
        means = []
        for region in REGIONS:
            values = np.array([getattr(o, kind)[region] for o in measured])
            means.append(float(values.mean()) if len(values) else float("nan"))
            spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
            row[f"{region}/{kind}"] = {"mean": means[-1], "std": spread}
        row[f"all/{kind}"] = {"mean": float(np.mean(means))}
    return row
