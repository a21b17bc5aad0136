"""`benchmark landmarks`: 68-point NME of networks and of the mean head on an annotated folder."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from occface_core.evaluation.cover_options import add_annotated_covers, add_mirrored
from occface_core.evaluation.metrics import bootstrap_interval

if TYPE_CHECKING:
    from occface_core.evaluation.landmark_covers import LandmarkCovers
    from occface_core.evaluation.landmarks import LandmarkScores
    from occface_core.morphable.head_model import HeadModel
    from occface_core.networks.mirrored import AnyEncoder

INCOMPLETE = 3
_NAMED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark landmarks`."""
    parser.add_argument("--images", type=Path, required=True, help="photos with points.csv or landmarks.npz")
    parser.add_argument("--split", default="", help="shard prefix or sub-folder")
    parser.add_argument(
        "--shift",
        type=float,
        nargs=2,
        default=(0.0, 0.0),
        metavar=("X", "Y"),
        help="move the annotation first, photo pixels: some sets count from 1 (default 0 0)",
    )
    add_model_arguments(parser)
    add_annotated_covers(parser)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every benchmark of networks in this process."""
    parser.add_argument(
        "--model", action="append", help="NAME or NAME=FILE; repeat (default teacher, student)"
    )
    add_mirrored(parser)
    parser.add_argument("--limit", type=int, default=None, help="first N photos only")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="photos at once (default 32)")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Measure, write OUT/landmarks.json and OUT/landmarks.md; 3 when photos were left out."""
    from tqdm import tqdm

    from occface_core.data.photos import load_photo_set
    from occface_core.evaluation.landmarks import annotated, evaluate_landmarks
    from occface_core.morphable.head_model import HeadModel

    photos = load_photo_set(args.images, split=args.split)
    records = photos.records[: args.limit]
    head = HeadModel.load()
    scores = evaluate_landmarks(
        load_models(args.model, args.mirrored),
        head,
        annotated(records, tuple(args.shift)),
        batch_size=args.batch_size,
        covers=load_covers(args, head),
        progress=lambda stream: tqdm(stream, total=len(records), unit="photo"),
    )
    summary = {name: entry(values) for name, values in scores.columns.items()}
    left_out = [*scores.left_out, *((name, "no landmarks") for name in photos.missing)]
    lines = [*table(summary), "", f"{len(scores.names)} photos; {len(left_out)} left out."]
    lines += robustness_lines(scores)
    report = {"count": len(scores.names), "summary": summary, "left_out": left_out} | robustness(scores)
    report |= {"shift": list(args.shift), "mirrored": args.mirrored}
    write(args.out, "landmarks", report, lines)
    tqdm.write("\n".join([*lines, *left_out_lines(left_out)]))
    return INCOMPLETE if left_out else 0


def load_covers(args: argparse.Namespace, head: "HeadModel") -> "LandmarkCovers | None":
    """What covers the photos, or None without --occlude.

    Raises:
        ConfigError: the coverage is not an increasing pair within 0..1.
        OcclusionError: there is no such family.
    """
    if not args.occlude:
        return None
    from occface_core.evaluation.landmark_covers import LandmarkCovers
    from occface_core.networks.checkpoints import load_encoder

    locator = load_encoder(args.reference, head="open")
    return LandmarkCovers(locator, head, args.occlude, tuple(args.coverage), args.seed)


def robustness(scores: "LandmarkScores") -> dict[str, Any]:
    """Covered over clean NME of every network, and the mean share hidden; empty without covers."""
    if not scores.hidden:
        return {}
    covered = [name for name in scores.columns if name.endswith(", covered")]
    ratios = {
        name.removesuffix(", covered"): float(
            scores.columns[name].mean() / scores.columns[name.removesuffix(", covered")].mean()
        )
        for name in covered
    }
    return {"ratio": ratios, "hidden": {k: float(v.mean()) for k, v in scores.hidden.items()}}


def robustness_lines(scores: "LandmarkScores") -> list[str]:
    """The same for people to read."""
    found = robustness(scores)
    if not found:
        return []
    ratios = ", ".join(f"{name} {value:.3f}" for name, value in found["ratio"].items())
    shares = ", ".join(f"{100 * share:.0f} % ({size})" for size, share in found["hidden"].items())
    return [f"NME covered / clean: {ratios}. Hidden on average: {shares}."]


def load_models(items: list[str] | None, mirrored: bool = False) -> "dict[str, AnyEncoder]":
    """Networks named on the command line as NAME or NAME=FILE; `mirrored` ones look at crops both ways."""
    from occface_core.networks.checkpoints import load_encoder
    from occface_core.networks.mirrored import look_twice

    pairs = (item.partition("=") for item in items or ["teacher", "student"])
    networks = {name: load_encoder(source or name, head="open") for name, _, source in pairs}
    return look_twice(networks) if mirrored else dict(networks)


def entry(values: np.ndarray) -> dict[str, Any]:
    """Mean with its 95 % bootstrap interval, median and count of one column."""
    interval = bootstrap_interval(values, rng=np.random.default_rng(0))
    middle = (float(values.mean()), float(np.median(values))) if len(values) else (float("nan"),) * 2
    return {"mean": middle[0], "median": middle[1], "ci95": interval, "count": len(values)}


def table(summary: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown lines, one row per predictor."""
    lines = ["| model | NME % | 95 % interval | median % | inner 51 points % |", "|---|---|---|---|---|"]
    for name, row in summary.items():
        if not name.endswith("/inner"):
            low, high = row["ci95"]
            inner = summary[f"{name}/inner"]["mean"]
            lines.append(
                f"| {name} | {100 * row['mean']:.2f} | {100 * low:.2f} to {100 * high:.2f} | "
                f"{100 * row['median']:.2f} | {100 * inner:.2f} |"
            )
    return lines


def left_out_lines(left_out: Sequence[tuple[str, str]]) -> list[str]:
    """The first of the (name, reason) pairs, spelled out; the written files have all of them."""
    return [f"left out: {name}: {reason}" for name, reason in left_out[:_NAMED]]


def write(out: Path, name: str, report: dict[str, Any], lines: list[str]) -> None:
    """OUT/<name>.json and OUT/<name>.md."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2).replace("NaN", "null")
    (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
