"""`benchmark report`: one page of tables and figures from finished runs."""

import argparse
import sys
from pathlib import Path

from occface_core.errors import ConfigError

OK = 0
_ENDINGS = (".html", ".htm", ".md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark report`."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="[LABEL=]RUN",
        help="folder that a benchmark wrote: "
        "occlusion, now, landmarks, aflw, segmentation, regions, views, people, profiles, openings or sigma",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.html|FILE.md",
        help="the page; HTML holds its pictures, Markdown has them in FILE_files/",
    )
    parser.add_argument("--title", default=None, help="heading of the page")
    parser.add_argument(
        "--worst", type=int, default=8, metavar="N", help="worst photos per model (default 8)"
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="the occlusion run's photos, to show the worst ones; without it no photo gets into the page",
    )
    parser.add_argument("--split", default="dev", help="shard prefix or sub-folder of --images (default dev)")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="as in `benchmark occlusion`")


def run(args: argparse.Namespace) -> int:
    """Write the page; exit code 0."""
    from occface_core.evaluation.report import TITLE, ReportOptions, build
    from occface_core.evaluation.report_page import write_page
    from occface_core.evaluation.report_runs import read_runs
    from occface_core.evaluation.report_worst import crops_of_run
    from occface_core.morphable.head_model import HeadModel

    if args.out.suffix.lower() not in _ENDINGS:
        raise ConfigError(f"--out {args.out} must end in {' or '.join(_ENDINGS)}")
    if args.worst < 0:
        raise ConfigError(f"--worst {args.worst} must not be negative")
    pairs = [_labelled(text) for text in args.runs]
    runs = read_runs([folder for _, folder in pairs], [label for label, _ in pairs])
    crops = {}
    if args.images is not None:
        crops = {r.label: crops_of_run(r, args.images, args.split, args.cache) for r in runs.occlusion}
    head = HeadModel.load() if any(r.vertex_errors for r in runs.occlusion) else None
    blocks = build(runs, ReportOptions(args.worst, crops, head))
    written = write_page(args.title or TITLE, blocks, args.out)
    sys.stdout.write(
        f"{written[0]}" + (f" and {len(written) - 1} pictures" if len(written) > 1 else "") + "\n"
    )
    return OK


def _labelled(text: str) -> tuple[str, Path]:
    """LABEL=FOLDER, or a folder alone (also one whose own name holds an equals sign)."""
    label, separator, folder = text.partition("=")
    if separator and label and folder and not Path(text).is_dir():
        return label, Path(folder)
    return "", Path(text)
