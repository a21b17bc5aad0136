"""`benchmark landmarks`: 68-point NME of networks and of the mean head on an annotated folder."""

import argparse
import json
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark landmarks`."""
    parser.add_argument("--images", type=Path, required=True, help="photos with points.csv or landmarks.npz")
    parser.add_argument("--split", default="", help="shard prefix or sub-folder")
    parser.add_argument(
        "--model", action="append", help="NAME or NAME=FILE; repeat (default teacher, student)"
    )
    parser.add_argument("--limit", type=int, default=None, help="first N photos only")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"))


def run(args: argparse.Namespace) -> int:
    """Measure, write OUT/landmarks.json and OUT/landmarks.md; 3 when photos were left out."""
    import numpy as np
    from tqdm import tqdm

    from occface_core.data.photos import load_photo_set
    from occface_core.evaluation.landmarks import evaluate_landmarks
    from occface_core.evaluation.metrics import bootstrap_interval
    from occface_core.morphable.head_model import HeadModel
    from occface_core.networks.checkpoints import load_encoder

    models = {}
    for item in args.model or ["teacher", "student"]:
        name, _, source = item.partition("=")
        models[name] = load_encoder(source or name)
    photos = load_photo_set(args.images, split=args.split)
    columns, skipped = evaluate_landmarks(
        models, HeadModel.load(), photos.records[: args.limit], progress=tqdm
    )
    rng = np.random.default_rng(0)
    summary: dict[str, dict[str, Any]] = {
        name: {
            "mean": float(v.mean()),
            "median": float(np.median(v)),
            "ci95": bootstrap_interval(v, rng=rng),
            "count": len(v),
        }
        for name, v in columns.items()
    }
    lines = [
        "| model | NME % | 95 % interval | median % | inner 51 points % |",
        "|---|---|---|---|---|",
    ]
    for name, row in summary.items():
        if not name.endswith("/inner"):
            low, high = row["ci95"]
            inner = summary[f"{name}/inner"]["mean"]
            lines.append(
                f"| {name} | {100 * row['mean']:.2f} | {100 * low:.2f} to {100 * high:.2f} | "
                f"{100 * row['median']:.2f} | {100 * inner:.2f} |"
            )
    left_out = [*skipped, *((name, "no landmarks") for name in photos.missing)]
    lines += ["", f"{len(photos.records[: args.limit]) - len(skipped)} photos; {len(left_out)} left out."]
    args.out.mkdir(parents=True, exist_ok=True)
    report = {"summary": summary, "left_out": left_out}
    (args.out / "landmarks.json").write_text(json.dumps(report, indent=2) + "\n")
    (args.out / "landmarks.md").write_text("\n".join(lines) + "\n")
    tqdm.write("\n".join(lines))
    return 3 if left_out else 0
