"""What a NoW run leaves behind: the official files, open copies of them, status table, figures and plot."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from occface_core.errors import DataError
from occface_core.evaluation.now_protocol import ImageOutcome, NowReport

PLOT_LIMIT_MM = 8.0
_STATUS_COLUMNS = ("image", "status", "median_mm", "mean_mm", "vertex_count", "landmark_scale", "message")
Distances = Float[np.ndarray, " N"]


@dataclass(frozen=True)
class Summary:
    """Scan-to-mesh error pooled over all kept scan vertices of all measured images, mm; population std."""

    images: int
    failed: int
    vertices: int
    median: float
    mean: float
    std: float


def pooled(outcomes: Sequence[ImageOutcome]) -> Distances:
    """All distances in one vector, float64."""
    parts = [outcome.distances for outcome in outcomes if outcome.distances is not None]
    return np.concatenate([*parts, np.empty(0, np.float32)]).astype(np.float64)


def summarise(report: NowReport) -> dict[str, Summary]:
    """Figures of the whole run under "all", then of each challenge."""
    names: list[str | None] = [None, *report.challenges]
    return {name or "all": _summary(report, name) for name in names}


def _summary(report: NowReport, challenge: str | None) -> Summary:
    measured = report.measured(challenge)
    asked = sum(challenge in (None, outcome.image.challenge) for outcome in report.outcomes)
    values = pooled(measured)
    figures = (np.median(values), values.mean(), values.std()) if len(values) else (np.nan,) * 3
    return Summary(len(measured), asked - len(measured), len(values), *(float(f) for f in figures))


def write_status(report: NowReport, path: Path) -> None:
    """A CSV table with one line per image and one per file that belongs to no image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(_STATUS_COLUMNS)
        for outcome in report.outcomes:
            figures: list[object] = ["", ""]
            if outcome.distances is not None:
                figures = [f"{np.median(outcome.distances):.4f}", f"{outcome.distances.mean():.4f}"]
            scale = f"{outcome.procrustes_scale:.6g}" if outcome.distances is not None else ""
            table.writerow([outcome.image.line, outcome.status, *figures, outcome.vertex_count or "", scale,
                            outcome.message])
        for name in report.unexpected:
            table.writerow([name, "unexpected", "", "", "", "", "this file belongs to no image of the list"])


def write_results(report: NowReport, folder: Path, identifier: str) -> dict[str, Summary]:
    """Write everything for one run; file names start with ``identifier`` (and ``_metrical``).

    For the whole run and for each challenge: ``_computed_distances[_<challenge>].npy`` and its
    ``.meanmedian`` as the published evaluator writes them, and the same numbers as ``.npz`` that loads
    without unpickling.
    Then ``_summary.json`` and ``_cumulative.png``.

    Raises:
        DataError: not a single image was measured.
    """
    summaries = summarise(report)
    if summaries["all"].images == 0:
        raise DataError("no prediction could be measured; the status table names every reason")
    folder.mkdir(parents=True, exist_ok=True)
    base = identifier + ("" if report.unit is None else "_metrical")
    for name, summary in summaries.items():
        outcomes = report.measured(None if name == "all" else name)
        if outcomes:
            suffix = "" if name == "all" else f"_{name}"
            _write_distances(folder / f"{base}_computed_distances{suffix}", outcomes, summary)
    content = {
        "protocol": "NoW",
        "unit": report.unit,
        "complete": not report.failed,
        "counts": report.counts,
        "unexpected": len(report.unexpected),
        "errors_mm": {name: asdict(summary) for name, summary in summaries.items()},
    }
    (folder / f"{base}_summary.json").write_text(json.dumps(content, indent=2).replace("NaN", "null") + "\n")
    curves = {base if name == "all" else name: pooled(report.measured(None if name == "all" else name))
              for name in summaries if len(summaries) > 2 or name == "all"}
    plot_cumulative({name: values for name, values in curves.items() if len(values)},
                    folder / f"{base}_cumulative.png")
    return summaries


def _write_distances(path: Path, outcomes: Sequence[ImageOutcome], summary: Summary) -> None:
    parts = [outcome.distances.astype(np.float64) for outcome in outcomes if outcome.distances is not None]
    lines = np.array([outcome.image.line for outcome in outcomes])
    official = path.with_name(path.name + ".npy")
    # The published tools read this dictionary with pickle. It is written for them and never read here.
    np.save(official, np.array({"computed_distances": parts, "num_missing_files": summary.failed,
                                "input_files": lines}, dtype=object))
    official.with_name(official.name + ".meanmedian").write_text(f"{summary.median}\n{summary.mean}\n")
    np.savez(path.with_name(path.name + ".npz"), distances=np.concatenate(parts).astype(np.float32),
             counts=np.array([len(part) for part in parts], np.int64), images=lines,
             num_missing_files=summary.failed)


def read_distances(path: Path) -> Distances:
    """Pooled distances of an ``_computed_distances.npz`` written here, for comparisons in one plot.

    Raises:
        DataError: not such a file (the official ``.npy`` is a pickle and is not opened).
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            return data["distances"].astype(np.float64)
    except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
        raise DataError(f"{path} is not a *_computed_distances.npz of this program: {error}") from error


def cumulative_curve(distances: Distances, errors: Float[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
    """Percentage of distances at or below each error."""
    return 100 * np.searchsorted(np.sort(distances), errors, side="right") / max(len(distances), 1)


def plot_cumulative(curves: Mapping[str, Distances], path: Path) -> None:
    """Cumulative error plot in the benchmark's axes: 0 to 8 mm, 0 to 100 %.

    Args:
        curves: label -> pooled distances, mm.
        path: ``.png``, ``.pdf`` or ``.svg``.
    """
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    errors = np.linspace(0, PLOT_LIMIT_MM, 801)
    for label, distances in curves.items():
        axes.plot(errors, cumulative_curve(distances, errors),
                  label=f"{label}: median {np.median(distances):.2f} mm")
    axes.set(xlim=(0, PLOT_LIMIT_MM), ylim=(0, 100), xlabel="Error [mm]", ylabel="Percentage")
    axes.set_yticks(np.arange(0, 101, 20))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
