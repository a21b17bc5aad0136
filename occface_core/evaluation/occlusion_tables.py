"""A summary of the occlusion benchmark as Markdown."""

import math
from collections.abc import Mapping

from occface_core.evaluation.groups import SMALL

COLUMNS = ("shape_mm", "posed_mm", "drift_mm", "texture", "nme68", "drift_nme68", "nme", "mask_iou")
TITLES = {
    "shape_mm": "shape mm",
    "posed_mm": "posed mm",
    "drift_mm": "own drift mm",
    "drift_nme68": "own drift (68) %",
    "texture": "texture",
    "nme68": "NME (68) %",
    "nme": "NME (468) %",
    "mask_iou": "mask IoU",
    "identity_mm": "shape mm",
    "identity_texture": "albedo",
}
_DIGITS = {"texture": 4, "identity_texture": 4, "mask_iou": 3}
_PERCENT = ("nme", "nme68", "drift_nme68")
FIGURES = {
    "shape_mm_reduction": "shape error reduction",
    "posed_mm_reduction": "posed error reduction",
    "texture_reduction": "texture error reduction",
    "nme68_reduction": "NME (68) reduction",
    "nme_reduction": "NME (468) reduction",
    "drift_mm_reduction": "own drift reduction, shape",
    "drift_nme68_reduction": "own drift reduction, landmarks",
    "identity_mm_reduction": "identity consistency, shape: reduction",
    "identity_texture_reduction": "identity consistency, albedo: reduction",
    "nme68_ratio": "NME (68) covered / clean",
    "nme68_ratio_against": "NME (68) covered / clean, {against}",
    "nme_ratio": "NME (468) covered / clean",
    "nme_ratio_against": "NME (468) covered / clean, {against}",
    "spread_ratio": "spread ratio (1 is right)",
    "spread_kept": "spread kept under covers (1 is right)",
}


def markdown(summary: Mapping) -> str:
    """Tables: every row, consistency, comparisons, coverage and families, groups of people."""
    parts = [_head(summary), _rows(summary)]
    if summary.get("covers", 1) > 1:
        parts.append(_consistency(summary))
    parts += _comparisons(summary)
    people = [g for g in summary["groups"] if g.startswith(("apparent ", "label "))]
    own = [g for g in summary["groups"] if g.startswith("own cover ")]
    covers = [g for g in summary["groups"] if g not in [*people, *own]]
    parts.append("### By coverage and family\n\n" + _by_group(summary, covers))
    if own:
        parts.append(f"### Clean photos by what covers the face in them\n\n{_own_covers(summary, own)}")
    if people:
        note = "How people appear in their photos by the set's labels, not who they are."
        parts.append(f"### By group\n\n{note}\n\n{_by_group(summary, people)}")
    if summary["small_groups"]:
        parts.append(f"(*) fewer than {SMALL} photos: its figures say little.")
    return "\n\n".join(parts) + "\n"


def _head(summary: Mapping) -> str:
    lines = [
        f"{summary['groups']['all']['count']} photos; reference: {summary['reference']} on the clean photo. "
        "Brackets: 95 % bootstrap interval."
    ]
    left_out = summary.get("left_out", [])
    if left_out:
        lines.append(
            f"{len(left_out)} photos of the set were left out, e.g. {left_out[0][0]}: {left_out[0][1]}."
        )
    for name, problems in summary.get("problems", {}).items():
        if problems:
            photo, what = problems[0]
            lines.append(f"**{name}: {len(problems)} problems**, e.g. {photo}: {what}.")
    return "\n\n".join(lines)


def _rows(summary: Mapping) -> str:
    every = summary["groups"]["all"]
    rows = sorted({k.rsplit("/", 1)[0] for k in every if k.endswith(("/nme", "/nme68", "_mm"))})
    lines = [
        "| model / input | " + " | ".join(TITLES[c] for c in COLUMNS) + " | shape spread mm |",
        "|---|" + "---|" * (len(COLUMNS) + 1),
    ]
    for row in rows:
        if not row.endswith("/covers"):
            cells = [_cell(every, f"{row}/{c}") for c in COLUMNS]
            spread = summary["spread_mm"].get(row)
            cells.append("" if spread is None else f"{spread:.2f}")
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _consistency(summary: Mapping) -> str:
    every = summary["groups"]["all"]
    lines = [
        f"### Identity consistency, {summary['covers']} covers of each photo\n",
        "| model | shape mm | albedo | shape / spread between people |",
        "|---|---|---|---|",
    ]
    for key in every:
        if key.endswith("/covers/identity_mm"):
            name = key.removesuffix("/covers/identity_mm")
            spread = summary["spread_mm"].get(f"{name}/clean")
            share = f"{every[key]['mean'] / spread:.3f}" if spread else ""
            albedo = _cell(every, f"{name}/covers/identity_texture")
            lines.append(f"| {name} | {_cell(every, key)} | {albedo} | {share} |")
    return "\n".join(lines)


def _comparisons(summary: Mapping) -> list[str]:
    tables = []
    pairs = list(dict.fromkeys((c["model"], c["against"]) for c in summary["comparisons"]))
    for model, against in pairs:
        mine = [c for c in summary["comparisons"] if (c["model"], c["against"]) == (model, against)]
        lines = [
            f"### {model} against {against}, same photos and covers\n",
            "| figure | " + " | ".join(f"{c['group']} ({c['count']})" for c in mine) + " |",
            "|---|" + "---|" * len(mine),
        ]
        for figure, title in FIGURES.items():
            cells = [_interval(c[figure], 3, 1.0) if figure in c else "" for c in mine]
            if any(cells):
                lines.append(f"| {title.format(against=against)} | " + " | ".join(cells) + " |")
        tables.append("\n".join(lines))
    return tables


def _own_covers(summary: Mapping, groups: list[str]) -> str:
    """Masks on the clean photos, whose hair, hats and glasses are known."""
    every = summary["groups"]["all"]
    names = [key.split("/")[0] for key in every if key.endswith("/clean/mask_own_found")]
    metrics = {
        "mask_iou": "mask IoU",
        "mask_own_found": "of the covers found",
        "mask_recall": "of the skin kept",
    }
    lines = [
        "| face hidden | photos | " + " | ".join(f"{n}: {t}" for n in names for t in metrics.values()) + " |",
        "|---|---|" + "---|" * (len(names) * len(metrics)),
    ]
    for group in groups:
        row = summary["groups"][group]
        means = (row[f"{name}/clean/{metric}"]["mean"] for name in names for metric in metrics)
        cells = ["-" if math.isnan(mean) else f"{mean:.3f}" for mean in means]
        lines.append(f"| {group.removeprefix('own cover ')} | {row['count']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_group(summary: Mapping, groups: list[str]) -> str:
    table = summary["groups"]
    names = list(dict.fromkeys(k.split("/")[0] for k in table["all"] if "/occluded/" in k))
    columns = [
        (f"{name}/{metric}", title)
        for name in names
        for metric, title in (
            ("occluded/shape_mm", f"{name}: shape mm"),
            ("clean/nme68", f"{name}: NME (68) % clean"),
            ("occluded/nme68", f"{name}: covered"),
        )
        if f"{name}/{metric}" in table["all"]
    ]
    lines = [
        "| group | photos | " + " | ".join(title for _, title in columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for group in groups:
        row = table[group]
        star = " (*)" if group in summary["small_groups"] else ""
        cells = [f"{row[key]['mean'] * (100 if 'nme' in key else 1):.2f}" for key, _ in columns]
        lines.append(
            f"| {group.removeprefix('coverage ')}{star} | {row['count']} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def _cell(row: Mapping, key: str) -> str:
    if key not in row:
        return ""
    metric = key.rsplit("/", 1)[1]
    return _interval(
        {"value": row[key]["mean"], "ci95": row[key]["ci95"]},
        _DIGITS.get(metric, 2),
        100.0 if metric in _PERCENT else 1.0,
    )


def _interval(entry: Mapping, digits: int, factor: float) -> str:
    low, high = entry["ci95"]
    middle = f"{factor * entry['value']:.{digits}f}"
    if low != low:  # no interval
        return middle
    return f"{middle} [{factor * low:.{digits}f}, {factor * high:.{digits}f}]"
