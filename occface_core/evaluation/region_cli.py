"""`benchmark regions`: errors of nose, mouth, forehead and cheek, the way REALY measures them."""

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from occface_core.evaluation.region_run import RegionOutcome

OK, INCOMPLETE = 0, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark regions`."""
    parser.add_argument(
        "--dataset",
        type=Path,
        required=True,
        metavar="DIR",
        help="regions/<subject>/nose.obj ..., keypoints/<subject>.npy: a synthetic NoW set, or REALY's data",
    )
    parser.add_argument(
        "--predictions", type=Path, required=True, metavar="DIR", help="meshes named by subject (docs/now.md)"
    )
    parser.add_argument(
        "--keypoints",
        default="open",
        metavar="open|FILE",
        help="where keypoints lie on the meshes: the open head (default), or REALY's barycentric list of "
        "another topology; a .npy of 68 or 85 points beside a mesh wins",
    )
    parser.add_argument("--allow-missing", action="store_true", help="give figures although some are missing")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default one per core)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="results (default PREDICTIONS/results)")


def run(args: argparse.Namespace) -> int:
    """Measure; write OUT/regions.json, .md and .csv; 3 when anything failed or is missing (each named)."""
    from occface_core.evaluation.landmarks_cli import left_out_lines, write
    from occface_core.evaluation.region_files import REALY_REGIONS, RegionDataset, find_predictions
    from occface_core.evaluation.region_run import evaluate, summarise

    out: Path = args.out or args.predictions / "results"
    dataset = RegionDataset.open(args.dataset)
    predictions, left = find_predictions(args.predictions, dataset.subjects)
    outcomes = evaluate(
        dataset,
        predictions,
        keypoints=args.keypoints,
        cache=out / "cache" / "regions",
        workers=args.workers,
        progress=_bar,
    )
    failed = [(o.name, o.message) for o in outcomes if o.message]
    out.mkdir(parents=True, exist_ok=True)
    _write_rows(out / "regions.csv", outcomes)
    for line in left_out_lines([*failed, *left]):
        sys.stdout.write(line + "\n")
    missing = [name for name, reason in left if reason.startswith("no prediction")]
    if (failed or missing) and not args.allow_missing:
        sys.stdout.write(
            f"{len(failed)} predictions failed and {len(missing)} subjects have none, so no figures were "
            "written: missing predictions flatter a method. Add them, or say --allow-missing.\n"
        )
        return INCOMPLETE
    summary = summarise(outcomes)
    lines = markdown({args.predictions.name: summary})
    realy = dataset.regions.name == REALY_REGIONS  # the real scans, by their folder: comparable with its list
    report = {
        "name": args.predictions.name,
        "realy": realy,
        "summary": summary,
        "failed": failed,
        "left_over": left,
    }
    write(out, "regions", report, lines)
    sys.stdout.write("\n".join(lines) + f"\nresults in {out}\n")
    return INCOMPLETE if failed else OK


def markdown(summaries: Mapping[str, Mapping[str, dict]]) -> list[str]:
    """One table: predictions, folder, mm by region, and the mean before correspondences were bent."""
    from occface_core.evaluation.region_errors import REGIONS

    lines = [
        "| predictions | folder | count | " + " | ".join(REGIONS) + " | all | all, closest points |",
        "|---|---|---|" + "---|" * (len(REGIONS) + 2),
    ]
    for name, groups in summaries.items():
        for group, row in groups.items():
            cells = [_cell(row[f"{region}/mean_mm"]) for region in REGIONS]
            cells += [_cell(row["all/mean_mm"]), _cell(row["all/rigid_mm"])]
            lines.append(f"| {name} | {group} | {row['count']} | " + " | ".join(cells) + " |")
    return lines


def _cell(entry: Mapping) -> str:
    spread = entry.get("std")
    if entry["mean"] is None or np.isnan(entry["mean"]):
        return "-"
    return f"{entry['mean']:.3f}" + (f" ± {spread:.3f}" if spread is not None and spread == spread else "")


def _bar(stream: Iterable, total: int) -> Iterable:
    from tqdm import tqdm

    return tqdm(stream, total=total, unit="mesh", desc="regions", disable=None)


def _write_rows(path: Path, outcomes: "list[RegionOutcome]") -> None:
    from occface_core.evaluation.region_errors import REGIONS

    kinds = ("mean_mm", "rigid_mm")
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(
            ["prediction", "subject", "status", *(f"{r}/{k}" for k in kinds for r in REGIONS), "message"]
        )
        for o in outcomes:
            values = [f"{getattr(o, k)[r]:.5f}" if not o.message else "" for k in kinds for r in REGIONS]
            status = "failed" if o.message else "ok"
            table.writerow([o.name, o.subject, status, *values, o.message])
