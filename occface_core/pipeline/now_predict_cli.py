"""`benchmark now-predict`: predictions for a NoW dataset, ready for `benchmark now`."""

import argparse
import json
import logging
import sys
from pathlib import Path

from occface_core.pipeline.reconstruct_cli import positive

SOME_FAILED = 3
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark now-predict`."""
    parser.add_argument("--dataset", type=Path, required=True, metavar="DIR", help="NoW folder with photos")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for predictions")
    parser.add_argument(
        "--model",
        default="student",
        metavar="mean|student|teacher|FILE",
        help="network, or the mean head (default student)",
    )
    parser.add_argument("--head", default="open", metavar="open|flame|FILE", help="head model (default open)")
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="CSV",
        help="image,x0,y0,x1,y1 of the 68 landmarks (default DATASET/boxes.csv, or detect)",
    )
    parser.add_argument("--set", choices=("val", "test"), default="val", help="image list (default val)")
    parser.add_argument("--image-list", type=Path, metavar="FILE", help="another image list")
    parser.add_argument(
        "--batch-size", type=positive, default=16, metavar="N", help="photos at once (default 16)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto")
    parser.add_argument("--overwrite", action="store_true", help="predict again what is already there")


def run(args: argparse.Namespace) -> int:
    """Predict everything; 0 = every photo, 3 = some failed (each is named)."""
    from tqdm import tqdm

    from occface_core.evaluation.now_files import NowDataset
    from occface_core.pipeline.inputs import BoxTable
    from occface_core.pipeline.loading import resolve_head
    from occface_core.pipeline.now_predict import predict, predict_mean_head
    from occface_core.pipeline.reconstructor import FaceReconstructor

    dataset = NowDataset.open(args.dataset, image_set=args.set, image_list=args.image_list)
    _claim(args)
    if args.model == "mean":
        stream = predict_mean_head(dataset, args.out, resolve_head(args.head))
    else:
        default = args.dataset / "boxes.csv"
        table = args.boxes or (default if default.is_file() else None)
        reconstructor = FaceReconstructor(args.model, args.head, args.device, batch_size=args.batch_size)
        stream = predict(
            dataset,
            args.out,
            reconstructor.head,
            reconstructor,
            batch_size=args.batch_size,
            boxes=BoxTable.read(table) if table else None,
            overwrite=args.overwrite,
        )
    made, failed = 0, 0
    for outcome in tqdm(stream, unit="image", desc="now-predict", disable=None):
        made, failed = made + (outcome.error is None), failed + (outcome.error is not None)
        if outcome.error is not None:
            log.warning("%s: %s", outcome.image.line, outcome.error)
    kept = len(dataset.images) - made - failed
    sys.stdout.write(f"{made} predicted, {failed} failed, {kept} already there\n")
    return SOME_FAILED if failed else 0


def _claim(args: argparse.Namespace) -> None:
    """Write down who predicts into a folder; refuse one with somebody else's predictions.

    Raises:
        ConfigError: they are of another model, head or table of boxes.
    """
    from occface_core.data.partial import refuse_other_settings
    from occface_core.pipeline.manifest import make_folder

    make_folder(args.out)
    path = args.out / "predicted_by.json"
    own = {name: str(getattr(args, name)) for name in ("model", "head", "boxes")}
    if path.is_file() and not args.overwrite:
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            read = None
        there = read if isinstance(read, dict) else {}
        refuse_other_settings(args.out, "predictions", there, own, "--overwrite")
    path.write_text(json.dumps(own) + "\n", encoding="utf-8")
