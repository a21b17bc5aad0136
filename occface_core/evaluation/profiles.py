"""Faces seen from the side: photos turned out of their plane, against what the reference said before.

A photo and its turned copies show one person in one moment, so shape and expression must stay as they are.
Photos are turned as for training (data/profiling.py), of people no network was trained on; the farther they
are turned, the more of the picture is stretched skin, and the harder it is for every network alike.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.data.batches import TwinBatch, TwinSampler
from occface_core.data.profiling import FRONTAL, ProfiledFaces, profile, yaw_of
from occface_core.data.ranges import check_share_range
from occface_core.errors import ConfigError
from occface_core.evaluation.metrics import nme, segmentation_scores, shape_error_mm
from occface_core.evaluation.predictions import drawn_points, visible_face
from occface_core.evaluation.robustness import Encoder
from occface_core.geometry.transforms import axis_angle_to_matrix
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.encoder import EncoderOutput
from occface_core.occlusion.api import occlude
from occface_core.occlusion.face_points import estimate_depth

MEAN_HEAD = "mean head"
Columns = dict[tuple[str, float], dict[str, Float[np.ndarray, " N"]]]


@dataclass(frozen=True)
class ProfileSettings:
    """How photos are turned and covered.

    Attributes:
        yaws: degrees from the camera to which faces are turned, each an input of its own; 0: as they are.
        family: occluder family or group of the covered inputs; empty: clean inputs alone.
        coverage: range of the share of the face that is hidden. seed: of the covers.
    """

    yaws: tuple[float, ...] = (0.0, 30.0, 45.0, 60.0, 75.0)
    family: str = ""
    coverage: tuple[float, float] = (0.2, 0.5)
    seed: int = 0

    def __post_init__(self) -> None:
        if len(set(self.yaws)) < len(self.yaws):
            raise ConfigError(f"yaws {', '.join(f'{yaw:g}' for yaw in self.yaws)}: each only once")
        for yaw in self.yaws:
            if not 0.0 <= yaw <= 85.0:
                raise ConfigError(f"yaw {yaw} is outside 0..85 degrees")
        check_share_range("coverage", self.coverage, may_be_one_value=True)
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} must be at least 0")


def turns_to(
    pose: Float[Tensor, "B P"], degrees: float, index: Tensor
) -> Float[Tensor, "B 3 3"]:
    """Rotations in the heads' own frames that turn each to `degrees` on the side it looks to.

    Frontal ones take turns by their place `index` in the set; who looks farther away already stays.
    """
    yaw = yaw_of(pose)
    side = torch.where(yaw.abs() > FRONTAL, yaw.sign(), 1.0 - 2.0 * (index.to(yaw.device) % 2))
    by = side * (math.radians(degrees) - yaw.abs()).clamp(min=0) if degrees else torch.zeros_like(yaw)
    return axis_angle_to_matrix(torch.stack([torch.zeros_like(by), by, torch.zeros_like(by)], -1))


@torch.no_grad()
def measure_profiles(
    models: Mapping[str, Encoder],
    reference: Encoder,
    photos: TwinSampler,
    head: HeadModel,
    settings: ProfileSettings,
    *,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Columns:
    """Errors on photos turned out of their plane.

    Args:
        models: name -> network. reference: sees the photos as they are; its shapes are the truth.
        photos: clean photos in order (`augment=False`). head: that the networks predict.
        settings: yaws and covers. progress: wraps the batches.

    Returns:
        (network and input as "student, clean", yaw) -> per photo `shape_mm`, `nme` (468 points), `yaw_deg`
        (error of the yaw) and, for networks with masks, `mask_iou` inside the turned outline.
    """
    columns: dict[tuple[str, float], dict[str, list[Tensor]]] = {}
    for step in progress(range(len(photos))):
        batch = photos[step]
        params = reference(batch.clean).params
        truth, blank = (head.neutral(betas) for betas in (params.betas, torch.zeros_like(params.betas)))
        mean_head = {"shape_mm": shape_error_mm(blank, truth, head.regions["face"])}
        masks = torch.cat([batch.face_mask, batch.outline], 1)
        for yaw in settings.yaws:
            turn = turns_to(params.pose, yaw, batch.index)
            made = profile(head, batch.clean, masks, batch.points, params, turn)
            for label, image, visible in _inputs(made, batch, photos, settings):
                for name, model in models.items():
                    found = _figures(model(image), head, made, truth, visible)
                    _add(columns, (f"{name}, {label}", yaw), found)
            _add(columns, (MEAN_HEAD, yaw), mean_head)
    return {
        key: {name: torch.cat(parts).double().cpu().numpy() for name, parts in row.items()}
        for key, row in columns.items()
    }


def _inputs(
    made: ProfiledFaces, batch: TwinBatch, photos: TwinSampler, settings: ProfileSettings
) -> list[tuple[str, Tensor, Tensor]]:
    """(label, pictures, visible face) of the clean input and, where asked for, the covered one."""
    inputs = [("clean", made.image, made.mask[:, :1])]
    if settings.family:
        covered = [_cover(made, i, int(row), photos, settings) for i, row in enumerate(batch.index)]
        image, visible = (torch.cat(part) for part in zip(*covered, strict=True))
        inputs.append(("covered", image, visible))
    return inputs


def _cover(
    made: ProfiledFaces, i: int, row: int, photos: TwinSampler, settings: ProfileSettings
) -> tuple[Tensor, Tensor]:
    """Photo `i` of a batch covered, by its place in the set alone: covers do not depend on the batch."""
    image, outline, points = made.image[i : i + 1], made.mask[i : i + 1, 1:], made.points[i : i + 1]
    seed = int(np.random.default_rng([settings.seed, 9, row]).integers(2**62))
    result = occlude(
        image,
        outline,
        points=estimate_depth(points, mean_points=photos.mean_points),
        family=settings.family,
        coverage=settings.coverage,
        generator=torch.Generator().manual_seed(seed),
        other_images=image.flip(3),
    )
    return result.image, made.mask[i : i + 1, :1] * (1 - result.occluder)


def _figures(
    out: EncoderOutput, head: HeadModel, made: ProfiledFaces, truth: Tensor, visible: Tensor
) -> dict[str, Tensor]:
    size, params = made.image.shape[-1], out.params
    verts = head(params.betas, params.expression, params.pose).verts
    points = drawn_points(head, verts, params, size)[..., :2]
    apart = (yaw_of(params.pose) - yaw_of(made.params.pose) + math.pi) % (2 * math.pi) - math.pi
    found = {
        "shape_mm": shape_error_mm(head.neutral(params.betas), truth, head.regions["face"]),
        "nme": nme(points, made.points),
        "yaw_deg": apart.abs() * (180 / math.pi),
    }
    if out.mask_logits is not None:
        parts = (visible_face(out.mask_logits, size), visible[:, 0] > 0.5, made.mask[:, 1] > 0.5)
        found["mask_iou"] = segmentation_scores(*parts)["iou"]
    return found


def _add(columns: dict, key: tuple[str, float], found: dict[str, Tensor]) -> None:
    row = columns.setdefault(key, {})
    for name, values in found.items():
        row.setdefault(name, []).append(values)


def profile_rows(columns: Columns, yaws: Sequence[float]) -> list[str]:
    """Markdown lines: one row per network and input, one column per yaw."""
    lines = ["| network, input | " + " | ".join(f"{yaw:g}°" for yaw in yaws) + " |"]
    lines.append("|---" * (len(yaws) + 1) + "|")
    names = dict.fromkeys(name for name, _ in columns)
    for name in names:
        cells = []
        for yaw in yaws:
            row = columns[name, yaw]
            cell = f"{row['shape_mm'].mean():.2f}"
            if "nme" in row:
                cell += f" / {100 * row['nme'].mean():.2f}"
            if "mask_iou" in row:
                cell += f" / {row['mask_iou'].mean():.3f}"
            cells.append(cell)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
