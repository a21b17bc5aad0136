"""A participant of the occlusion benchmark that answered beforehand; its file: docs/external_models.md."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from occface_core.data.batches import TwinBatch
from occface_core.data.landmarks import IBUG68_FROM_MEDIAPIPE, mirror_pairs
from occface_core.errors import DataError
from occface_core.evaluation.external_file import (
    Problem,
    check_fields,
    check_twins,
    match_names,
    own_topology,
    read_arrays,
    usable_rows,
    vertex_count,
)
from occface_core.evaluation.metrics import nme
from occface_core.evaluation.predictions import Prediction, ibug68_of
from occface_core.evaluation.twins import EvaluationTwins
from occface_core.morphable.head_model import HeadModel

_FACE_METRES = (0.05, 0.5)  # extent a face can have; another unit is far outside
_FAR_METRES = 0.03  # a mean vertex this far from the head's own: another frame
_FAR_NME = 0.5  # landmarks this far off on most clean photos: another unit or frame
_SAMPLE = 64  # photos looked at to find out about units


class External:
    """Looks predictions up by photo.

    Args:
        path: the npz file.
        twins: the pictures it must have been made for.
        head: the project's head, whose vertices it may share.

    Attributes:
        problems: (photo, what) of everything that is wrong with single photos.
        unusable: how many photos cannot be measured; mirrored and degenerate landmarks can, being answers.

    Raises:
        DataError: not such a file; made for other twins; shapes, units or conventions are wrong throughout.
    """

    def __init__(self, path: Path, twins: EvaluationTwins, head: HeadModel) -> None:
        arrays = read_arrays(path)
        check_twins(path, arrays, twins.identifier)
        self.path, self._size = path, twins.settings.size
        self._fields = check_fields(path, arrays, twins.settings.views)
        views = {key.rsplit("_", 1)[1] for key in self._fields}
        self.views: tuple[str, ...] | None = tuple(v for v in twins.settings.views if v in views)
        count = vertex_count(arrays, self._fields)
        region = own_topology(path, arrays, count, head.faces.cpu().numpy(), head.n_vertices)
        self.same_head = region is None
        self.region: Float[Tensor, "V"] = (
            head.regions["face"] if region is None else torch.from_numpy(region).to(head.v_template.device)
        )
        names = [str(name) for name in arrays["names"]]
        self._position, self.problems = match_names(names, twins.packed.names)
        finite, broken = usable_rows(names, self._fields)
        self.problems += broken
        self._usable: Bool[np.ndarray, "N"] = (self._position >= 0) & finite[self._position.clip(0)]
        self.unusable = int((~self._usable).sum())
        if not self._usable.any():
            raise DataError(f"{path}: no photo has a usable prediction; {_first(self.problems)}")
        self._check_meshes(head)
        self._check_landmarks(twins)

    def predict(self, batch: TwinBatch, view: str) -> Prediction:
        """The predictions for a batch's photos; zeros where there is none."""
        rows, device = batch.index.cpu().numpy(), batch.clean.device
        valid = self._usable[rows]

        def field(name: str) -> Tensor | None:
            values = self._rows(f"{name}_{view}", rows)
            return None if values is None else values.to(device)

        mask, mesh, points = field("mask"), field("landmarks468"), field("landmarks68")
        if points is None and mesh is not None:
            points = ibug68_of(mesh)
        return Prediction(
            valid=torch.from_numpy(valid).to(device),
            neutral=field("verts_neutral"),
            posed=field("verts_posed"),
            albedo=field("albedo"),
            landmarks468=mesh,
            landmarks68=points,
            mask=None if mask is None else _resized(mask, self._size) > 0.5,
        )

    def _rows(self, key: str, rows: np.ndarray) -> Tensor | None:
        if key not in self._fields:
            return None
        values = self._fields[key][self._position[rows].clip(0)].astype(np.float32)
        values[~self._usable[rows]] = 0
        return torch.from_numpy(values)

    def _check_meshes(self, head: HeadModel) -> None:
        """Refuse other units and frames, by the middle one of some photos."""
        rows = np.flatnonzero(self._usable)[:_SAMPLE]
        neutral = self._rows("verts_neutral_clean", rows)
        inside = self.region.cpu() > 0.5
        if neutral is not None:
            face = neutral[:, inside]
            extent = float((face.amax(1) - face.amin(1)).amax(1).median())
            if not _FACE_METRES[0] < extent < _FACE_METRES[1]:
                raise DataError(
                    f"{self.path}: the face of verts_neutral_clean spans {extent:.4g}; metres are expected, "
                    f"in which a face spans about 0.2"
                )
            far = 0.0
            if self.same_head:
                far = float((face - head.v_template.cpu()[inside]).norm(dim=-1).mean(1).median())
            if far > _FAR_METRES:
                raise DataError(
                    f"{self.path}: verts_neutral_clean lies {100 * far:.1f} cm from the head's template; "
                    "x to the subject's left, y up, z out of the face, origin as the template's"
                )
        albedo = self._rows("albedo_clean", rows)
        if albedo is not None and not -0.05 <= float(albedo.min()) <= float(albedo.max()) <= 1.5:
            raise DataError(f"{self.path}: albedo_clean reaches {float(albedo.max()):.4g}; 0..1 is expected")

    def _check_landmarks(self, twins: EvaluationTwins) -> None:
        """Refuse mirrored or wrongly scaled landmarks; name single photos where they are odd."""
        mirror = mirror_pairs(twins.mean_points.cpu().numpy())
        mesh = np.array(IBUG68_FROM_MEDIAPIPE)
        place = {int(point): i for i, point in enumerate(mesh)}
        mirror68 = np.array([place[int(point)] for point in mirror[mesh]])
        rows = np.flatnonzero(self._usable)
        goal = twins.points[torch.from_numpy(rows)]
        for field, swap, wanted in (
            ("landmarks468", mirror, goal),
            ("landmarks68", mirror68, goal[:, torch.from_numpy(mesh)]),
        ):
            if f"{field}_clean" in self._fields:
                self._check_convention(twins, field, swap, wanted, rows)
                self._name_degenerate(twins, field, rows)

    def _check_convention(
        self, twins: EvaluationTwins, field: str, swap: np.ndarray, goal: Tensor, rows: np.ndarray
    ) -> None:
        points = self._rows(f"{field}_clean", rows)
        assert points is not None
        plain = nme(points, goal)
        mirrored = (nme(points[:, torch.from_numpy(swap)], goal) < 0.5 * plain).numpy()
        if mirrored.mean() > 0.5:
            raise DataError(
                f"{self.path}: {field}_clean looks mirrored on {mirrored.sum()} of {len(rows)} photos; right "
                "means the subject's right, which is on the picture's left"
            )
        self._flag(twins, rows[mirrored], f"{field}_clean looks mirrored (left and right exchanged)")
        middle = float(plain.median())
        if middle > _FAR_NME:
            raise DataError(
                f"{self.path}: {field}_clean lies far off the faces (median NME {middle:.2f}); pixels of the "
                f"{self._size} px crops are expected, (0,0) at the top left"
            )

    def _name_degenerate(self, twins: EvaluationTwins, field: str, rows: np.ndarray) -> None:
        for view in ("clean", "occluded"):
            points = self._rows(f"{field}_{view}", rows)
            assert points is not None
            flat = ((points.amax(1) - points.amin(1)).amin(1) < 1e-3).numpy()
            self._flag(twins, rows[flat], f"{field}_{view} is degenerate (points on one line or spot)")

    def _flag(self, twins: EvaluationTwins, rows: np.ndarray, what: str) -> None:
        self.problems += [(twins.packed.names[row], what) for row in rows]


def _resized(mask: Float[Tensor, "B h w"], size: int) -> Float[Tensor, "B S S"]:
    if mask.shape[1:] == (size, size):
        return mask
    return F.interpolate(mask[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def _first(problems: list[Problem]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in problems[:3])
