"""Figures of the report, as SVG or PNG bytes. One colour per model; solid = covered, dashed = clean."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from occface_core.evaluation.now_results import PLOT_LIMIT_MM, cumulative_curve
from occface_core.evaluation.report_runs import NowRun, OcclusionRun

PERCENT = ("nme", "nme68", "drift_nme68")
LABELS = {"shape_mm": "shape error [mm]", "nme": "NME, 468 points [%]", "nme68": "NME, 68 points [%]"}
# Okabe and Ito: told apart by colour-blind readers too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.fonttype": "path",  # looks the same whatever fonts the reader has
    "svg.hashsalt": "occface",  # the same figure gives the same bytes
}
_COVERAGE = re.compile(r"coverage (\d+)%-(\d+)%")


def colours(models: Sequence[str]) -> dict[str, str]:
    """Model -> colour, the same in every figure of a report."""
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(models)}


def _figure(width: float, height: float, columns: int, rows: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(np.asarray(figure.subplots(rows, columns, squeeze=False)).ravel())


def _bytes(figure: Figure, kind: str = "svg") -> bytes:
    stream = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    figure.savefig(stream, format=kind, metadata=metadata, dpi=110)
    return stream.getvalue()


def _metrics(run: OcclusionRun) -> list[str]:
    """Shape and the landmarks the run has: 468 where there are some, else 68."""
    every = run.summary["groups"]["all"]
    there = [m for m in ("shape_mm", "nme", "nme68") if any(k.endswith(f"occluded/{m}") for k in every)]
    return [m for m in there if not (m == "nme68" and "nme" in there)]


def cumulative_errors(run: OcclusionRun) -> bytes | None:
    """Share of photos below an error, per model, clean and covered; None without rows per photo."""
    metrics = [m for m in _metrics(run) if any(len(run.column(n, "occluded", m)) for n in run.models)]
    if not metrics:
        return None
    chosen = colours(run.models)
    with rc_context(_STYLE):
        figure, panels = _figure(9.6, 3.5, len(metrics))
        for panel, metric in zip(panels, metrics, strict=True):
            factor = 100.0 if metric in PERCENT else 1.0
            limit = max(factor * float(np.quantile(c, 0.99)) for n in run.models
                        if len(c := run.column(n, "occluded", metric)))  # fmt: skip
            grid = np.linspace(0, limit, 400)
            curves = [(n, kind, chosen[n]) for n in run.models for kind in ("occluded", "clean")]
            for name, kind, colour in [*curves, ("mean head", "clean", "#888888")]:
                values = factor * run.column(name, kind, metric)
                if not len(values) or not values.any():  # the reference's distance to itself
                    continue
                style = ":" if name == "mean head" else "-" if kind == "occluded" else "--"
                label = (
                    name if name == "mean head" else f"{name}, {'covered' if kind == 'occluded' else kind}"
                )
                panel.plot(grid, cumulative_curve(values, grid), style, color=colour, label=label)
            panel.set(xlim=(0, limit), ylim=(0, 100), xlabel=LABELS[metric], ylabel="photos below [%]")
            panel.legend(loc="lower right", fontsize=8)
        return _bytes(figure)


def error_by_coverage(run: OcclusionRun) -> bytes | None:
    """Mean error in each coverage bin with its 95 % band; None when there are fewer than two bins."""
    groups = run.summary["groups"]
    bins = [(name, int(m[1]), int(m[2])) for name in groups if (m := _COVERAGE.fullmatch(name))]
    bins.sort(key=lambda one: one[1])
    metrics = _metrics(run)
    if len(bins) < 2 or not metrics:
        return None
    places = np.array([_centre(run, low, high) for _, low, high in bins])
    with rc_context(_STYLE):
        figure, panels = _figure(9.6, 3.5, len(metrics))
        for panel, metric in zip(panels, metrics, strict=True):
            factor = 100.0 if metric in PERCENT else 1.0
            for name, colour in colours(run.models).items():
                entries = [groups[b].get(f"{name}/occluded/{metric}") for b, _, _ in bins]
                if any(entry is None for entry in entries):
                    continue
                low, middle, high = factor * _intervals(entries)
                panel.plot(places, middle, "o-", color=colour, label=name, markersize=4)
                panel.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
            panel.set(xlabel="share of the face that is covered [%]", ylabel=LABELS[metric])
            panel.set_ylim(bottom=0)
            counts = [
                f"{f'{low}-{high}' if high < 100 else f'over {low}'}%\n({groups[b]['count']})"
                for b, low, high in bins
            ]
            panel.set_xticks(places, counts, fontsize=8)
            panel.legend(loc="upper left", fontsize=8)
        return _bytes(figure)


def _centre(run: OcclusionRun, low: int, high: int) -> float:
    """Mean coverage of a bin's photos, or its middle without rows."""
    coverage = 100 * run.values.get("coverage", np.empty(0))
    inside = coverage[(coverage >= low) & (coverage < high) & (coverage > 0)]
    return float(inside.mean()) if len(inside) else (low + min(high, 60)) / 2


def _intervals(entries: Sequence[Mapping[str, Any]]) -> Float[np.ndarray, "3 B"]:
    """Low, mean and high of each entry; without an interval the mean thrice."""
    rows = [(e["ci95"][0], e["mean"], e["ci95"][1]) for e in entries]
    values = np.array(rows, dtype=float).T
    return np.where(np.isfinite(values), values, values[1])


def errors_by_group(run: OcclusionRun, prefixes: tuple[str, ...], shorten: str = "") -> bytes | None:
    """Covered errors of every group whose name starts so, with 95 % intervals, worst group at the top."""
    table = run.summary["groups"]
    groups = [name for name in table if name.startswith(prefixes)]
    metrics, chosen = _metrics(run), colours(run.models)
    if len(groups) < 2 or not metrics:
        return None
    first = f"{run.models[0]}/occluded/{metrics[-1]}"
    if shorten:  # families: by size of error; groups of people keep their order
        groups.sort(key=lambda g: table[g].get(first, {"mean": 0.0})["mean"])
    else:
        groups.reverse()
    with rc_context(_STYLE):
        figure, panels = _figure(9.6, 0.9 + 0.26 * len(groups), len(metrics))
        for panel, metric in zip(panels, metrics, strict=True):
            factor = 100.0 if metric in PERCENT else 1.0
            for k, name in enumerate(run.models):
                there = [i for i, g in enumerate(groups) if f"{name}/occluded/{metric}" in table[g]]
                if not there:
                    continue
                entries = [table[groups[i]][f"{name}/occluded/{metric}"] for i in there]
                low, middle, high = factor * _intervals(entries)
                y = np.array(there) + 0.14 * (k - (len(run.models) - 1) / 2)
                panel.errorbar(middle, y, xerr=(middle - low, high - middle), fmt="o", color=chosen[name],
                               markersize=4, capsize=2, label=name)  # fmt: skip
            small = run.summary.get("small_groups", [])
            names = [
                f"{g.removeprefix(shorten)}{' (*)' if g in small else ''}, {table[g]['count']}"
                for g in groups
            ]
            panel.set_yticks(range(len(groups)), names if panel is panels[0] else [""] * len(groups))
            panel.set(xlabel=f"{LABELS[metric]}, covered", ylim=(-0.6, len(groups) - 0.4))
            panel.set_xlim(left=0)
        panels[0].legend(loc="lower right", fontsize=8)
        return _bytes(figure)


def now_curves(runs: Sequence[NowRun]) -> bytes:
    """The benchmark's cumulative plot, one curve per run."""
    with rc_context(_STYLE):
        figure, (axes,) = _figure(6.4, 4.2, 1)
        grid = np.linspace(0, PLOT_LIMIT_MM, 401)
        for run, colour in zip(runs, colours([str(i) for i in range(len(runs))]).values(), strict=True):
            label = (
                f"{run.label}{', metrical' if run.metrical else ''}: median {np.median(run.distances):.2f} mm"
            )
            axes.plot(grid, cumulative_curve(run.distances, grid), color=colour, label=label)
        axes.set(xlim=(0, PLOT_LIMIT_MM), ylim=(0, 100), xlabel="scan-to-mesh distance [mm]",
                 ylabel="scan points below [%]")  # fmt: skip
        axes.legend(loc="lower right", fontsize=8)
        return _bytes(figure)
