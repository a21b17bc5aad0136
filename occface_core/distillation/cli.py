"""`python -m occface_core train`: command-line face of the trainer."""

import argparse
import logging
from dataclasses import MISSING, fields
from pathlib import Path

from occface_core.distillation.config import RECIPES, TrainConfig

HELP = {
    "photos": "folder of photos with landmarks (tar shards or images); without it, synthetic renders alone",
    "hidden": "folder of SPLIT-hidden.npz files made by the command `hidden`",
    "minutes": "time budget; the learning rate reaches zero at its end",
    "steps": "stop after so many steps instead of by time (exact reruns)",
    "teacher": "shipped name or .safetensors file of the network to distil",
    "start_from": "checkpoint to start from, or 'scratch'",
    "only": "part of the network to train, as mask_head; the rest stays as it is",
    "code_loss": "plain (as published) or normalised mean squared error over the code",
    "loss_weights": "factors on single loss terms, as shape=0,posed=2; 0 switches a term off",
    "precision": "32-true, bf16-mixed, or auto: bf16-mixed where it is faster",
    "occluders": "painted: one by one in the loading processes; batched: all at once on the training device",
    "second_share": "part of the covered pictures with a second object on top, as sunglasses over a mask",
    "poor_share": "part of the pictures a student sees with few pixels and noise, as of faces far away",
    "devices": "processes on this machine; under torchrun leave it out",
    "sheet_minutes": "training time between two sample sheets, 0 for none",
    "checkpoint_minutes": "training time between two resumable states",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option per field of TrainConfig."""
    for item in fields(TrainConfig):
        if item.name == "coverage":
            parser.add_argument("--coverage", type=float, nargs=2, default=None, metavar=("LOW", "HIGH"))
            continue
        default = item.default if item.default is not MISSING else None
        kind = {"photos": Path, "hidden": Path, "limit": int}.get(item.name, type(default))
        parser.add_argument(
            f"--{item.name.replace('_', '-')}",
            dest=item.name,
            type=kind,
            default=None,
            choices=RECIPES if item.name == "recipe" else None,
            help=f"{HELP.get(item.name, '')} (default {default})".strip(),
        )


def run(args: argparse.Namespace) -> int:
    """Train; exit code 0 when finished."""
    from occface_core.distillation.run import run_training  # heavy imports only when training

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    known = {f.name for f in fields(TrainConfig)}
    given = {k: v for k, v in vars(args).items() if k in known and v is not None}
    if "coverage" in given:
        given["coverage"] = tuple(given["coverage"])
    if "out" not in given:
        given["out"] = Path("runs") / str(given.get("recipe", "teacher"))
    run_training(TrainConfig(**given))
    return 0
