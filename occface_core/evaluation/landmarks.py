"""68-point landmark error on annotated photos: NME as AFLW2000-3D defines it, with the mean head as baseline.

Crops are made from the annotated 68-point box, so that the figure speaks of the network and not of a
detector.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occface_core.data.crop import crop_image, square_from_box
from occface_core.data.landmarks import landmark_box, points68
from occface_core.data.photos import PhotoRecord, decode
from occface_core.errors import DataError, OccFaceError
from occface_core.evaluation.landmark_covers import LandmarkCovers
from occface_core.evaluation.metrics import nme
from occface_core.geometry.transforms import procrustes
from occface_core.morphable.head_model import HeadModel
from occface_core.networks.mirrored import AnyEncoder
from occface_core.rendering.cameras import to_pixels, weak_perspective

INNER = slice(17, 68)  # without the contour, whose points slide along the silhouette
MEAN_HEAD = "mean head fitted to the annotation"


@dataclass(frozen=True)
class AnnotatedPhoto:
    """A photo, not yet read, and its 68 iBUG points in pixels (centres at +0.5)."""

    name: str
    load: Callable[[], np.ndarray]
    points: Float[np.ndarray, "68 2"]


@dataclass(frozen=True)
class LandmarkScores:
    """Errors of every predictor on the same photos.

    Attributes:
        names: photos that were measured.
        columns: predictor -> NME of each photo; each predictor also as `.../inner`, over the 51 inner points.
        left_out: (name, reason) of photos that were not measured.
        hidden: share of each face that was covered, by input size; empty where nothing was.
    """

    names: list[str]
    columns: dict[str, Float[np.ndarray, " N"]]
    left_out: list[tuple[str, str]]
    hidden: dict[str, Float[np.ndarray, " N"]] = field(default_factory=dict)


@torch.no_grad()
def predict68(
    model: AnyEncoder,
    head: HeadModel,
    crops: Float[Tensor, "B 3 S S"],
    size: int,
    *,
    mean_shape: bool = False,
    contour: str = "visible",
) -> Float[Tensor, "B 68 2"]:
    """Predicted 68 landmarks in pixels of a `size` crop.

    Args:
        model: the network.
        head: the head it predicts.
        crops: what it sees.
        size: side of the crop that pixels are counted in.
        mean_shape: the network's pose and camera carry the mean face without expression: the share of its
            accuracy that is alignment alone.
        contour: "visible" lets the jaw line slide to the outline that is seen, as people annotate it; "fixed"
            takes the same surface points from every side, as annotations made by fitting a 3D model do.
    """
    params = model(crops).params
    if mean_shape:
        still = torch.cat([params.pose[:, :3], torch.zeros_like(params.pose[:, 3:])], dim=1)
        params = params.replace(
            betas=torch.zeros_like(params.betas), expression=torch.zeros_like(params.expression), pose=still
        )
    verts = head(params.betas, params.expression, params.pose).verts
    if contour == "visible":
        points = head.landmarks(verts, "68", global_pose=params.pose[:, :3])
    else:
        points = head.landmarks(verts, "68_static")
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


def annotated(
    records: Iterable[PhotoRecord], shift: tuple[float, float] = (0.0, 0.0)
) -> Iterator[AnnotatedPhoto]:
    """Records of a photo set as annotated photos, every point moved by `shift`, pixels of the photo."""
    for record in records:
        points = points68(record.points).astype(np.float64) + shift
        yield AnnotatedPhoto(record.name, lambda record=record: decode(record), points)


def evaluate_landmarks(
    models: dict[str, AnyEncoder],
    head: HeadModel,
    photos: Iterable[AnnotatedPhoto],
    *,
    batch_size: int = 32,
    contour: str = "visible",
    covers: LandmarkCovers | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> LandmarkScores:
    """NME per photo of every model and of the mean head, over 68 points and over the inner 51.

    Args:
        models: name -> network.
        head: the head all of them predict.
        photos: photos with their points; only one batch is held at a time.
        batch_size: photos at a time.
        contour: see `predict68`.
        covers: also measure every network on covered twins of the photos.
        progress: wraps the stream of photos.

    Returns:
        Columns `<model>`, `<model>, covered` (with `covers`), `<model>, mean shape` and the fitted mean head.

    Raises:
        DataError: no photo could be measured.
    """
    names, left_out = list[str](), list[tuple[str, str]]()
    parts: dict[str, list[Tensor]] = {}
    hidden: dict[str, list[Tensor]] = {}
    stream = enumerate(progress(photos))
    while batch := list(islice(stream, batch_size)):
        usable = _load(batch, left_out)
        if usable:
            names += [one.photo.name for one in usable]
            _measure(models, head, usable, contour, parts)
            if covers is not None:
                _measure_covered(models, head, usable, contour, covers, parts, hidden)
    if not names:
        reason = "{}: {}".format(*left_out[0]) if left_out else "there is none"
        raise DataError(f"no photo could be measured; first reason: {reason}")
    columns, shares = ({k: torch.cat(v).numpy() for k, v in found.items()} for found in (parts, hidden))
    return LandmarkScores(names, columns, left_out, shares)


@dataclass(frozen=True)
class _Loaded:
    """A photo that was read, and its place in the set."""

    photo: AnnotatedPhoto
    image: np.ndarray
    place: int


def _load(batch: Sequence[tuple[int, AnnotatedPhoto]], left_out: list[tuple[str, str]]) -> list[_Loaded]:
    loaded = []
    for place, photo in batch:
        try:
            if not np.isfinite(photo.points).all():
                raise DataError("its landmarks hold NaN or infinite values")
            square_from_box(landmark_box(photo.points))
            loaded.append(_Loaded(photo, photo.load(), place))
        except (OccFaceError, OSError) as error:
            left_out.append((photo.name, str(error)))
    return loaded


def _crops(photos: Sequence[_Loaded], size: int, scale: float) -> tuple[Tensor, Tensor]:
    """Crops (B,3,S,S) in [0,1] and annotations (B,68,2) in their pixels."""
    squares = [square_from_box(landmark_box(one.photo.points), scale) for one in photos]
    crops = np.stack([crop_image(one.image, s, size) for one, s in zip(photos, squares, strict=True)])
    points = [s.apply(one.photo.points, size) for one, s in zip(photos, squares, strict=True)]
    batch = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
    return batch, torch.from_numpy(np.stack(points)).float()


def _measure_covered(
    models: dict[str, AnyEncoder],
    head: HeadModel,
    photos: Sequence[_Loaded],
    contour: str,
    covers: LandmarkCovers,
    parts: dict[str, list[Tensor]],
    hidden: dict[str, list[Tensor]],
) -> None:
    sizes = {name: (model.config.input_size, model.config.crop_scale) for name, model in models.items()}
    for size, scale in sorted(set(sizes.values())):
        batch, target = _crops(photos, size, scale)
        covered, share = covers(batch, [one.place for one in photos])
        hidden.setdefault(f"{size} px, crop {scale:g}", []).append(share)
        for name in (n for n, wanted in sizes.items() if wanted == (size, scale)):
            points = predict68(models[name], head, covered, size, contour=contour)
            _score(parts, f"{name}, covered", points, target)


def _measure(
    models: dict[str, AnyEncoder],
    head: HeadModel,
    photos: Sequence[_Loaded],
    contour: str,
    parts: dict[str, list[Tensor]],
) -> None:
    for name, model in models.items():
        size = model.config.input_size
        batch, target = _crops(photos, size, model.config.crop_scale)
        _score(parts, name, predict68(model, head, batch, size, contour=contour), target)
        posed = predict68(model, head, batch, size, mean_shape=True, contour=contour)
        _score(parts, f"{name}, mean shape", posed, target)
    target = torch.from_numpy(np.stack([one.photo.points for one in photos])).float()
    _score(parts, MEAN_HEAD, fit_mean_head(head, target), target)


def _score(parts: dict[str, list[Tensor]], name: str, points: Tensor, target: Tensor) -> None:
    extent = (target.amax(1) - target.amin(1)).prod(-1).sqrt()
    parts.setdefault(name, []).append(nme(points, target))
    inner = (points[:, INNER] - target[:, INNER]).norm(dim=-1).mean(-1) / extent
    parts.setdefault(f"{name}/inner", []).append(inner)
