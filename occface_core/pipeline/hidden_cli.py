"""`python -m occface_core hidden`: find what covers the faces of training photos."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("photos", type=Path, help="folder of photos with landmarks, as for `train`")
    parser.add_argument("--split", default="train", help="shard prefix or sub-folder (default train)")
    parser.add_argument(
        "--parser", type=Path, required=True, metavar="DIR", help="face parser: model.json and its weights"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="where SPLIT-hidden.npz goes, for `train --hidden DIR`",
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="of decoded photos")
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="first N photos only")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto")
    parser.add_argument(
        "--precision",
        choices=("auto", "32-true", "bf16-mixed"),
        default="auto",
        help="as for `train`; auto (default): bf16-mixed where the machine has bfloat16; "
        "masks of the two differ in a few pixels",
    )
    parser.add_argument(
        "--half", dest="precision", action="store_const", const="bf16-mixed", help="--precision bf16-mixed"
    )
    parser.add_argument("--restart", action="store_true", help="throw away what an unfinished run left")


def run(args: argparse.Namespace) -> int:
    """Label a split, or go on with it after a kill."""
    from tqdm import tqdm

    from occface_core.data.hidden import PartialHidden, hidden_file
    from occface_core.data.packed import cached_pack
    from occface_core.data.parsing import BATCH, FaceParser, hidden_parts, labelling_settings
    from occface_core.data.photos import load_photo_set
    from occface_core.distillation.engine import resolve_precision
    from occface_core.pipeline.loading import resolve_device

    device = resolve_device(args.device)
    precision = resolve_precision(args.precision, device)
    network = FaceParser(args.parser, device, half=precision == "bf16-mixed")
    packed = cached_pack(load_photo_set(args.photos, split=args.split), args.cache, limit=args.limit)
    path = hidden_file(args.out, args.split)
    masks = PartialHidden(path, packed.names, packed.size, labelling_settings(packed, network))
    done = masks.resume(BATCH, restart=args.restart)
    with tqdm(total=len(packed), initial=done, unit="photo") as bar:
        for batch in hidden_parts(packed, network, start=done):
            masks.append(batch)
            bar.update(len(batch))
    masks.finish()
    sys.stdout.write(f"{len(packed)} photos in {precision}, {path}\n")
    return 0
