"""`assets texture-rows` and `assets build-texture-prior`: learn what hidden skin looks like."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from occface_core.errors import ConfigError

LICENCE = "statistics of {source}"


def add_commands(commands: Any) -> None:  # argparse gives its sub-parsers no public name
    """The two actions."""
    rows = commands.add_parser("texture-rows", help="lay photos over heads found under covers")
    rows.add_argument("photos", type=Path, help="folder of photos with landmarks, as for `train`")
    rows.add_argument("--out", type=Path, required=True, metavar="FILE", help=".npz file to write")
    rows.add_argument("--split", default="train", help="shard prefix or sub-folder (default train)")
    rows.add_argument(
        "--count", type=int, default=3200, metavar="N", help="photos, evenly spread (default 3200)"
    )
    rows.add_argument(
        "--part", default="1/1", metavar="I/N", help="every N-th of them, from the I-th on, for N processes"
    )
    rows.add_argument("--network", default="student", help="shipped name or .safetensors (default student)")
    rows.add_argument("--cache", type=Path, default=Path("runs/cache"), help="of decoded photos")
    rows.add_argument("--seed", type=int, default=5, help="of the covers (default 5)")
    prior = commands.add_parser("build-texture-prior", help="build what is known about hidden skin")
    prior.add_argument("rows", type=Path, nargs="+", help="files made by `texture-rows`")
    prior.add_argument(
        "--components", type=int, default=64, metavar="K", help="of the Gaussian (default 64)"
    )
    prior.add_argument("--source", default="photos of unnamed terms", help="whose photos, and their terms")
    prior.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        default=Path("texture_prior/texture_prior.safetensors"),
        help="default %(default)s",
    )


def parse_part(text: str) -> tuple[int, int]:
    """ "2/3" as (1, 3): which part, counted from 0, of how many.

    Raises:
        ConfigError: it says something else.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part <= parts:
        raise ConfigError(f"--part {text}: write 2/3 for the second of three parts")
    return part - 1, parts


def make_rows(args: argparse.Namespace) -> int:
    """`texture-rows`."""
    from tqdm import tqdm

    from occface_core.data.packed import cached_pack
    from occface_core.data.photos import load_photo_set
    from occface_core.pipeline.build_texture_prior import texture_rows, write_rows

    part, parts = parse_part(args.part)
    if args.count < 1:
        raise ConfigError(f"--count {args.count}: at least one photo is needed")
    packed = cached_pack(load_photo_set(args.photos, split=args.split), args.cache)
    chosen = np.linspace(0, len(packed) - 1, min(args.count, len(packed))).astype(int)[part::parts]
    made = texture_rows(packed.rows(chosen), args.network, seed=args.seed + part)
    rows = list(tqdm(made, total=len(chosen), unit="photo"))
    write_rows(args.out, rows)
    sys.stdout.write(f"{args.out}: {len(rows)} photos\n")
    return 0


def build_prior(args: argparse.Namespace) -> int:
    """`build-texture-prior`."""
    from occface_core.assets import register_asset
    from occface_core.morphable.head_model import HeadModel
    from occface_core.pipeline.build_texture_prior import fit_prior, read_rows, write_prior

    out: Path = args.out
    gain, seen = read_rows(args.rows)
    tensors = fit_prior(gain, seen, args.components)
    head = HeadModel.load()
    write_prior(tensors, out, head=head.name, photos=len(gain))
    register_asset(
        "texture_prior",
        [out],
        out.parent,
        version="1",
        licence=LICENCE.format(source=args.source),
        made_by="python -m occface_core assets texture-rows FACES --part I/N --out ROWS, then "
        f"assets build-texture-prior ROWS ... --components {args.components}",
        description=f"Gaussian over log(photo / albedo) of skin in {len(tensors['mean'])} cells, "
        f"{args.components} components, from {len(gain)} photos",
    )
    sys.stdout.write(f"wrote {out}: {args.components} components from {len(gain)} photos\n")
    return 0
