"""The command line: `python -m occface_core COMMAND ...` (or `occface COMMAND ...` once installed).

Each command's module is imported only when it is called for, so `--help` answers at once.

Exit codes: 0 done, 2 wrong usage or something needed is missing, 3 some inputs failed, 130 interrupted.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from occface_core import __version__
from occface_core.errors import OccFaceError

WRONG_USAGE, INTERRUPTED = 2, 130
# Command -> (module with add_arguments(parser) and run(args) -> exit code, one line of help).
COMMANDS = {
    "reconstruct": ("occface_core.pipeline.reconstruct_cli", "photos, folders or videos to 3D heads"),
    "occlude": ("occface_core.pipeline.occlude_cli", "cover the faces of photos, with exact masks"),
    "synthesize": (
        "occface_core.data.synthetic_export_cli",
        "render faces with exact truth: pictures, masks, depth, codes, landmarks, cameras",
    ),
    "hidden": ("occface_core.pipeline.hidden_cli", "find what covers the faces of training photos"),
    "train": ("occface_core.distillation.cli", "train a teacher or a student"),
    "benchmark": ("occface_core.evaluation.benchmark_cli", "measure a model or a folder of predictions"),
    "assets": ("occface_core.pipeline.assets_cli", "import FLAME; build, list and verify shipped files"),
    "demo": ("occface_core.pipeline.demo_cli", "start the browser app"),
}


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser; options are filled in for `command` only."""
    parser = argparse.ArgumentParser(
        prog="occface", description="3D faces from single photos, also when part of the face is covered."
    )
    parser.add_argument("--version", action="version", version=f"occface {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more about what goes wrong")
    choices = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        sub = choices.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == command:
            import_module(module).add_arguments(sub)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = next((word for word in given if not word.startswith("-")), None)
    try:
        args = build_parser(command).parse_args(given)
    except SystemExit as stop:  # argparse has said what it had to say
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    level = logging.DEBUG if args.verbose else logging.WARNING
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("occface_core").setLevel(level)
    try:
        return import_module(COMMANDS[args.command][0]).run(args)
    except (OccFaceError, OSError) as error:  # OSError: a full disk, a folder that is a file
        if args.verbose:
            logging.getLogger(__name__).exception("failed")
        sys.stderr.write(f"occface {args.command}: {error}\n")
        return WRONG_USAGE
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what is finished is kept, the same command goes on from there\n")
        return INTERRUPTED
