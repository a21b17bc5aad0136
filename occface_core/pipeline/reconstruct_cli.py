"""`python -m occface_core reconstruct`: photos, folders and videos to heads, masks and meshes."""

import argparse
import logging
import sys
from pathlib import Path

SOME_FAILED = 3
FORMATS = ("obj", "ply", "glb")
_SHOWN = 20  # failures spelled out on the terminal; the manifest has all of them
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `reconstruct`."""
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="images, folders or videos")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--model", default="student", metavar="student|teacher|FILE", help="network (default student)"
    )
    parser.add_argument("--head", default="open", metavar="open|flame|FILE", help="head model (default open)")
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="CSV",
        help="image,x0,y0,x1,y1: pixel boxes of the 68 landmarks, by file name",
    )
    parser.add_argument(
        "--format",
        type=_formats,
        default=(),
        metavar="obj,ply,glb",
        help="mesh files to write besides npz and json",
    )
    parser.add_argument(
        "--batch-size", type=positive, default=8, metavar="N", help="pictures at a time (default 8)"
    )
    parser.add_argument(
        "--one-person",
        action="store_true",
        help="the inputs show one person: one shape and skin for all, textures that fill each other's gaps",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto")
    parser.add_argument("--overwrite", action="store_true", help="make again what is already there")


def run(args: argparse.Namespace) -> int:
    """Reconstruct everything; 0 = every picture is ok, 3 = some are not.

    Raises:
        OccFaceError: Wrong usage, or the model cannot be loaded.
    """
    # Imported here: the heavy libraries are needed only once the arguments are known to be right.
    from occface_core.pipeline.inputs import (
        BoxTable,
        count_pictures,
        find_files,
        pictures,
        refuse_shared_folder,
    )
    from occface_core.pipeline.runner import RunConfig, Runner

    files = find_files(args.inputs, skip=args.out)
    refuse_shared_folder(files, args.out)
    boxes = BoxTable.read(args.boxes) if args.boxes else None
    config = RunConfig(
        args.out, args.format, args.batch_size, args.overwrite, args.model, args.head, args.one_person
    )

    def make():
        from occface_core.pipeline.person import OnePerson
        from occface_core.pipeline.reconstructor import FaceReconstructor

        model = FaceReconstructor(args.model, args.head, args.device, batch_size=args.batch_size)
        return OnePerson(model) if args.one_person else model

    runner = Runner(config, make, boxes)
    _work(runner, pictures(files), count_pictures(files))
    counts = runner.manifest.counts()
    if boxes is not None:
        boxes.name_unused()
    if runner.made_otherwise:
        log.warning(
            "%d results were made with another model or head, or from several photos as --one-person, and "
            "are kept; --overwrite replaces them",
            runner.made_otherwise,
        )
    shown = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    again = f" ({runner.skipped} were already done)" if runner.skipped else ""
    sys.stdout.write(f"{shown}{again}; see {runner.manifest.path}\n")
    return 0 if counts["ok"] == sum(counts.values()) else SOME_FAILED


def _work(runner, stream, total: int) -> None:
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    failures = 0
    with logging_redirect_tqdm(), tqdm(total=total, unit="image", desc="reconstruct", disable=None) as bar:
        for row in runner.run(stream):
            bar.update()
            if row.status == "ok":
                continue
            failures += 1
            if failures <= _SHOWN:
                log.warning("%s: %s: %s", row.status, row.image, row.message)
            elif failures == _SHOWN + 1:
                log.warning("further failures are listed in the manifest only")


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(
        dict.fromkeys(part.strip().lower().removeprefix(".") for part in text.split(",") if part.strip())
    )
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown mesh format {', '.join(unknown)}; choose from {', '.join(FORMATS)}"
        )
    return names


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value
