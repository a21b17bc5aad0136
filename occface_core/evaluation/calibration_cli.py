"""`benchmark sigma`: how often a student's errors lie within the sigma it predicts, and what sets it right.

Half of the photos give the factors, the other half is measured. The shipped student was calibrated by this.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from occface_core.errors import ConfigError
from occface_core.evaluation.cover_options import add_coverage, make_twins

if TYPE_CHECKING:  # heavy; imported only when the benchmark runs
    from torch import Tensor

    from occface_core.networks.encoder import FaceEncoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark sigma`."""
    add = parser.add_argument
    add("--images", type=Path, required=True, help="photos with 468 landmarks (docs/data.md)")
    add("--split", default="dev", help="shard prefix or sub-folder (default dev)")
    add("--model", default="student", help="network that predicts sigma: name or file (default student)")
    add("--teacher", default="teacher", help="its answers to clean photos are the truth (default teacher)")
    add("--write", type=Path, metavar="FILE", help="write the network with its sigma set right")
    add("--family", default="random", help="occluder family or group (default random)")
    add_coverage(parser)
    add("--limit", type=int, default=1400, metavar="N", help="first N photos (default 1400)")
    add("--seed", type=int, default=1, help="of the covers (default 1; tables use 0)")
    add("--batch-size", type=int, default=32)
    add("--cache", type=Path, default=Path("runs/cache"))
    add("--out", type=Path, default=Path("runs/benchmark"), metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Measure, write OUT/sigma.json and OUT/sigma.md, and the network if asked to.

    Raises:
        ConfigError: the network predicts no sigma, or there are too few photos for two halves.
    """
    from tqdm import tqdm

    from occface_core.evaluation.calibration import correlation, sigma_scale, within_one_sigma
    from occface_core.evaluation.landmarks_cli import write
    from occface_core.networks.checkpoints import checkpoint_metadata, load_encoder, save_encoder

    student = load_encoder(args.model, head="open")
    if not student.config.sigma_regions:
        raise ConfigError(f"--model {args.model}: this network predicts no uncertainty")
    others, (error, sigma) = _measured(args, student)
    factor = sigma_scale(*others)
    columns = {
        "before": within_one_sigma(error, sigma).tolist(),
        "factor": factor.tolist(),
        "after": within_one_sigma(error, sigma * factor).tolist(),
        "correlation": correlation(error, sigma).tolist(),
    }
    regions = list(student.config.sigma_regions)
    lines = [*_table(regions, columns), "", f"{len(error)} photos; {len(others[0])} gave the factors."]
    write(args.out, "sigma", {"regions": regions, "count": len(error), **columns}, lines)
    tqdm.write("\n".join(lines))
    if args.write:
        student.sigma_scale.mul_(factor)
        files = save_encoder(student, args.write, half=False, metadata=checkpoint_metadata(args.model))
        tqdm.write(f"wrote {files[0]}")
    return 0


def _measured(args: argparse.Namespace, student: "FaceEncoder") -> "list[tuple[Tensor, Tensor]]":
    """Errors and sigmas, mm, on the photos that give the factors and on those that are measured."""
    import numpy as np
    from tqdm import tqdm

    from occface_core.data.packed import cached_pack
    from occface_core.data.photos import load_photo_set
    from occface_core.evaluation.calibration import region_errors
    from occface_core.morphable.head_model import HeadModel
    from occface_core.networks.checkpoints import load_encoder
    from occface_core.networks.mirrored import look_twice

    packed = cached_pack(load_photo_set(args.images, split=args.split), args.cache, limit=args.limit)
    if len(packed) < 4:
        raise ConfigError(f"{args.images}: {len(packed)} photos cannot be cut into two halves")
    head, teacher = HeadModel.load(), load_encoder(args.teacher, head="open")
    both = look_twice({"student": student})["student"]  # as `reconstruct` does
    result = []
    for first in (0, 1):
        half = packed.rows(np.arange(first, len(packed), 2))
        twins = make_twins(args, half, head, student.config.input_size)
        result.append(region_errors(both, teacher, head, twins, progress=lambda s: tqdm(s, unit="batch")))
    return result


def _table(regions: list[str], columns: dict[str, list[float]]) -> list[str]:
    """Markdown, a row per region and one for all."""
    lines = ["| region | within one sigma % | factor | then % | correlation |", "|---|---|---|---|---|"]
    values = list(zip(*columns.values(), strict=True))
    means = tuple(sum(column) / len(column) for column in columns.values())
    for name, (before, factor, after, together) in zip([*regions, "all"], [*values, means], strict=True):
        lines.append(f"| {name} | {100 * before:.1f} | {factor:.2f} | {100 * after:.1f} | {together:.2f} |")
    return lines
