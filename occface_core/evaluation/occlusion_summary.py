"""From rows per photo to means, intervals, groups and comparisons. Definitions, layout: docs/metrics.md."""

import json
import math
from collections.abc import Sequence

import numpy as np

from occface_core.evaluation.groups import SMALL, label_groups
from occface_core.evaluation.metrics import bootstrap_means, percentile_interval
from occface_core.evaluation.occlusion_rows import Rows, kind_of

BINS: tuple[tuple[float, float], ...] = (
    (0.0, 0.1),
    (0.1, 0.2),
    (0.2, 0.3),
    (0.3, 0.4),
    (0.4, 0.5),
    (0.5, 1.0),
)
OWN_BINS = ((0.0, 0.03), (0.03, 0.1), (0.1, 1.0))  # shares of faces that the photos themselves hide
# What a lower value of is better, and so can be reduced: (input, metric).
REDUCIBLE = (
    ("occluded", "shape_mm"),
    ("occluded", "posed_mm"),
    ("occluded", "texture"),
    ("occluded", "nme"),
    ("occluded", "nme68"),
    ("occluded", "drift_mm"),
    ("occluded", "drift_nme68"),
    ("covers", "identity_mm"),
    ("covers", "identity_texture"),
)


def photo_groups(rows: Rows) -> dict[str, np.ndarray]:
    """Group name -> its photos: all, by coverage, kind, family and label; only those that occur."""
    coverage, family = rows.array("coverage"), rows.array("family")
    groups = {"all": np.ones(len(coverage), bool)}
    for low, high in BINS:
        above = (coverage > 0) if low == 0 else coverage >= low
        below = coverage <= high if high == 1 else coverage < high
        groups[f"coverage {low:.0%}-{high:.0%}"] = above & below
    if "own_cover" in rows.columns:
        own = rows.array("own_cover")
        groups |= {f"own cover {a:.0%}-{b:.0%}": (own >= a) & (own < b) for a, b in OWN_BINS}
    kinds = np.array([kind_of(name) for name in family])
    groups |= {f"kind {kind}": kinds == kind for kind in ("irrational", "empirical")}
    groups |= {f"family {name}": family == name for name in sorted(set(family.tolist()))}
    if rows.labels:
        groups |= label_groups([rows.labels[index] for index in rows.columns["index"]])
    return {name: pick for name, pick in groups.items() if pick.any()}


def summarise(rows: Rows, *, seed: int = 0) -> dict:
    """Means with 95 % bootstrap intervals in every group, and the spread of shapes."""
    rng = np.random.default_rng(seed)
    table: dict[str, dict] = {}
    for group, pick in photo_groups(rows).items():
        values = _matrix(rows, rows.metrics)[pick]
        drawn = bootstrap_means(values, rng=rng)
        table[group] = {"count": int(pick.sum())}
        for i, metric in enumerate(rows.metrics):
            there = values[np.isfinite(values[:, i]), i]
            table[group][metric] = {
                "mean": float(there.mean()) if len(there) else math.nan,
                "ci95": percentile_interval(drawn[:, i]),
                "count": len(there),
            }
    return {
        "groups": table,
        "small_groups": [name for name, row in table.items() if row["count"] < SMALL],
        "spread_mm": {key: sums.spread_mm for key, sums in rows.sums.items()},
    }


def compare(
    rows: Rows, model: str, against: str, group: str = "all", *, reference: str | None = None, seed: int = 0
) -> dict:
    """One participant against another on the photos of a group that both were measured on.

    Args:
        rows: the results.
        model, against: names of participants.
        group: one of `photo_groups`.
        reference: the network whose spread on clean photos is the right one (default `against`).
        seed: of the bootstrap.

    Returns:
        `model`, `against`, `group`, `count`, and by figure {"value", "ci95"}: `<metric>_reduction`
        = 1 - model/against, `<metric>_ratio` = the model's covered over clean, `<metric>_ratio_against`; for
        all photos also `spread_ratio` and `spread_kept`, which keep reductions honest.
    """
    pick = photo_groups(rows)[group]
    pairs = {
        f"{metric}_reduction": (f"{model}/{kind}/{metric}", f"{against}/{kind}/{metric}")
        for kind, metric in REDUCIBLE
    }
    for name, suffix in ((model, ""), (against, "_against")):
        for metric in ("nme", "nme68"):
            pairs[f"{metric}_ratio{suffix}"] = (f"{name}/occluded/{metric}", f"{name}/clean/{metric}")
    result: dict = {"model": model, "against": against, "group": group, "count": int(pick.sum())}
    for figure, columns in pairs.items():
        if all(column in rows.columns for column in columns):
            reduction = figure.endswith("_reduction")
            result[figure] = _ratio_with_interval(
                _matrix(rows, columns)[pick], reduction=reduction, seed=seed
            )
    if group == "all":
        result |= _spreads(rows, model, reference or against)
    return result


def compare_all(
    rows: Rows, models: Sequence[str], against: Sequence[str], *, reference: str, seed: int = 0
) -> list[dict]:
    """Every model against every other, over all photos and by kind of cover."""
    groups = [name for name in photo_groups(rows) if name == "all" or name.startswith("kind ")]
    return [
        compare(rows, model, other, group, reference=reference, seed=seed)
        for other in against
        for model in models
        if model != other
        for group in groups
    ]


def to_json(summary: dict) -> str:
    """Readable, strict JSON of a summary: what is not a number becomes null."""

    def strict(value: object) -> object:
        if isinstance(value, dict):
            return {key: strict(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [strict(one) for one in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(strict(summary), indent=2, sort_keys=True)


def _matrix(rows: Rows, columns: Sequence[str]) -> np.ndarray:
    return np.array([rows.columns[name] for name in columns], dtype=float).T.reshape(-1, len(columns))


def _ratio_with_interval(values: np.ndarray, *, reduction: bool, seed: int) -> dict:
    """Ratio of two columns' means over the rows where both are there, or 1 minus it; paired bootstrap."""
    values = values[np.isfinite(values).all(1)]
    if not len(values) or not values[:, 1].any():
        return {"value": math.nan, "ci95": (math.nan, math.nan), "count": len(values)}
    drawn = bootstrap_means(values, rng=np.random.default_rng(seed))
    above, below = values.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = drawn[:, 0] / drawn[:, 1]
    value = above / below
    if reduction:
        value, ratios = 1 - value, 1 - ratios
    return {"value": float(value), "ci95": percentile_interval(ratios), "count": len(values)}


def _spreads(rows: Rows, model: str, reference: str) -> dict:
    """Covered shapes' spread over the reference's on clean photos (same topology only), and over its own."""
    covered, own = rows.sums.get(f"{model}/occluded"), rows.sums.get(f"{model}/clean")
    right = rows.sums.get(f"{reference}/clean")
    result = {}
    if covered is not None and right is not None and covered.total.shape == right.total.shape:
        result["spread_ratio"] = _plain(covered.spread_mm, right.spread_mm)
    if covered is not None and own is not None:
        result["spread_kept"] = _plain(covered.spread_mm, own.spread_mm)
    return result


def _plain(value: float, by: float) -> dict:
    return {"value": value / by if by else math.nan, "ci95": (math.nan, math.nan)}
