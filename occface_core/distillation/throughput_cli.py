"""`python -m occface_core benchmark throughput`: images per second of occluders and of training."""

import argparse
import json
import platform
import sys
from pathlib import Path

from occface_core.distillation.config import DEVICES, OCCLUDERS, PRECISIONS, RECIPES, TrainConfig
from occface_core.errors import ConfigError

GROUPS = ("random", "irrational", "empirical")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark throughput`."""
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default auto")
    parser.add_argument("--size", type=int, default=224, help="pixels of the occluded images (default 224)")
    parser.add_argument(
        "--family",
        action="append",
        metavar="NAME",
        help="mix or family to time; may be repeated (default random, irrational, empirical)",
    )
    parser.add_argument(
        "--occluders",
        action="append",
        choices=OCCLUDERS,
        help="kind of occluders to time; may be repeated (default painted); training uses the last",
    )
    parser.add_argument("--processes", type=int, default=1, help="processes that occlude (default 1)")
    parser.add_argument("--recipe", choices=RECIPES, default="damior", help="trained recipe (default damior)")
    parser.add_argument("--backbone", default="resnet18", help="trained network (default resnet18)")
    parser.add_argument("--input-size", type=int, default=112, help="its input, pixels (default 112)")
    parser.add_argument("--batch-size", type=int, default=64, help="default 64")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="default auto")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each figure (default 10)")
    parser.add_argument("--only", choices=("occlusion", "training"), help="one of the two parts")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="also write the figures")


def run(args: argparse.Namespace) -> int:
    """Measure and print; exit code 0.

    Raises:
        ConfigError: wrong settings, or a device that is not there.
    """
    if args.seconds <= 0 or args.size < 32:
        raise ConfigError(
            f"--seconds {args.seconds} --size {args.size}: give a positive time, 32 pixels or more"
        )
    settings = {
        name: getattr(args, name)
        for name in ("recipe", "backbone", "input_size", "batch_size", "precision", "device")
    }
    settings["occluders"] = (args.occluders or ["painted"])[-1]
    # Refused before anything is measured. Photos stand for renders, so that batches hold what a run's hold.
    config = TrainConfig(steps=10**9, duplicates=1, photos=Path("rendered"), **settings)
    figures: dict[str, float] = {}
    if args.only != "training":
        figures |= _occlusion(args)
    if args.only != "occlusion":
        figures |= _training(config, args.seconds)
    import torch

    result = {
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "settings": {**settings, "size": args.size, "processes": args.processes},
        "images_per_s": figures,
    }
    for name, rate in figures.items():
        sys.stdout.write(f"{name:<44}{rate:>10.1f} images/s\n")
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    return 0


def _occlusion(args: argparse.Namespace) -> dict[str, float]:
    import torch

    from occface_core.distillation.throughput import BATCHES, occlusion_rate_of_processes

    cuda = args.device == "cuda" or (args.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if cuda else "cpu")
    figures = {}
    for family in args.family or GROUPS:
        for kind in dict.fromkeys(args.occluders or ["painted"]):
            rate = occlusion_rate_of_processes(
                args.size,
                family,
                device,
                occluders=kind,
                batch=BATCHES[device.type] if kind == "batched" else 32,
                seconds=args.seconds,
                processes=args.processes,
            )
            word = "occlude" if kind == "painted" else "occlude batched"
            figures[f"{word} {family}, {args.size} px"] = rate.images_per_s
    return figures


def _training(config: TrainConfig, seconds: float) -> dict[str, float]:
    from occface_core.distillation.engine import resolve_precision
    from occface_core.distillation.throughput import TrainingRates

    rates = TrainingRates(config, seconds)
    precision = resolve_precision(config.precision, rates.fabric.device, config.backbone)
    measured = {
        f"photo batches, one process, {config.input_size} px": rates.photo_batches(),
        f"renders with their twins, {config.input_size} px": rates.renders(),
        f"training steps, {config.backbone} {precision}": rates.steps(),
    }
    return {name: rate.images_per_s for name, rate in measured.items() if rate is not None}
