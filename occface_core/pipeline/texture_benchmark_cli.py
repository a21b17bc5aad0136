"""`benchmark textures`: how well the textures of covered faces are completed."""

import argparse
from pathlib import Path

from occface_core.errors import ConfigError
from occface_core.evaluation.cover_options import add_twins, make_twins
from occface_core.evaluation.landmarks_cli import write

Table = dict[str, dict[str, dict[str, float]]]
PIXELS = 176  # to a side of the photos, unless said otherwise: all that a pack holds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark textures`."""
    add_twins(parser, "468 landmarks")
    add = parser.add_argument
    add("--hidden", type=Path, metavar="DIR", help="folder of SPLIT-hidden.npz: hair is no skin then")
    add("--limit", type=int, default=320, metavar="N", help="photos, evenly spread (default 320)")
    add("--model", default="student", help="shipped name or .safetensors network (default student)")
    add(
        "--leak",
        type=int,
        nargs="*",
        default=(),
        metavar="N",
        help="measure true masks that are N pixels too wide as well, as bad masks are",
    )
    add("--size", type=int, default=PIXELS, help=f"side of the photos, pixels (default {PIXELS})")
    add("--batch-size", type=int, default=16)
    add("--out", type=Path, default=Path("runs/textures"), help="folder (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Measure, write OUT/textures.json and OUT/textures.md."""
    import numpy as np
    from tqdm import tqdm

    from occface_core.data.hidden import with_hidden_of
    from occface_core.data.packed import cached_pack
    from occface_core.data.photos import load_photo_set
    from occface_core.pipeline.texture_benchmark import WRONG, Recorder, measure_textures, summarised

    if args.limit < 1 or any(leak < 1 for leak in args.leak):
        raise ConfigError(f"--limit {args.limit}, --leak {list(args.leak)}: give numbers of at least 1")
    packed = cached_pack(load_photo_set(args.images, split=args.split), args.cache)
    packed = with_hidden_of(packed, args.hidden, args.split)
    chosen = np.linspace(0, len(packed) - 1, min(args.limit, len(packed))).astype(int)
    reconstructor = Recorder(args.model)
    twins = make_twins(args, packed.rows(chosen), reconstructor.head, args.size)
    measured = measure_textures(reconstructor, twins, leaks=(0, *args.leak))
    errors = [one for batch in tqdm(measured, total=len(twins), unit="batch") for one in batch]
    summary = summarised(errors)
    about = f"{len(errors)} photos; differences of colours in [0,1]; wrong: above {WRONG}."
    lines = [*table(summary), "", about]
    write(args.out, "textures", {"photos": len(errors), "model": args.model, "summary": summary}, lines)
    tqdm.write("\n".join(lines))
    return 0


def table(summary: Table) -> list[str]:
    """Markdown lines: one row per family and way of completing."""
    lines = [
        "| covers | photos | completed by | hidden skin | wrong % | seen skin | all skin | wrong % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for family, ways in summary.items():
        for way, row in ways.items():
            values = [
                f"{row['hidden']:.4f}",
                f"{100 * row['hidden_wrong']:.1f}",
                f"{row['seen']:.4f}",
                f"{row['all']:.4f}",
                f"{100 * row['all_wrong']:.1f}",
            ]
            lines.append(f"| {family} | {row['photos']:.0f} | {way} | {' | '.join(values)} |")
    return lines
