"""How far eyes and mouths of reconstructions are open, against the photo's landmarks.

Few photos show closed eyes or wide mouths, so means over all photos say little about them, and a network that
gives everyone the usual opening does well by landmark errors. Here photos are sorted by what their landmarks
say, each range by itself.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.data.landmarks import eye_opening, lip_opening
from occface_core.evaluation.predictions import drawn_points
from occface_core.evaluation.robustness import Batches, Encoder
from occface_core.evaluation.twins import views_of
from occface_core.morphable.head_model import HeadModel

LANDMARKS = "landmarks"
OPENINGS = {"eyes": eye_opening, "lips": lip_opening}
# Lower ends of the ranges, shares of the face's size.
RANGES: dict[str, dict[str, float]] = {
    "eyes": {"closed": 0.0, "narrow": 0.02, "half open": 0.03, "open": 0.04, "wide": 0.055},
    "lips": {"closed": 0.0, "slightly open": 0.01, "open": 0.04, "wide": 0.08},
}
Columns = dict[str, dict[str, Float[np.ndarray, " N"]]]


@dataclass(frozen=True)
class OpeningRange:
    """Photos whose landmarks are within a range.

    Attributes:
        part: "eyes" or "lips". name: of the range. low, high: its ends, shares of the face's size.
        rows: (K,) the photos.
    """

    part: str
    name: str
    low: float
    high: float
    rows: np.ndarray


@torch.no_grad()
def measure_openings(
    models: Mapping[str, Encoder],
    twins: Batches,
    head: HeadModel,
    *,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Columns:
    """Openings of eyes and lips, shares of the face's size, of every photo.

    Args:
        models: name -> network.
        twins: photos and their covered twins.
        head: the head the networks predict.
        progress: wraps the batches.

    Returns:
        For `LANDMARKS` and each network and view ("student, clean", "student, covered"): (N,) `eyes`, `lips`.
    """
    parts: dict[str, dict[str, list[np.ndarray]]] = {}

    def add(name: str, points: Tensor) -> None:
        row = parts.setdefault(name, {part: [] for part in OPENINGS})
        for part, opening in OPENINGS.items():
            row[part].append(opening(points.double().cpu().numpy()))

    for step in progress(range(len(twins))):
        batch = twins[step]
        add(LANDMARKS, batch.points)
        views = views_of(batch)
        for name, model in models.items():
            for view, label in (("clean", "clean"), ("occluded", "covered")):
                params = model(views[view]).params
                verts = head(params.betas, params.expression, params.pose).verts
                add(f"{name}, {label}", drawn_points(head, verts, params, batch.clean.shape[-1])[..., :2])
    return {name: {part: np.concatenate(v) for part, v in row.items()} for name, row in parts.items()}


def opening_ranges(columns: Columns) -> list[OpeningRange]:
    """The photos of each range, by their landmarks."""
    found = []
    for part, lows in RANGES.items():
        truth, highs = columns[LANDMARKS][part], [*lows.values(), np.inf][1:]
        for (name, low), high in zip(lows.items(), highs, strict=True):
            rows = np.flatnonzero((truth >= low) & (truth < high))
            found.append(OpeningRange(part, name, low, high, rows))
    return found
