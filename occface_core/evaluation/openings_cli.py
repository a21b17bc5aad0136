"""`benchmark openings`: how far eyes and mouths are open, by how far the photo's landmarks are."""

import argparse
from typing import TYPE_CHECKING

from occface_core.evaluation.cover_options import add_twins, make_twins
from occface_core.evaluation.landmarks_cli import add_model_arguments, entry, load_models, write

if TYPE_CHECKING:
    from occface_core.evaluation.openings import Columns, OpeningRange


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark openings`."""
    add_twins(parser, "468 landmarks")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, write OUT/openings.json and OUT/openings.md."""
    from tqdm import tqdm

    from occface_core.data.packed import cached_pack
    from occface_core.data.photos import load_photo_set
    from occface_core.evaluation.openings import measure_openings, opening_ranges
    from occface_core.morphable.head_model import HeadModel

    packed = cached_pack(load_photo_set(args.images, split=args.split), args.cache, limit=args.limit)
    models, head = load_models(args.model, args.mirrored), HeadModel.load()
    size = max(model.config.input_size for model in models.values())
    columns = measure_openings(
        models, make_twins(args, packed, head, size), head, progress=lambda steps: tqdm(steps, unit="batch")
    )
    ranges = opening_ranges(columns)
    summary: dict[str, dict[str, dict]] = {}
    for one in ranges:
        row = {name: entry(values[one.part][one.rows]) for name, values in columns.items()}
        summary.setdefault(one.part, {})[one.name] = row
    lines = [*table(columns, ranges), "", f"{len(packed)} photos; mean opening, % of the face's size."]
    report = {"photos": len(packed), "mirrored": args.mirrored, "summary": summary}
    write(args.out, "openings", report, lines)
    tqdm.write("\n".join(lines))
    return 0


def table(columns: "Columns", ranges: "list[OpeningRange]") -> list[str]:
    """Markdown lines: one row per range of openings, one column per network and view."""
    lines = [f"| photos | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for one in ranges:
        high = f"-{100 * one.high:g}" if one.high < 1 else " and more"
        label = f"{one.part}, {one.name} ({100 * one.low:g}{high} %): {len(one.rows)}"
        values = [row[one.part][one.rows] for row in columns.values()]
        cells = [f"{100 * v.mean():.2f}" if len(v) else "-" for v in values]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines
