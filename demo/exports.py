"""Mesh files for download, in temporary folders that remove themselves."""

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import torch

from demo.heads import photo_colours, upright
from occface_core.geometry.mesh import Mesh
from occface_core.geometry.mesh_io import save_mesh
from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.animation import animatable_mesh
from occface_core.pipeline.reconstructor import Reconstruction

KEPT_SECONDS = 120.0


class Exports:
    """Writes heads to files, which go after `seconds`: Gradio makes copies of its own at once."""

    def __init__(self, seconds: float = KEPT_SECONDS) -> None:
        self._seconds = seconds

    def write(self, result: Reconstruction, head: HeadModel, suffixes: Sequence[str]) -> list[str]:
        """Write the upright head with its colours; the GLB is neutral, textured, with blendshapes and joints.

        Args:
            suffixes: For example ("obj", "ply", "glb").

        Returns:
            One path per suffix.
        """
        meshes = {"glb": animatable_mesh(result, head, posed=False)}
        plain = Mesh(
            verts=torch.from_numpy(upright(result, head)),
            faces=head.faces,
            vertex_colors=torch.from_numpy(photo_colours(result, head)),
            vertex_properties={"visibility": torch.from_numpy(result.vertex_visibility)},
        )
        folder = self._new_folder()
        paths = [folder / f"occface_head.{suffix}" for suffix in suffixes]
        for suffix, path in zip(suffixes, paths, strict=True):
            save_mesh(meshes.get(suffix, plain), path)
        return [str(path) for path in paths]

    def _new_folder(self) -> Path:
        folder = tempfile.TemporaryDirectory(prefix="occface-", ignore_cleanup_errors=True)
        removal = threading.Timer(self._seconds, folder.cleanup)
        removal.daemon = True  # when the app ends, the folder's own finalizer removes it
        removal.start()
        return Path(folder.name)
