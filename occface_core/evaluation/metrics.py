"""Metrics on arrays, one value per image unless said otherwise. Definitions: docs/metrics.md."""

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from occface_core.geometry.transforms import procrustes

MM = 1000.0


def shape_error_mm(
    predicted: Float[Tensor, "B V 3"], reference: Float[Tensor, "B V 3"], weight: Float[Tensor, "V"]
) -> Float[Tensor, "B"]:
    """Mean vertex distance between neutral meshes over a region, mm; inputs in metres, no alignment."""
    return ((predicted - reference).norm(dim=-1) * weight).sum(-1) / weight.sum() * MM


def posed_error_mm(
    predicted: Float[Tensor, "B V 3"], reference: Float[Tensor, "B V 3"], weight: Float[Tensor, "V"]
) -> Float[Tensor, "B"]:
    """`shape_error_mm` of posed, expressive meshes after the best rigid alignment over the region."""
    inside = weight > 0.5
    moved = procrustes(predicted[:, inside], reference[:, inside], with_scale=False).apply(
        predicted[:, inside]
    )
    return shape_error_mm(moved, reference[:, inside], weight[inside])


def texture_error(
    predicted: Float[Tensor, "B V 3"], reference: Float[Tensor, "B V 3"], weight: Float[Tensor, "V"]
) -> Float[Tensor, "B"]:
    """Mean absolute albedo difference over a region, values in [0,1]."""
    return ((predicted - reference).abs().mean(-1) * weight).sum(-1) / weight.sum()


def shape_spread_mm(neutral: Float[Tensor, "B V 3"], weight: Float[Tensor, "V"]) -> float:
    """How much predicted shapes differ between people: root mean square distance to their mean, mm.

    A network that answers the mean face whatever it sees has spread 0, and a flattering shape error.
    """
    squared = (neutral - neutral.mean(0)).square().sum(-1).mean(0)
    return float(((squared * weight).sum() / weight.sum()).sqrt() * MM)


def identity_spread_mm(neutral: Float[Tensor, "N B V 3"], weight: Float[Tensor, "V"]) -> Float[Tensor, "B"]:
    """How much the predicted person changes with the cover: root mean square distance of N neutral shapes of
    one photo, each under another cover, to their mean, over a region; mm.

    For independent errors it grows with sqrt((N-1)/N): compare figures of the same N only.
    """
    squared = (neutral - neutral.mean(0)).square().sum(-1).mean(0)
    return ((squared * weight).sum(-1) / weight.sum()).sqrt() * MM


def identity_spread_texture(
    albedo: Float[Tensor, "N B V 3"], weight: Float[Tensor, "V"]
) -> Float[Tensor, "B"]:
    """`identity_spread_mm` of albedo: root mean square over covers, vertices and channels, in [0,1]."""
    squared = (albedo - albedo.mean(0)).square().mean(-1).mean(0)
    return ((squared * weight).sum(-1) / weight.sum()).sqrt()


def nme(predicted: Float[Tensor, "B L 2"], reference: Float[Tensor, "B L 2"]) -> Float[Tensor, "B"]:
    """Normalised mean error: mean point distance over sqrt(width * height) of the reference's box
    (AFLW2000-3D)."""
    extent = reference.amax(1) - reference.amin(1)
    return (predicted - reference).norm(dim=-1).mean(-1) / extent.prod(-1).clamp(min=1e-9).sqrt()


def segmentation_scores(
    predicted: Bool[Tensor, "B H W"], truth: Bool[Tensor, "B H W"], region: Bool[Tensor, "B H W"]
) -> dict[str, Float[Tensor, "B"]]:
    """Visible-face segmentation inside a face region, face = positive (FOCUS, util/evaluation definitions,
    plus IoU).

    Denominators are at least one pixel. FOCUS clamps every area, which says 0.5 instead of 0 where face and
    prediction are empty, and differs by less than 0.001 on ordinary masks.
    """

    def area(x: Tensor) -> Tensor:
        return (x & region).flatten(1).sum(1).float()

    tp, fp = area(predicted & truth), area(predicted & ~truth)
    fn, tn = area(~predicted & truth), area(~predicted & ~truth)
    return {
        "accuracy": (tp + tn) / (tp + fp + fn + tn).clamp(min=1),
        "precision": tp / (tp + fp).clamp(min=1),
        "recall": tp / (tp + fn).clamp(min=1),
        "f1": 2 * tp / (2 * tp + fp + fn).clamp(min=1),
        "iou": tp / (tp + fp + fn).clamp(min=1),
    }


def bootstrap_interval(
    values: Float[np.ndarray, "N"], *, rng: np.random.Generator, rounds: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return float("nan"), float("nan")
    means = values[rng.integers(len(values), size=(rounds, len(values)))].mean(1)
    return percentile_interval(means, level)


def bootstrap_means(
    values: Float[np.ndarray, "N M"], *, rng: np.random.Generator, rounds: int = 1000
) -> Float[np.ndarray, "R M"]:
    """Means of M columns over resampled rows, the same rows for every column: their ratios are paired.

    NaN counts as absent; a column that is absent altogether has NaN means.
    """
    n = len(values)
    drawn = rng.integers(n, size=(rounds, n)) + n * np.arange(rounds)[:, None]
    times = np.bincount(drawn.ravel(), minlength=rounds * n).reshape(rounds, n).astype(float)
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return (times @ np.where(there, values, 0.0)) / (times @ there.astype(float))


def percentile_interval(means: Float[np.ndarray, "R"], level: float = 0.95) -> tuple[float, float]:
    """Middle `level` of resampled means; NaN where there are none."""
    means = means[np.isfinite(means)]
    if len(means) == 0:
        return float("nan"), float("nan")
    tail = 50 * (1 - level)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)
