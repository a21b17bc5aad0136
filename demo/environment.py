"""What Gradio reads when it is imported. Import this module, call `prepare`, then import the rest."""

import os
import tempfile

_folders: list[tempfile.TemporaryDirectory[str]] = []


def prepare() -> None:
    """Ask no server about new versions, and keep visitors' files in a folder of this process alone.

    Gradio names a file after its content, in one folder for all its apps on a machine, and deletes an app's
    files when that app ends: two of them showing the same picture would lose it. The folder goes with the
    process. `GRADIO_ANALYTICS_ENABLED` and `GRADIO_TEMP_DIR` are left alone where somebody has set them.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    if "GRADIO_TEMP_DIR" not in os.environ:
        _folders.append(tempfile.TemporaryDirectory(prefix="occface-app-", ignore_cleanup_errors=True))
        os.environ["GRADIO_TEMP_DIR"] = _folders[-1].name
