"""Occlusion robustness: clean photos and their occluded twins through several networks, by family and
coverage.

The reference of every distance is the teacher on the clean photo (DESIGN: prediction(occluded) against
teacher(clean)); landmarks are measured against the photo's own annotations.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.data.batches import TwinBatch, TwinSampler
from occface_core.evaluation.metrics import (
    bootstrap_interval,
    nme,
    posed_error_mm,
    segmentation_scores,
    shape_error_mm,
    shape_spread_mm,
    texture_error,
)
from occface_core.morphable.albedo import AlbedoModel
from occface_core.morphable.head_model import HeadModel
from occface_core.morphable.parameters import FaceParameters
from occface_core.networks.encoder import EncoderOutput
from occface_core.occlusion.api import EMPIRICAL, IRRATIONAL
from occface_core.rendering.cameras import to_pixels, weak_perspective

Encoder = Callable[[Tensor], EncoderOutput]
BINS: tuple[tuple[float, float], ...] = (
    (0.0, 0.1),
    (0.1, 0.2),
    (0.2, 0.3),
    (0.3, 0.4),
    (0.4, 0.5),
    (0.5, 1.0),
)


@dataclass
class Rows:
    """Per-image results: column name -> list of values, one per image."""

    columns: dict[str, list] = field(default_factory=dict)
    neutral: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, name: str, values: Iterable) -> None:
        self.columns.setdefault(name, []).extend(values.tolist() if isinstance(values, Tensor) else values)

    def array(self, name: str) -> np.ndarray:
        """One column as an array."""
        return np.asarray(self.columns[name])


@dataclass(frozen=True)
class Geometry:
    """What is compared of one prediction."""

    neutral: Float[Tensor, "B V 3"]
    posed: Float[Tensor, "B V 3"]
    albedo: Float[Tensor, "B V 3"]
    points: Float[Tensor, "B 468 2"]


class RobustnessBenchmark:
    """Compares networks on one set of twins.

    Args:
        head, albedo: the face model all of them predict.
        reference: name of the model whose clean prediction is the reference.
        models: name -> network, all on the same device.
        include_mean: also report the mean head, posed and placed as the reference is.
    """

    def __init__(
        self,
        head: HeadModel,
        albedo: AlbedoModel,
        models: Mapping[str, Encoder],
        *,
        reference: str,
        include_mean: bool = True,
    ) -> None:
        self.head, self.albedo, self.models, self.reference = head, albedo, models, reference
        self.face = head.regions["face"]
        self.include_mean = include_mean

    def geometry(self, params: FaceParameters, size: int) -> Geometry:
        """Meshes, albedo and landmark pixels of a prediction."""
        posed = self.head(params.betas, params.expression, params.pose).verts
        points = to_pixels(weak_perspective(self.head.landmarks(posed, "468"), params.camera), size)[..., :2]
        return Geometry(
            self.head.neutral(params.betas),
            posed,
            self.albedo.vertex_albedo(params.albedo, self.head),
            points,
        )

    @torch.no_grad()
    def run(self, sampler: TwinSampler, *, progress: Callable[[Iterable], Iterable] = iter) -> Rows:
        """Evaluate every photo of a non-augmenting sampler once."""
        rows = Rows()
        for step in progress(range(len(sampler))):
            self._batch(sampler[step], rows)
        return rows

    def _batch(self, batch: TwinBatch, rows: Rows) -> None:
        size = batch.clean.shape[-1]
        rows.add("family", batch.family)
        rows.add("coverage", batch.coverage)
        rows.add("index", batch.index)
        clean = {name: model(batch.clean) for name, model in self.models.items()}
        target = self.geometry(clean[self.reference].params, size)
        for name, model in self.models.items():
            for kind, out in (("clean", clean[name]), ("occluded", model(batch.occluded))):
                self._compare(rows, f"{name}/{kind}", self.geometry(out.params, size), target, batch.points)
                if out.mask_logits is not None:
                    truth = batch.face_mask if kind == "clean" else batch.visible
                    self._segmentation(rows, f"{name}/{kind}", out.mask_logits, truth, batch.face_mask)
        if self.include_mean:
            params = clean[self.reference].params
            mean = params.replace(
                betas=torch.zeros_like(params.betas), albedo=torch.zeros_like(params.albedo)
            )
            self._compare(rows, "mean head/clean", self.geometry(mean, size), target, batch.points)

    def _compare(self, rows: Rows, key: str, got: Geometry, target: Geometry, points: Tensor) -> None:
        rows.add(f"{key}/shape_mm", shape_error_mm(got.neutral, target.neutral, self.face))
        rows.add(f"{key}/posed_mm", posed_error_mm(got.posed, target.posed, self.face))
        rows.add(f"{key}/texture", texture_error(got.albedo, target.albedo, self.face))
        rows.add(f"{key}/nme", nme(got.points, points))
        rows.neutral.setdefault(key, []).append(got.neutral[:, self.face > 0.5])

    def _segmentation(self, rows: Rows, key: str, logits: Tensor, truth: Tensor, region: Tensor) -> None:
        size = truth.shape[-2:]
        predicted = (
            torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)[:, 0] > 0
        )
        for name, value in segmentation_scores(predicted, truth[:, 0] > 0.5, region[:, 0] > 0.5).items():
            rows.add(f"{key}/mask_{name}", value)


def summarise(rows: Rows, *, seed: int = 0) -> dict:
    """Means with 95 % bootstrap intervals: over all images, by coverage bin, occlusion kind and family."""
    rng = np.random.default_rng(seed)
    coverage, family = rows.array("coverage"), rows.array("family")
    metrics = [c for c in rows.columns if c not in ("coverage", "family", "index")]
    groups = {"all": np.ones(len(coverage), bool)}
    groups |= {
        f"coverage {lo:.0%}-{hi:.0%}": (coverage >= lo) & (coverage < hi) & (coverage > 0) for lo, hi in BINS
    }
    for kind, members in (("irrational", IRRATIONAL), ("empirical", EMPIRICAL)):
        groups[f"kind {kind}"] = np.isin(family, list(members))
    groups |= {f"family {name}": family == name for name in sorted(set(family.tolist()))}
    table = {}
    for group, pick in groups.items():
        if pick.any():
            table[group] = {"count": int(pick.sum())} | {
                m: {
                    "mean": float(np.nanmean(rows.array(m)[pick])),
                    "ci95": bootstrap_interval(rows.array(m)[pick], rng=rng),
                }
                for m in metrics
            }
    spread = {}
    for key, parts in rows.neutral.items():
        verts = torch.cat(parts)
        spread[key] = shape_spread_mm(verts, torch.ones(verts.shape[1]))
    return {"groups": table, "spread_mm": spread}


def reductions(summary: dict, teacher: str, student: str, group: str = "all") -> dict[str, float]:
    """1 - student/teacher on the same occluded images, and the ratios that keep it honest."""
    row = summary["groups"][group]

    def mean(model: str, kind: str, metric: str) -> float:
        return row[f"{model}/{kind}/{metric}"]["mean"]

    result = {
        f"{metric}_reduction": 1
        - _ratio(mean(student, "occluded", metric), mean(teacher, "occluded", metric))
        for metric in ("shape_mm", "posed_mm", "texture", "nme")
    }
    for model in (teacher, student):
        result[f"nme_ratio/{model}"] = _ratio(mean(model, "occluded", "nme"), mean(model, "clean", "nme"))
    spread = summary["spread_mm"]
    result["spread_ratio"] = _ratio(spread[f"{student}/occluded"], spread[f"{teacher}/clean"])
    return result


def _ratio(value: float, by: float) -> float:
    """`value / by`, NaN where nothing was there to compare with."""
    return value / by if by else float("nan")


def to_json(summary: dict) -> str:
    """Readable JSON of a summary."""
    return json.dumps(summary, indent=2, sort_keys=True)
