"""`python -m occface_core occlude`: synthetic objects in front of the faces of photos, with exact masks."""

import argparse
import logging
import re
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from occface_core.errors import ConfigError, NoFaceError, OccFaceError

if TYPE_CHECKING:  # heavy; imported only when the command runs
    from occface_core.occlusion.types import Occlusion
    from occface_core.pipeline.inputs import BoxTable, Picture
    from occface_core.pipeline.manifest import Manifest
    from occface_core.pipeline.reconstructor import FaceReconstructor

SOME_FAILED = 3
_RESULT = re.compile(r"(.+): \S+ hides [\d.]+%")  # what the manifest says of a covered picture
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
        help="share of the face to hide (default 0.2 0.5); a second object hides more",
    )
    parser.add_argument(
        "--second",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="part of the faces that get a second object on top, as sunglasses over a mask (default 0)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="same seed and file name, same pixels (default 0)"
    )
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
    from occface_core.occlusion.request import check_second, resolve_family
    from occface_core.pipeline.inputs import BoxTable, find_files, refuse_shared_folder
    from occface_core.pipeline.manifest import Manifest, make_folder
    from occface_core.pipeline.reconstructor import FaceReconstructor

    resolve_family(args.family, has_points=True)
    check_second(args.second, has_points=True)
    files = find_files(args.inputs, skip=args.out)
    refuse_shared_folder(files, args.out)
    boxes = BoxTable.read(args.boxes) if args.boxes else None
    make_folder(args.out)
    manifest = Manifest(args.out / "manifest.csv")
    model = FaceReconstructor(args.model, "open", args.device)
    try:
        _cover_all(files, boxes, model, args, manifest)
    finally:
        manifest.write()
    if boxes is not None:
        boxes.name_unused()
    counts = manifest.counts()
    sys.stdout.write(
        ", ".join(f"{n} {status}" for status, n in counts.items() if n) + f"; see {manifest.path}\n"
    )
    return 0 if counts["ok"] == sum(counts.values()) else SOME_FAILED


def _cover_all(
    files: list[Path],
    boxes: "BoxTable | None",
    model: "FaceReconstructor",
    args: argparse.Namespace,
    manifest: "Manifest",
) -> None:
    from tqdm import tqdm

    from occface_core.pipeline.inputs import count_pictures, pictures
    from occface_core.pipeline.manifest import OK, Row, status_of

    names = _Names(manifest)
    stream = tqdm(pictures(files), total=count_pictures(files), unit="image", desc="occlude", disable=None)
    for picture in stream:
        try:
            result, notes = _cover(picture, boxes.find(picture) if boxes else None, model, args)
            name = names.of(picture)
            _write(result, args.out, name)
            done = f"{name}: {result.family[0]} hides {float(result.coverage[0]):.1%}"
            row = Row(picture.label, OK, "; ".join((done, *notes)))
        except (OccFaceError, OSError) as error:
            row = Row(picture.label, status_of(error), str(error))
        except Exception as error:  # one bad file never stops the rest
            log.debug("unexpected error with %s", picture.label, exc_info=error)
            row = Row(picture.label, status_of(error), f"unexpected {type(error).__name__}: {error}")
        if row.status != OK:
            log.warning("%s: %s: %s", row.status, row.image, row.message)
        manifest.add(row)


def _cover(
    picture: "Picture",
    box: list[float] | None,
    model: "FaceReconstructor",
    args: argparse.Namespace,
) -> "tuple[Occlusion, tuple[str, ...]]":
    """The covered photo, and what is to be said of it."""
    import torch

    from occface_core.occlusion import face_mask_from_points, occlude

    loaded = picture.load()
    image = loaded.pixels
    found = model.reconstruct(image, box=box)
    verts = torch.from_numpy(found.verts_image)[None].to(model.device)
    points = model.head.landmarks(verts, "468").cpu()
    face = face_mask_from_points(points[..., :2], *image.shape[:2])
    if not bool(face.any()):
        raise NoFaceError("the fitted face lies outside the picture; give its box with --boxes")
    result = occlude(
        torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255,
        face,
        points=points,
        family=args.family,
        coverage=tuple(args.coverage),
        generator=torch.Generator().manual_seed(_seed_of(picture, args.seed)),
        second=args.second,
    )
    return result, (*loaded.notes, *found.notes)


def _seed_of(picture: "Picture", seed: int) -> int:
    """The picture's own: other pictures beside it change nothing, and another seed is another cover."""
    return zlib.crc32(f"{seed} {picture.stem}".encode())


def _write(result: "Occlusion", folder: Path, name: str) -> None:
    from PIL import Image

    from occface_core.data.pixels import to_bytes

    pictures = (result.image[0], result.mask[0], result.occluder[0])
    for file, values in zip(_files(name), pictures, strict=True):
        pixels = to_bytes(values)
        Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(folder / file)


def _files(name: str) -> tuple[str, str, str]:
    """Covered photo, mask of the face still seen, mask of the object."""
    return f"{name}.png", f"{name}_visible.png", f"{name}_occluder.png"


class _Names:
    """Names of results: a picture keeps its own in every run, and takes nobody else's."""

    def __init__(self, manifest: "Manifest") -> None:
        self._own: dict[str, str] = {}
        self._taken: set[str] = set()  # files, in lower case: on some disks A.png is a.png
        for row in manifest:
            told = _RESULT.match(row.message)
            if told:
                self._claim(told.group(1), row.image)

    def _claim(self, name: str, label: str) -> str:
        self._own[label] = name
        self._taken.update(file.lower() for file in _files(name))
        return name

    def of(self, picture: "Picture") -> str:
        """The picture's stem, or with a number when one of its files has the name of another picture's."""
        if picture.label in self._own:
            return self._own[picture.label]
        name, number = picture.stem, 2
        while any(file.lower() in self._taken for file in _files(name)):
            name, number = f"{picture.stem}-{number}", number + 1
        return self._claim(name, picture.label)
