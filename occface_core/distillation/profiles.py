"""Some of a batch's photos turned out of their plane, fitted by the frozen teacher before.

What the teacher makes of a photo as it was taken is the truth about the turned one: shape, expression and
albedo are the same, pose, camera and light are turned. So a network learns profiles from photo sets that hold
few, and from a teacher that has seen few.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from occface_core.data.batches import TwinBatch
from occface_core.data.profiling import draw_turns, profile
from occface_core.distillation.config import TrainConfig
from occface_core.distillation.covers import cover
from occface_core.distillation.scene import Scene
from occface_core.morphable.parameters import DECA_236
from occface_core.networks.encoder import FaceEncoder
from occface_core.occlusion.face_points import estimate_depth

MISFIT = 0.05  # of the face; a fit farther off says nothing of the turned photo, which is left as it is


class Profiles:
    """Turns photos, a function of the seed and the batch's number alone.

    Args:
        config: the run's settings. scene: head and albedo on the device. teacher: frozen network.
        covers: whether turned photos are covered here; not where the whole batch is covered on the device
            afterwards, and not for recipes that look at clean photos.
        autocast: precision the teacher looks in.
    """

    def __init__(
        self,
        config: TrainConfig,
        scene: Scene,
        teacher: FaceEncoder,
        *,
        covers: bool,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self.config, self.scene, self.teacher = config, scene, teacher
        self.covers, self.autocast = covers, autocast

    def turn(self, photo: TwinBatch, number: int) -> TwinBatch:
        """The batch with `profile_share` of its photos turned, as far as their fits fit; duplicates alike."""
        config, count = self.config, len(photo.clean)
        rng = np.random.default_rng([config.seed, 8, number])
        alike = config.alike
        groups = np.sort(rng.permutation(count // alike)[: config.profile_count])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rows = torch.from_numpy((groups[:, None] * alike + np.arange(alike)).ravel()).to(photo.clean.device)
        with torch.no_grad(), self.autocast():
            params = self.teacher.parameters_of(photo.clean[rows])
        turns = draw_turns(params.pose[::alike], generator).repeat_interleave(alike, 0)
        masks = torch.cat([photo.face_mask[rows], photo.outline[rows]], 1)
        made = profile(self.scene.head, photo.clean[rows], masks, photo.points[rows], params, turns)
        fits = made.misfit < MISFIT
        if not fits.any():
            return photo
        rows, made = rows[fits], made.index(fits)
        turned = torch.zeros(count, dtype=torch.bool, device=rows.device).index_fill(0, rows, True)
        code, face = made.params.to_code(DECA_236), made.mask[:, :1]
        photo = replace(
            photo,
            clean=_with(photo.clean, rows, made.image),
            occluded=_with(photo.occluded, rows, made.image),
            face_mask=_with(photo.face_mask, rows, face),
            visible=_with(photo.visible, rows, face),
            outline=_with(photo.outline, rows, made.mask[:, 1:]),
            points=_with(photo.points, rows, made.points),
            coverage=photo.coverage.index_fill(0, rows, 0.0),
            turned=turned,
            fit=_with(code.new_zeros(count, code.shape[1]), rows, code),
        )
        return self.cover(photo, rows, made.mask[:, 1:], generator) if self.covers else photo

    def cover(
        self, photo: TwinBatch, rows: Tensor, outline: Tensor, generator: torch.Generator
    ) -> TwinBatch:
        """Cover the photos of `rows` as the loading processes cover the others.

        Args:
            outline: (K,1,S,S) their faces whole, with what hair or glasses of their own hide.
        """
        clean, outline, points = (x.cpu() for x in (photo.clean[rows], outline, photo.points[rows]))
        deep = estimate_depth(points, mean_points=self.scene.mean_points)
        result = cover(self.config, clean, outline, deep, generator)
        family = list(photo.family)
        for row, name in zip(rows.tolist(), result.family, strict=True):
            family[row] = name
        return replace(
            photo,
            occluded=_with(photo.occluded, rows, result.image),
            visible=_with(photo.visible, rows, photo.face_mask[rows] * (1 - result.occluder.to(rows.device))),
            coverage=_with(photo.coverage, rows, result.coverage),
            family=family,
        )


def _with(values: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    """`values` with other ones in `rows`."""
    return values.index_copy(0, rows, new.to(values))
