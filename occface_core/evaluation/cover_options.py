"""Command-line options for covers and for looking twice, shared by the benchmarks. Imports nothing heavy."""

import argparse

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
