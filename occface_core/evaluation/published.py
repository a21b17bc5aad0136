"""Published figures of other systems, quoted for orientation, and ours beside them where a run measured them.

None of the quoted systems was run here. Figures "by others" were read in another paper or list than the
system's own. docs/report.md names the sources.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from occface_core.evaluation.report_page import Table
from occface_core.evaluation.report_runs import Runs

MEASURED, QUOTED, NOT_MEASURED = "measured", "quoted", "not measured"
Rows = list[tuple[str, str, str]]  # whose, value, remark


@dataclass(frozen=True)
class Comparison:
    """One figure of the literature: who published what, and where ours comes from."""

    figure: str
    quoted: tuple[tuple[str, str], ...]
    ours: Callable[[Runs], Rows]
    remark: str


def _now(runs: Runs) -> Rows:
    rows = []
    for run in runs.now:
        every: Mapping[str, Any] = run.summary["errors_mm"]["all"]
        value = " / ".join(f"{every[k]:.2f}" for k in ("median", "mean", "std"))
        if not run.metrical and not run.synthetic:
            rows.append((run.label, value, f"{every['images']} images of the set that was given"))
    return rows


def _compared(runs: Runs, figure: str, percent: bool) -> Rows:
    rows = []
    for run in runs.occlusion:
        for entry in run.summary.get("comparisons", []):
            value = entry.get(figure, {}).get("value", math.nan)
            if math.isnan(value) or entry.get("against") != run.reference:
                continue
            shown = f"{100 * value:.1f}" if percent else f"{value:.2f}"
            rows.append(
                (f"{entry['model']} against {entry['against']}", shown, f"{entry['group']}, {run.label}")
            )
    return rows


def _ratio(runs: Runs) -> Rows:
    rows = []
    for run in runs.occlusion:
        every = run.summary["groups"]["all"]
        for model in run.models:
            for metric in ("nme68", "nme"):
                pair = [every.get(f"{model}/{kind}/{metric}", {}) for kind in ("occluded", "clean")]
                covered, clean = (entry.get("mean", math.nan) for entry in pair)
                if clean and not math.isnan(covered / clean):
                    points = "68" if metric == "nme68" else "468"
                    rows.append((model, f"{covered / clean:.2f}", f"{points} points, {run.label}"))
                    break
    return rows


def _aflw(runs: Runs) -> Rows:
    rows = []
    for table in runs.of_kind("aflw"):
        for name, entry in table.report.get("summary", {}).items():
            if not name.endswith(("/inner", "mean shape")) and not math.isnan(
                entry.get("balanced", math.nan)
            ):
                rows.append(
                    (name, f"{100 * entry['balanced']:.2f}", f"yaw from {table.report.get('yaw_from')}")
                )
    return rows


def _masks(runs: Runs) -> Rows:
    rows = []
    for table in runs.of_kind("segmentation"):
        for model, groups in table.report.get("summary", {}).items():
            value = groups["all"]["iou"]["mean"]
            if not math.isnan(value):
                rows.append((model, f"{100 * value:.1f}", f"{groups['all']['count']} photos, {table.label}"))
    for run in runs.occlusion:
        for model in run.models:
            entry = run.summary["groups"]["all"].get(f"{model}/occluded/mask_iou")
            if entry and not math.isnan(entry["mean"]):
                rows.append((model, f"{100 * entry['mean']:.1f}", f"our covers, {run.label}"))
    return rows


def _regions(runs: Runs) -> Rows:
    rows = []
    for table in runs.of_kind("regions"):
        every = table.report.get("summary", {}).get("all", {})
        value = every.get("all/mean_mm", {}).get("mean", math.nan)
        if table.report.get("realy") and not math.isnan(value):
            rows.append((table.label, f"{value:.3f}", f"{every['count']} predictions"))
    return rows


COMPARISONS: tuple[Comparison, ...] = (
    Comparison(
        "NoW test, median / mean / std [mm]",
        (
            ("FOCUS", "1.04 / 1.30 / 1.10"),
            ("Learner (its own claim)", "1.08 / 1.20 / 1.18"),
            ("DECA", "1.09 / 1.38 / 1.18"),
            ("Deep3D (PyTorch)", "1.11 / 1.41 / 1.21"),
            ("3DDFA_V2", "1.23 / 1.57 / 1.39"),
            ("MGCNet", "1.31 / 1.87 / 2.63"),
        ),
        _now,
        "needs NoW itself (registration); the validation set comes out 0.1 to 0.2 mm worse than the test set",
    ),
    Comparison(
        "shape error, reduction by distillation [%]",
        (("DAMIOR, empirical covers", "41.1"), ("DIAMOR, irrational covers", "42.5")),
        lambda runs: _compared(runs, "shape_mm_reduction", True),
        "own covers, photos and definition on either side",
    ),
    Comparison(
        "texture error, reduction by distillation [%]",
        (("DAMIOR, empirical covers", "21.8"), ("DIAMOR, irrational covers", "30.5")),
        lambda runs: _compared(runs, "texture_reduction", True),
        "own covers, photos and definition on either side",
    ),
    Comparison(
        "NME covered / clean",
        (("CFR-GAN, occluded AFLW2000-3D", "1.05"), ("Deng et al., occluded AFLW2000-3D", "1.60")),
        _ratio,
        "other photos and other covers",
    ),
    Comparison(
        "AFLW2000-3D, 68 points, mean of the yaw bins [%]",
        (("CFR-GAN", "3.39"), ("Deng et al.", "3.49"), ("3DDFA_V2", "3.51"), ("MGCNet (by others)", "3.2")),
        _aflw,
        "needs AFLW2000-3D",
    ),
    Comparison(
        "visible-face mask, IoU [%]",
        (("Voo et al., RealOcc, best", "98.0"), ("Voo et al., COFW, best", "94.9")),
        _masks,
        "theirs over whole photos and by a network made for masks alone; ours inside the rendered face",
    ),
    Comparison(
        "REALY, frontal, mean of the regions [mm]",
        (("3DDFA-V3 (by others)", "1.436"), ("MGCNet (by others)", "1.774"), ("DECA (by others)", "2.01")),
        _regions,
        "needs REALY's scans",
    ),
)


def comparison_table(runs: Runs) -> Table:
    """Ours and theirs, each row marked measured, quoted or not measured."""
    rows = []
    for one in COMPARISONS:
        mine = one.ours(runs)
        part = [(who, value, MEASURED, remark) for who, value, remark in mine]
        part += [] if mine else [("OccFace", "-", NOT_MEASURED, "")]
        part += [
            (who, value, QUOTED, one.remark if i == 0 else "") for i, (who, value) in enumerate(one.quoted)
        ]
        rows += [(one.figure if i == 0 else "", *row) for i, row in enumerate(part)]
    return Table(("figure", "system", "value", "status", "remark"), tuple(rows))
