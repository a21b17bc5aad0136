"""`benchmark views`: depth and shape of rendered faces seen from several sides, each view by itself."""

import argparse
from typing import Any

from occface_core.evaluation.landmarks_cli import add_model_arguments, entry, load_models, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark views`."""
    add_model_arguments(parser)
    parser.set_defaults(limit=100)
    parser.add_argument("--views", type=int, default=3, help="views of each face (default 3)")


def run(args: argparse.Namespace) -> int:
    """Measure, write OUT/views.json and OUT/views.md."""
    from tqdm import tqdm

    from occface_core.data.synthetic import SyntheticFaces
    from occface_core.errors import ConfigError
    from occface_core.evaluation.views import evaluate_views
    from occface_core.morphable.albedo import AlbedoModel
    from occface_core.morphable.head_model import HeadModel

    if args.views < 2 or args.limit < 1:
        raise ConfigError(f"views {args.views} must be at least 2, and limit {args.limit} at least 1")
    models = load_models(args.model, args.mirrored)
    size = max(model.config.input_size for model in models.values())
    result = evaluate_views(
        models,
        SyntheticFaces(HeadModel.load(), AlbedoModel.load(), size),
        groups=args.limit,
        views=args.views,
        progress=lambda stream: tqdm(stream, unit="batch"),
    )
    summary = {
        name: {key: entry(values[~values.isnan()].numpy()) for key, values in columns.items()}
        for name, columns in result.items()
    }
    lines = ["| network | depth mm | shape without size mm | spread over views mm |", "|---|---|---|---|"]
    for name, row in summary.items():
        cells = [_cell(row[key]) for key in ("depth_mm", "form_mm", "spread_mm")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", f"{args.limit} rendered people, {args.views} views each, {size} px."]
    how = {"people": args.limit, "views": args.views, "mirrored": args.mirrored}
    write(args.out, "views", how | {"summary": summary}, lines)
    tqdm.write("\n".join(lines))
    return 0


def _cell(row: dict[str, Any]) -> str:
    low, high = row["ci95"]
    return f"{row['mean']:.2f} [{low:.2f}, {high:.2f}]"
