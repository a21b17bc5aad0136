"""`python -m occface_core demo`: the browser app."""

import argparse
from importlib import import_module
from importlib.util import find_spec

from occface_core.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `demo`."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (0.0.0.0 for the whole network)"
    )
    parser.add_argument("--port", type=_port, help="port (default: the first free one from 7860)")


def run(args: argparse.Namespace) -> int:
    """Serve the app until interrupted.

    Raises:
        ConfigError: The app or Gradio is not installed, or the port is taken.
    """
    for name in ("demo", "gradio", "plotly"):
        if find_spec(name) is None:
            raise ConfigError(
                f"{name!r} is not installed; run this in the repository after `pip install -r "
                "requirements.txt`"
            )
    import_module("demo.environment").prepare()
    import_module("demo.serving").start(server_name=args.host, server_port=args.port)
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 1 to 65535")
    return int(text)
