"""68-point landmark error on annotated photos: NME as AFLW2000-3D defines it, with the mean head as baseline.

Crops are made from the annotated 68-point box, so that the figure speaks of the network and not of a
detector.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.data.crop import crop_image, square_from_box
from occface_core.data.landmarks import landmark_box, points68
from occface_core.data.photos import PhotoRecord, decode
from occface_core.errors import OccFaceError
from occface_core.evaluation.metrics import nme
from occface_core.geometry.transforms import procrustes
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.encoder import FaceEncoder
from occface_core.rendering.cameras import to_pixels, weak_perspective

INNER = slice(17, 68)  # without the contour, whose points slide along the silhouette


@torch.no_grad()
def predict68(
    model: FaceEncoder,
    head: HeadModel,
    crops: Float[Tensor, "B 3 S S"],
    size: int,
    *,
    mean_shape: bool = False,
) -> Float[Tensor, "B 68 2"]:
    """Predicted 68 landmarks in pixels of a `size` crop, contour following the head's turn.

    With `mean_shape` the network's pose and camera carry the mean face without expression: the share of the
    network's accuracy that is alignment alone.
    """
    params = model(crops).params
    if mean_shape:
        still = torch.cat([params.pose[:, :3], torch.zeros_like(params.pose[:, 3:])], dim=1)
        params = params.replace(
            betas=torch.zeros_like(params.betas), expression=torch.zeros_like(params.expression), pose=still
        )
    verts = head(params.betas, params.expression, params.pose).verts
    points = head.landmarks(verts, "68", global_pose=params.pose[:, :3])
    return to_pixels(weak_perspective(points, params.camera), size)[..., :2]


def fit_mean_head(
    head: HeadModel, target: Float[Tensor, "B 68 2"], rounds: int = 10
) -> Float[Tensor, "B 68 2"]:
    """The mean head's landmarks after the best weak-perspective fit to the annotation itself.

    It is told where the face is and how it is turned, and knows nothing of the person: what a network must
    beat.
    """
    model = head.landmarks(head.v_template[None], "68_static").expand(len(target), -1, -1)
    flipped = target * torch.tensor([1.0, -1.0])  # image y runs down, the model's y up
    depth = torch.zeros_like(flipped[..., :1])
    moved = torch.cat([flipped, depth], dim=-1)
    for _ in range(rounds):
        # Alternate: pose from points with depth, depth from the posed model.
        moved = procrustes(model, torch.cat([flipped, depth], dim=-1)).apply(model)
        depth = moved[..., 2:]
    return moved[..., :2] * torch.tensor([1.0, -1.0])


def evaluate_landmarks(
    models: dict[str, FaceEncoder],
    head: HeadModel,
    records: list[PhotoRecord],
    *,
    batch_size: int = 32,
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[dict[str, Float[np.ndarray, "N"]], list[tuple[str, str]]]:
    """NME per photo of every model and of the mean head, over 68 points and over the inner 51.

    Returns:
        Columns `<model>`, `<model>, mean shape`, the fitted mean head, each also as `.../inner`, and
        (name, reason) of photos left out.
    """
    size = max(model.config.input_size for model in models.values())
    crops, targets, skipped = [], [], []
    for record in progress(records):
        try:
            points = points68(record.points)
            transform = square_from_box(landmark_box(points).astype(np.float64))
            crops.append(crop_image(decode(record), transform, size))
            targets.append(transform.apply(points, size).astype(np.float32))
        except (OccFaceError, OSError) as error:
            skipped.append((record.name, str(error)))
    target = torch.from_numpy(np.stack(targets))
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
    columns: dict[str, np.ndarray] = {}
    for name, model in models.items():
        batches = [images[i : i + batch_size].float() / 255 for i in range(0, len(images), batch_size)]
        _score(columns, name, torch.cat([predict68(model, head, b, size) for b in batches]), target)
        posed = [predict68(model, head, b, size, mean_shape=True) for b in batches]
        _score(columns, f"{name}, mean shape", torch.cat(posed), target)
    _score(columns, "mean head fitted to the annotation", fit_mean_head(head, target), target)
    return columns, skipped


def _score(columns: dict[str, np.ndarray], name: str, points: Tensor, target: Tensor) -> None:
    extent = (target.amax(1) - target.amin(1)).prod(-1).sqrt()
    columns[name] = nme(points, target).numpy()
    inner = (points[:, INNER] - target[:, INNER]).norm(dim=-1).mean(-1) / extent
    columns[f"{name}/inner"] = inner.numpy()
