"""Starting the app, and leaving nothing behind when it is stopped."""

import signal
import threading
from typing import Any

import gradio as gr

from demo.assets import launch_options
from occface_core.errors import ConfigError


def serve(app: gr.Blocks, **options: Any) -> None:
    """Serve until interrupted or terminated; either way the visitors' temporary files are deleted.

    Args:
        app: The page.
        options: Of `gr.Blocks.launch`, over those of `launch_options`.

    Raises:
        ConfigError: The address or port cannot be listened on.
    """
    # What containers and service managers send. Without this, Python ends at once and no file is deleted.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app.launch(**{**launch_options(), **options})
    except OSError as error:
        raise ConfigError(f"the app cannot be served: {error}") from error
