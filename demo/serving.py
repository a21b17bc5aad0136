"""Starting the app, and leaving nothing behind when it is stopped."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import gradio as gr
import torch

from demo.assets import launch_options
from demo.callbacks import Callbacks
from demo.engine import Engine
from demo.interface import create_app
from occface_core.errors import ConfigError


def start(**options: Any) -> None:
    """Build the page with the shipped models and serve it, see `serve`."""
    leave_a_core()
    callbacks = Callbacks(Engine())
    serve(create_app(callbacks=callbacks), get_ready=callbacks.get_ready, **options)


def leave_a_core() -> None:
    """Let networks use all cores but one, unless `OMP_NUM_THREADS` says how many.

    Threads of one network wait for each other after every layer. Where a browser on the same machine, or
    another visitor, keeps one of the cores busy, they wait for it hundreds of times a face, and a single face
    is no work for many threads anyway (BENCHMARKS.md).
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def serve(app: gr.Blocks, *, get_ready: Callable[[], None] | None = None, **options: Any) -> None:
    """Serve until interrupted or terminated; either way the visitors' temporary files are deleted.

    Args:
        app: The page.
        get_ready: What the first visitor would wait for, done meanwhile.
        options: Of `gr.Blocks.launch`, over those of `launch_options`.

    Raises:
        ConfigError: The address or port cannot be listened on.
    """
    # What containers and service managers send. Without this, Python ends at once and no file is deleted.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if get_ready is not None:
        # Most apps run for a while before somebody comes. A daemon, so that stopping the app does not wait.
        threading.Thread(target=get_ready, name="get ready", daemon=True).start()
    try:
        app.launch(**{**launch_options(), **options})
    except OSError as error:
        raise ConfigError(f"the app cannot be served: {error}") from error
