"""`benchmark occlusion`: clean photos against their occluded twins, one JSON and one Markdown table."""

import argparse
from pathlib import Path

COLUMNS = ("shape_mm", "posed_mm", "texture", "nme")
TITLES = {
    "shape_mm": "shape mm",
    "posed_mm": "posed mm",
    "texture": "texture",
    "nme": "NME %",
    "mask_iou": "mask IoU",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark occlusion`."""
    parser.add_argument("--images", type=Path, required=True, help="photos with 468 landmarks (docs/data.md)")
    parser.add_argument("--split", default="dev", help="shard prefix or sub-folder")
    parser.add_argument(
        "--model", action="append", help="NAME or NAME=FILE; repeat for several (default: student)"
    )
    parser.add_argument(
        "--against", default="teacher", help="network whose clean prediction is the reference"
    )
    parser.add_argument("--family", default="random", help="occluder family or group")
    parser.add_argument("--coverage", type=float, nargs=2, default=(0.2, 0.5), metavar=("LOW", "HIGH"))
    parser.add_argument("--limit", type=int, default=None, help="first N photos only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"))


def run(args: argparse.Namespace) -> int:
    """Measure, write OUT/occlusion.json and OUT/occlusion.md; exit code 0."""
    from tqdm import tqdm

    from occface_core.data.batches import BatchConfig, TwinSampler
    from occface_core.data.landmarks import mirror_pairs
    from occface_core.data.packed import cached_pack
    from occface_core.data.photos import load_photo_set
    from occface_core.evaluation.robustness import RobustnessBenchmark, reductions, summarise, to_json
    from occface_core.morphable.albedo import AlbedoModel
    from occface_core.morphable.head_model import HeadModel
    from occface_core.networks.checkpoints import load_encoder

    head, albedo = HeadModel.load(), AlbedoModel.load()
    models = {args.against: load_encoder(args.against)}
    for item in args.model or ["student"]:
        name, _, source = item.partition("=")
        models[name] = load_encoder(source or name)
    size = models[args.against].config.input_size
    packed = cached_pack(
        load_photo_set(args.images, split=args.split), args.cache, limit=args.limit, progress=tqdm
    )
    mean = head.landmarks(head.v_template[None], "468")[0]
    config = BatchConfig(
        batch_size=args.batch_size,
        size=size,
        occlude=True,
        family=args.family,
        coverage=tuple(args.coverage),
        clean_share=0.0,
    )
    sampler = TwinSampler(
        packed, config, seed=args.seed, mirror=mirror_pairs(mean.numpy()), mean_points=mean, augment=False
    )
    benchmark = RobustnessBenchmark(head, albedo, models, reference=args.against)
    summary = summarise(benchmark.run(sampler, progress=tqdm), seed=args.seed)
    summary["against"] = args.against
    kinds = [g for g in ("all", "kind irrational", "kind empirical") if g in summary["groups"]]
    summary["reductions"] = {
        f"{name}, {group.removeprefix('kind ')}": reductions(summary, args.against, name, group)
        for name in models
        if name != args.against
        for group in kinds
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "occlusion.json").write_text(to_json(summary) + "\n")
    (args.out / "occlusion.md").write_text(markdown(summary))
    tqdm.write(markdown(summary))
    return 0


def markdown(summary: dict) -> str:
    """Tables: every model clean and occluded, reductions, coverage bins."""
    groups = summary["groups"]
    rows = sorted({k.rsplit("/", 1)[0] for k in groups["all"] if k != "count"})
    lines = [
        f"{groups['all']['count']} photos; reference: {summary['against']} on the clean photo.",
        "",
        "| model / input | " + " | ".join(TITLES[c] for c in COLUMNS) + " | mask IoU | shape spread mm |",
        "|---|" + "---|" * (len(COLUMNS) + 2),
    ]
    for row in rows:
        iou = groups["all"].get(f"{row}/mask_iou")
        cells = [_cell(groups["all"][f"{row}/{c}"], c) for c in COLUMNS]
        cells += [_cell(iou, "mask_iou") if iou else "", f"{summary['spread_mm'][row]:.2f}"]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    for name, values in summary["reductions"].items():
        shown = ", ".join(f"{k} {v:.3f}" for k, v in values.items())
        lines += ["", f"{name} against {summary['against']} on the same occluded photos: {shown}"]
    occluded = [r for r in rows if r.endswith("/occluded")]
    lines += [
        "",
        "| group | photos | " + " | ".join(f"{r} shape mm, NME %" for r in occluded) + " |",
        "|---|---|" + "---|" * len(occluded),
    ]
    for group, row in groups.items():
        cells = [f"{row[f'{r}/shape_mm']['mean']:.2f}, {100 * row[f'{r}/nme']['mean']:.2f}" for r in occluded]
        lines.append(f"| {group} | {row['count']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(entry: dict, column: str) -> str:
    factor = 100.0 if column == "nme" else 1.0
    digits = 4 if column == "texture" else 3 if column == "mask_iou" else 2
    low, high = entry["ci95"]
    return f"{factor * entry['mean']:.{digits}f} [{factor * low:.{digits}f}, {factor * high:.{digits}f}]"
