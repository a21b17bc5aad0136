"""`benchmark aflw`: 68-point NME on AFLW2000-3D in the published yaw bins."""

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from occface_core.evaluation.cover_options import add_annotated_covers
from occface_core.evaluation.landmarks_cli import (
    add_model_arguments,
    entry,
    left_out_lines,
    load_covers,
    load_models,
    robustness,
    robustness_lines,
    write,
)

if TYPE_CHECKING:
    from occface_core.evaluation.landmarks import LandmarkScores

OK, INCOMPLETE = 0, 3
_HEADER = ("| model | 0-30 | 30-60 | 60-90 | balanced mean | plain mean |", "|---|---|---|---|---|---|")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark aflw`."""
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="AFLW2000-3D: <name>.jpg with <name>.mat beside it",
    )
    parser.add_argument(
        "--yaws",
        type=Path,
        metavar="FILE.npy",
        help="3DDFA's AFLW2000-3D.pose.npy, the published bins (default: yaws of the .mat files)",
    )
    parser.add_argument(
        "--contour",
        choices=("fixed", "visible"),
        default="fixed",
        help="fixed jaw points, as this set annotates them (default), or the visible outline",
    )
    add_model_arguments(parser)
    add_annotated_covers(parser)


def run(args: argparse.Namespace) -> int:
    """Measure; write OUT/aflw.json, aflw.md and aflw.csv; 3 when files were left out (each is named)."""
    from tqdm import tqdm

    from occface_core.evaluation import aflw
    from occface_core.evaluation.landmarks import evaluate_landmarks
    from occface_core.morphable.head_model import HeadModel

    faces, bad = aflw.read_folder(args.images, args.yaws)
    faces = faces[: args.limit]
    head = HeadModel.load()
    scores = evaluate_landmarks(
        load_models(args.model, args.mirrored),
        head,
        aflw.annotated(faces),
        batch_size=args.batch_size,
        contour=args.contour,
        covers=load_covers(args, head),
        progress=lambda stream: tqdm(stream, total=len(faces), unit="photo"),
    )
    yaw_of = {face.name: face.yaw for face in faces}
    yaws = np.array([yaw_of[name] for name in scores.names])
    left_out = [*bad, *scores.left_out]
    summary = {name: {**entry(v), **aflw.by_yaw(v, yaws)} for name, v in scores.columns.items()}
    kind = "3DDFA's list" if args.yaws else "the .mat files"
    first = next(iter(summary.values()))
    counts = [first[f"{low:.0f}-{high:.0f} count"] for low, high in aflw.YAW_BINS]
    lines = [
        *_HEADER,
        *(_row(name, row) for name, row in summary.items() if not name.endswith("/inner")),
        "",
        f"NME in %. {len(scores.names)} photos ({' / '.join(map(str, counts))} by yaw from {kind}), jaw "
        f"line {args.contour}; {len(left_out)} files left out.",
        *robustness_lines(scores),
    ]
    report = {
        "count": len(scores.names),
        "yaw_from": kind,
        "contour": args.contour,
        "mirrored": args.mirrored,
        "summary": summary,
        "left_out": left_out,
        **robustness(scores),
    }
    write(args.out, "aflw", report, lines)
    _write_rows(args.out / "aflw.csv", scores, yaws)
    tqdm.write("\n".join([*lines, *left_out_lines(left_out)]))
    return INCOMPLETE if left_out else OK


def _row(name: str, row: dict) -> str:
    cells = [row["0-30"], row["30-60"], row["60-90"], row["balanced"], row["plain"]]
    return f"| {name} | " + " | ".join("-" if np.isnan(v) else f"{100 * v:.2f}" for v in cells) + " |"


def _write_rows(path: Path, scores: "LandmarkScores", yaws: np.ndarray) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "yaw", *scores.columns])
        for i, name in enumerate(scores.names):
            values = (f"{column[i]:.6f}" for column in scores.columns.values())
            table.writerow([name, f"{yaws[i]:.2f}", *values])
