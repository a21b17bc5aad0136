"""Starts the OccFace app: `python app.py`. Also the entry point of the Hugging Face Space."""

import sys
from collections.abc import Sequence

from demo.environment import prepare


def main(arguments: Sequence[str] = ()) -> int:
    """Serve the app until it is stopped; with arguments it is the command `demo`, which explains them."""
    if arguments:
        from occface_core.cli import main as command

        return command(["demo", *arguments])
    prepare()
    from demo.serving import start  # only now: Gradio reads its environment when it is imported

    start()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
