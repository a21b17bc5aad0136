"""`python -m occface_core train`: command-line face of the trainer."""

import argparse
import logging
from dataclasses import MISSING, fields
from pathlib import Path

from occface_core.distillation.config import RECIPES, TrainConfig

HELP = {
    "recipe": "what is learned from what, see docs/recipes.md",
    "out": "run folder (default runs/RECIPE); the same command with the same folder goes on where it stopped",
    "photos": "folder of photos with landmarks (tar shards or images); without it, synthetic renders alone",
    "split": "shard prefix or sub-folder to train on",
    "dev_split": "photos of the sample sheets, never trained on",
    "cache": "where decoded photos are kept",
    "hidden": "folder of SPLIT-hidden.npz files made by the command `hidden`",
    "limit": "first so many photos only",
    "teacher": "shipped name or .safetensors file of the network to distil",
    "start_from": "checkpoint to start from, or 'scratch'; without it the --damior network or the teacher, "
    "where the recipe distils one, else random weights",
    "guided_by": "learner, damior, diamor: network whose mask and drawing of a face the trained one sees too",
    "completes": "learner, damior, diamor: network that draws what is hidden, so that the trained one sees "
    "the completed face; start from its teacher",
    "only": "part of the network to train, as mask_head; the rest stays as it is",
    "backbone": "resnet18, resnet34, resnet50, mobilenet_v3_small or mobilenet_v3_large",
    "input_size": "side of the crops, pixels",
    "mask_size": "side of the predicted face mask, 0 for none",
    "mask_detail": "channels of the mask's refinement at half the resolution of the crop, 0 for none",
    "mask_edges": "channels of the mask's refinement at its full resolution, 0 for none",
    "local_channels": "channels per cell that reach the code unpooled, 0 for none",
    "evidence_points": "landmarks a student looks for one by one, 0 for none",
    "evidence_blocks": "residual convolutions before their heatmaps",
    "minutes": "time budget; the learning rate reaches zero at its end",
    "steps": "stop after so many steps instead of by time (exact reruns)",
    "batch_size": "pictures per step and process",
    "learning_rate": "at its highest, after the warm-up",
    "weight_decay": "of AdamW",
    "warmup": "part of the run in which the learning rate rises",
    "seed": "same seed and data, same losses",
    "workers": "processes that prepare photos and covers",
    "precision": "32-true, bf16-mixed, or auto: bf16-mixed where it is faster",
    "device": "auto, cpu or cuda",
    "devices": "processes on this machine; under torchrun leave it out",
    "code_loss": "plain (as published) or normalised mean squared error over the code",
    "loss_weights": "factors on single loss terms, as shape=0,posed=2; 0 switches a term off",
    "synthetic_share": "part of each batch that is rendered, when there are photos",
    "photometric": "weight of the photometric term, 0 for none",
    "occluders": "painted: one by one in the loading processes; batched: all at once on the training device",
    "occluder_family": "random, irrational, empirical or one family",
    "coverage": "share of the face the covers hide",
    "second_share": "part of the covered pictures with a second object on top, as sunglasses over a mask",
    "poor_share": "part of the pictures a student sees with few pixels and noise, as of faces far away",
    "harsh_share": "part of the pictures a student sees with hard shadows, blown out or retouched",
    "cut_share": "part of the pictures a student sees that end close to the face, as tight photos do",
    "profile_share": "part of the photos turned out of their plane, for faces seen from the side",
    "clean_share": "part of the pictures a student sees uncovered",
    "person_share": "teacher: part of a batch's photos that comes as two photos of one person",
    "closed_eyes_share": "part of a batch's photos whose eyes are all but closed, which are rare otherwise",
    "stretch_share": "part of a batch's photos stretched to the side or upwards, as many on the web are",
    "duplicates": "diamor: covers of each photo",
    "damior": "diamor: network to start from and agree with",
    "focus_cycle": "focus: steps of one cycle; its first quarter trains the segmenter",
    "focus_start": "focus: part of the run that learns landmarks alone",
    "views": "multiview: pictures of each rendered face",
    "checkpoint_minutes": "training time between two resumable states",
    "sheet_minutes": "training time between two sample sheets, 0 for none",
    "sheet_faces": "rows of a sheet",
    "log_every": "steps between two lines of losses",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option per field of TrainConfig."""
    for item in fields(TrainConfig):
        default = item.default if item.default is not MISSING else None
        told = default not in (None, "") and item.name != "out"  # of the others HELP says what they mean
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        about = HELP[item.name] + (f" (default {shown})" if told else "")
        name = f"--{item.name.replace('_', '-')}"
        if item.name == "coverage":
            parser.add_argument(name, type=float, nargs=2, default=None, metavar=("LOW", "HIGH"), help=about)
            continue
        parser.add_argument(
            name,
            dest=item.name,
            type={"photos": Path, "hidden": Path, "limit": int}.get(item.name, type(default)),
            default=None,
            choices=RECIPES if item.name == "recipe" else None,
            help=about,
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
