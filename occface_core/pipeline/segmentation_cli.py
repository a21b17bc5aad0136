"""`benchmark segmentation`: predicted visible-face masks against masks that lie beside the photos."""

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from occface_core.pipeline.reconstruct_cli import positive

if TYPE_CHECKING:
    from occface_core.evaluation.segmentation_sets import Failure, SegmentationRow

OK, INCOMPLETE = 0, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `benchmark segmentation`."""
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="photos, in any sub-folders"
    )
    parser.add_argument(
        "--masks",
        type=Path,
        required=True,
        metavar="DIR",
        help="masks in the same sub-folders, called like the photos (or with _mask, _visible, "
        "_visible_skin_mask behind): white = visible face skin",
    )
    parser.add_argument("--model", action="append", help="NAME or NAME=FILE; repeat (default student)")
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="CSV",
        help="image,x0,y0,x1,y1 of the 68 landmarks (default: detect the face)",
    )
    parser.add_argument("--head", default="open", metavar="open|flame|FILE", help="head model (default open)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto")
    parser.add_argument(
        "--batch-size", type=positive, default=8, metavar="N", help="photos at once (default 8)"
    )
    parser.add_argument("--limit", type=positive, default=None, metavar="N", help="first N photos only")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Measure; write OUT/segmentation.json, .md and .csv; 3 when a photo gave no scores (each is named)."""
    from tqdm import tqdm

    from occface_core.evaluation.landmarks_cli import left_out_lines, write
    from occface_core.evaluation.segmentation_sets import markdown, pair_masks, summarise
    from occface_core.pipeline.detection import FaceDetector
    from occface_core.pipeline.inputs import BoxTable
    from occface_core.pipeline.manifest import make_folder
    from occface_core.pipeline.reconstructor import FaceReconstructor
    from occface_core.pipeline.segmentation_run import measure

    make_folder(args.out)
    photos, unpaired = pair_masks(args.images, args.masks)
    photos = photos[: args.limit]
    boxes = BoxTable.read(args.boxes) if args.boxes else None
    detector = FaceDetector()
    rows: dict[str, list[SegmentationRow]] = {}
    for item in args.model or ["student"]:
        name, _, source = item.partition("=")
        model = FaceReconstructor(source or name, args.head, args.device, detector=detector)
        stream = measure(photos, model, model.head, boxes=boxes, batch_size=args.batch_size)
        rows[name] = list(tqdm(stream, total=len(photos), unit="photo", desc=name, disable=None))
    summaries = {name: summarise(found) for name, found in rows.items()}
    failed = [(f"{r.photo.name} ({m})", r.message) for m, found in rows.items() for r in found if r.message]
    how = "given boxes where listed, else detection" if boxes else "faces found by detection"
    lines = [*markdown(summaries), "", f"% inside the rendered face, {how}; {len(unpaired)} files without "
             f"partner, {len(failed)} photos failed."]  # fmt: skip
    report = {"summary": summaries, "unpaired": unpaired, "failed": failed, "boxes": bool(boxes)}
    write(args.out, "segmentation", report, lines)
    _write_rows(args.out / "segmentation.csv", rows, unpaired)
    tqdm.write("\n".join([*lines, *left_out_lines([*unpaired, *failed])]))
    return INCOMPLETE if unpaired or failed else OK


def _write_rows(path: Path, rows: "dict[str, list[SegmentationRow]]", unpaired: "list[Failure]") -> None:
    from occface_core.evaluation.segmentation_sets import SCORES, WHOLE

    names = (*SCORES, WHOLE)
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["model", "image", "folder", "status", *names, "message"])
        for model, found in rows.items():
            for row in found:
                status = "ok" if row.scores else "failed"
                values = [f"{row.scores[n]:.5f}" if row.scores else "" for n in names]
                table.writerow([model, row.photo.name, row.photo.group, status, *values, row.message])
        for name, reason in unpaired:
            table.writerow(["", name, "", "unpaired", *([""] * len(names)), reason])
