"""`python -m occface_core occlude`: synthetic objects in front of the faces of photos, with exact masks."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from occface_core.errors import ConfigError, NoFaceError, OccFaceError

if TYPE_CHECKING:  # heavy; imported only when the command runs
    from occface_core.occlusion.types import Occlusion
    from occface_core.pipeline.inputs import Picture
    from occface_core.pipeline.reconstructor import FaceReconstructor

SOME_FAILED = 3
log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `occlude`."""
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="images, folders or videos")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--family",
        default="random",
        metavar="NAME",
        help="random, irrational, empirical, or a "
        "family such as medical_mask, sunglasses, random_shape (default random)",
    )
    parser.add_argument(
        "--coverage",
        type=float,
        nargs=2,
        default=(0.2, 0.5),
        metavar=("LOW", "HIGH"),
        help="share of the face to hide (default 0.2 0.5)",
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same pixels (default 0)")
    parser.add_argument(
        "--boxes", type=Path, metavar="CSV", help="image,x0,y0,x1,y1: boxes of the 68 landmarks"
    )
    parser.add_argument(
        "--model",
        default="teacher",
        metavar="teacher|student|FILE",
        help="network that finds the face points (default teacher)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto")


def run(args: argparse.Namespace) -> int:
    """Write NAME.png, NAME_visible.png (face still seen) and NAME_occluder.png; 0 = all ok, 3 = some not.

    Raises:
        OccFaceError: Wrong usage, or the model cannot be loaded.
    """
    low, high = args.coverage
    if not 0 <= low <= high <= 1:
        raise ConfigError(f"--coverage {low} {high}: give two shares of the face, 0 <= LOW <= HIGH <= 1")
    from tqdm import tqdm

    from occface_core.pipeline.inputs import (
        BoxTable,
        count_pictures,
        find_files,
        pictures,
        refuse_shared_folder,
    )
    from occface_core.pipeline.manifest import OK, Manifest, Row, status_of
    from occface_core.pipeline.reconstructor import FaceReconstructor

    files = find_files(args.inputs, skip=args.out)
    refuse_shared_folder(files, args.out)
    boxes = BoxTable.read(args.boxes) if args.boxes else None
    args.out.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(args.out / "manifest.csv")
    model = FaceReconstructor(args.model, "open", args.device)
    taken: set[str] = set()
    stream = tqdm(pictures(files), total=count_pictures(files), unit="image", desc="occlude", disable=None)
    for number, picture in enumerate(stream):
        try:
            result = _cover(picture, boxes.find(picture) if boxes else None, model, args, number)
            name = _free_name(picture.stem, taken)
            _write(result, args.out, name)
            row = Row(picture.label, OK, f"{name}: {result.family[0]} hides {float(result.coverage[0]):.1%}")
        except (OccFaceError, OSError) as error:
            row = Row(picture.label, status_of(error), str(error))
            log.warning("%s: %s: %s", row.status, row.image, row.message)
        manifest.add(row)
    manifest.write()
    counts = manifest.counts()
    sys.stdout.write(
        ", ".join(f"{n} {status}" for status, n in counts.items() if n) + f"; see {manifest.path}\n"
    )
    return 0 if counts["ok"] == sum(counts.values()) else SOME_FAILED


def _cover(
    picture: "Picture",
    box: list[float] | None,
    model: "FaceReconstructor",
    args: argparse.Namespace,
    number: int,
) -> "Occlusion":
    import torch

    from occface_core.occlusion import face_mask_from_points, occlude

    image = picture.load().pixels
    found = model.reconstruct(image, box=box)
    verts = torch.from_numpy(found.verts_image)[None].to(model.device)
    points = model.head.landmarks(verts, "468").cpu()
    face = face_mask_from_points(points[..., :2], *image.shape[:2])
    if not bool(face.any()):
        raise NoFaceError("the fitted face lies outside the picture; give its box with --boxes")
    return occlude(
        torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255,
        face,
        points=points,
        family=args.family,
        coverage=tuple(args.coverage),
        generator=torch.Generator().manual_seed(args.seed + number),
    )


def _write(result: "Occlusion", folder: Path, name: str) -> None:
    from PIL import Image

    from occface_core.data.pixels import to_bytes

    picture = to_bytes(result.image[0])
    Image.fromarray(picture).save(folder / f"{name}.png")
    for suffix, mask in (("visible", result.mask), ("occluder", result.occluder)):
        Image.fromarray(to_bytes(mask[0])[..., 0]).save(
            folder / f"{name}_{suffix}.png"
        )


def _free_name(stem: str, taken: set[str]) -> str:
    name, number = stem, 2
    while name.lower() in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name.lower())
    return name
