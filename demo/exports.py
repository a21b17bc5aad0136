"""Mesh files for download, in temporary folders of which only the newest are kept."""

import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import torch

from demo.heads import photo_colours, upright
from occface_core.geometry.mesh import Mesh
from occface_core.geometry.mesh_io import save_mesh
from occface_core.morphable.head_model import HeadModel
from occface_core.pipeline.animation import animatable_mesh
from occface_core.pipeline.reconstructor import Reconstruction

KEPT = 8  # more than are made at a time; they are faces of visitors, so no more than that


class Exports:
    """Writes heads to files. Gradio serves copies of its own, so old folders may go."""

    def __init__(self, kept: int = KEPT) -> None:
        self._folders: deque[tempfile.TemporaryDirectory[str]] = deque()
        self._kept = kept
        self._lock = threading.Lock()

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
        with self._lock:
            self._folders.append(tempfile.TemporaryDirectory(prefix="occface-"))
            while len(self._folders) > self._kept:
                self._folders.popleft().cleanup()
            return Path(self._folders[-1].name)
