"""Command-line options for covers and for looking twice, shared by the benchmarks. Imports nothing heavy."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from occface_core.data.packed import PackedPhotos
    from occface_core.evaluation.twins import EvaluationTwins
    from occface_core.morphable.head_model import HeadModel

COVERAGE = (0.2, 0.5)  # share of the face, the range all published tables here use


def add_coverage(parser: argparse.ArgumentParser) -> None:
    """`--coverage LOW HIGH`."""
    low, high = COVERAGE
    parser.add_argument(
        "--coverage",
        type=float,
        nargs=2,
        default=COVERAGE,
        metavar=("LOW", "HIGH"),
        help=f"share of the face the covers hide (default {low} {high})",
    )


def add_mirrored(parser: argparse.ArgumentParser) -> None:
    """`--mirrored`."""
    parser.add_argument(
        "--mirrored",
        action="store_true",
        help="let every network look at the mirror image too and average, as `reconstruct` does",
    )


def add_annotated_covers(
    parser: argparse.ArgumentParser, reference: str = "network that places the covers"
) -> None:
    """Options of benchmarks that cover photos only when asked to, and what their reference network does."""
    parser.add_argument(
        "--occlude",
        metavar="FAMILY",
        help="also measure covered twins: random, irrational, empirical or one family",
    )
    add_coverage(parser)
    parser.add_argument("--reference", default="teacher", help=reference)
    parser.add_argument("--seed", type=int, default=0, help="of the covers (default 0)")


def add_twins(parser: argparse.ArgumentParser, images: str) -> None:
    """Photos and how they are covered, for benchmarks of clean photos beside their covered twins."""
    add = parser.add_argument
    add("--images", type=Path, required=True, help=f"photos with {images} (docs/data.md)")
    add("--split", default="dev", help="shard prefix or sub-folder (default dev)")
    add("--family", default="random", help="occluder family or group of the covered twins (default random)")
    add_coverage(parser)
    add("--seed", type=int, default=0, help="of the covers (default 0)")
    add("--cache", type=Path, default=Path("runs/cache"))


def make_twins(
    args: argparse.Namespace, packed: "PackedPhotos", head: "HeadModel", size: int
) -> "EvaluationTwins":
    """The photos of a pack, `size` pixels wide, and their twins by the options of `add_twins`."""
    from occface_core.evaluation.twins import EvaluationTwins, TwinSettings

    settings = TwinSettings(size, args.family, tuple(args.coverage), seed=args.seed)
    mean_points = head.landmarks(head.v_template[None], "468")[0]
    return EvaluationTwins(packed, settings, mean_points=mean_points, batch_size=args.batch_size)
