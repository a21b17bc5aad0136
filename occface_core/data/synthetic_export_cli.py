"""`python -m occface_core synthesize`: rendered faces with exact truth in a folder."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from occface_core.data.synthetic_export import ExportConfig, export_synthetic
from occface_core.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `synthesize`."""
    usual = ExportConfig()
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder, or one to go on with")
    parser.add_argument("--count", type=int, default=usual.count, help=f"people (default {usual.count})")
    parser.add_argument(
        "--views", type=int, default=usual.views, help="pictures of each, from different sides (default 1)"
    )
    parser.add_argument("--size", type=int, default=usual.size, help=f"pixels (default {usual.size})")
    parser.add_argument(
        "--zoom",
        type=float,
        default=usual.zoom,
        help=f"1 fills the picture like a training crop, less leaves room around (default {usual.zoom})",
    )
    parser.add_argument("--seed", type=int, default=usual.seed, help="same seed, same pictures (default 0)")
    parser.add_argument("--vertices", action="store_true", help="also store the posed vertices")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto")


def run(args: argparse.Namespace) -> int:
    """Export; exit code 0 when finished.

    Raises:
        OccFaceError: wrong settings, or a folder that holds something else.
    """
    import torch
    from tqdm import tqdm

    from occface_core.morphable.albedo import AlbedoModel
    from occface_core.morphable.head_model import HeadModel

    names = ("count", "views", "size", "zoom", "seed", "vertices")
    config = ExportConfig(**{name: getattr(args, name) for name in names})
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda, but torch sees no CUDA GPU here; leave it out, or give cpu")
    device = "cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu"

    def bar(chunks: Iterable[int]) -> Iterable[int]:
        return tqdm(chunks, unit="chunk", desc="synthesize")

    head, albedo = HeadModel.load().to(device), AlbedoModel.load().to(device)
    result = export_synthetic(head, albedo, args.out, config, progress=bar)
    there = f", {result.kept} were there" if result.kept else ""
    sys.stdout.write(
        f"{result.rendered} pictures rendered{there}\n"
        f"train on them: python -m occface_core train --photos {args.out / 'photos'}\n"
    )
    return 0
